//! Whatever is written, restarted, cut and lost: everyone agrees in the end, and nothing wrong is seen on the way.

use std::collections::BTreeMap;

use grapevine::state::{Content, Map};
use grapevine::value::Key;
use grapevine::{Config, Event, Peer, Value};
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

/// What a node's events add up to, and how many of them were read.
type Told = (BTreeMap<(Peer, Key), Value>, usize);

/// What is known of the world beside what the nodes hold.
struct Witness {
    peers: Vec<Peer>,
    /// For each run of each owner the version of the last write of each key, and whether its tombstone was collected.
    written: BTreeMap<(Peer, u64), BTreeMap<Key, (u64, bool)>>,
    told: BTreeMap<Peer, Told>,
}

impl Witness {
    /// Looks at everything after each step.
    fn look(&mut self, net: &Net) {
        for owner in net.running() {
            let own = net.node(owner).ring().own();
            let written = self.written.entry((owner, own.progress().generation)).or_default();
            for (_, collected) in written.values_mut() {
                *collected = true;
            }
            written.extend(own.map().iter().map(|(key, entry)| (key.clone(), (entry.version, false))));
        }
        for at in net.running() {
            self.invariant(net, at);
            self.events(net, at);
        }
    }

    /// Scuttlebutt's: of every key a node either holds the owner's last version, or that version is above its maximum.
    fn invariant(&self, net: &Net, at: Peer) {
        for (owner, member) in net.node(at).ring().members() {
            let (progress, map) = (member.replica.progress(), member.replica.map());
            let Some(written) = self.written.get(&(owner, progress.generation)) else { continue };
            for (key, (version, collected)) in written {
                let held = map.get(key).map(|entry| entry.version);
                let kept = held == Some(*version) || *collected && (held.is_none() || map.has_held_over());
                assert!(
                    progress.max < *version || kept,
                    "{at} holds {owner}'s {key:?} at {held:?}, says {progress:?}, and lacks {version}"
                );
            }
        }
    }

    /// Events are the differences of the state: added up, they are the state.
    fn events(&mut self, net: &Net, at: Peer) {
        let (told, read) = self.told.entry(at).or_default();
        for (_, event) in &net.events(at)[*read..] {
            match event {
                Event::Update { peer, key, value, .. } => drop(told.insert((*peer, key.clone()), value.clone())),
                Event::Delete { peer, key, .. } => assert!(told.remove(&(*peer, key.clone())).is_some(), "{event:?}"),
                Event::Expire { peer, key, value, .. } => {
                    assert_eq!(told.remove(&(*peer, key.clone())).as_ref(), Some(value), "{event:?}");
                }
                Event::PeerForgotten { peer, .. } => told.retain(|(owner, _), _| owner != peer),
                _ => {}
            }
        }
        *read = net.events(at).len();
        let node = net.node(at);
        let owners = node.peers().map(|(peer, _)| peer).chain([at]);
        let held =
            owners.flat_map(|owner| values(node.map(owner).unwrap()).map(move |(key, value)| ((owner, key), value)));
        let held: BTreeMap<_, _> = held.collect();
        assert_eq!(*told, held, "at {at}");
    }
}

fn values(map: &Map) -> impl Iterator<Item = (Key, Value)> + '_ {
    map.iter().filter_map(|(key, entry)| match &entry.content {
        Content::Value(value) => Some((key.clone(), value.clone())),
        _ => None,
    })
}

fn run(net: &mut Net, witness: &mut Witness, duration: std::time::Duration) {
    let end = net.now() + duration;
    while net.step(end) {
        witness.look(net);
    }
}

fn apply(net: &mut Net, witness: &mut Witness, op: &Op) {
    let peer = |at: usize| witness.peers[at];
    match *op {
        Op::Set { at, key, value } => drop(net.set(peer(at), KEYS[key], &value)),
        Op::SetFor { at, key, life_ms } => drop(net.set_for(peer(at), KEYS[key], "brief", ms(life_ms))),
        Op::Delete { at, key } => drop(net.delete(peer(at), KEYS[key])),
        Op::Restart { at, back_ms } => {
            let peer = peer(at);
            net.restart_with_clock(peer, -back_ms);
            witness.told.entry(peer).or_default().0.clear();
        }
        Op::Pause { at } => net.pause(peer(at)),
        Op::Resume { at } => net.resume(peer(at)),
        Op::Cut { one, other } => net.cut(&[peer(one)], &[peer(other)]),
        Op::Heal => net.heal(),
        Op::Run { ms: millis } => run(net, witness, ms(millis)),
    }
    witness.look(net);
}

proptest! {
    #![proptest_config(cases(150))]

    /// Whatever is written and however the network behaves: nobody ever skips anything, events tell what happens, and once the
    /// faults end everyone agrees exactly.
    #[test]
    fn everyone_agrees_once_the_faults_end(seed: u64, faults in faults(), ops in vec(op(), 1..40)) {
        let mut net = Net::new(seed);
        let peers = net.cluster(NODES, Config { grace: secs(15), ..config() });
        *net.faults() = faults;
        let mut witness = Witness { peers, written: BTreeMap::new(), told: BTreeMap::new() };
        for op in &ops {
            apply(&mut net, &mut witness, op);
        }
        for peer in witness.peers.clone() {
            net.resume(peer);
        }
        *net.faults() = Faults::NONE;
        net.heal();
        let mut waited = 0;
        while !net.agrees() {
            waited += 1;
            prop_assert!(waited < 200, "no agreement after 200 s: {}", net.disagreement().unwrap());
            run(&mut net, &mut witness, secs(1));
        }
        run(&mut net, &mut witness, secs(20));
    }
}
