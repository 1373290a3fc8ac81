//! What somebody else's code does wrong: a logger or a condition that panics leaves nothing held.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use crate::config::Config;
use crate::instant::Instant;
use crate::node::Node;
use crate::peer::Peer;
use crate::sync::Ordering;
use crate::threads::Shared;
use crate::threads::seeds::Resolving;
use crate::transport::{Transport, UdpTransport};

fn shared(seeds: Vec<String>) -> Arc<Shared> {
    let config = Config { seeds, ..Config::default() };
    let transport = UdpTransport::bind(config.bind).unwrap();
    let node = Node::new(config, Peer::from(transport.local_addr()), Instant::ZERO, 1_700_000_000_000, 1).unwrap();
    Shared::new(node, Arc::new(transport), Clock::now())
}

/// The thread that resolves a name logs what is wrong with it.
#[test]
fn a_seed_is_resolved_again_after_a_panic() {
    let shared = shared(vec!["localhost:9".to_owned()]);
    let resolving = &shared.seeds[0].resolving;
    resolving.store(true, Ordering::SeqCst);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _end = Resolving(&shared, 0);
        panic!("as asked for by the test");
    }));
    assert!(panicked.is_err());
    assert!(!resolving.load(Ordering::SeqCst));
}

#[test]
fn a_condition_that_panics_leaves_no_waiter() {
    let shared = shared(Vec::new());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        shared.wait_until(Duration::from_secs(1), || panic!("as asked for by the test"))
    }));
    assert!(panicked.is_err());
    assert_eq!(shared.waiters.load(Ordering::SeqCst), 0);
}
