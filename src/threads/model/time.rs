//! Waiting: nobody is woken late, by the microsecond.

use std::time::Duration;

use crate::event::Event;
use crate::gossiper::Gossiper;
use crate::sync::model::elapsed;
use crate::sync::model::thread::{sleep, spawn};
use crate::threads::model::net::{alone, pair};
use crate::threads::model::{Pace, explore, explore_at_any_pace, ms, secs};

#[test]
fn waiting_ends_with_the_condition() {
    explore_at_any_pace(|pace| {
        let (node, _events, _socket) = alone();
        let setter = node.clone();
        let setter = spawn(move || {
            sleep(ms(500));
            setter.set("a", &1).unwrap();
        });
        let waiters = [Duration::MAX, secs(600)].map(|timeout| {
            let waiter = node.clone();
            spawn(move || {
                let seen = waiter.wait_until(timeout, |node| node.get("a").is_some());
                match pace {
                    Pace::Patient => assert!(seen && elapsed() == ms(500), "{seen} at {:?}", elapsed()),
                    Pace::Hasty => assert!(seen || elapsed() >= timeout, "{:?}", elapsed()),
                }
            })
        });
        setter.join().unwrap();
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn waiting_ends_with_the_time() {
    explore(|| {
        let (node, _events, _socket) = alone();
        let setter = node.clone();
        let setter = spawn(move || {
            sleep(ms(500));
            setter.set("a", &1).unwrap();
        });
        assert!(!node.wait_until(Duration::ZERO, |_| false));
        assert_eq!(elapsed(), ms(0));
        assert!(!node.wait_until(ms(500), |_| false));
        assert_eq!(elapsed(), ms(500));
        setter.join().unwrap();
        assert!(node.wait_until(Duration::ZERO, |node| node.get("a").is_some()));
    });
}

/// Once more when the time is up: what changes without an event is seen then.
#[test]
fn waiting_ends_in_time_however_much_happens() {
    explore(|| {
        let (node, _events, _socket) = alone();
        let (setter, busy) = (node.clone(), node.clone());
        let setter = spawn(move || {
            for n in 0..20 {
                setter.set("a", &n).unwrap();
                sleep(ms(10));
            }
        });
        let slow = |_: &_| {
            sleep(ms(15));
            false
        };
        assert!(!node.wait_until(ms(50), slow));
        assert!(elapsed() <= ms(80), "{:?}", elapsed());
        // Whoever changes something while he looks wakes himself.
        let mut tries = 0;
        let trying = |node: &Gossiper| {
            tries += 1;
            node.set("tries", &tries).unwrap();
            sleep(ms(15));
            false
        };
        let began = elapsed();
        assert!(!busy.wait_until(ms(50), trying));
        assert!(elapsed() - began <= ms(80), "{:?}", elapsed() - began);
        setter.join().unwrap();
    });
}

/// A nearer deadline wakes the detector, whatever it is about to do.
#[test]
fn lives_end_on_time() {
    explore(|| {
        let (node, events, _socket) = alone();
        let setters = [(ms(30), "a"), (ms(20), "b")].map(|(life, key)| {
            let node = node.clone();
            spawn(move || node.set_for(key, &1, life).unwrap())
        });
        let mut ended = Vec::new();
        while ended.len() < 2 {
            if let Event::Expire { key, deadline, .. } = events.recv().unwrap() {
                assert_eq!(elapsed().as_micros() as u64, deadline.unwrap().as_micros(), "{key}");
                ended.push(key);
            }
        }
        for setter in setters {
            setter.join().unwrap();
        }
    });
}

/// The gossip thread sleeps until the next round; a write has it tell waves of news before.
#[test]
fn news_arrives_at_once() {
    explore(|| {
        let (node, other, _socket) = pair();
        let began = elapsed();
        let setters = ["a", "b"].map(|key| {
            let node = node.clone();
            spawn(move || node.set(key, &1).unwrap())
        });
        let both = |other: &Gossiper| ["a", "b"].iter().all(|key| other.get_from(node.peer(), key).is_some());
        assert!(other.wait_until(secs(600), both));
        // The first wave goes out as soon as the last one is a tenth of an interval ago, the second one that much later.
        assert!(elapsed() - began <= ms(200), "it took {:?}", elapsed() - began);
        for setter in setters {
            setter.join().unwrap();
        }
    });
}
