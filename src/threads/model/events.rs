//! Subscribing, publishing and reading.

use std::sync::Arc;

use crate::event::{Event, EventFilter};
use crate::peer::Peer;
use crate::subscription::Subscribers;
use crate::sync::Mutex;
use crate::sync::model::elapsed;
use crate::sync::model::thread::spawn;
use crate::threads::model::ending::until_the_end;
use crate::threads::model::net::alone;
use crate::threads::model::{Pace, exhaust, explore_at_any_pace, secs};

fn version(event: &Event) -> u64 {
    match event {
        Event::Update { version, .. } => *version,
        other => panic!("{other:?}"),
    }
}

/// Two events fit in; six are published. What was read and what was missed is all there was, in order, up to the end.
#[test]
fn nothing_is_lost_without_being_counted() {
    explore_at_any_pace(|pace| {
        let (node, events, _socket) = alone();
        let setters = [1, 2].map(|setter| {
            let node = node.clone();
            spawn(move || {
                for n in 0..3 {
                    node.set("key", &(setter, n)).unwrap();
                }
            })
        });
        let reader = spawn(move || {
            let mut missed = 0;
            let mut versions = Vec::new();
            for event in until_the_end(&events) {
                match event {
                    Event::Missed { count } => missed += count,
                    Event::Stopped { .. } => {}
                    update => versions.push(version(&update)),
                }
            }
            assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
            assert_eq!(versions.len() as u64 + missed, 6, "{versions:?} and {missed} missed");
            missed
        });
        for setter in setters {
            setter.join().unwrap();
        }
        node.stop();
        assert_eq!(reader.join().unwrap(), node.stats().events_missed);
        assert!(pace == Pace::Hasty || elapsed().is_zero(), "it took {:?}", elapsed());
    });
}

#[test]
fn subscriptions_come_and_go_while_events_are_published() {
    explore_at_any_pace(|_| {
        let (node, events, _socket) = alone();
        let setter = node.clone();
        let setter = spawn(move || {
            for n in 0..2 {
                setter.set("key", &n).unwrap();
            }
        });
        let others = [1, 2].map(|_| {
            let node = node.clone();
            spawn(move || {
                let events = node.subscribe();
                let first = events.try_recv();
                assert!(node.stats().own_keys <= 1);
                assert!(matches!(first, None | Some(Event::Update { .. })), "{first:?}");
            })
        });
        assert_eq!((version(&events.recv().unwrap()), version(&events.recv().unwrap())), (2, 3));
        setter.join().unwrap();
        for other in others {
            other.join().unwrap();
        }
        node.set("key", "last").unwrap();
        assert_eq!(version(&events.recv().unwrap()), 4);
        assert_eq!(events.recv_timeout(secs(1)), None);
        assert_eq!(node.stats().events_missed, 0, "who is gone misses nothing");
    });
}

fn event(generation: u64) -> Event {
    Event::NewPeer { peer: Peer::from(std::net::SocketAddr::from(([127, 0, 0, 1], 1))), generation }
}

/// One event fits in, and is in; under every schedule of one reader and one publisher the end comes after it.
#[test]
fn the_end_is_the_last_event_under_every_schedule() {
    exhaust(|| {
        let subscribers = Arc::new(Mutex::new(Subscribers::default()));
        let events = Subscribers::subscribe(&subscribers, EventFilter::all(), 1);
        subscribers.lock().publish(&event(1));
        let reader = spawn(move || (until_the_end(&events), events));
        {
            let mut subscribers = subscribers.lock();
            subscribers.publish(&Event::Stopped { panicked: None });
            subscribers.close();
        }
        let (got, _events) = reader.join().unwrap();
        let stopped = Event::Stopped { panicked: None };
        assert_eq!(got, [event(1), stopped]);
    });
}
