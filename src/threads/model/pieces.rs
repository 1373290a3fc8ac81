//! The pieces that the threads are made of, each by itself and where possible under every schedule there is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::event::{Event, EventFilter};
use crate::instant::Instant;
use crate::node::Node;
use crate::peer::Peer;
use crate::subscription::Subscribers;
use crate::sync::model::thread::{sleep, spawn};
use crate::sync::model::{AtomicU64, Mutex, Ordering, elapsed};
use crate::sync::{now, wall_clock};
use crate::threads::model::ending::until_the_end;
use crate::threads::model::net::{Net, Socket, settings};
use crate::threads::model::{exhaust, explore, ms, secs};
use crate::threads::shared::Alarm;
use crate::threads::{Shared, drain, receive, run_at_deadlines};

fn shared() -> (Arc<Shared>, Arc<Socket>) {
    let socket = Net::default().bind(1);
    let addr = SocketAddr::from(([127, 0, 0, 1], 1));
    let node = Node::new(settings(), Peer::from(addr), Instant::ZERO, wall_clock(), 1).unwrap();
    (Shared::new(node, socket.clone(), now()), socket)
}

/// Whoever waits is woken by a bell that rings before, or while, or after it begins to.
#[test]
fn an_alarm_that_rings_is_heard_under_every_schedule() {
    exhaust(|| {
        let alarm = Arc::new(Alarm::default());
        let ringer = alarm.clone();
        let ringer = spawn(move || ringer.ring());
        alarm.wait(secs(1));
        assert_eq!(elapsed(), ms(0));
        ringer.join().unwrap();
    });
}

/// The gossip and the detector thread's loop with two who move the deadline forward.
#[test]
fn work_is_done_at_its_deadline() {
    explore(|| {
        let (shared, _socket) = shared();
        let due = Arc::new(Mutex::new(secs(600)));
        let movers = [secs(7), secs(3)].map(|to| {
            let (shared, due) = (shared.clone(), due.clone());
            spawn(move || {
                let mut due = due.lock();
                *due = (*due).min(to);
                let nearest = *due;
                drop(due);
                shared.gossip.set(Instant::ZERO + nearest);
            })
        });
        let worker = shared.clone();
        let worker = spawn(move || {
            let mut done = 0;
            run_at_deadlines(
                &worker,
                &worker.gossip,
                |_| Instant::ZERO + *due.lock(),
                |_, now, _| {
                    assert_eq!(now, Instant::ZERO + secs(3));
                    *due.lock() = secs(600);
                    done += 1;
                },
            );
            assert_eq!(done, 1);
        });
        for mover in movers {
            mover.join().unwrap();
        }
        sleep(secs(10));
        shared.stop(None);
        worker.join().unwrap();
        assert_eq!(elapsed(), secs(10));
    });
}

/// Whoever waits for a change is woken by one that comes before, or while, or after it begins to.
#[test]
fn a_change_is_seen_under_every_schedule() {
    exhaust(|| {
        let (shared, _socket) = shared();
        let value = Arc::new(AtomicU64::new(0));
        let (setter, set) = (shared.clone(), value.clone());
        let setter = spawn(move || {
            set.store(1, Ordering::SeqCst);
            setter.notify();
        });
        assert!(shared.wait_until(Duration::MAX, || value.load(Ordering::SeqCst) == 1));
        setter.join().unwrap();
    });
}

#[test]
fn the_end_is_seen_by_who_waits() {
    explore(|| {
        let (shared, _socket) = shared();
        let waiters = [1, 2].map(|_| {
            let shared = shared.clone();
            spawn(move || assert!(!shared.wait_until(Duration::MAX, || false)))
        });
        shared.stop(None);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert_eq!(elapsed(), ms(0));
    });
}

/// Whatever stops a node first, or at the same moment: handles and subscriptions tell the same reason.
#[test]
fn one_reason_for_the_end_is_told() {
    explore(|| {
        let (shared, _socket) = shared();
        let events = Subscribers::subscribe(&shared.subscribers, EventFilter::all(), 2);
        let threads = [Some("first"), Some("second"), None].map(|reason| {
            let shared = shared.clone();
            spawn(move || shared.stop(reason))
        });
        for thread in threads {
            thread.join().unwrap();
        }
        let told = match until_the_end(&events)[..] {
            [Event::Stopped { panicked }] => panicked,
            ref other => panic!("{other:?}"),
        };
        match (shared.check_running(), told) {
            (Err(Error::ThreadPanicked(name)), Some(told)) => assert_eq!(name, told),
            (Err(Error::Stopped), None) => {}
            different => panic!("{different:?}"),
        }
    });
}

/// What waits in the socket when the detector asks is worked off before it goes on, even if the receiver says at that very
/// moment that nothing came for a second.
#[test]
fn what_waits_is_worked_off_before_anybody_is_suspected() {
    explore(|| {
        let (shared, socket) = shared();
        let receiver = shared.clone();
        let receiver = spawn(move || receive(&receiver));
        for n in 1..3 {
            sleep(secs(1));
            socket.arrive(&[1], SocketAddr::from(([127, 0, 0, 1], 2)));
            drain(&shared);
            assert_eq!(elapsed(), secs(n));
            assert_eq!(shared.stats().datagrams_received, n);
        }
        shared.stop(None);
        receiver.join().unwrap();
    });
}

/// The detector waits for the receiver, but not when that has ended.
#[test]
fn the_end_holds_nobody_up() {
    explore(|| {
        let (shared, _socket) = shared();
        let (receiver, detector) = (shared.clone(), shared.clone());
        let threads = [spawn(move || receive(&receiver)), spawn(move || drain(&detector))];
        shared.stop(None);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(elapsed(), ms(0));
    });
}
