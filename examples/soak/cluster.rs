//! The nodes, each at a place of its own, where one run follows the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use grapevine::{Error, EventFilter, EventKind, Gossiper, Limits, Peer, Stats, Subscription};
use parking_lot::{Mutex, RwLock};

/// Short, so that tombstones are collected and peers forgotten many times in a run.
pub const GRACE: Duration = Duration::from_secs(15);
/// Nodes that keep their addresses through all restarts: everyone's seeds.
pub const SEEDS: usize = 3;

/// A run of a node, with the failures that it tells of.
pub struct Run {
    pub node: Gossiper,
    pub failures: Subscription,
}

pub struct Cluster {
    /// Empty while a node is away.
    pub places: Vec<Mutex<Option<Run>>>,
    /// Held for every restart; whoever holds it finds every place taken.
    pub restarts: Mutex<()>,
    /// Held shared for every write; whoever holds it alone finds the maps at rest.
    pub writes: RwLock<()>,
    interval: Duration,
    /// What nodes counted that are gone.
    past: Mutex<Counters>,
}

#[derive(Clone, Default)]
struct Counters {
    datagrams_sent: u64,
    bytes_sent: u64,
    send_errors: u64,
    receive_errors: u64,
    dropped_by_kernel: u64,
    refused: BTreeMap<&'static str, u64>,
    retries: u64,
    gaps: u64,
    pauses: u64,
    events_missed: u64,
}

impl Cluster {
    pub fn start(nodes: usize, interval: Duration) -> Result<Cluster, String> {
        let mut cluster = Cluster {
            places: (0..nodes).map(|_| Mutex::default()).collect(),
            restarts: Mutex::default(),
            writes: RwLock::default(),
            interval,
            past: Mutex::default(),
        };
        for place in 0..cluster.places.len() {
            let run = cluster.start_node(None).map_err(|error| format!("cannot start node {place}: {error}"))?;
            *cluster.places[place].get_mut() = Some(run);
        }
        Ok(cluster)
    }

    /// Starts a node on this address, or one that the system gives.
    pub fn start_node(&self, addr: Option<SocketAddr>) -> Result<Run, Error> {
        let seeds = self.places.iter().take(SEEDS).filter_map(|place| Some(place.lock().as_ref()?.node.peer()));
        let (node, failures) = Gossiper::builder()
            .bind(addr.unwrap_or(([127, 0, 0, 1], 0).into()))
            .seeds(seeds.map(|seed| seed.to_string()))
            .interval(self.interval)
            .grace(GRACE)
            .limits(self.limits())
            .initial("started", &true)
            .start_subscribed()?;
        // Nothing of note can have been missed: a failure takes seconds.
        drop(failures);
        let failures = node.subscribe_to(EventFilter::all().kinds([EventKind::PeerFailed]));
        Ok(Run { node, failures })
    }

    /// The nodes that are not away.
    pub fn nodes(&self) -> Vec<Gossiper> {
        self.places.iter().filter_map(|place| Some(place.lock().as_ref()?.node.clone())).collect()
    }

    /// Whether this run of a peer goes on.
    pub fn runs(&self, peer: Peer, generation: u64) -> bool {
        self.nodes().iter().any(|node| node.peer() == peer && node.generation() == generation)
    }

    /// Adds up what a run that ends has counted.
    pub fn count(&self, run: &Run) {
        self.past.lock().add(&run.node.stats());
    }

    /// Prints what all nodes have counted, those gone included.
    pub fn print_counters(&self) {
        let mut all = self.past.lock().clone();
        for node in self.nodes() {
            all.add(&node.stats());
        }
        println!(
            "{} datagrams with {:.0} MB sent; {} send errors, {} receive errors, {} dropped by the kernel, refused {:?}, \
             {} requests repeated, {} gaps, {} pauses noticed, {} events missed by subscribers that did not read",
            all.datagrams_sent,
            all.bytes_sent as f64 / 1e6,
            all.send_errors,
            all.receive_errors,
            all.dropped_by_kernel,
            all.refused,
            all.retries,
            all.gaps,
            all.pauses,
            all.events_missed
        );
    }

    fn limits(&self) -> Limits {
        Limits {
            // Of forgotten peers as many identities are remembered as there may be peers: few enough that this memory
            // is full before the half of a run is over.
            peers: self.places.len() + self.places.len() / 2 + 10,
            events: 256,
            ..Limits::default()
        }
    }
}

impl Counters {
    fn add(&mut self, stats: &Stats) {
        self.datagrams_sent += stats.datagrams_sent;
        self.bytes_sent += stats.bytes_sent;
        self.send_errors += stats.send_errors;
        self.receive_errors += stats.receive_errors;
        self.dropped_by_kernel += stats.dropped_by_kernel.unwrap_or(0);
        for (reason, count) in stats.refused.iter().filter(|(_, count)| *count > 0) {
            *self.refused.entry(reason.as_str()).or_default() += count;
        }
        self.retries += stats.retries;
        self.gaps += stats.gaps;
        self.pauses += stats.pauses;
        self.events_missed += stats.events_missed;
    }
}
