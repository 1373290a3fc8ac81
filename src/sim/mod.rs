//! A deterministic simulator: whole clusters of real [`Node`]s on virtual time, with everything that can go wrong.
//!
//! The nodes are the ones that run in production, unchanged; what surrounds them is made of nothing but a seed. A run is a pure
//! function of its seed and of what was asked for: the same seed gives the same [trace](Sim::record), byte for byte, on
//! every machine of 64 bits: not even logarithms and powers are the system's. An hour of a hundred nodes takes seconds to minutes.
//!
//! Use it to see how your own program behaves: what it does when half of the cluster is cut off, when a node restarts with an
//! empty map, when its process stands still for a minute. A test reads as a story:
//!
//! ```
//! use grapevine::sim::Sim;
//! use grapevine::{Config, PeerState};
//! use std::time::Duration;
//!
//! let mut sim = Sim::new(7).watched();
//! let nodes = sim.cluster(5, Config::default())?;
//! sim.run_for(Duration::from_secs(10))?;
//! sim.set(nodes[0], "leader", "here")?;
//! sim.run_for(Duration::from_secs(1))?;
//!
//! sim.isolate(nodes[0]);
//! sim.run_for(Duration::from_secs(30))?;
//! assert_eq!(sim.state(nodes[4], nodes[0]), Some(PeerState::Failed));
//! assert_eq!(sim.get(nodes[4], nodes[0], "leader").as_deref(), Some("\"here\""), "what it said is still readable");
//!
//! sim.heal();
//! let time = sim.settle(Duration::from_secs(60))?;
//! println!("everyone agrees {time:?} after the cut has ended");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - *What the network does*: [`Faults`], for every datagram or within a [`Scope`]; [`Sim::cut`], [`Sim::cut_one_way`],
//!   [`Sim::isolate`], [`Sim::heal`].
//! - *What machines do*: [`Sim::crash`], [`Sim::restart`], [`Sim::pause`], [`Sim::sleep`], [`Sim::drift`], [`Sim::leave`].
//! - *What programs do*: [`Sim::set`] and its like from outside, or [`Sim::program`], which is called with every event.
//! - *What an enemy does*: an [`Intruder`]; [`Liar`] is one within the cluster, [`Recorder`] one outside of it.
//! - *Everything at once, drawn from a seed*: a [`Plan`], run by [`torture`].
//! - *Whether the promises are kept*: a [watched](Sim::watched) run ends with a [`Violation`] at the first step that breaks one.

mod agreement;
mod clock;
mod dice;
mod happened;
mod host;
mod intruder;
mod liar;
mod narrow;
mod network;
mod plan;
mod program;
mod recorder;
mod story;
mod torture;
mod trace;
mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use crate::instant::Instant;
use crate::node::{Node, Output};
use crate::peer::Peer;

pub use clock::START_MS;
use dice::{Dice, Purpose};
pub use happened::Happened;
use host::Host;
use intruder::Outsider;
pub use intruder::{Intruder, Outbox};
pub use liar::{Liar, Lie};
pub use narrow::narrow;
use network::{Datagram, Network};
pub use network::{Faults, Scope};
pub use plan::{Comeback, Fault, FaultKind, Plan, Planned};
pub use program::At;
pub use recorder::Recorder;
pub use torture::{Outcome, Torture, torture};
use trace::Trace;
pub use witness::{Cause, Rule, Violation};
use witness::{Glance, Witness};

/// A cluster on virtual time.
pub struct Sim {
    seed: u64,
    now: Instant,
    hosts: BTreeMap<Peer, Host>,
    outsiders: BTreeMap<Peer, Outsider>,
    /// How many there ever were.
    intruders: u64,
    /// When each machine and each outsider is to be woken.
    wakes: BTreeSet<(Instant, Peer)>,
    network: Network,
    names: BTreeMap<String, Vec<SocketAddr>>,
    tap: Option<Vec<(Peer, SocketAddr, Vec<u8>)>>,
    witness: Option<Witness>,
    violation: Option<Violation>,
    trace: Trace,
    happened: Happened,
    out: Output,
    steps: u64,
    standstill: (Instant, u32),
}

/// So many steps without a microsecond passing mean that some node is never done.
const MAX_STANDSTILL: u32 = 100_000;

impl Sim {
    /// A network with nobody on it.
    pub fn new(seed: u64) -> Sim {
        Sim {
            seed,
            now: Instant::from_micros(1_000_000),
            hosts: BTreeMap::new(),
            outsiders: BTreeMap::new(),
            intruders: 0,
            wakes: BTreeSet::new(),
            network: Network::new(seed),
            names: BTreeMap::new(),
            tap: None,
            witness: None,
            violation: None,
            trace: Trace::default(),
            happened: Happened::default(),
            out: Output::new(),
            steps: 0,
            standstill: (Instant::ZERO, 0),
        }
    }

    /// Has every promise of the library checked at every step from here on; see [`Rule`]. It takes about as much time again. Call it
    /// before the first node starts.
    #[must_use]
    pub fn watched(mut self) -> Sim {
        self.witness = Some(Witness::new());
        self
    }

    /// The time since the simulation began, and a second: on the simulator's own clock.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// How often a node, a program or an intruder did something.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What went wrong so far, on purpose.
    pub fn happened(&self) -> Happened {
        let mut happened = self.happened;
        happened.events_missed = self.hosts.values().map(|host| host.subscribers.lock().missed()).sum();
        happened
    }

    // Time.

    /// Runs for so long.
    ///
    /// # Errors
    /// The promise that was broken, if the simulation is [watched](Sim::watched). It stands still from then on.
    pub fn run_for(&mut self, duration: Duration) -> Result<(), Violation> {
        let end = self.now + duration;
        while self.step(end)? {}
        Ok(())
    }

    /// Runs until it holds, and says how long that took; `None` if it did not within `limit`.
    ///
    /// # Errors
    /// Those of [`Sim::run_for`].
    pub fn run_until(
        &mut self,
        limit: Duration,
        mut holds: impl FnMut(&Sim) -> bool,
    ) -> Result<Option<Duration>, Violation> {
        let (start, end) = (self.now, self.now + limit);
        while !holds(self) {
            if !self.step(end)? {
                return Ok(holds(self).then(|| self.now - start));
            }
        }
        Ok(Some(self.now - start))
    }

    /// Has the next thing happen, unless that is after `end`: false, and `end` it is.
    ///
    /// # Errors
    /// Those of [`Sim::run_for`].
    pub fn step(&mut self, end: Instant) -> Result<bool, Violation> {
        self.verdict()?;
        let arrival = self.network.next_arrival().unwrap_or(Instant::MAX);
        let wake = self.wakes.first().copied();
        let due = wake.map_or(Instant::MAX, |(at, _)| at);
        let next = arrival.min(due);
        if next > end {
            self.now = self.now.max(end);
            return Ok(false);
        }
        self.now = self.now.max(next);
        self.steps += 1;
        self.standstill = if self.standstill.0 == self.now { (self.now, self.standstill.1 + 1) } else { (self.now, 0) };
        if self.standstill.1 > MAX_STANDSTILL {
            let text = format!("{MAX_STANDSTILL} steps and no time has passed; {wake:?} is always due");
            self.violated(Violation::new(Rule::TimePasses, self.now, wake.map(|(_, peer)| peer), text));
        }
        match wake {
            Some((at, peer)) if at <= arrival => self.wake(peer),
            _ => {
                if let Some(datagram) = self.network.take_next() {
                    self.arrive(datagram);
                }
            }
        }
        self.verdict()?;
        Ok(true)
    }

    /// Whether every promise was kept so far.
    ///
    /// # Errors
    /// The one that was not.
    pub fn verdict(&self) -> Result<(), Violation> {
        self.violation.clone().map_or(Ok(()), Err)
    }

    fn violated(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    /// Does for a node what its threads do: the detector's first, which is what tempts a node that was paused.
    fn wake(&mut self, peer: Peer) {
        if self.outsiders.contains_key(&peer) {
            self.outsider_acts(peer, None);
            return;
        }
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&peer) else { return };
        let (local, unix_ms) = (host.clock.at(now), host.wall_clock(now));
        let Some(node) = host.node.as_mut() else { return };
        if node.next_detect() <= local {
            if node.suspects(local) {
                self.drain(peer);
            }
            self.call(peer, Cause::Timer, |node, now, out| node.detect(now, out));
        } else if node.next_gossip() <= local {
            self.call(peer, Cause::Timer, |node, now, out| {
                node.wall_clock(now, unix_ms);
                node.gossip(now, out);
            });
        } else {
            self.drain(peer);
        }
        self.schedule(peer);
    }

    fn arrive(&mut self, datagram: Datagram) {
        let to = Peer::from(datagram.to);
        if self.outsiders.contains_key(&to) {
            self.outsider_acts(to, Some(datagram));
            return;
        }
        let Some(host) = self.hosts.get_mut(&to).filter(|host| host.node.is_some()) else {
            self.happened.unreachable += 1;
            return;
        };
        if !host.deliver(datagram) {
            self.happened.overflowed += 1;
        }
        if host.paused.is_none() {
            self.drain(to);
        }
    }

    /// Hands a node what waits in its socket.
    fn drain(&mut self, peer: Peer) {
        while let Some(datagram) = self.hosts.get_mut(&peer).and_then(Host::take_datagram) {
            if let Some(witness) = &mut self.witness {
                witness.flight(self.now - datagram.sent);
            }
            let Datagram { from, bytes, .. } = datagram;
            self.trace.datagram(self.now, peer, from, &bytes);
            let cause = Cause::Datagram(from);
            self.call(peer, cause, |node, now, out| node.handle_datagram(now, from, &bytes, out));
        }
    }

    /// Calls into a node, and takes care of what comes out; `None` if none runs there.
    fn call<R>(
        &mut self,
        at: Peer,
        cause: Cause,
        call: impl FnOnce(&mut Node, Instant, &mut Output) -> R,
    ) -> Option<R> {
        let now = self.now;
        let host = self.hosts.get_mut(&at)?;
        let local = host.clock.at(now);
        let node = host.node.as_mut()?;
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let generation = node.generation();
        let result = call(node, local, &mut out);
        let (dice, mut nonces) = (Dice::new(self.seed, [host.number, host.sent]), None);
        let Ok(()) = out.seal(|nonce| {
            nonces.get_or_insert_with(|| dice.rng(Purpose::Nonce)).fill(nonce);
            Ok::<(), Infallible>(())
        });
        self.happened.renewals += u64::from(node.generation() != generation);
        self.look(at, cause, &out);
        self.emit(at, &mut out);
        self.out = out;
        self.schedule(at);
        self.run_program(at);
        Some(result)
    }

    /// Shows the witness what a node holds after a step.
    fn look(&mut self, at: Peer, cause: Cause, out: &Output) {
        let (Some(witness), Some(host)) = (&mut self.witness, self.hosts.get(&at)) else { return };
        let Some(node) = &host.node else { return };
        let glance = Glance {
            at,
            now: self.now,
            run: host.runs,
            clock: &host.clock,
            cause,
            node,
            events: &out.events,
            largest_datagram: out.datagrams().map(|(_, bytes)| bytes.len()).max().unwrap_or(0),
        };
        if let Err(violation) = witness.look(&glance) {
            self.violated(violation);
        }
    }

    fn emit(&mut self, at: Peer, out: &mut Output) {
        let now = self.now;
        for (to, bytes) in out.datagrams() {
            self.send(at, to, bytes);
        }
        let Some(host) = self.hosts.get_mut(&at) else { return };
        for line in out.log.drain(..) {
            self.trace.log(now, at, &line.text);
        }
        for event in out.events.drain(..) {
            self.trace.event(now, at, &event);
            host.subscribers.lock().publish(&event);
            if host.program.is_some() {
                host.unseen.push_back(event.clone());
            }
            host.events.push((now, event));
        }
        for index in std::mem::take(&mut out.resolve) {
            // An address is handed over once; a name is looked up whenever it is tried.
            let seed = self.hosts.get(&at).and_then(|host| host.config.seeds.get(index));
            if seed.is_some_and(|seed| seed.parse::<SocketAddr>().is_err()) {
                self.resolve(at, index);
            }
        }
    }

    fn send(&mut self, from: Peer, to: SocketAddr, bytes: &[u8]) {
        if let Some(tap) = &mut self.tap {
            tap.push((from, to, bytes.to_vec()));
        }
        let Some(host) = self.hosts.get_mut(&from) else { return };
        for outsider in self.outsiders.values_mut() {
            outsider.overhear(self.now, host.addr, to, bytes);
        }
        host.sent += 1;
        let datagram = Datagram { from: host.addr, to, bytes: bytes.to_vec(), sent: self.now };
        self.network.send(datagram, host.number, host.sent, &mut self.happened);
    }

    fn resolve(&mut self, at: Peer, index: usize) {
        let Some(name) = self.hosts.get(&at).and_then(|host| host.config.seeds.get(index)) else { return };
        let addrs = match name.parse() {
            Ok(addr) => vec![addr],
            Err(_) => self.names.get(name).cloned().unwrap_or_default(),
        };
        self.call(at, Cause::Call, |node, now, out| node.seed_resolved(now, index, &addrs, out));
    }

    /// Notes when a machine is to be woken next.
    fn schedule(&mut self, peer: Peer) {
        let Some(host) = self.hosts.get_mut(&peer) else { return };
        let due = host.due().map(|due| due.max(self.now));
        if due == host.wake {
            return;
        }
        if let Some(old) = std::mem::replace(&mut host.wake, due) {
            self.wakes.remove(&(old, peer));
        }
        if let Some(due) = due {
            self.wakes.insert((due, peer));
        }
    }
}
