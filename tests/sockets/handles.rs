//! Handles and subscriptions.

use std::thread;
use std::time::{Duration, Instant};

use grapevine::config::Limits;
use grapevine::{Event, EventFilter, EventKind};

use crate::common::ms;
use crate::{LONG, all_alive, arrives, join, quick, until, with_others};

#[test]
fn handles_work_from_many_threads_and_inside_an_event_loop() {
    let _others = with_others();
    let first = quick().start().unwrap();
    let second = join(&first);
    all_alive(&[&first, &second]);
    let (done, finished) = crossbeam_channel::unbounded();
    let (echo, events) = (first.clone(), first.subscribe_to(EventFilter::all().key_prefix("work/")));
    let loop_thread = thread::spawn(move || {
        for event in events.iter() {
            if let Event::Update { peer, key, value, .. } = event {
                if peer != echo.peer() {
                    // Everything may be called from here, on the node that the event came from.
                    echo.set_value(&key.replace("work", "echo"), value, None).unwrap();
                    let known = (echo.peers().len(), echo.entries("").len(), echo.stats().alive);
                    assert!(known.0 >= 1 && known.1 >= 1);
                    assert!(echo.wait_until(LONG, |node| node.get(&key.replace("work", "echo")).is_some()));
                }
            }
        }
    });
    for worker in 0..8 {
        let (node, done) = (second.clone(), done.clone());
        thread::spawn(move || {
            for n in 0..50 {
                node.set(&format!("work/{worker}"), &n).unwrap();
                node.set_for(&format!("brief/{worker}"), &n, ms(30)).unwrap();
                let events = node.subscribe();
                node.delete(&format!("brief/{worker}")).unwrap();
                let _ = (node.snapshot(), node.get(&format!("work/{worker}")), events.try_recv());
            }
            done.send(()).unwrap();
        });
    }
    for _ in 0..8 {
        finished.recv_timeout(LONG).expect("no deadlock");
    }
    for worker in 0..8 {
        arrives(&second, &first, &format!("echo/{worker}"), "49");
    }
    first.stop();
    until("the loop ends", || loop_thread.is_finished());
    loop_thread.join().unwrap();
}

#[test]
fn events_come_in_order_and_as_filtered() {
    let _others = with_others();
    let node = quick().start().unwrap();
    let all = node.subscribe();
    let some = node.subscribe_to(EventFilter::all().kinds([EventKind::Delete]).key_prefix("a/"));
    for n in 0..100 {
        node.set("a/x", &n).unwrap();
        node.set("b", &n).unwrap();
    }
    assert!(node.delete("b").unwrap().is_some() && node.delete("a/x").unwrap().is_some());
    assert_eq!(node.delete("a/x").unwrap(), None);
    let versions: Vec<u64> = (0..202).map(|_| version(&all.recv_timeout(LONG).unwrap())).collect();
    assert_eq!(versions, (2..204).collect::<Vec<_>>());
    assert!(matches!(some.recv_timeout(LONG), Some(Event::Delete { key, version: 203, .. }) if &*key == "a/x"));
    assert_eq!(some.try_recv(), None);
    assert_eq!(some.recv_timeout(ms(1)), None);
}

fn version(event: &Event) -> u64 {
    match event {
        Event::Update { version, .. } | Event::Delete { version, .. } => *version,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_is_too_slow_is_told_how_much_it_missed_and_the_end() {
    let _others = with_others();
    let limits = Limits { events: 8, ..Limits::default() };
    let node = quick().limits(limits).start().unwrap();
    let (slow, dropped) = (node.subscribe(), node.subscribe());
    drop(dropped);
    for n in 0..100 {
        node.set("n", &n).unwrap();
    }
    assert_eq!(slow.recv(), Some(Event::Missed { count: 92 }));
    assert_eq!((0..8).map(|_| version(&slow.recv().unwrap())).collect::<Vec<_>>(), (94..102).collect::<Vec<_>>());
    assert_eq!(node.stats().events_missed, 92, "and who is gone misses nothing");
    node.set("n", "last").unwrap();
    node.stop();
    assert_eq!(version(&slow.recv().unwrap()), 102);
    assert_eq!(slow.recv(), Some(Event::Stopped { panicked: None }));
    assert_eq!((slow.recv(), slow.try_recv(), slow.recv_timeout(LONG)), (None, None, None));
    assert_eq!(node.subscribe().recv(), None, "nor does a new one wait for ever");
}

#[test]
fn waiting_ends_with_the_condition_the_time_or_the_node() {
    let _others = with_others();
    let node = quick().start().unwrap();
    assert!(node.wait_until(Duration::ZERO, |_| true));
    assert!(!node.wait_until(Duration::ZERO, |_| false));
    let started = Instant::now();
    assert!(!node.wait_until(ms(50), |_| false));
    assert!(started.elapsed() >= ms(50));
    for (end, held) in [("set", true), ("stop", false)] {
        let waiter = node.clone();
        let waiting = thread::spawn(move || waiter.wait_until(Duration::MAX, |node| node.get("a").is_some()));
        if end == "set" {
            node.set("a", &1).unwrap();
            assert_eq!(waiting.join().unwrap(), held);
            node.delete("a").unwrap();
        } else {
            node.stop();
            assert_eq!(waiting.join().unwrap(), held);
        }
    }
}
