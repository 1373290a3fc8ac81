//! Starting, stopping, leaving, dropping and panicking.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::error::Error;
use crate::event::{Event, EventFilter, EventKind};
use crate::subscription::Subscription;
use crate::sync::model::elapsed;
use crate::sync::model::thread::{refuse_after, spawn};
use crate::threads::model::net::{Net, alone, pair, settings, start_with};
use crate::threads::model::{Pace, explore_at_any_pace, node_threads, secs};

const THREE: [&str; 3] = ["grapevine-detector", "grapevine-gossip", "grapevine-receiver"];

/// What a subscription gives until its end, of which `Stopped` has to be the last and come once.
pub(super) fn until_the_end(events: &Subscription) -> Vec<Event> {
    let got: Vec<Event> = events.iter().collect();
    let stopped: Vec<usize> = (1..=got.len()).filter(|n| matches!(got[*n - 1], Event::Stopped { .. })).collect();
    assert_eq!(stopped, [got.len()], "{got:?}");
    got
}

#[test]
fn start_returns_with_three_threads_and_drop_with_none() {
    explore_at_any_pace(|pace| {
        let (node, events, socket) = alone();
        assert_eq!(node_threads(), THREE);
        node.check().unwrap();
        drop(node);
        assert_eq!(node_threads(), [""; 0]);
        assert_eq!(until_the_end(&events), [Event::Stopped { panicked: None }]);
        assert_eq!(Arc::strong_count(&socket), 1, "the socket is nobody's any more");
        assert!(pace == Pace::Hasty || elapsed().is_zero(), "it took {:?}", elapsed());
    });
}

#[test]
fn a_thread_that_cannot_be_started_ends_those_before_it() {
    explore_at_any_pace(|pace| {
        for before in 0..3 {
            let socket = Net::default().bind(1);
            refuse_after(before);
            assert!(matches!(start_with(&socket, settings()), Err(Error::Thread(_))));
            assert_eq!(node_threads(), [""; 0]);
            assert_eq!(Arc::strong_count(&socket), 1);
        }
        assert!(pace == Pace::Hasty || elapsed().is_zero(), "it took {:?}", elapsed());
    });
}

#[test]
fn a_node_ends_once_whoever_ends_it_and_however_often() {
    explore_at_any_pace(|pace| {
        let (node, events, socket) = alone();
        let reader = spawn(move || until_the_end(&events));
        let (stopper, leaver, waiter, setter) = (node.clone(), node.clone(), node.clone(), node.clone());
        let threads = [
            spawn(move || {
                stopper.stop();
                assert_eq!(node_threads(), [""; 0], "who stops a node waits for its end");
                assert!(matches!(stopper.check(), Err(Error::Stopped)));
                assert!(matches!(stopper.set("late", &1), Err(Error::Stopped)));
            }),
            spawn(move || match leaver.leave(secs(1)) {
                Ok(()) => assert_eq!(node_threads(), [""; 0]),
                Err(other) => assert!(matches!(other, Error::Stopped)),
            }),
            spawn(move || assert!(!waiter.wait_until(Duration::MAX, |node| node.get("never").is_some()))),
            spawn(move || match setter.set("key", &1) {
                Ok(version) => assert_eq!(version, 2),
                Err(other) => assert!(matches!(other, Error::Stopped)),
            }),
        ];
        drop(node);
        for thread in threads {
            thread.join().unwrap();
        }
        reader.join().unwrap();
        assert_eq!(node_threads(), [""; 0]);
        assert_eq!(Arc::strong_count(&socket), 1);
        assert!(pace == Pace::Hasty || elapsed().is_zero(), "it took {:?}", elapsed());
    });
}

#[test]
fn handles_are_cloned_and_dropped_from_several_threads() {
    explore_at_any_pace(|pace| {
        let (node, events, socket) = alone();
        let threads = [1, 2].map(|n| {
            let node = node.clone();
            spawn(move || {
                let another = node.clone();
                drop(node);
                another.set("key", &n).unwrap();
            })
        });
        drop(node);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(node_threads(), [""; 0], "the last handle took them along");
        assert_eq!(until_the_end(&events).len(), 3);
        assert_eq!(Arc::strong_count(&socket), 1);
        assert!(pace == Pace::Hasty || elapsed().is_zero(), "it took {:?}", elapsed());
    });
}

/// Who was subscribed before the end hears of it, whoever subscribes meanwhile; who comes later does not wait for ever.
#[test]
fn a_subscription_begins_while_the_node_ends() {
    explore_at_any_pace(|_| {
        let (node, events, _socket) = alone();
        let (late, stopper) = (node.clone(), node.clone());
        let late = spawn(move || late.subscribe().iter().collect::<Vec<_>>());
        let setter = node.clone();
        let setter = spawn(move || drop(setter.set("key", &1)));
        stopper.stop();
        until_the_end(&events);
        let got = late.join().unwrap();
        assert!(got.is_empty() || matches!(got.last(), Some(Event::Stopped { .. })), "{got:?}");
        setter.join().unwrap();
    });
}

/// Whichever of a node's threads panic, all end; the first of them is told, by the event and by the handles.
#[test]
fn a_panic_in_a_thread_ends_all_and_is_told() {
    for names in [&THREE[..1], &THREE[1..2], &THREE[2..], &THREE] {
        explore_at_any_pace(move |pace| {
            let (node, other, socket) = pair();
            let events = node.subscribe_to(EventFilter::all().kinds([]));
            let waiter = node.clone();
            let waiter = spawn(move || waiter.wait_until(Duration::MAX, |_| false));
            socket.panics.lock().unwrap().extend(names);
            // Two of them send or receive soon; the detector interrupts before it believes a suspicion.
            drop(other);
            let told = match events.recv_timeout(secs(600)) {
                Some(Event::Stopped { panicked: Some(told) }) => told,
                // In haste the other one was suspected before.
                None if pace == Pace::Hasty => {
                    node.stop();
                    assert!(!waiter.join().unwrap());
                    return;
                }
                other => panic!("{other:?}"),
            };
            assert!(names.contains(&told));
            let ended_at = elapsed();
            assert_eq!(events.recv(), None);
            assert!(matches!(node.check(), Err(Error::ThreadPanicked(name)) if name == told));
            assert!(matches!(node.set("a", &1), Err(Error::ThreadPanicked(_))));
            assert!(matches!(node.leave(secs(1)), Err(Error::ThreadPanicked(_))));
            assert!(!waiter.join().unwrap());
            drop(node);
            assert_eq!(node_threads(), [""; 0]);
            assert!(pace == Pace::Hasty || elapsed() == ended_at, "it took {:?}", elapsed() - ended_at);
        });
    }
}

/// A transport or a logger is somebody else's code, and is called on the node's threads.
#[test]
fn a_node_is_stopped_from_its_own_threads() {
    explore_at_any_pace(|pace| {
        let (node, other, socket) = pair();
        let (stopper, events) = (node.clone(), node.subscribe_to(EventFilter::all().kinds([])));
        *socket.when_sending.lock().unwrap() = Some(Box::new(move || stopper.stop()));
        let second = node.clone();
        let second = spawn(move || {
            second.wait_until(secs(1), |_| false);
            second.stop();
        });
        assert_eq!(until_the_end(&events).len(), 1);
        second.join().unwrap();
        let ended_at = elapsed();
        let not_called = socket.when_sending.lock().unwrap().take();
        drop((node, not_called));
        assert_eq!(node_threads(), THREE, "those of the other node");
        assert!(pace == Pace::Hasty || elapsed() == ended_at, "it took {:?}", elapsed() - ended_at);
        drop(other);
    });
}

#[test]
fn who_leaves_is_heard_and_gone() {
    explore_at_any_pace(|pace| {
        let (node, other, _socket) = pair();
        let left = other.subscribe_to(EventFilter::all().kinds([EventKind::PeerLeft]));
        let leaver = node.clone();
        let second = node.clone();
        let leaver = spawn(move || leaver.leave(secs(5)));
        let second = second.leave(secs(5));
        let first = leaver.join().unwrap();
        for ended in [&first, &second] {
            assert!(matches!(ended, Ok(()) | Err(Error::Stopped)) || pace == Pace::Hasty, "{ended:?}");
        }
        assert!(first.is_ok() || second.is_ok() || pace == Pace::Hasty, "{first:?} {second:?}");
        assert_eq!(node_threads(), THREE, "those of the other node");
        assert!(
            pace == Pace::Hasty || matches!(left.recv(), Some(Event::PeerLeft { peer, .. }) if peer == node.peer())
        );
    });
}

/// Names are resolved on threads of their own, which nobody waits for.
#[test]
fn a_node_ends_while_a_seed_is_resolved() {
    explore_at_any_pace(|pace| {
        let socket = Net::default().bind(1);
        let seeds = vec!["localhost:2".to_owned()];
        let node = start_with(&socket, Config { seeds, ..settings() }).unwrap();
        let second = node.clone();
        let second = spawn(move || drop(second));
        drop(node);
        second.join().unwrap();
        assert_eq!(node_threads(), [""; 0]);
        assert!(pace == Pace::Hasty || elapsed().is_zero(), "it took {:?}", elapsed());
    });
}

/// Errors in a row are backed off from, for up to a second, which a node that stops does not wait for.
#[test]
fn a_node_ends_while_its_socket_fails() {
    explore_at_any_pace(|pace| {
        let (node, _events, socket) = alone();
        socket.receive_errors.lock().unwrap().extend([io::ErrorKind::Other; 15]);
        node.wait_until(secs(3), |_| false);
        let stopped_at = elapsed();
        drop(node);
        assert!(pace == Pace::Hasty || elapsed() == stopped_at, "it took {:?}", elapsed() - stopped_at);
    });
}
