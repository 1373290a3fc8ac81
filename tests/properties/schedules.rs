//! Whatever is written, restarted, cut and lost: everyone agrees in the end, and nothing wrong is seen on the way.

use grapevine::sim::Sim;
use grapevine::{Config, Peer};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases;
use crate::common::net::Faults;
use crate::common::{Net, config, ms, secs};

#[derive(Clone, Debug)]
enum Op {
    Set { at: usize, key: usize, value: u8 },
    SetFor { at: usize, key: usize, life_ms: u64 },
    Delete { at: usize, key: usize },
    Restart { at: usize, back_ms: i64 },
    Pause { at: usize },
    Resume { at: usize },
    Cut { one: usize, other: usize },
    Heal,
    Run { ms: u64 },
}

const NODES: usize = 4;
const KEYS: [&str; 4] = ["a", "b", "c", "ключ"];

fn op() -> impl Strategy<Value = Op> {
    let (at, key) = (0..NODES, 0..KEYS.len());
    prop_oneof![
        8 => (at.clone(), key.clone(), 0..4u8).prop_map(|(at, key, value)| Op::Set { at, key, value }),
        3 => (at.clone(), key.clone(), 100..9_000u64).prop_map(|(at, key, life_ms)| Op::SetFor { at, key, life_ms }),
        4 => (at.clone(), key).prop_map(|(at, key)| Op::Delete { at, key }),
        1 => (at.clone(), 0..3_600_000i64).prop_map(|(at, back_ms)| Op::Restart { at, back_ms }),
        1 => at.clone().prop_map(|at| Op::Pause { at }),
        1 => at.clone().prop_map(|at| Op::Resume { at }),
        2 => (at.clone(), at).prop_map(|(one, other)| Op::Cut { one, other }),
        1 => Just(Op::Heal),
        // Up to half a minute: tombstones are collected after 15 seconds, and peers forgotten.
        8 => (10..30_000u64).prop_map(|ms| Op::Run { ms }),
    ]
}

fn faults() -> impl Strategy<Value = Faults> {
    (0.0..0.4, 0.0..0.3, 1..800u64).prop_map(|(loss, duplication, slowest)| Faults {
        loss,
        duplication,
        delay: ms(0)..ms(slowest),
        ..Faults::NONE
    })
}

/// What a paused process is asked to do it does not do.
fn apply(net: &mut Net, peers: &[Peer], op: &Op) {
    match *op {
        Op::Set { at, key, value } => drop(Sim::set(net, peers[at], KEYS[key], &value)),
        Op::SetFor { at, key, life_ms } => drop(Sim::set_for(net, peers[at], KEYS[key], "brief", ms(life_ms))),
        Op::Delete { at, key } => drop(Sim::delete(net, peers[at], KEYS[key])),
        Op::Restart { at, back_ms } => net.restart_with_clock(peers[at], -back_ms),
        Op::Pause { at } => net.pause(peers[at]),
        Op::Resume { at } => net.resume(peers[at]),
        Op::Cut { one, other } => net.cut(&[peers[one]], &[peers[other]]),
        Op::Heal => net.heal(),
        Op::Run { ms: millis } => net.run_for(ms(millis)),
    }
}

proptest! {
    #![proptest_config(cases(150))]

    /// Whatever is written and however the network behaves: every promise that the simulator's witness checks is kept at every step,
    /// and once the faults end everyone agrees exactly.
    #[test]
    fn everyone_agrees_once_the_faults_end(seed: u64, faults in faults(), ops in vec(op(), 1..40)) {
        let mut net = Net::new(seed);
        let peers = net.cluster(NODES, Config { grace: secs(15), ..config() });
        *net.faults() = faults;
        for op in &ops {
            apply(&mut net, &peers, op);
        }
        net.settle();
        net.run_for(secs(20));
    }
}
