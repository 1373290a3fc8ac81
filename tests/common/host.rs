//! A machine in a [`Net`](super::net::Net), and the wire it hangs on.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use grapevine::config::Config;
use grapevine::instant::Instant;
use grapevine::node::Node;
use grapevine::{Event, Peer};

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

pub struct Datagram {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

/// One address with the process that serves it.
pub struct Host {
    pub config: Config,
    /// `None` while the process is dead.
    pub node: Option<Node>,
    /// When it was started: its own clock shows zero there.
    pub origin: Instant,
    /// By how many milliseconds its wall clock is off.
    pub clock_ms: i64,
    pub paused: bool,
    /// Datagrams that wait in the socket of a paused process.
    pub socket: VecDeque<Datagram>,
    pub events: Vec<(Instant, Event)>,
}

impl Host {
    /// A machine on which nothing runs yet.
    pub fn new(config: Config, clock_ms: i64) -> Host {
        Host {
            config,
            node: None,
            origin: Instant::ZERO,
            clock_ms,
            paused: false,
            socket: VecDeque::new(),
            events: Vec::new(),
        }
    }

    /// Starts the process anew.
    pub fn boot(&mut self, now: Instant, peer: Peer, seed: u64) {
        let unix_ms = (START_MS + now.as_micros() / 1000).checked_add_signed(self.clock_ms).unwrap();
        self.node = Some(Node::new(self.config.clone(), peer, Instant::ZERO, unix_ms, seed).unwrap());
        self.origin = now;
        self.paused = false;
        self.socket.clear();
    }

    pub fn local(&self, now: Instant) -> Instant {
        Instant::ZERO + (now - self.origin)
    }

    /// When, on the network's clock, it has something to do next.
    pub fn due(&self) -> Option<Instant> {
        let node = self.node.as_ref().filter(|_| !self.paused)?;
        if !self.socket.is_empty() {
            return Some(Instant::ZERO);
        }
        Some(self.origin + (node.next_gossip().min(node.next_detect()) - Instant::ZERO))
    }
}
