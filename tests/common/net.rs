//! A network on virtual time: real nodes, and a wire that delays, loses, doubles and reorders what they send.
//!
//! Nothing in it is random but for its seed, so that a test that fails once fails always.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use grapevine::config::Config;
use grapevine::instant::Instant;
use grapevine::node::{Node, Output};
use grapevine::{Event, Peer};

use super::host::{Datagram, Host};
pub use super::host::{Faults, START_MS, config};

/// The network.
pub struct Net {
    pub now: Instant,
    pub faults: Faults,
    /// What the names of seeds stand for, if they are no addresses.
    pub names: BTreeMap<String, Vec<SocketAddr>>,
    /// Everything that was sent since this was set to an empty list.
    pub tap: Option<Vec<(Peer, SocketAddr, Vec<u8>)>>,
    dice: Rng,
    hosts: BTreeMap<Peer, Host>,
    cuts: BTreeSet<(Peer, Peer)>,
    flying: BTreeMap<(Instant, u64), Datagram>,
    sent: u64,
    out: Output,
    standstill: (Instant, u32),
}

impl Net {
    pub fn new(seed: u64) -> Net {
        Net {
            now: Instant::from_micros(1_000_000),
            faults: Faults::NONE,
            names: BTreeMap::new(),
            tap: None,
            dice: Rng::with_seed(seed),
            hosts: BTreeMap::new(),
            cuts: BTreeSet::new(),
            flying: BTreeMap::new(),
            sent: 0,
            out: Output::new(),
            standstill: (Instant::ZERO, 0),
        }
    }

    // Starting and stopping.

    /// Starts a node at the next free address.
    pub fn start(&mut self, config: Config) -> Peer {
        let addr = SocketAddr::from(([10, 0, (self.hosts.len() >> 8) as u8, self.hosts.len() as u8], 9000));
        self.start_at(Peer::from(addr), config, 0)
    }

    /// Starts a node that knows these seeds.
    pub fn join(&mut self, config: Config, seeds: &[Peer]) -> Peer {
        let seeds = seeds.iter().map(Peer::to_string).collect();
        self.start(Config { seeds, ..config })
    }

    /// Starts `n` nodes; the first is everyone's seed.
    pub fn cluster(&mut self, n: usize, config: Config) -> Vec<Peer> {
        let first = self.start(config.clone());
        let others = (1..n).map(|_| self.join(config.clone(), &[first]));
        std::iter::once(first).chain(others.collect::<Vec<_>>()).collect()
    }

    /// Starts a node at this address, whose wall clock is off by so many milliseconds.
    pub fn start_at(&mut self, peer: Peer, config: Config, clock_ms: i64) -> Peer {
        self.hosts.insert(peer, Host::new(config, clock_ms));
        self.boot(peer);
        peer
    }

    /// The process dies without a word.
    pub fn crash(&mut self, peer: Peer) {
        self.host(peer).node = None;
    }

    /// Starts it anew at the same address: it remembers nothing.
    pub fn restart(&mut self, peer: Peer) {
        self.now = self.now + Duration::from_millis(1);
        self.boot(peer);
    }

    /// [`Net::restart`] with a wall clock that is off by so many milliseconds.
    pub fn restart_with_clock(&mut self, peer: Peer, clock_ms: i64) {
        self.host(peer).clock_ms = clock_ms;
        self.restart(peer);
    }

    fn boot(&mut self, peer: Peer) {
        let (now, seed) = (self.now, self.dice.u64(..));
        let host = self.host(peer);
        host.boot(now, peer, seed);
        for index in 0..host.config.seeds.len() {
            self.resolve(peer, index);
        }
    }

    /// Stops the process for a while (SIGSTOP); what it is sent waits in its socket.
    pub fn pause(&mut self, peer: Peer) {
        self.host(peer).paused = true;
    }

    pub fn resume(&mut self, peer: Peer) {
        self.host(peer).paused = false;
    }

    // The wire.

    /// Nothing passes between these two any more.
    pub fn cut(&mut self, a: Peer, b: Peer) {
        self.cuts.extend([(a, b), (b, a)]);
    }

    /// Nothing passes between the two groups any more.
    pub fn cut_apart(&mut self, left: &[Peer], right: &[Peer]) {
        for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b))) {
            self.cut(a, b);
        }
    }

    pub fn heal(&mut self) {
        self.cuts.clear();
    }

    fn send(&mut self, from: Peer, to: SocketAddr, bytes: &[u8]) {
        if let Some(tap) = &mut self.tap {
            tap.push((from, to, bytes.to_vec()));
        }
        if self.cuts.contains(&(from, Peer::from(to))) || self.dice.f64() < self.faults.loss {
            return;
        }
        let copies = 1 + u32::from(self.dice.f64() < self.faults.duplication);
        for _ in 0..copies {
            let range = &self.faults.delay;
            let delay = range.start + (range.end - range.start).mul_f64(self.dice.f64());
            self.sent += 1;
            let datagram = Datagram { from: from.addr(), to, bytes: bytes.to_vec() };
            self.flying.insert((self.now + delay, self.sent), datagram);
        }
    }

    // Time.

    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
    }

    /// Runs until it holds, and says how long that took; `None` if it did not within `limit`.
    pub fn run_until(&mut self, limit: Duration, mut holds: impl FnMut(&Net) -> bool) -> Option<Duration> {
        let (start, end) = (self.now, self.now + limit);
        while !holds(self) {
            if !self.step(end) {
                return None;
            }
        }
        Some(self.now - start)
    }

    /// Ends all faults and runs until everyone agrees.
    pub fn settle(&mut self) -> Duration {
        self.faults = Faults::NONE;
        self.heal();
        self.run_until(Duration::from_secs(300), Net::agrees)
            .unwrap_or_else(|| panic!("no agreement after 300 s: {}", self.disagreement().unwrap_or_default()))
    }

    /// Has the next thing happen, unless that is after `end`: false, and `end` it is.
    pub fn step(&mut self, end: Instant) -> bool {
        let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
        let due = self.hosts.iter().filter_map(|(peer, host)| Some((host.due()?, *peer))).min();
        let next = arrival.into_iter().chain(due.map(|(at, _)| at)).min().unwrap_or(Instant::MAX);
        if next > end {
            self.now = self.now.max(end);
            return false;
        }
        self.now = self.now.max(next);
        // A node that is never done would stop the time.
        self.standstill = if self.standstill.0 == self.now { (self.now, self.standstill.1 + 1) } else { (self.now, 0) };
        assert!(self.standstill.1 < 100_000, "time stands still at {:?}; {due:?} is always due", self.now);
        match due {
            Some((at, peer)) if arrival.is_none_or(|arrival| at <= arrival) => self.timers(peer),
            _ => {
                let Some((_, datagram)) = self.flying.pop_first() else { return false };
                self.deliver(datagram);
            }
        }
        true
    }

    /// Does for a node what its threads do: the detector's first, which is what tempts a node that was paused.
    fn timers(&mut self, peer: Peer) {
        let local = self.local(peer);
        let Some(node) = self.host(peer).node.as_mut() else { return };
        if node.next_detect() <= local {
            if node.suspects(local) {
                self.drain(peer);
            }
            self.act(peer, |node, now, out| node.detect(now, out));
        } else if node.next_gossip() <= local {
            self.act(peer, |node, now, out| node.gossip(now, out));
        } else {
            self.drain(peer);
        }
    }

    fn drain(&mut self, peer: Peer) {
        while let Some(datagram) = self.host(peer).socket.pop_front() {
            self.act(peer, |node, now, out| node.handle_datagram(now, datagram.from, &datagram.bytes, out));
        }
    }

    fn deliver(&mut self, datagram: Datagram) {
        let to = Peer::from(datagram.to);
        let Some(host) = self.hosts.get_mut(&to).filter(|host| host.node.is_some()) else { return };
        // The receive buffer that a node asks for holds a thousand; those that come later are lost.
        if host.socket.len() < 1_000 {
            host.socket.push_back(datagram);
        }
        if !host.paused {
            self.drain(to);
        }
    }

    /// Calls into a node as its threads and handles do, and takes care of what comes out.
    pub fn act<R>(&mut self, at: Peer, call: impl FnOnce(&mut Node, Instant, &mut Output) -> R) -> R {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let now = self.now;
        let host = self.host(at);
        let local = host.local(now);
        let result = call(host.node.as_mut().expect("a node that runs"), local, &mut out);
        self.emit(at, &mut out);
        self.out = out;
        result
    }

    fn emit(&mut self, at: Peer, out: &mut Output) {
        let now = self.now;
        self.host(at).events.extend(out.events.drain(..).map(|event| (now, event)));
        for (to, bytes) in out.datagrams() {
            self.send(at, to, bytes);
        }
        for index in std::mem::take(&mut out.resolve) {
            // An address is handed over once; a name is looked up whenever it is tried.
            if self.host(at).config.seeds[index].parse::<SocketAddr>().is_err() {
                self.resolve(at, index);
            }
        }
    }

    fn resolve(&mut self, at: Peer, index: usize) {
        let name = self.host(at).config.seeds[index].clone();
        let addrs = match name.parse() {
            Ok(addr) => vec![addr],
            Err(_) => self.names.get(&name).cloned().unwrap_or_default(),
        };
        self.act(at, |node, now, out| node.seed_resolved(now, index, &addrs, out));
    }

    fn host(&mut self, peer: Peer) -> &mut Host {
        self.hosts.get_mut(&peer).expect("a host of this network")
    }

    pub fn node(&self, peer: Peer) -> &Node {
        self.hosts[&peer].node.as_ref().expect("a node that runs")
    }

    /// The nodes that run.
    pub fn running(&self) -> Vec<Peer> {
        self.hosts.iter().filter(|(_, host)| host.node.is_some()).map(|(peer, _)| *peer).collect()
    }

    /// The time on a node's own clock.
    pub fn local(&self, peer: Peer) -> Instant {
        self.hosts[&peer].local(self.now)
    }

    /// Everything that a node told its program, with when.
    pub fn events(&self, at: Peer) -> &[(Instant, Event)] {
        &self.hosts[&at].events
    }

    /// The events since the last time.
    pub fn take_events(&mut self, at: Peer) -> Vec<Event> {
        std::mem::take(&mut self.host(at).events).into_iter().map(|(_, event)| event).collect()
    }
}
