//! Keys that are replaced, and encryption that is turned on and off, while a cluster runs: without one lost round.

use std::time::Duration;

use grapevine::keyring::{Encryption, Keyring, SecretKey};
use grapevine::sim::{Faults, Sim};
use grapevine::stats::Refusal;
use grapevine::{Config, Event, Peer};

const NODES: usize = 8;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn key(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; 32])
}

/// A cluster whose nodes all write something once a second or so.
struct Cluster {
    sim: Sim,
    nodes: Vec<Peer>,
    written: u64,
}

impl Cluster {
    fn new(seed: u64, keyring: Option<Keyring>) -> Cluster {
        let mut sim = Sim::new(seed).watched();
        let config = Config { keyring, ..Config::default() };
        let nodes = sim.cluster(NODES, config).unwrap();
        sim.settle(secs(30)).unwrap();
        *sim.faults() = Faults { delay: Duration::from_millis(1)..Duration::from_millis(40), ..Faults::NONE };
        Cluster { sim, nodes, written: 0 }
    }

    /// Takes the same step at every node, one after the other, in this order, with some rounds between.
    fn step(&mut self, order: &[usize], change: impl Fn(Option<Keyring>) -> Option<Keyring>) {
        for n in order {
            let at = self.nodes[*n];
            let keyring = self.sim.node(at).unwrap().keyring().cloned();
            self.sim.act(at, |node, _, _| node.set_keyring(change(keyring))).unwrap();
            self.run();
        }
    }

    /// A round and a half, in which something is written that everyone reads.
    fn run(&mut self) {
        self.written += 1;
        let (at, written) = (self.nodes[self.written as usize % NODES], self.written);
        self.sim.set(at, "n", &written).unwrap();
        self.sim.run_for(Duration::from_millis(1_500)).unwrap();
        for reader in &self.nodes {
            assert_eq!(self.sim.get(*reader, at, "n").as_deref(), Some(&*written.to_string()), "at {reader}");
        }
    }

    /// Nothing was ever refused, nobody was suspected, and no answer was missed: no round was lost.
    fn nothing_was_lost(&self) {
        for at in &self.nodes {
            let stats = self.sim.node(*at).unwrap().stats();
            let lost = [Refusal::UnknownKey, Refusal::Unauthentic, Refusal::Unencrypted, Refusal::Checksum];
            assert!(lost.iter().all(|reason| stats.refused.get(*reason) == 0), "{at}: {:?}", stats.refused);
            let failed = self.sim.events(*at).iter().any(|(_, event)| matches!(event, Event::PeerFailed { .. }));
            assert!(!failed, "{at}");
        }
        assert!(self.sim.disagreement().is_none(), "{:?}", self.sim.disagreement());
    }
}

/// The ring with a change.
fn changed(change: impl Fn(&mut Keyring)) -> impl Fn(Option<Keyring>) -> Option<Keyring> {
    move |mut keyring| {
        keyring.iter_mut().for_each(&change);
        keyring
    }
}

fn orders() -> [Vec<usize>; 3] {
    let odd_first = (0..NODES).filter(|n| n % 2 == 1).chain((0..NODES).filter(|n| n % 2 == 0));
    [(0..NODES).collect(), (0..NODES).rev().collect(), odd_first.collect()]
}

/// Add, use, remove: each on all nodes, in whatever order, before the next.
#[test]
fn a_key_is_replaced_without_one_lost_round() {
    for (seed, order) in (1..).zip(orders()) {
        let (old, new) = (key(1), key(2));
        let mut cluster = Cluster::new(seed, Some(Keyring::new(old.clone())));
        cluster.step(&order, changed(|keyring| assert!(keyring.add(new.clone()).unwrap())));
        cluster.step(&order, changed(|keyring| assert!(keyring.use_key(new.id()).unwrap())));
        let decrypted = |cluster: &Cluster, n: usize| {
            let node = cluster.sim.node(cluster.nodes[n]).unwrap();
            node.secret_keys().map(|key| (key.id, key.decrypted)).collect::<Vec<_>>()
        };
        cluster.run();
        let before = decrypted(&cluster, 0);
        cluster.run();
        let after = decrypted(&cluster, 0);
        assert!(before[0].0 == new.id() && after[0].1 > before[0].1, "the new key is used: {before:?} {after:?}");
        assert_eq!(before[1], after[1], "and the old one is not");
        cluster.step(&order, changed(|keyring| keyring.remove(old.id()).unwrap()));
        cluster.run();
        cluster.nothing_was_lost();
    }
}

/// Accept, send, require on a cluster that runs without keys, and all the way back, in whatever order.
#[test]
fn a_live_cluster_is_encrypted_and_decrypted_without_one_lost_round() {
    for (seed, order) in (11..).zip(orders()) {
        let mut cluster = Cluster::new(seed, None);
        for encryption in Encryption::ALL {
            cluster.step(&order, |_| Some(Keyring::new(key(3)).with_encryption(encryption)));
        }
        let encrypted = |cluster: &Cluster| cluster.sim.node(cluster.nodes[0]).unwrap().stats().encrypted_received;
        let before = (encrypted(&cluster), cluster.sim.node(cluster.nodes[0]).unwrap().stats().datagrams_received);
        cluster.run();
        let after = (encrypted(&cluster), cluster.sim.node(cluster.nodes[0]).unwrap().stats().datagrams_received);
        assert!(after.0 > before.0 && after.0 - before.0 == after.1 - before.1, "all that comes is encrypted");
        for encryption in Encryption::ALL.into_iter().rev() {
            cluster.step(&order, |_| Some(Keyring::new(key(3)).with_encryption(encryption)));
        }
        cluster.step(&order, |_| None);
        let before = encrypted(&cluster);
        cluster.run();
        assert_eq!(encrypted(&cluster), before);
        cluster.nothing_was_lost();
    }
}

/// A newcomer joins at any step, being itself at that step or at a neighbouring one.
#[test]
fn newcomers_join_at_every_step() {
    let steps = [None, Some(Encryption::Accept), Some(Encryption::Send), Some(Encryption::Require)];
    let keyring = |step: Option<Encryption>| step.map(|step| Keyring::new(key(4)).with_encryption(step));
    for (n, step) in steps.iter().enumerate() {
        for newcomer in &steps[n.saturating_sub(1)..(n + 2).min(steps.len())] {
            let mut sim = Sim::new(21 + n as u64).watched();
            let nodes = sim.cluster(3, Config { keyring: keyring(*step), ..Config::default() }).unwrap();
            sim.settle(secs(30)).unwrap();
            sim.join(Config { keyring: keyring(*newcomer), ..Config::default() }, &nodes[..1]).unwrap();
            let took = sim.settle(secs(30)).unwrap();
            assert!(took < secs(5), "{step:?} and {newcomer:?}: {took:?}");
        }
    }
}

/// Without the right key nobody is heard of, and hears of nobody; nor with the right key and another cluster's name.
#[test]
fn strangers_stay_strangers() {
    let mut sim = Sim::new(31);
    let config = |keyring: Option<Keyring>| Config { keyring, ..Config::default() };
    let nodes = sim.cluster(3, config(Some(Keyring::new(key(5))))).unwrap();
    sim.settle(secs(30)).unwrap();
    let another = Config { cluster: "another".to_owned(), ..config(Some(Keyring::new(key(5)))) };
    let strangers: Vec<Peer> = [config(None), config(Some(Keyring::new(key(6)))), another]
        .into_iter()
        .map(|config| sim.join(config, &nodes[..1]).unwrap())
        .collect();
    sim.tap();
    sim.run_for(secs(60)).unwrap();
    let sent = sim.tapped();
    for stranger in &strangers {
        assert!(sim.node(*stranger).unwrap().ring().is_empty());
        assert!(sent.iter().filter(|(from, ..)| from == stranger).count() > 20);
        assert!(!sent.iter().any(|(_, to, _)| *to == stranger.addr()), "they are not answered");
    }
    for node in &nodes {
        assert_eq!(sim.node(*node).unwrap().ring().len(), 2);
    }
    let refused = sim.node(nodes[0]).unwrap().stats().refused;
    for reason in [Refusal::Unencrypted, Refusal::UnknownKey, Refusal::Unauthentic] {
        assert!(refused.get(reason) > 20, "{reason:?}: {refused:?}");
    }
}
