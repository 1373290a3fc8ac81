//! Leaving, stopping and dropping.

use std::time::Instant;

use grapevine::{Error, Event, EventFilter, EventKind, Gossiper, PeerState};

use crate::common::secs;
use crate::{LONG, PROCESS, all_alive, join, quick, until, with_others};

#[test]
fn who_leaves_is_seen_as_left() {
    let _others = with_others();
    let first = quick().start().unwrap();
    let (second, third) = (join(&first), join(&first));
    all_alive(&[&first, &second, &third]);
    let events = first.subscribe_to(EventFilter::all().kinds([EventKind::PeerLeft]));
    third.set("mine", &1).unwrap();
    let started = Instant::now();
    third.leave(LONG).unwrap();
    assert!(started.elapsed() < secs(10), "{:?}", started.elapsed());
    for node in [&first, &second] {
        let left = |node: &Gossiper| node.peers_in(PeerState::Left) == [third.peer()];
        assert!(node.wait_until(LONG, left), "{:?}", node.peers());
    }
    assert!(matches!(events.recv_timeout(LONG), Some(Event::PeerLeft { peer, .. }) if peer == third.peer()));
    assert!(matches!(third.set("mine", &2), Err(Error::Stopped)));
    assert!(matches!(third.leave(LONG), Err(Error::Stopped)));
    assert!(third.get("mine").is_some(), "reading goes on");
}

#[test]
fn who_is_alone_leaves_at_once() {
    let _others = with_others();
    quick().start().unwrap().leave(LONG).unwrap();
}

/// The names of this process's threads that are a node's; the system cuts them after 15 bytes. Those that resolve a name are
/// not among them: how long that takes is up to the resolver, and they hold nothing of the node.
#[cfg(target_os = "linux")]
fn node_threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let names = names.map(|name| name.trim().to_owned());
    let mut names: Vec<String> =
        names.filter(|name| name.starts_with("grapevine-") && !name.starts_with("grapevine-resol")).collect();
    names.sort_unstable();
    names
}

#[test]
#[cfg(target_os = "linux")]
fn a_node_is_three_threads_until_it_is_dropped() {
    let _alone = PROCESS.write();
    until("others are gone", || node_threads().is_empty());
    let three = ["grapevine-detec", "grapevine-gossi", "grapevine-recei"];
    let first = quick().start().unwrap();
    until("three threads", || node_threads() == three);
    let second = join(&first);
    all_alive(&[&first, &second]);
    assert_eq!(node_threads().len(), 6);
    let clone = first.clone();
    drop(first);
    assert_eq!(node_threads().len(), 6, "a clone still holds it");
    for node in [clone, second] {
        let (events, started) = (node.subscribe(), Instant::now());
        drop(node);
        assert!(started.elapsed() < secs(2), "dropping took {:?}", started.elapsed());
        assert_eq!(events.iter().last(), Some(Event::Stopped { panicked: None }));
    }
    // They were joined; the system may list a thread for a moment after that.
    until("all threads are gone", || node_threads().is_empty());
}

/// Who waits in `leave` while another handle stops the node is told that, and not that time ran out.
#[test]
fn leaving_a_node_that_is_stopped_meanwhile_says_so() {
    let _others = with_others();
    let first = quick().start().unwrap();
    let second = join(&first);
    all_alive(&[&first, &second]);
    // Nobody is left to confirm.
    first.stop();
    let stopper = second.clone();
    let waiting = std::thread::spawn(move || second.leave(LONG));
    until("it leaves", || matches!(stopper.set("a", &1), Err(Error::Stopped)));
    stopper.stop();
    assert!(matches!(waiting.join().unwrap(), Err(Error::Stopped)));
}

/// Whoever prepares a node may find that it should not start.
#[test]
fn one_that_is_stopped_before_its_start_is_never_heard_of() {
    let _others = with_others();
    let seed = quick().start().unwrap();
    for _ in 0..5 {
        let settings = quick().seed(seed.peer().to_string());
        let started = settings.start_after(|node| {
            node.stop();
            node.subscribe()
        });
        assert!(matches!(&started, Err(Error::Stopped)), "{started:?}");
    }
    let last = join(&seed);
    all_alive(&[&seed, &last]);
    assert_eq!(seed.peers().len(), 1, "{:?}", seed.peers());
}
