//! How handlers run: several at once, within limits, calling others themselves; replaced and taken away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use grapevine::Error;
use grapevine::service::{ActError, Failure, Service, time_left};
use serde_json::{Value, json};

use crate::common::ms;
use crate::harness::{
    Client, Gate, LONG, by, caller_and_provider, echo, finds, finds_offers, first, join, server, until, with_others,
};

#[test]
fn as_many_handlers_run_at_once_as_there_are_workers() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server().workers(3));
    let gate = Gate::new(&provider, "a:1");
    finds(&caller, "a:1");
    thread::scope(|scope| {
        let calls: Vec<_> = (0..5)
            .map(|n| (n, if n % 2 == 0 { &caller } else { &provider }))
            .map(|(n, service)| scope.spawn(move || service.act::<Value>(("a:1", json!({"n": n})))))
            .collect();
        (0..3).for_each(|_| drop(gate.begun()));
        until("two wait", || provider.stats().queue == 2);
        assert_eq!(gate.more_begun(), 0, "three threads are all there are");
        gate.open();
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(call.join().unwrap().unwrap()["message"]["n"], n);
        }
    });
}

#[test]
fn who_comes_when_the_queue_is_full_is_told_so() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server().workers(1).queue(2));
    let gate = Gate::new(&provider, "a:1");
    finds(&caller, "a:1");
    thread::scope(|scope| {
        let running = scope.spawn(|| caller.act::<Value>("a:1"));
        gate.begun();
        let waiting: Vec<_> = [&caller, &provider].map(|service| scope.spawn(|| service.act::<Value>("a:1"))).into();
        until("two wait", || provider.stats().queue == 2);
        for service in [&caller, &provider] {
            let error = service.act::<Value>("a:1").unwrap_err();
            assert!(matches!(error, ActError::Overloaded { .. }), "{error}");
            assert_eq!(error.code(), "overloaded");
        }
        assert!(matches!(provider.call("a:1").tell(), Err(ActError::Overloaded { .. })));
        gate.open();
        assert!(running.join().unwrap().is_ok());
        assert!(waiting.into_iter().all(|call| call.join().unwrap().is_ok()));
    });
    assert!(caller.act::<Value>("a:1").is_ok(), "there is room again");
}

/// Were each to wait for a thread of the one pool that all of them occupy, none would ever end.
#[test]
fn handlers_call_what_is_registered_here_without_a_thread_more() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server().workers(1));
    let weak = provider.clone();
    echo(&provider, "step:3", "third");
    let inner = provider.clone();
    provider.add("step:2", move |_: Value| Ok(inner.act::<Value>("step:3")?)).unwrap();
    provider.add("step:1", move |_: Value| Ok(weak.act::<Value>("step:2")?)).unwrap();
    finds(&caller, "step:1");
    for service in [&caller, &provider] {
        assert_eq!(by(&service.act::<Value>("step:1").unwrap()), "third");
    }
    provider.close();
}

#[test]
fn handlers_call_what_is_elsewhere() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server().workers(1));
    let second = join(&caller, server().workers(1));
    echo(&second, "step:2", "second");
    finds(&provider, "step:2");
    let inner = provider.clone();
    provider.add("step:1", move |_: Value| Ok(inner.act::<Value>("step:2,from:first")?)).unwrap();
    let inner = provider.clone();
    provider.add("step:lost", move |_: Value| Ok(inner.act::<Value>("step:none")?)).unwrap();
    finds(&caller, "step:lost");
    let result = caller.act::<Value>("step:1").unwrap();
    assert_eq!(result, json!({"by": "second", "message": {"step": 2, "from": "first"}}));
    let error = caller.act::<Value>("step:lost").unwrap_err();
    assert!(matches!(&error, ActError::Failed(failure) if failure.message().contains("nobody offers")), "{error:?}");
    provider.close();
}

/// A handler that calls itself without end is its caller's time-out or error, not the end of the program.
#[test]
fn a_handler_that_calls_itself_without_end_harms_nobody() {
    let _others = with_others();
    let service = first(server().workers(2).queue(2));
    let inner = service.clone();
    let handler = move |_: Value| -> Result<Value, Failure> { Ok(inner.act::<Value>("again:1,timeout$:500")?) };
    service.add("again:1", handler).unwrap();
    echo(&service, "fine:1", "fine");
    assert!(service.act::<Value>("again:1,timeout$:1000").is_err());
    until("a thread is free again", || service.act::<Value>("fine:1").is_ok());
    service.close();
}

#[test]
fn an_action_is_replaced_and_taken_away() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    echo(&provider, "a:1", "first");
    finds(&caller, "a:1");
    assert_eq!(by(&caller.act::<Value>("a:1").unwrap()), "first");
    echo(&provider, "a:1", "second");
    assert_eq!(by(&caller.act::<Value>("a:1").unwrap()), "second");
    echo(&provider, "b:1", "other");
    assert_eq!(provider.remove("a:1").ok(), Some(true));
    assert_eq!(provider.remove("a:1").ok(), Some(false));
    assert!(matches!(provider.act::<Value>("a:1"), Err(ActError::NotFound { .. })));
    finds_offers(&caller, "a:1", 0);
    assert!(matches!(caller.act::<Value>("a:1"), Err(ActError::NotFound { .. })));
    assert_eq!(by(&caller.act::<Value>("b:1").unwrap()), "other");
    assert_eq!(provider.remove("b:1").ok(), Some(true));
    until("it offers nothing", || caller.services().is_empty());
}

#[test]
fn a_service_has_no_more_actions_than_can_be_told() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    for n in 0..1_024 {
        provider.add(json!({"n": n}), move |_: Value| Ok(json!({"by": "first", "n": n}))).unwrap();
    }
    assert!(matches!(provider.add("n:1024", |_: Value| Ok(())), Err(Error::Config { .. })));
    assert!(matches!(provider.act::<Value>("n:1024"), Err(ActError::NotFound { .. })));
    finds_offers(&caller, "n:1023", 1);
    assert_eq!(caller.act::<Value>("n:1023").unwrap()["n"], 1_023);
    // One that is there already may be replaced.
    echo(&provider, "n:7", "second");
    assert_eq!(by(&caller.act::<Value>("n:7").unwrap()), "second");
}

/// What nobody else could read must not be told: this service alone would believe that it is found.
#[test]
fn more_patterns_than_the_others_take_are_refused_when_they_are_added() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server().pin("x:1").pin("y:1"));
    let added = (0..600).take_while(|n| provider.add(json!({"n": n}), |_: Value| Ok(json!({"by": "n"}))).is_ok());
    assert_eq!(added.count(), 512, "each is offered within two pins");
    finds_offers(&caller, "n:511,x:1", 1);
    assert!(caller.act::<Value>("n:511,y:1").is_ok());

    // In bytes the limit is that of a value in the shared state.
    let provider = join(&caller, server());
    let long = |n: usize| json!({"n": n, "long": "x".repeat(250)});
    let added = (0..1_000).take_while(|n| provider.add(long(*n), |_: Value| Ok(json!({"by": "n"}))).is_ok()).count();
    assert!((200..1_000).contains(&added), "{added}");
    let refused = provider.add(long(added), |_: Value| Ok(()));
    assert!(matches!(refused, Err(Error::ValueTooLarge { .. })), "{refused:?}");
    assert!(matches!(provider.act::<Value>(long(added)), Err(ActError::NotFound { .. })), "it was not registered");
    until("the last that fitted is found", || caller.wait_for(long(added - 1), LONG));
    assert!(caller.act::<Value>(long(added - 1)).is_ok());
}

/// A call whose turn comes when nobody waits for it any more is not made.
#[test]
fn what_waited_too_long_is_not_run() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server().workers(1));
    let gate = Gate::new(&provider, "slow:1");
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    provider.add("count:1", move |_: Value| Ok(json!({"n": counted.fetch_add(1, Ordering::SeqCst)}))).unwrap();
    finds(&caller, "count:1");
    thread::scope(|scope| {
        let slow = scope.spawn(|| caller.act::<Value>("slow:1"));
        gate.begun();
        let late = caller.act::<Value>("count:1,timeout$:50");
        assert!(matches!(late, Err(ActError::TimedOut { .. })), "{late:?}");
        until("it waits", || provider.stats().queue == 1);
        thread::sleep(ms(51)); // What the provider was told, from when it heard of it.
        gate.open();
        assert!(slow.join().unwrap().is_ok());
    });
    until("it was dropped", || provider.stats().requests_expired == 1);
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}

/// Whatever a program hands over may be dropped with a lock of the program's own in it.
#[test]
fn a_handler_that_is_dropped_may_use_the_service() {
    let _others = with_others();
    let service = first(server());
    struct Uses(Service);
    impl Drop for Uses {
        fn drop(&mut self) {
            let _ = self.0.remove("other:1");
            echo(&self.0, "dropped:1", "dropped");
        }
    }
    let uses = Uses(service.clone());
    service.add("a:1", move |_: Value| Ok(json!({"by": uses.0.services().len()}))).unwrap();
    echo(&service, "a:1", "second");
    assert_eq!(by(&service.act::<Value>("dropped:1").unwrap()), "dropped");
    let uses = Uses(service.clone());
    service.add("b:1", move |_: Value| Ok(json!({"by": uses.0.services().len()}))).unwrap();
    service.remove("dropped:1").unwrap();
    service.remove("b:1").unwrap();
    assert_eq!(by(&service.act::<Value>("dropped:1").unwrap()), "dropped");
}

/// Who waits for a thread until its caller's time is over is not run, whoever calls.
#[test]
fn what_waited_too_long_here_is_not_run() {
    let _others = with_others();
    let service = first(Service::builder().workers(1));
    let gate = Gate::new(&service, "slow:1");
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    service.add("count:1", move |_: Value| Ok(json!({"before": counted.fetch_add(1, Ordering::SeqCst)}))).unwrap();
    thread::scope(|scope| {
        let running = scope.spawn(|| service.act::<Value>("slow:1"));
        gate.begun();
        let late = service.act::<Value>("count:1,timeout$:20");
        assert_eq!(late, Err(ActError::TimedOut { after: ms(20) }));
        gate.open();
        assert!(running.join().unwrap().is_ok());
    });
    assert_eq!(service.act::<Value>("count:1").unwrap(), json!({"before": 0}));
}

/// A handler knows how long somebody waits for it, wherever that is, and for which call.
#[test]
fn a_handler_is_told_the_time_that_is_left() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server().workers(1));
    let left = || time_left().map(|left| left.as_millis() as u64);
    provider.add("left:1", move |_: Value| Ok(json!({"left": left()}))).unwrap();
    let inner = provider.clone();
    let outer = move |_: Value| {
        let before = left();
        // On this very thread.
        let inner: Value = inner.act("left:1,timeout$:5000")?;
        Ok(json!({"before": before, "inner": inner["left"], "after": left()}))
    };
    provider.add("outer:1", outer).unwrap();
    finds(&caller, "outer:1");
    assert_eq!(time_left(), None);
    for service in [&caller, &provider] {
        let result: Value = service.act("left:1,timeout$:30000").unwrap();
        assert!((20_000..=30_000).contains(&result["left"].as_u64().unwrap()), "{result}");
        let result: Value = service.act("outer:1,timeout$:30000").unwrap();
        let told = ["before", "inner", "after"].map(|key| result[key].as_u64().unwrap());
        assert!(told[0] <= 30_000 && told[1] <= 5_000 && (5_000..=told[0]).contains(&told[2]), "{result}");
    }
    assert_eq!(time_left(), None);
    provider.close();
}

/// A handler that did nothing says so, and another provider is asked, though the call is not idempotent.
#[test]
fn what_a_handler_did_not_begin_moves() {
    let _others = with_others();
    let (caller, busy) = caller_and_provider(server());
    let failure = Failure::new("printer_busy", "it prints already").with_details(json!({"pages": 3}));
    let told = failure.clone().not_run();
    busy.add("print:1", move |_: Value| Err::<(), _>(told.clone())).unwrap();
    finds(&caller, "print:1");
    // If there is nobody else it is the caller's error.
    let Err(ActError::Failed(only)) = caller.act::<Value>("print:1") else { panic!("it fails") };
    assert_eq!((only.code(), only.message(), only.details()), ("printer_busy", "it prints already", failure.details()));
    // What was begun does not move.
    busy.add("begun:1", move |_: Value| Err::<(), _>(failure.clone())).unwrap();
    let free = join(&caller, server());
    ["print:1", "begun:1"].iter().for_each(|pattern| echo(&free, pattern, "free"));
    finds_offers(&caller, "begun:1", 2);
    for _ in 0..20 {
        assert_eq!(by(&caller.act::<Value>("print:1").unwrap()), "free");
    }
    until("it is tried", || caller.act::<Value>("begun:1").is_err_and(|error| error.code() == "printer_busy"));
}

/// An object with a name of serde_json's own would be read as something else, and again in itself until no stack is left.
#[test]
fn no_name_is_read_as_something_else() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    let name = "$serde_json::private::RawValue";
    echo(&provider, "a:1", "it");
    echo(&caller, "here:1", "here");
    provider.add("give:1", move |_: Value| Ok(json!([{ name: "1" }]))).unwrap();
    finds(&caller, "give:1");
    for pattern in ["a:1", "here:1"] {
        let error = caller.act::<Value>((pattern, json!({"b": [{ name: "[1]" }]}))).unwrap_err();
        assert!(matches!(&error, ActError::InvalidMessage(problem) if problem.contains(name)), "{error}");
    }
    let error = caller.act::<Value>("give:1").unwrap_err();
    assert!(matches!(&error, ActError::InvalidResult(problem) if problem.contains(name)), "{error}");
    // As deep as it can be sent: four megabytes of it.
    let mut text = "1".to_owned();
    while text.len() < 4 << 20 {
        text = format!("{}{{\"{name}\":{}}}{}", "[".repeat(125), Value::from(text), "]".repeat(125));
    }
    let mut client = Client::of(&provider);
    client.send_bytes(format!("{{\"id\":\"x\",\"kind\":\"act\",\"act\":{{\"a\":1,\"b\":{text}}}}}\n").as_bytes());
    assert_eq!(client.line().unwrap()["error"]["code"], "invalid_message");
    assert_eq!(by(&client.act("y", &json!({"a": 1}))["res"]), "it");
}
