//! What the tests of real sockets share.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use grapevine::{Builder, Gossiper};
use parking_lot::{RwLock, RwLockReadGuard};

use crate::common::keyed::keyring;
use crate::common::{ms, secs};

/// Nothing takes so long.
pub const LONG: Duration = secs(60);

/// Held by every test, and by those alone that look at the whole process.
pub static PROCESS: RwLock<()> = RwLock::new(());

pub fn with_others() -> RwLockReadGuard<'static, ()> {
    PROCESS.read()
}

pub fn quick() -> Builder {
    let builder = Gossiper::builder().interval(ms(100));
    match keyring() {
        Some(keyring) => builder.keyring(keyring),
        None => builder,
    }
}

/// A node that has `first` for its seed.
pub fn join(first: &Gossiper) -> Gossiper {
    quick().seed(first.peer().to_string()).start().unwrap()
}

/// Waits for something of which no event tells.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {LONG:?}: {what}");
        thread::sleep(ms(2));
    }
}

pub fn all_alive(nodes: &[&Gossiper]) {
    for node in nodes {
        let everyone = |node: &Gossiper| {
            let alive = node.live_peers();
            nodes.iter().all(|other| other.peer() == node.peer() || alive.contains(&other.peer()))
        };
        assert!(node.wait_until(LONG, everyone), "{node:?} sees {:?}", node.peers());
    }
}

pub fn arrives(node: &Gossiper, from: &Gossiper, key: &str, value: &str) {
    let shown = |node: &Gossiper| node.get_from(from.peer(), key).map(|value| value.to_string());
    assert!(node.wait_until(LONG, |node| shown(node).as_deref() == Some(value)), "{key}: {:?}", shown(node));
}

pub fn has_ipv6() -> bool {
    // Containers are often without it; then there is nothing to test.
    UdpSocket::bind("[::1]:0").is_ok()
}
