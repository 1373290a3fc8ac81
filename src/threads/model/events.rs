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
