//! A network on virtual time: real nodes, and a wire that delays, loses, doubles and reorders what they send.
//!
//! Nothing in it is random but for its seed, so that a test that fails once fails always.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use grapevine::config::Config;
use grapevine::instant::Instant;
use grapevine::node::{Node, Output};
use grapevine::{Error, Event, Peer, PeerState, Value};

/// The wall clock at the start of every test: some day in 2024, in milliseconds since 1970.
pub const START_MS: u64 = 1_720_000_000_000;

/// A node's defaults; the tests count in its interval of one second.
pub fn config() -> Config {
    Config::default()
}

/// What the wire does to a datagram.
#[derive(Clone, Debug)]
pub struct Faults {
    /// It is lost with this probability.
    pub loss: f64,
    /// It arrives twice with this probability.
    pub duplication: f64,
    /// How long it takes, drawn for each anew: those that follow closely overtake each other.
    pub delay: std::ops::Range<Duration>,
}

impl Faults {
    /// A local network.
    pub const NONE: Faults =
        Faults { loss: 0.0, duplication: 0.0, delay: Duration::from_micros(100)..Duration::from_micros(500) };
}

struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

struct Host {
    config: Config,
    /// `None` while the process is dead.
    node: Option<Node>,
    /// When it was started: its own clock shows zero there.
    origin: Instant,
    /// By how many milliseconds its wall clock is off.
    clock_ms: i64,
    paused: bool,
    /// Datagrams that wait in the socket of a paused process.
    socket: VecDeque<Datagram>,
    events: Vec<(Instant, Event)>,
}

impl Host {
    fn local(&self, now: Instant) -> Instant {
        Instant::ZERO + (now - self.origin)
    }

    /// When, on the network's clock, it has something to do next.
    fn due(&self) -> Option<Instant> {
        let node = self.node.as_ref().filter(|_| !self.paused)?;
        if !self.socket.is_empty() {
            return Some(Instant::ZERO);
        }
        Some(self.origin + (node.next_gossip().min(node.next_detect()) - Instant::ZERO))
    }
}

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
        let host = Host {
            config,
            node: None,
            origin: self.now,
            clock_ms,
            paused: false,
            socket: VecDeque::new(),
            events: Vec::new(),
        };
        self.hosts.insert(peer, host);
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
        let now = self.now;
        let seed = self.dice.u64(..);
        let host = self.host(peer);
        let unix_ms = (START_MS + now.as_micros() / 1000).checked_add_signed(host.clock_ms);
        let node = Node::new(host.config.clone(), peer, Instant::ZERO, unix_ms.unwrap(), seed).unwrap();
        host.node = Some(node);
        host.origin = now;
        host.paused = false;
        host.socket.clear();
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

    // What the programs at the nodes do.

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

    pub fn set<T: serde::Serialize + ?Sized>(&mut self, at: Peer, key: &str, value: &T) -> u64 {
        let value = Value::encode(value).unwrap();
        self.act(at, |node, now, out| node.set(now, key, value, None, out)).unwrap()
    }

    pub fn set_for<T: serde::Serialize + ?Sized>(&mut self, at: Peer, key: &str, value: &T, life: Duration) -> u64 {
        let value = Value::encode(value).unwrap();
        self.act(at, |node, now, out| node.set(now, key, value, Some(now + life), out)).unwrap()
    }

    pub fn delete(&mut self, at: Peer, key: &str) -> Option<u64> {
        self.act(at, |node, now, out| node.delete(now, key, out)).unwrap()
    }

    pub fn forget(&mut self, at: Peer, peer: Peer) -> Result<(), Error> {
        self.act(at, |node, now, out| node.forget(now, peer, out))
    }

    pub fn leave(&mut self, peer: Peer) {
        self.act(peer, |node, now, out| node.leave(now, out));
    }

    /// Hands a datagram to a node and returns what it sends in the same breath.
    pub fn hand(&mut self, at: Peer, from: SocketAddr, datagram: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        let tap = self.tap.replace(Vec::new());
        self.act(at, |node, now, out| node.handle_datagram(now, from, datagram, out));
        let sent = std::mem::replace(&mut self.tap, tap).unwrap_or_default();
        sent.into_iter().map(|(_, to, bytes)| (to, bytes)).collect()
    }

    // What there is to see.

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

    /// What a reader at `at` finds under a key of `owner`'s, as JSON.
    pub fn get(&self, at: Peer, owner: Peer, key: &str) -> Option<String> {
        Some(self.node(at).map(owner)?.get(key)?.readable(self.local(at))?.to_string())
    }

    pub fn state(&self, at: Peer, peer: Peer) -> Option<PeerState> {
        self.node(at).peers().find(|(other, _)| *other == peer).map(|(_, state)| state)
    }

    /// Whom a node lists in this state.
    pub fn listed(&self, at: Peer, state: PeerState) -> Vec<Peer> {
        self.node(at).peers().filter(|(_, other)| *other == state).map(|(peer, _)| peer).collect()
    }

    /// Everything that a node told its program, with when.
    pub fn events(&self, at: Peer) -> &[(Instant, Event)] {
        &self.hosts[&at].events
    }

    /// The events since the last time.
    pub fn take_events(&mut self, at: Peer) -> Vec<Event> {
        std::mem::take(&mut self.host(at).events).into_iter().map(|(_, event)| event).collect()
    }

    pub fn count(&self, at: Peer, which: impl Fn(&Event) -> bool) -> usize {
        self.events(at).iter().filter(|(_, event)| which(event)).count()
    }

    /// Whether everyone sees everyone alive and everyone's map as its owner does.
    pub fn agrees(&self) -> bool {
        self.disagreement().is_none()
    }

    pub fn disagreement(&self) -> Option<String> {
        let running = self.running();
        for owner in &running {
            let own = self.node(*owner).ring().own();
            let told: Vec<_> = own.map().readable("", self.local(*owner)).map(|(k, e, v)| (k, e.version, v)).collect();
            for at in running.iter().filter(|at| *at != owner) {
                let Some(member) = self.node(*at).ring().member(*owner) else {
                    return Some(format!("{at} does not know {owner}"));
                };
                let map = member.replica.map();
                let held: Vec<_> = map.readable("", self.local(*at)).map(|(k, e, v)| (k, e.version, v)).collect();
                if held != told || member.state != PeerState::Alive || member.replica.progress() != own.progress() {
                    let (here, there) = (member.replica.progress(), own.progress());
                    return Some(format!(
                        "{at} sees {owner} {}: {held:?} {here:?}, not {told:?} {there:?}",
                        member.state
                    ));
                }
            }
        }
        None
    }
}
