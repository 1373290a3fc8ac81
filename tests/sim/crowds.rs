//! Everything goes wrong among many nodes: the longest of these tests, and the first to start.

use std::time::Duration;

use grapevine::sim::{Plan, Torture};

use crate::seeds::run;

#[test]
fn two_hundred_nodes_keep_every_promise() {
    let duration = Duration::from_secs(30);
    let happened = run(1..2, |seed| {
        let mut torture = Torture::new(Plan::random(seed, 200, duration));
        torture.writes_per_second = 0.05;
        torture
    });
    assert!(happened.datagrams > 50_000 && happened.crashes > 3 && happened.lost > 0, "{happened:?}");
}
