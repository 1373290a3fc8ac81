//! Time-outs: the default, a call's own, the message's; nothing takes longer.

use std::io::{BufRead, BufReader, Write};
use std::thread;
use std::time::{Duration, Instant};

use grapevine::service::{ActError, Service, ServiceConfig};
use serde_json::{Value, json};

use crate::common::{ms, secs};
use crate::harness::{
    Client, Deaf, Fake, Gate, LONG, caller_and_provider, echo, finds, first, refused, request, server, until,
    with_others,
};

fn timed_out(result: &Result<Value, ActError>, after: Duration) {
    assert_eq!(*result, Err(ActError::TimedOut { after }));
    assert_eq!(result.as_ref().unwrap_err().code(), "action_timeout");
}

/// What a call took, less than which it may not have taken; and not much more, on a machine that is busy.
fn took(begun: Instant, timeout: Duration) {
    let took = begun.elapsed();
    assert!(took >= timeout && took < timeout + secs(10), "{took:?} at a time-out of {timeout:?}");
}

#[test]
fn a_call_takes_no_longer_than_its_time_out() {
    let _others = with_others();
    assert_eq!(ServiceConfig::default().timeout, ms(22_222), "as Seneca 3");
    let caller = first(Service::builder().timeout(ms(150)));
    let silent = Fake::start(|_| true);
    caller.client(&silent.addr(), "a:1").unwrap();
    let gate = Gate::new(&caller, "here:1");
    for message in ["a:1", "here:1"] {
        let begun = Instant::now();
        timed_out(&caller.act(message), ms(150));
        took(begun, ms(150));
        let begun = Instant::now();
        timed_out(&caller.call(message).timeout(ms(50)).send(), ms(50));
        took(begun, ms(50));
        timed_out(&caller.act((message, json!({"timeout$": 60.5}))), Duration::from_micros(60_500));
        timed_out(&caller.act((message, json!({"timeout$": 0}))), ms(0));
        timed_out(&caller.act_sharded("key", message), ms(150));
        for wrong in [json!("x"), json!(-1), json!(1e300), json!([1])] {
            let result = caller.act::<Value>((message, json!({"timeout$": wrong})));
            assert!(matches!(result, Err(ActError::InvalidMessage(_))), "{wrong}: {result:?}");
        }
    }
    gate.open();
    // The provider is told how long it has.
    let told: Vec<u64> = silent.requests().iter().map(|request| request["timeout"].as_u64().unwrap()).collect();
    assert_eq!(told.len(), 5);
    assert!(told[0] <= 150 && told[1] <= 50 && told[3] == 0, "{told:?}");
    assert!(silent.requests().iter().all(|request| request["act"] == json!({"a": 1})), "without `timeout$`");
}

/// The longest there is, and longer than an `Instant` can hold.
#[test]
fn a_long_time_out_is_no_problem() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    echo(&provider, "a:1", "there");
    finds(&caller, "a:1");
    for service in [&caller, &provider] {
        assert!(service.call("a:1").timeout(Duration::MAX).send::<Value>().is_ok());
        assert!(service.act::<Value>("a:1,timeout$:1e15").is_ok());
    }
    let mut line = request("x", &json!({"a": 1}));
    for timeout in [json!(1e300), json!(-5), json!("x"), json!(null), json!([]), json!(1e15)] {
        line["id"] = json!(format!("x{timeout}"));
        line["timeout"] = timeout;
        assert_eq!(Client::of(&provider).ask(&line)["res"]["by"], "there", "{line}");
    }
}

/// What is told by the time that it arrives is of no use to anybody.
#[test]
fn an_answer_that_comes_too_late_is_dropped() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    let gate = Gate::new(&provider, "slow:1");
    echo(&provider, "fine:1", "fine");
    finds(&caller, "fine:1");
    // Connected before, so that the short call is surely sent.
    caller.act::<Value>("fine:1").unwrap();
    timed_out(&caller.act("slow:1,timeout$:200"), ms(200));
    gate.begun();
    gate.open();
    until("it came", || refused(&caller.stats(), "late_response") == 1);
    assert!(caller.act::<Value>("fine:1").is_ok(), "the connection is as good as before");
    assert_eq!(caller.stats().providers[0].connections, 1);
}

/// Connecting counts, too; and who waits for somebody else's attempt does not begin another one after it.
#[test]
fn a_host_that_has_gone_costs_no_more_than_the_time_to_connect() {
    let _others = with_others();
    let caller = first(Service::builder().connect_timeout(ms(300)));
    let gone = Deaf::start();
    caller.client(&gone.addr(), "a:1").unwrap();
    let begun = Instant::now();
    let result = caller.call("a:1").timeout(ms(100)).send::<Value>();
    assert!(matches!(result, Err(ActError::TimedOut { .. })), "{result:?}");
    took(begun, ms(100));
    let begun = Instant::now();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..50).map(|_| scope.spawn(|| caller.act::<Value>("a:1"))).collect();
        for call in calls {
            let result = call.join().unwrap();
            assert!(matches!(result, Err(ActError::Unreachable { .. })), "{result:?}");
        }
    });
    assert!(begun.elapsed() < secs(6), "50 calls waited one after the other: {:?}", begun.elapsed());
}

/// That a call has no time to wait for a connection says nothing about the provider.
#[test]
fn a_short_call_is_no_reason_to_leave_a_provider_alone() {
    let _others = with_others();
    let caller = first(Service::builder().connect_timeout(secs(60)));
    let slow = Deaf::start();
    caller.client(&slow.addr(), "a:1").unwrap();
    for _ in 0..5 {
        timed_out(&caller.call("a:1").timeout(ms(20)).send(), ms(20));
    }
    let stats = &caller.stats().providers[0];
    assert_eq!((stats.resting, stats.unanswered), (Duration::ZERO, 0));
    thread::scope(|scope| {
        let patient = scope.spawn(|| caller.call("a:1").timeout(LONG).send::<Value>());
        // The connection that was begun for the first of them.
        let stream = slow.hear();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        let request: Value = serde_json::from_str(&line).unwrap();
        writeln!(&stream, "{}", json!({"id": request["id"], "kind": "res", "res": {}})).unwrap();
        assert_eq!(patient.join().unwrap(), Ok(json!({})));
    });
}

/// Who answers all of them, only later, is not gone.
#[test]
fn a_slow_provider_is_not_left_alone() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    let gate = Gate::new(&provider, "slow:1");
    finds(&caller, "slow:1");
    for n in 1..=6 {
        timed_out(&caller.act("slow:1,timeout$:20"), ms(20));
        gate.begun();
        gate.let_one_end();
        until("it came", || refused(&caller.stats(), "late_response") == n);
        let stats = &caller.stats().providers[0];
        assert_eq!((stats.resting, stats.unanswered), (Duration::ZERO, n));
    }
    gate.open();
}

/// A provider whose connection is busy gets one more; until it is open the calls go over the one that there is.
#[test]
fn while_one_more_connection_is_opened_the_other_is_used() {
    let _others = with_others();
    let caller = first(Service::builder().connect_timeout(secs(60)).timeout(secs(50)));
    let provider = Deaf::start();
    caller.client(&provider.addr(), "a:1").unwrap();
    thread::scope(|scope| {
        let call = || drop(scope.spawn(|| caller.act::<Value>("a:1")));
        call();
        let stream = provider.hear();
        provider.be_deaf();
        stream.set_read_timeout(Some(secs(20))).unwrap();
        let mut lines = BufReader::new(stream).lines();
        lines.next().unwrap().unwrap();
        // As many as make it busy.
        for _ in 1..32 {
            call();
            lines.next().unwrap().unwrap();
        }
        call();
        until("one more is opened", || caller.stats().providers[0].in_flight == 33);
        call();
        lines.next().unwrap().expect("one of the two is sent over the connection that there is");
        caller.close();
        drop(provider.hear());
    });
}

/// A call from a handler to an action of the same program runs on the handler's own thread where there is no other.
#[test]
fn a_handlers_own_calls_end_in_time_too() {
    let _others = with_others();
    let service = first(server().workers(2));
    let gate = Gate::new(&service, "slow:1");
    let inner = service.clone();
    let handler = move |_: Value| Ok(json!({"inner": inner.act::<Value>("slow:1,timeout$:100").unwrap_err().code()}));
    service.add("outer:1", handler).unwrap();
    let result = service.call("outer:1").timeout(LONG).send::<Value>().unwrap();
    assert_eq!(result, json!({"inner": "action_timeout"}));
    gate.open();
    service.close();
}
