//! Calls that move: refused, broken before and after they were sent; and providers that are left alone for a while.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use grapevine::service::{ActError, ProviderStats, Service};
use serde_json::{Value, json};

use crate::common::{ms, secs};
use crate::harness::{
    Deaf, Fake, Gate, alert, by, echo, finds_offers, first, join, plain_addr, refusing, server, until, with_others,
};

/// A caller that has nobody in its cluster.
fn caller() -> Service {
    first(Service::builder())
}

/// One that answers.
fn good() -> Fake {
    Fake::start(|line| line.answer(&json!({"by": "good"})))
}

/// One that hangs up instead.
fn broken() -> Fake {
    Fake::start(|_| false)
}

fn provider(caller: &Service, addr: &str) -> ProviderStats {
    caller.stats().providers.into_iter().find(|provider| provider.addr == addr).unwrap()
}

fn lost(result: &Result<Value, ActError>) {
    assert!(matches!(result, Err(ActError::ConnectionLost { .. })), "{result:?}");
}

#[test]
fn a_refused_call_moves_at_once_and_the_provider_is_left_alone() {
    let _others = with_others();
    let caller = caller();
    let ((_socket, gone), good) = (refusing(), good());
    caller.client(&gone, "a:1").unwrap();
    caller.client(&good.addr(), "a:1").unwrap();
    let mut calls = 0;
    until("it was tried", || {
        calls += 1;
        assert_eq!(by(&caller.act::<Value>("a:1").unwrap()), "good");
        provider(&caller, &gone).unanswered == 1
    });
    let stats = provider(&caller, &gone);
    assert!(stats.resting > Duration::ZERO && stats.resting <= secs(1), "{stats:?}");
    assert_eq!((stats.calls, stats.connections, stats.in_flight), (0, 0, 0));
    assert_eq!((caller.stats().calls_moved, caller.stats().call_errors), (1, 0));
    assert_eq!(good.requests().len(), calls);
    // To tell is no other than to ask.
    until("it was tried again", || {
        caller.call("a:1").tell().unwrap();
        provider(&caller, &gone).unanswered == 2
    });
    // The second time it is left alone for a second, too, then for two.
    until("it was tried once more", || {
        caller.act::<Value>("a:1").unwrap();
        provider(&caller, &gone).unanswered == 3
    });
    let resting = provider(&caller, &gone).resting;
    assert!(resting > secs(1) && resting <= secs(2), "{resting:?}");
}

#[test]
fn where_nobody_can_be_reached_all_that_was_tried_is_told() {
    let _others = with_others();
    let caller = caller();
    let sockets = [refusing(), refusing()];
    for (_, addr) in &sockets {
        caller.client(addr, "a:1").unwrap();
    }
    for _ in 0..3 {
        let error = caller.act::<Value>("a:1").unwrap_err();
        let ActError::Unreachable { problems } = &error else { panic!("{error}") };
        assert_eq!(problems.len(), 2, "those that are left alone are tried where there are no others: {error}");
        assert!(sockets.iter().all(|(_, addr)| error.to_string().contains(addr)), "{error}");
    }
    assert!(matches!(caller.call("a:1").tell(), Err(ActError::Unreachable { .. })));
    assert!(matches!(caller.act_sharded::<Value>("k", "a:1"), Err(ActError::Unreachable { .. })));
    caller.client("name.invalid:1", "b:1").unwrap();
    assert!(matches!(caller.act::<Value>("b:1"), Err(ActError::Unreachable { .. })));
    assert_eq!(caller.stats().calls_moved, 5, "once for each call that had somewhere to go");
}

#[test]
fn a_connection_that_broke_before_the_call_is_opened_anew() {
    let _others = with_others();
    let caller = caller();
    let fake = good();
    caller.client(&fake.addr(), "a:1").unwrap();
    for n in 1..=3 {
        assert!(caller.act::<Value>("a:1").is_ok());
        assert_eq!(fake.connections(), n);
        fake.hang_up();
        until("it is noticed", || provider(&caller, &fake.addr()).connections == 0);
    }
    assert_eq!(provider(&caller, &fake.addr()).unanswered, 0);
}

#[test]
fn a_call_that_was_sent_is_repeated_only_if_it_may_be() {
    let _others = with_others();
    let caller = caller();
    let (broken, good) = (broken(), good());
    caller.client(&broken.addr(), "a:1").unwrap();
    lost(&caller.act("a:1"));
    assert_eq!(broken.requests().len(), 1);
    assert_eq!(caller.stats().calls_moved, 0);
    // Once more at the same one, which may have been restarted; and no more.
    lost(&caller.call("a:1").idempotent().send());
    assert_eq!(broken.requests().len(), 3);
    assert_eq!(caller.stats().calls_moved, 1);
    caller.client(&good.addr(), "a:1").unwrap();
    until("it is tried", || {
        assert_eq!(by(&caller.call("a:1").idempotent().send::<Value>().unwrap()), "good");
        broken.requests().len() > 3
    });
    let ids: Vec<String> = broken.requests().iter().map(|request| request["id"].to_string()).collect();
    assert!(ids.iter().all(|id| ids.iter().filter(|other| *other == id).count() == 1), "{ids:?}");
}

#[test]
fn a_provider_that_was_restarted_gets_the_repeated_call() {
    let _others = with_others();
    let caller = caller();
    let times = AtomicUsize::new(0);
    let once_broken =
        Fake::start(move |line| times.fetch_add(1, Ordering::SeqCst) > 0 && line.answer(&json!({"by": "it"})));
    caller.client(&once_broken.addr(), "a:1").unwrap();
    assert_eq!(by(&caller.call("a:1").idempotent().send::<Value>().unwrap()), "it");
    assert_eq!((once_broken.requests().len(), once_broken.connections()), (2, 2));
    assert_eq!(provider(&caller, &once_broken.addr()).resting, Duration::ZERO, "it answered");
}

#[test]
fn who_keeps_failing_is_left_alone_and_tried_again() {
    let _others = with_others();
    let caller = caller();
    let (broken, good) = (broken(), good());
    caller.client(&broken.addr(), "a:1").unwrap();
    caller.client(&good.addr(), "a:1").unwrap();
    let call = || caller.call("a:1").idempotent().send::<Value>();
    until("it fails", || call().is_ok() && broken.requests().len() == 1);
    let failed = Instant::now();
    // Each of 20 calls would have found it with a chance of a half.
    (0..20).for_each(|_| drop(call().unwrap()));
    assert!(broken.requests().len() == 1 || failed.elapsed() > ms(900), "{:?}", failed.elapsed());
    until("it is tried again", || call().is_ok() && broken.requests().len() > 1);
    assert!(failed.elapsed() > ms(900), "{:?}", failed.elapsed());
    drop(good);
    // It is all that is left.
    let before = broken.requests().len();
    lost(&call());
    assert!(broken.requests().len() > before);
}

#[test]
fn who_does_not_answer_three_times_is_left_alone() {
    let _others = with_others();
    let caller = caller();
    let (silent, good) = (Fake::start(|_| true), good());
    caller.client(&silent.addr(), "a:1").unwrap();
    for _ in 0..3 {
        assert_eq!(provider(&caller, &silent.addr()).resting, Duration::ZERO);
        let result = caller.act::<Value>("a:1,timeout$:20");
        assert!(matches!(result, Err(ActError::TimedOut { .. })), "a call that was sent is not moved: {result:?}");
    }
    caller.client(&good.addr(), "a:1").unwrap();
    let left_alone = Instant::now();
    (0..20).for_each(|_| drop(caller.act::<Value>("a:1").unwrap()));
    assert!(silent.requests().len() == 3 || left_alone.elapsed() > ms(900));
    assert_eq!(provider(&caller, &silent.addr()).unanswered, 3);
}

/// Nothing was run: another one may know it, or have the time.
#[test]
fn who_does_not_know_it_or_has_no_time_is_passed_over() {
    let _others = with_others();
    let service = caller();
    for (code, cmd) in [("act_not_found", "x:1"), ("overloaded", "y:1")] {
        let (refusing, good) = (Fake::start(move |line| line.refuse_unrun(code)), good());
        service.client(&refusing.addr(), cmd).unwrap();
        let error = service.act::<Value>(cmd).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        let with_default = service.call(cmd).default(json!({"by": "default"})).send::<Value>();
        assert_eq!(with_default.is_ok(), code == "act_not_found", "{with_default:?}");
        service.client(&good.addr(), cmd).unwrap();
        let before = refusing.requests().len();
        until("it is passed over", || {
            assert_eq!(by(&service.act::<Value>(cmd).unwrap()), "good");
            refusing.requests().len() > before + 3
        });
        // It answers, after all.
        assert_eq!(provider(&service, &refusing.addr()).resting, Duration::ZERO);
        assert_eq!(provider(&service, &refusing.addr()).unanswered, 0);
    }
    // A server of Seneca's does not say that nothing was run: its handler hands on what another one said to it.
    for (code, cmd) in [("act_not_found", "v:1"), ("overloaded", "w:1")] {
        let (refusing, good) = (Fake::start(move |line| line.refuse(code)), good());
        service.client(&refusing.addr(), cmd).unwrap();
        for idempotent in [false, true] {
            let call = || if idempotent { service.call(cmd).idempotent() } else { service.call(cmd) };
            assert_eq!(call().send::<Value>().unwrap_err().code(), code);
            let with_default = call().default(json!({"by": "default"})).send::<Value>();
            assert!(matches!(with_default, Err(ActError::Failed(_))), "it may have been run: {with_default:?}");
        }
        service.client(&good.addr(), cmd).unwrap();
        let mut refused = false;
        until("it is not passed over", || {
            assert_eq!(by(&service.call(cmd).idempotent().send::<Value>().unwrap()), "good");
            refused = refused || service.act::<Value>(cmd).is_err_and(|error| error.code() == code);
            refused
        });
    }
    // Of two the one that knows it says more.
    let busy = Fake::start(|line| line.refuse_unrun("overloaded"));
    let ignorant = Fake::start(|line| line.refuse_unrun("act_not_found"));
    [&busy, &ignorant].iter().for_each(|fake| service.client(&fake.addr(), "z:1").unwrap());
    for _ in 0..10 {
        let error = service.call("z:1").default(json!({})).send::<Value>().unwrap_err();
        assert_eq!(error, ActError::Overloaded { addr: busy.addr() });
    }
    // Whatever else it says was said by the action.
    let service = caller();
    let failing = [(); 2].map(|()| Fake::start(|line| line.refuse("shelf_empty")));
    failing.iter().for_each(|fake| service.client(&fake.addr(), "a:1").unwrap());
    let error = service.call("a:1").idempotent().send::<Value>().unwrap_err();
    assert_eq!(error.code(), "shelf_empty");
    assert_eq!(failing.iter().map(|fake| fake.requests().len()).sum::<usize>(), 1);
}

#[test]
fn the_time_for_moving_is_the_calls_own() {
    let _others = with_others();
    let caller = first(Service::builder().connect_timeout(secs(30)));
    let (deaf, good) = (Deaf::start(), good());
    caller.client(&deaf.addr(), "a:1").unwrap();
    caller.client(&good.addr(), "b:1").unwrap();
    let begun = Instant::now();
    let error = caller.call("a:1").idempotent().timeout(ms(200)).send::<Value>().unwrap_err();
    assert!(matches!(error, ActError::TimedOut { .. }), "{error}");
    assert!(begun.elapsed() < secs(10), "{:?}", begun.elapsed());
}

/// Calls under way at a node that fails: those that may be repeated move, the others are answered if they can be.
#[test]
fn when_a_node_fails_its_calls_move() {
    let _others = with_others();
    let caller = Service::builder().gossip(alert()).start().unwrap();
    let start = || server().gossip(alert()).seed(caller.node().peer().to_string()).start().unwrap();
    let (failing, lasting) = (start(), start());
    let gate = Gate::named(&failing, "a:1", "failing");
    finds_offers(&caller, "a:1", 1);
    thread::scope(|scope| {
        let once = scope.spawn(|| caller.act::<Value>("a:1,n:1").unwrap());
        gate.begun();
        let repeated = scope.spawn(|| caller.call("a:1,n:2").idempotent().send::<Value>().unwrap());
        gate.begun();
        echo(&lasting, "a:1", "lasting");
        finds_offers(&caller, "a:1", 2);
        failing.node().stop();
        assert_eq!(by(&repeated.join().unwrap()), "lasting");
        assert!(!once.is_finished());
        gate.open();
        assert_eq!(by(&once.join().unwrap()), "failing");
    });
    // And then nothing of it is left.
    until("it is gone", || caller.stats().providers.len() == 1);
}

/// A steady stream of calls while providers come and go: none fails that may be repeated.
#[test]
fn a_stream_of_calls_survives_restarts() {
    let _others = with_others();
    let caller = first(Service::builder());
    let mut providers: Vec<Service> = (0..3).map(|_| join(&caller, server())).collect();
    providers.iter().for_each(|provider| echo(provider, "a:1", "one"));
    finds_offers(&caller, "a:1", 3);
    let ended = AtomicUsize::new(0);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut calls = 0;
                    while ended.load(Ordering::SeqCst) == 0 {
                        caller.call("a:1").idempotent().send::<Value>().unwrap();
                        calls += 1;
                    }
                    calls
                })
            })
            .collect();
        for _ in 0..6 {
            let before = caller.stats().calls;
            until("calls are made", || caller.stats().calls > before + 100);
            // Without a farewell; its listener goes with it.
            drop(providers.remove(0));
            let provider = join(&caller, server());
            echo(&provider, "a:1", "one");
            let addr = provider.local_addr().unwrap().to_string();
            until("the next one is found", || caller.services().iter().any(|info| info.addr == addr));
            providers.push(provider);
        }
        ended.store(1, Ordering::SeqCst);
        let calls: usize = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
        assert!(calls > 600, "{calls}");
    });
    assert_eq!(caller.stats().call_errors, 0);
}

/// What a restarted program hears of its own former address leads back to itself.
#[test]
fn a_call_that_comes_back_moves() {
    let _others = with_others();
    let service = first(server());
    let good = good();
    service.client(&plain_addr(&service).to_string(), "a:1").unwrap();
    let error = service.act::<Value>("a:1").unwrap_err();
    assert_eq!(error.code(), "own_message", "{error}");
    service.client(&good.addr(), "a:1").unwrap();
    for _ in 0..10 {
        assert_eq!(by(&service.act::<Value>("a:1").unwrap()), "good");
    }
}
