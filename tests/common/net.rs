//! The simulator in the words of these tests: whatever goes wrong with the test itself panics.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use grapevine::config::Config;
use grapevine::instant::Instant;
use grapevine::node::{Node, Output};
use grapevine::sim::Sim;
pub use grapevine::sim::{Faults, START_MS};
use grapevine::stats::Refusal;
use grapevine::wire::{Message, run_hash};
use grapevine::{Error, Event, Peer};

use super::forge::{Forger, asked, in_answer_to, made_for, wants};
use super::keyed::{keyring, opened, sealed};

/// A node's defaults; the tests count in its interval of one second.
pub fn config() -> Config {
    Config { keyring: keyring(), ..Config::default() }
}

/// A watched [`Sim`], and the last want that each node sent in answer to what it was handed.
pub struct Net(Sim, BTreeMap<Peer, u32>);

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
        Net(Sim::new(seed).watched(), BTreeMap::new())
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
    /// sends in the same breath. Before an answer or delta to nothing in particular the node is brought to ask for it.
    pub fn hand(&mut self, at: Peer, from: SocketAddr, datagram: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        let id = match Message::decode(datagram) {
            Ok((_, Message::Answer(answer))) if answer.id == 0 => self.draw_digest(at, from),
            Ok((header, Message::Delta(delta))) if delta.want_id == 0 => {
                let owner = delta.deltas(header.generation).flatten().next().map(|part| part.owner);
                self.draw_want(at, from, owner)
            }
            _ => None,
        };
        let Some(id) = id else { return self.hand_as_it_is(at, from, &made_for(self.run_hash(at), datagram)) };
        let not_asked = |net: &Net| net.node(at).stats().refused.get(Refusal::NotAsked);
        let before = not_asked(self);
        let said = self.hand_as_it_is(at, from, &made_for(self.run_hash(at), &in_answer_to(id, datagram)));
        assert_eq!(not_asked(self), before, "it waits for this");
        said
    }

    fn run_hash(&self, at: Peer) -> u32 {
        run_hash(at, self.node(at).generation())
    }

    /// Has a node send a digest there, as to anybody who knows nobody yet. Returns its id.
    fn draw_digest(&mut self, at: Peer, from: SocketAddr) -> Option<u32> {
        let first = self.forger(at, from).digest_of(None, &[], 800);
        self.hand_as_it_is(at, from, &first).iter().find_map(|(_, datagram)| asked(datagram))
    }

    /// Has a node want what somebody claims to have of this owner, or else of any other peer. Returns the id of the want, or of the
    /// last one, which is then still open.
    fn draw_want(&mut self, at: Peer, from: SocketAddr, owner: Option<Peer>) -> Option<u32> {
        let mut rows: Vec<_> = self.node(at).ring().members().map(|(peer, member)| member.row(peer)).collect();
        rows.sort_by_key(|row| Some(row.peer) != owner);
        for mut row in rows {
            row.heartbeat = 0;
            row.progress.max = row.progress.max.max(row.progress.floor).saturating_add(1_000);
            let claim = self.forger(at, from).digest_of(None, &[row], 800);
            let drawn = self.hand_as_it_is(at, from, &made_for(self.run_hash(at), &claim));
            let wanted = drawn.iter().find(|(_, datagram)| !wants(datagram).is_empty());
            if let Some(id) = wanted.and_then(|(_, datagram)| asked(datagram)) {
                return Some(id);
            }
        }
        self.1.get(&at).copied()
    }

    fn forger(&self, at: Peer, from: SocketAddr) -> Forger<'static> {
        assert_eq!(self.node(at).config().cluster, "grapevine");
        Forger { sender: Peer::from(from), ..Forger::new() }
    }

    /// Hands a datagram to a node, whomever it was made for.
    pub fn hand_as_it_is(&mut self, at: Peer, from: SocketAddr, datagram: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        self.expect_lies();
        let cluster = self.node(at).config().cluster.clone();
        let said = self.0.hand(at, from, &sealed(datagram)).unwrap();
        let said: Vec<_> = said.into_iter().map(|(to, datagram)| (to, opened(&datagram, &cluster))).collect();
        let wants = said.iter().filter(|(to, datagram)| *to == from && !wants(datagram).is_empty());
        self.1.extend(wants.filter_map(|(_, datagram)| Some((at, asked(datagram)?))));
        said
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
