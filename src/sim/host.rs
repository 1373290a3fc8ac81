//! One machine: an address, its clocks, and the process that runs there.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::error::Error;
use crate::event::Event;
use crate::instant::Instant;
use crate::node::Node;
use crate::peer::Peer;
use crate::sim::At;
use crate::sim::clock::{Clock, START_MS};
use crate::sim::network::Datagram;
use crate::subscription::Subscribers;
use crate::sync::Mutex;

/// The receive buffer that a node asks for holds a thousand datagrams; those that come later are lost.
const SOCKET_DATAGRAMS: usize = 1_000;

/// What a node's program does when something happened; see [`Sim::program`](crate::sim::Sim::program).
pub(super) type Program = Box<dyn FnMut(&mut At<'_>, &Event)>;

/// One address with the process that serves it.
pub(super) struct Host {
    /// Counts machines from 0: draws are made by it.
    pub(super) number: u64,
    pub(super) addr: SocketAddr,
    pub(super) config: Config,
    /// `None` while the process is dead.
    pub(super) node: Option<Node>,
    /// Counts processes on this machine.
    pub(super) runs: u64,
    pub(super) clock: Clock,
    pub(super) drift_ppm: i32,
    /// By how many milliseconds its wall clock is off.
    pub(super) wall_ms: i64,
    /// Since when the process has stood still, if it does.
    pub(super) paused: Option<Instant>,
    pub(super) asleep: bool,
    /// Datagrams that wait in the socket of a paused process.
    socket: VecDeque<Datagram>,
    /// How many datagrams were sent from here.
    pub(super) sent: u64,
    pub(super) events: Vec<(Instant, Event)>,
    pub(super) subscribers: Arc<Mutex<Subscribers>>,
    pub(super) program: Option<Program>,
    /// Events that the program has not seen yet.
    pub(super) unseen: VecDeque<Event>,
    /// When it is to be woken.
    pub(super) wake: Option<Instant>,
}

impl Host {
    /// A machine on which nothing runs yet.
    pub(super) fn new(number: u64, addr: SocketAddr, config: Config, wall_ms: i64) -> Host {
        Host {
            number,
            addr,
            config,
            node: None,
            runs: 0,
            clock: Clock::started(Instant::ZERO, 0),
            drift_ppm: 0,
            wall_ms,
            paused: None,
            asleep: false,
            socket: VecDeque::new(),
            sent: 0,
            events: Vec::new(),
            subscribers: Arc::default(),
            program: None,
            unseen: VecDeque::new(),
            wake: None,
        }
    }

    /// Starts a process. What was on the machine before is gone, save its program and what it was told.
    pub(super) fn boot(&mut self, now: Instant, seed: u64) -> Result<(), Error> {
        let me = self.config.advertise.map_or(Peer::from(self.addr), Peer::from);
        self.node = Some(Node::new(self.config.clone(), me, Instant::ZERO, self.wall_clock(now), seed)?);
        self.clock = Clock::started(now, self.drift_ppm);
        self.runs += 1;
        self.paused = None;
        self.asleep = false;
        self.socket.clear();
        Ok(())
    }

    pub(super) fn crash(&mut self) {
        self.node = None;
        self.socket.clear();
        self.subscribers.lock().close();
    }

    /// Stops the process (SIGSTOP), or with `asleep` the whole machine and its monotonic clock.
    pub(super) fn pause(&mut self, now: Instant, asleep: bool) {
        self.paused = self.paused.or(Some(now));
        if asleep && !self.asleep {
            self.asleep = true;
            self.clock.stop(now);
        }
    }

    /// Lets it go on; returns for how long it stood still.
    pub(super) fn resume(&mut self, now: Instant) -> Option<Duration> {
        if std::mem::take(&mut self.asleep) {
            self.clock.go_on(now);
        }
        self.paused.take().map(|since| now - since)
    }

    /// How many milliseconds since 1970 its wall clock shows.
    pub(super) fn wall_clock(&self, now: Instant) -> u64 {
        (START_MS + now.as_micros() / 1000).saturating_add_signed(self.wall_ms)
    }

    /// Takes a datagram into the socket; false if there was no room.
    pub(super) fn deliver(&mut self, datagram: Datagram) -> bool {
        let room = self.socket.len() < SOCKET_DATAGRAMS;
        if room {
            self.socket.push_back(datagram);
        }
        room
    }

    pub(super) fn take_datagram(&mut self) -> Option<Datagram> {
        self.socket.pop_front()
    }

    /// When, on the simulator's clock, it has something to do next.
    pub(super) fn due(&self) -> Option<Instant> {
        let node = self.node.as_ref().filter(|_| self.paused.is_none())?;
        if !self.socket.is_empty() {
            return Some(Instant::ZERO);
        }
        Some(self.clock.when(node.next_gossip().min(node.next_detect())))
    }
}
