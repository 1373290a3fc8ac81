//! What `stats()` tells.

use std::thread;

use grapevine::service::{Failure, ServiceStats};
use serde_json::{Value, json};

use crate::common::ms;
use crate::harness::{Client, Gate, caller_and_provider, echo, finds, refused, server, until, with_others};

fn counts(stats: &ServiceStats) -> [u64; 5] {
    [stats.calls, stats.call_errors, stats.requests, stats.request_errors, stats.requests_expired]
}

#[test]
fn calls_errors_and_providers_are_counted() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    echo(&provider, "a:1", "it");
    let fails = |_: Value| -> Result<(), Failure> { Err(Failure::new("own", "mine")) };
    provider.add("fail:1", fails).unwrap();
    finds(&caller, "fail:1");
    assert_eq!(counts(&caller.stats()), [0; 5]);
    (0..3).for_each(|_| drop(caller.act::<Value>("a:1").unwrap()));
    (0..2).for_each(|_| drop(caller.act::<Value>("fail:1").unwrap_err()));
    caller.act::<Value>("none:1").unwrap_err();
    caller.act::<Value>("no:message:1").unwrap_err();
    assert_eq!(counts(&caller.stats()), [7, 4, 0, 0, 0]);
    assert_eq!(counts(&provider.stats()), [0, 0, 5, 2, 0]);
    // Nobody waits for these.
    caller.call("a:1").tell().unwrap();
    until("it came", || provider.stats().requests == 6);
    assert_eq!(caller.stats().calls, 7);
    // One's own calls are no requests.
    provider.act::<Value>("a:1").unwrap();
    assert_eq!(counts(&provider.stats()), [1, 0, 6, 2, 0]);
    let stats = caller.stats();
    let [told] = stats.providers.as_slice() else { panic!("{:?}", stats.providers) };
    assert_eq!(told.addr, provider.local_addr().unwrap().to_string());
    assert_eq!((told.calls, told.unanswered, told.in_flight, told.connections), (6, 0, 0, 1));
    assert_eq!((provider.stats().connections, provider.stats().queue), (1, 0));
    assert!(stats.refused.is_empty() && provider.stats().refused.is_empty());
}

#[test]
fn latencies_are_those_that_were_seen() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    assert_eq!(caller.stats().call_time, Default::default());
    echo(&provider, "a:1", "it");
    provider
        .add("slow:1", |_: Value| -> Result<Value, Failure> {
            thread::sleep(ms(60));
            Ok(json!({}))
        })
        .unwrap();
    finds(&caller, "slow:1");
    (0..190).for_each(|_| drop(caller.act::<Value>("a:1").unwrap()));
    (0..10).for_each(|_| drop(caller.act::<Value>("slow:1").unwrap()));
    for latency in [caller.stats().call_time, provider.stats().request_time] {
        assert!(latency.p50 < latency.p99 && latency.p50 <= latency.p90 && latency.p99 <= latency.max, "{latency}");
        // One in twenty took so long, and one in a hundred no less than that.
        assert!(latency.p99 >= ms(59) && latency.p50 < latency.p99, "{latency}");
    }
}

#[test]
fn what_is_under_way_is_shown() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server().workers(1));
    let gate = Gate::new(&provider, "a:1");
    finds(&caller, "a:1");
    thread::scope(|scope| {
        let calls: Vec<_> = (0..3).map(|_| scope.spawn(|| caller.act::<Value>("a:1").unwrap())).collect();
        gate.begun();
        until("two wait", || provider.stats().queue == 2);
        assert_eq!(caller.stats().providers[0].in_flight, 3);
        gate.open();
        calls.into_iter().for_each(|call| drop(call.join().unwrap()));
    });
    assert_eq!((caller.stats().providers[0].in_flight, provider.stats().queue), (0, 0));
}

/// Of calls in large number as many connections as there may be.
#[test]
fn many_calls_share_few_connections() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server().workers(100));
    let gate = Gate::new(&provider, "a:1");
    finds(&caller, "a:1");
    thread::scope(|scope| {
        for n in 0..80 {
            scope.spawn(|| caller.act::<Value>("a:1").unwrap());
            gate.begun();
            let connections = || caller.stats().providers[0].connections;
            if n == 32 {
                until("one more is opened", || connections() == 2);
            }
            assert_eq!(connections(), if n < 32 { 1 } else { 2 }, "call {n}");
        }
        gate.open();
    });
    assert_eq!(provider.stats().connections, 2);
    let mut client = Client::of(&provider);
    client.send_bytes(b"junk\n");
    client.ends();
    until("it is closed", || provider.stats().connections == 2);
    assert_eq!(refused(&provider.stats(), "invalid_json"), 1);
}
