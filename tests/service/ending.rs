//! Closing and dropping: nothing is left behind, nobody waits for ever, and whoever calls meanwhile is told.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use grapevine::Error;
use grapevine::service::{ActError, Service, ServiceConfig};
use serde_json::{Value, json};

use crate::common::{ms, secs};
use crate::harness::{
    Client, Gate, LONG, alone, by, caller_and_provider, calm, echo, finds, finds_offers, first, is_keyed, join,
    request, server, until, with_others,
};

/// The names of this process's threads that are the library's; the system cuts them after 15 bytes.
#[cfg(target_os = "linux")]
fn threads() -> BTreeMap<String, usize> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let mut threads = BTreeMap::new();
    for name in names.filter(|name| name.starts_with("grapevine-") && !name.starts_with("grapevine-resol")) {
        *threads.entry(name.trim().to_owned()).or_default() += 1;
    }
    threads
}

#[cfg(target_os = "linux")]
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_dropped_leaves_no_thread_and_no_descriptor() {
    let _alone = alone();
    until("others are gone", || threads().is_empty());
    let descriptors_before = descriptors();
    for round in 0..3 {
        let (caller, provider) = caller_and_provider(server().workers(4));
        echo(&provider, "a:1", "it");
        let gate = Gate::new(&provider, "slow:1");
        finds(&caller, "slow:1");
        assert!(caller.act::<Value>("a:1").is_ok());
        let mut idle: Vec<Client> = (0..20).map(|_| Client::of(&provider)).collect();
        idle[0].send_bytes(b"{\"half\":");
        idle[1].send(&request("x/1", &json!({"slow": 1})));
        gate.begun();
        until("all are open", || provider.stats().connections == 21);
        let expected = [
            ("grapevine-conne", 21),
            ("grapevine-detec", 2),
            ("grapevine-direc", 2),
            ("grapevine-gossi", 2),
            ("grapevine-provi", 1),
            ("grapevine-recei", 2),
            ("grapevine-servi", 1 + usize::from(is_keyed())),
        ];
        let expected: BTreeMap<String, usize> = expected.map(|(name, number)| (name.to_owned(), number)).into();
        // A thread has its name a moment after it was started.
        until("these threads", || {
            let mut running = threads();
            let handlers = running.remove("grapevine-handl");
            running == expected && handlers.is_some_and(|handlers| handlers <= 4)
        });
        let begun = Instant::now();
        if round == 1 {
            provider.close();
            provider.close();
            caller.close();
        }
        let nodes = [caller.node().subscribe(), provider.node().subscribe()];
        drop((caller, provider));
        assert!(begun.elapsed() < secs(20), "{:?}", begun.elapsed());
        gate.open();
        until("all threads are gone", || threads().is_empty());
        for events in nodes {
            assert!(matches!(events.iter().last(), Some(grapevine::Event::Stopped { panicked: None })));
        }
        assert!(idle.iter_mut().all(|client| client.ends() == 0));
        drop(idle);
        until("all descriptors are gone", || descriptors() <= descriptors_before);
    }
}

/// What could not start leaves nothing either, nor what could not be reached.
#[test]
#[cfg(target_os = "linux")]
fn what_fails_leaves_no_thread_and_no_descriptor() {
    let _alone = alone();
    until("others are gone", || threads().is_empty());
    let descriptors_before = descriptors();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let refused = Service::builder().listen(addr).gossip(calm()).start();
    assert!(matches!(refused, Err(Error::Bind { addr: told, .. }) if told == addr));
    assert!(Service::builder().listen("127.0.0.1:0").pin("a:1:2").start().is_err());
    assert!(Service::builder().listen("nothing").start().is_err());
    assert!(Service::builder().pin("a:1").start().is_err(), "a pin without `listen`");
    assert!(Service::builder().client("nowhere", "a:1").start().is_err());
    assert!(Service::builder().workers(0).start().is_err());
    drop(taken);
    until("all threads are gone", || threads().is_empty());
    until("all descriptors are gone", || descriptors() <= descriptors_before);
}

#[test]
fn who_is_closed_neither_calls_nor_is_called() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    echo(&provider, "a:1", "it");
    echo(&caller, "here:1", "here");
    finds(&caller, "a:1");
    caller.close();
    for message in ["a:1", "here:1", "none:1", "none:1,default$:{}"] {
        assert_eq!(caller.act::<Value>(message), Err(ActError::Stopped), "{message}");
        assert_eq!(caller.call(message).tell(), Err(ActError::Stopped), "{message}");
        assert_eq!(caller.act_sharded::<Value>("k", message), Err(ActError::Stopped), "{message}");
    }
    assert!(matches!(caller.add("b:1", |_: Value| Ok(())), Err(Error::Stopped)));
    assert!(matches!(caller.remove("here:1"), Err(Error::Stopped)));
    assert!(matches!(caller.client("127.0.0.1:1", "c:1"), Err(Error::Stopped)));
    assert!(!caller.wait_for("a:1", LONG) && caller.services().is_empty());
    assert!(caller.node().check().is_ok(), "the node goes on");
    let mut client = Client::of(&provider);
    let addr = provider.local_addr().unwrap();
    provider.close();
    assert_eq!(client.ends(), 0);
    assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
}

/// Draining waits for this program's own calls as well, also for those that nobody waits for.
#[test]
fn draining_waits_for_own_calls() {
    let _others = with_others();
    let service = first(server().workers(1));
    let gate = Gate::new(&service, "slow:1");
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    service.add("count:1", move |_: Value| Ok(json!({"before": counted.fetch_add(1, Ordering::SeqCst)}))).unwrap();
    thread::scope(|scope| {
        let called = scope.spawn(|| service.act::<Value>("slow:1"));
        gate.begun();
        service.call("count:1").tell().unwrap();
        let drained = scope.spawn(|| service.drain(LONG));
        gate.open();
        assert!(called.join().unwrap().is_ok());
        assert!(drained.join().unwrap());
    });
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    // There was no time to see that nobody calls any more.
    assert!(!first(server()).drain(ms(1)));
}

/// A request that is still being done keeps nothing of the connection that it came on.
#[test]
#[cfg(target_os = "linux")]
fn who_hangs_up_takes_no_descriptor_until_the_answer() {
    let _alone = alone();
    let service = first(server().workers(1));
    let gate = Gate::new(&service, "slow:1");
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut clients: Vec<Client> = (0..40).map(|_| Client::of(&service)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&request(&format!("{n}"), &json!({"slow": 1})));
    }
    until("one runs and the others wait", || service.stats().queue == 39);
    // Two ends each; what other tests leave behind may be closed meanwhile, and is gone by now but for a few.
    let open = descriptors();
    assert!(open >= 80);
    clients.into_iter().for_each(Client::reset);
    until("all are closed", || descriptors() + 70 <= open);
    gate.open();
}

/// Calls under way when a service is closed, at either end: each ends in an error, and soon.
#[test]
fn calls_under_way_end_when_a_service_is_closed() {
    let _others = with_others();
    for closes_caller in [true, false] {
        let (caller, provider) = caller_and_provider(server().workers(1));
        let (gate, here) = (Gate::new(&provider, "slow:1"), Gate::new(&caller, "here:1"));
        finds(&caller, "slow:1");
        thread::scope(|scope| {
            let there: Vec<_> = (0..3).map(|_| scope.spawn(|| caller.act::<Value>("slow:1"))).collect();
            gate.begun();
            until("two wait", || provider.stats().queue == 2);
            let begun = Instant::now();
            if closes_caller {
                caller.close()
            } else {
                provider.close()
            }
            for call in there {
                let result = call.join().unwrap();
                match result {
                    Err(ActError::ConnectionLost { .. } | ActError::Stopped) => {}
                    // What was not begun may still be done elsewhere.
                    Err(ActError::Overloaded { .. }) => assert!(!closes_caller),
                    other => panic!("{other:?}"),
                }
            }
            assert!(begun.elapsed() < secs(15), "{:?}", begun.elapsed());
            gate.open();
            here.open();
        });
    }
    // One's own: what runs is answered, what waits is told.
    let service = first(Service::builder().workers(1));
    let gate = Gate::new(&service, "slow:1");
    thread::scope(|scope| {
        let running = scope.spawn(|| service.act::<Value>("slow:1"));
        gate.begun();
        let waiting = scope.spawn(|| service.act::<Value>("slow:1"));
        until("it waits", || service.stats().queue == 1);
        service.close();
        assert_eq!(waiting.join().unwrap(), Err(ActError::Stopped));
        gate.open();
        assert!(running.join().unwrap().is_ok());
    });
}

/// Calls from many threads while the service is closed under them: each ends, and none in a wrong way.
#[test]
fn closing_races_with_calls() {
    let _others = with_others();
    for _ in 0..10 {
        let (caller, provider) = caller_and_provider(server());
        echo(&provider, "a:1", "it");
        echo(&caller, "here:1", "it");
        finds(&caller, "a:1");
        thread::scope(|scope| {
            let calls = |message: &'static str| {
                let caller = &caller;
                move || {
                    loop {
                        match caller.act::<Value>(message) {
                            Ok(result) => assert_eq!(by(&result), "it"),
                            Err(ActError::Stopped) => return,
                            Err(ActError::ConnectionLost { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            };
            let callers: Vec<_> = ["a:1", "a:1", "here:1", "here:1"].map(|message| scope.spawn(calls(message))).into();
            until("they call", || caller.stats().calls > 50);
            caller.close();
            callers.into_iter().for_each(|caller| caller.join().unwrap());
        });
    }
}

/// A connection that comes while the service is closed is closed, too, and so is the address.
#[test]
fn closing_races_with_connections() {
    let _others = with_others();
    for _ in 0..30 {
        let service = first(server());
        let addr = service.local_addr().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let connecting = thread::spawn({
            let ended = ended.clone();
            move || {
                let mut open = Vec::new();
                // Fewer than may wait to be taken in: the system forgets those beyond without a word.
                while !ended.load(Ordering::SeqCst) && open.len() < 300 {
                    let connected = TcpStream::connect(addr).ok();
                    // Once nobody listens, a socket may be given that very port and then talks to itself.
                    open.extend(connected.filter(|stream| stream.local_addr().is_ok_and(|own| own != addr)));
                }
                open
            }
        });
        until("they come", || service.stats().connections > 5);
        service.close();
        // At once, and not by and by.
        let next = Service::builder().node(service.node()).listen(addr).start();
        ended.store(true, Ordering::SeqCst);
        let open = connecting.join().unwrap();
        drop(next.expect("the address is free"));
        drop(service);
        for mut stream in open {
            stream.set_read_timeout(Some(LONG)).unwrap();
            // One that was just opening is closed here without a word to the other end: that finds out when it sends something.
            let _ = std::io::Write::write(&mut stream, b"x");
            let read = std::io::Read::read(&mut stream, &mut [0]);
            assert!(
                !matches!(&read, Ok(1..))
                    && !matches!(&read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
                "{read:?}"
            );
        }
    }
}

/// Whoever registers an action while the service is closed does not leave an offer behind that nobody keeps.
#[test]
fn closing_races_with_what_is_offered() {
    let _others = with_others();
    let node = calm().start().unwrap();
    for _ in 0..100 {
        let service = Service::builder().listen("127.0.0.1:0").node(&node).start().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| (0..).take_while(|n| service.add(json!({"n": n}), |_: Value| Ok(())).is_ok()).count());
            scope.spawn(|| (0..).take_while(|n| service.remove(json!({"n": n % 50})).is_ok()).count());
            until("it has some", || node.get("grapevine/service").is_some());
            service.close();
        });
        assert!(node.get("grapevine/service").is_none());
    }
}

/// One node tells of one service: of two the second would take the first one's place in what is told.
#[test]
fn a_node_has_one_service_that_listens() {
    let _others = with_others();
    let node = calm().start().unwrap();
    let service = Service::builder().node(&node).listen("127.0.0.1:0").start().unwrap();
    let another = Service::builder().node(&node).listen("127.0.0.1:0").start();
    assert!(matches!(another, Err(Error::Config { setting: "node", .. })), "{another:?}");
    // Those that only call are no trouble.
    let caller = Service::builder().node(&node).start().unwrap();
    drop(service);
    let next = Service::builder().node(&node).listen("127.0.0.1:0").start().unwrap();
    drop((caller, next));
}

#[test]
fn when_the_node_stops_nobody_is_found() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    echo(&provider, "a:1", "it");
    echo(&caller, "here:1", "here");
    finds(&caller, "a:1");
    caller.node().stop();
    until("nobody is there", || caller.services().is_empty());
    assert!(matches!(caller.act::<Value>("a:1"), Err(ActError::NotFound { .. })));
    assert_eq!(by(&caller.act::<Value>("here:1").unwrap()), "here", "one's own actions need no node");
    assert!(!caller.wait_for("a:1", LONG));
    assert!(matches!(Service::start(ServiceConfig::default(), caller.node()), Err(Error::Stopped)));
}

/// A handler that runs for long keeps nobody from closing.
#[test]
fn closing_does_not_wait_for_handlers() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    let gate = Gate::new(&provider, "slow:1");
    finds(&caller, "slow:1");
    caller.call("slow:1").tell().unwrap();
    gate.begun();
    let begun = Instant::now();
    drop(provider);
    finds_offers(&caller, "slow:1", 0);
    assert!(begun.elapsed() < secs(20), "{:?}", begun.elapsed());
    gate.open();
}

/// A handler may close its own service, and drop the last handle of it.
#[test]
fn a_handler_may_close_its_own_service() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    let itself = provider.clone();
    provider
        .add("close:1", move |_: Value| {
            itself.close();
            Ok(json!({"by": "it"}))
        })
        .unwrap();
    finds(&caller, "close:1");
    let lost = caller.act::<Value>("close:1");
    assert!(matches!(lost, Err(ActError::ConnectionLost { .. })), "its results are not sent: {lost:?}");
    finds_offers(&caller, "close:1", 0);
    let node = provider.node().subscribe();
    drop(provider);
    assert!(matches!(node.iter().last(), Some(grapevine::Event::Stopped { panicked: None })));
}

/// Before a restart: no call is lost.
#[test]
fn draining_loses_no_call() {
    let _others = with_others();
    let caller = first(Service::builder());
    let (draining, lasting) = (join(&caller, server()), join(&caller, server()));
    echo(&draining, "a:1", "draining");
    echo(&lasting, "a:1", "lasting");
    finds_offers(&caller, "a:1", 2);
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    while !ended.load(Ordering::SeqCst) {
                        // None of them may be repeated.
                        caller.act::<Value>("a:1").unwrap();
                    }
                })
            })
            .collect();
        until("they call", || draining.stats().requests > 50);
        assert!(draining.drain(LONG));
        ended.store(true, Ordering::SeqCst);
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    });
    // What does not end is not waited for without end.
    let gate = Gate::new(&lasting, "slow:1");
    finds(&caller, "slow:1");
    caller.call("slow:1").tell().unwrap();
    gate.begun();
    assert!(!lasting.drain(ms(20)));
    gate.open();
}
