//! The simulator in the words of these tests: whatever goes wrong with the test itself panics.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use grapevine::config::Config;
use grapevine::instant::Instant;
use grapevine::node::{Node, Output};
use grapevine::sim::Sim;
pub use grapevine::sim::{Faults, START_MS};
use grapevine::wire::run_hash;
use grapevine::{Error, Event, Peer};

use super::forge::made_for;
use super::keyed::{keyring, opened, sealed};

/// A node's defaults; the tests count in its interval of one second.
pub fn config() -> Config {
    Config { keyring: keyring(), ..Config::default() }
}

/// A watched [`Sim`].
pub struct Net(Sim);

impl Deref for Net {
    type Target = Sim;

    fn deref(&self) -> &Sim {
        &self.0
    }
}

impl DerefMut for Net {
    fn deref_mut(&mut self) -> &mut Sim {
        &mut self.0
    }
}

impl Net {
    pub fn new(seed: u64) -> Net {
        Net(Sim::new(seed).watched())
    }

    pub fn start(&mut self, config: Config) -> Peer {
        self.0.start(config).unwrap()
    }

    pub fn join(&mut self, config: Config, seeds: &[Peer]) -> Peer {
        self.0.join(config, seeds).unwrap()
    }

    pub fn cluster(&mut self, n: usize, config: Config) -> Vec<Peer> {
        self.0.cluster(n, config).unwrap()
    }

    pub fn start_at(&mut self, peer: Peer, config: Config, wall_ms: i64) -> Peer {
        self.0.start_at(peer.addr(), config, wall_ms).unwrap()
    }

    pub fn restart(&mut self, peer: Peer) {
        self.0.restart(peer).unwrap();
    }

    pub fn restart_with_clock(&mut self, peer: Peer, wall_ms: i64) {
        self.0.restart_with_clock(peer, wall_ms).unwrap();
    }

    pub fn leave(&mut self, peer: Peer) {
        self.0.leave(peer).unwrap();
    }

    pub fn run_for(&mut self, duration: Duration) {
        self.0.run_for(duration).unwrap_or_else(|violation| panic!("{violation}"));
    }

    pub fn run_until(&mut self, limit: Duration, mut holds: impl FnMut(&Net) -> bool) -> Option<Duration> {
        let (start, end) = (self.now(), self.now() + limit);
        while !holds(self) {
            if !self.step(end) {
                return holds(self).then(|| self.now() - start);
            }
        }
        Some(self.now() - start)
    }

    pub fn step(&mut self, end: Instant) -> bool {
        self.0.step(end).unwrap_or_else(|violation| panic!("{violation}"))
    }

    /// Ends all faults and runs until everyone agrees.
    pub fn settle(&mut self) -> Duration {
        self.0.settle(Duration::from_secs(300)).unwrap_or_else(|violation| panic!("{violation}"))
    }

    pub fn agrees(&self) -> bool {
        self.disagreement().is_none()
    }

    pub fn node(&self, peer: Peer) -> &Node {
        self.0.node(peer).expect("a node that runs")
    }

    pub fn local(&self, peer: Peer) -> Instant {
        self.0.local(peer).expect("a machine")
    }

    pub fn act<R>(&mut self, at: Peer, call: impl FnOnce(&mut Node, Instant, &mut Output) -> R) -> R {
        self.0.act(at, call).unwrap()
    }

    pub fn set<T: serde::Serialize + ?Sized>(&mut self, at: Peer, key: &str, value: &T) -> u64 {
        self.0.set(at, key, value).unwrap()
    }

    pub fn set_for<T: serde::Serialize + ?Sized>(&mut self, at: Peer, key: &str, value: &T, life: Duration) -> u64 {
        self.0.set_for(at, key, value, life).unwrap()
    }

    pub fn delete(&mut self, at: Peer, key: &str) -> Option<u64> {
        self.0.delete(at, key).unwrap()
    }

    pub fn forget(&mut self, at: Peer, peer: Peer) -> Result<(), Error> {
        self.0.forget(at, peer)
    }

    /// Hands a datagram that somebody forged to a node, made for it if it is made for nobody in particular, and returns what it
    /// sends in the same breath.
    pub fn hand(&mut self, at: Peer, from: SocketAddr, datagram: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        let receiver = run_hash(at, self.node(at).generation());
        self.hand_as_it_is(at, from, &made_for(receiver, datagram))
    }

    /// Hands a datagram to a node, whomever it was made for.
    pub fn hand_as_it_is(&mut self, at: Peer, from: SocketAddr, datagram: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        self.expect_lies();
        let cluster = self.node(at).config().cluster.clone();
        let said = self.0.hand(at, from, &sealed(datagram)).unwrap();
        said.into_iter().map(|(to, datagram)| (to, opened(&datagram, &cluster))).collect()
    }

    /// What nodes of the default cluster sent since [`Sim::tap`].
    pub fn tapped(&mut self) -> Vec<(Peer, SocketAddr, Vec<u8>)> {
        let tapped = self.0.tapped();
        tapped.into_iter().map(|(from, to, datagram)| (from, to, opened(&datagram, "grapevine"))).collect()
    }

    /// The events since the last time.
    pub fn take_events(&mut self, at: Peer) -> Vec<Event> {
        self.0.take_events(at).into_iter().map(|(_, event)| event).collect()
    }

    pub fn count(&self, at: Peer, which: impl Fn(&Event) -> bool) -> usize {
        self.events(at).iter().filter(|(_, event)| which(event)).count()
    }
}
