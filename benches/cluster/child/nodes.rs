//! A cluster of nodes in this process, and the watch over who takes whom for dead.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use grapevine::config::{Config, Limits};
use grapevine::keyring::{Keyring, SecretKey};
use grapevine::transport::UdpTransport;
use grapevine::{Event, EventFilter, EventKind, Gossiper, Peer, PeerState, Value};

use crate::Outcome;
use crate::child::lossy::Lossy;
use crate::child::settings::Settings;
use crate::child::{TIME_LIMIT, dice, poll};

/// Room in each subscription. It is the one setting that is not as shipped: a channel's memory is taken when it is
/// made, and a program without subscriptions has none. The observers here need a handful of places.
const EVENTS: usize = 16;

/// The keys and values of one node's map from the start.
pub type Content = Vec<(String, Value)>;

/// A running node.
pub struct Node {
    pub gossiper: Gossiper,
    /// Whom it takes for dead. Events rather than looks at the list of the failed: they miss nothing however short, and
    /// nobody has to wake up for them.
    failures: grapevine::subscription::Subscription,
}

/// Nodes by number. Node 0 is the seed of all others.
pub struct Cluster {
    settings: Settings,
    keyring: Option<Keyring>,
    nodes: Vec<Node>,
    started: Instant,
    /// The runs of nodes that were stopped on purpose.
    stopped: HashSet<(Peer, u64)>,
    false_failures: u64,
}

/// Counters over all nodes.
#[derive(Default)]
pub struct Totals {
    pub dropped: Option<u64>,
    pub send_errors: u64,
    pub pauses: u64,
    pub gaps: u64,
    pub retries: u64,
    pub refused: u64,
}

impl Cluster {
    /// Starts the nodes one after the other, each with keys of its own.
    ///
    /// # Errors
    /// If one cannot be started.
    pub fn start(settings: &Settings) -> Outcome<Cluster> {
        let mut dice = dice();
        let contents: Vec<Content> =
            (0..settings.nodes).map(|_| random_content(settings.keys, settings.value_bytes, &mut dice)).collect();
        Cluster::start_with(settings, contents)
    }

    /// Starts a node for each of these maps.
    ///
    /// # Errors
    /// If one cannot be started.
    pub fn start_with(settings: &Settings, contents: Vec<Content>) -> Outcome<Cluster> {
        let mut cluster = Cluster {
            settings: settings.clone(),
            keyring: if settings.keyed { Some(Keyring::new(SecretKey::generate()?)) } else { None },
            nodes: Vec::with_capacity(contents.len()),
            started: Instant::now(),
            stopped: HashSet::new(),
            false_failures: 0,
        };
        for content in contents {
            cluster.add(content)?;
        }
        Ok(cluster)
    }

    /// Starts one more node, at a port that the system gives. Returns its number.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn add(&mut self, content: Content) -> Outcome<usize> {
        let node = self.launch(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), content)?;
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    /// Stops a node without a word: to the others it fails. Returns where it was, to start it there again.
    pub fn stop(&mut self, number: usize) -> Peer {
        let node = &self.nodes[number];
        let peer = node.gossiper.peer();
        self.stopped.insert((peer, node.gossiper.generation()));
        node.gossiper.stop();
        // What it said until then counts; after that it says nothing.
        self.look_for_failures();
        self.nodes.remove(number);
        peer
    }

    /// Starts a node again that was stopped.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn restart(&mut self, peer: Peer) -> Outcome<()> {
        let content = random_content(self.settings.keys, self.settings.value_bytes, &mut dice());
        let node = self.launch(peer.addr(), content)?;
        self.nodes.push(node);
        Ok(())
    }

    /// Starts a node as a program would, with the defaults but for what the settings say.
    fn launch(&self, bind: SocketAddr, initial: Content) -> Outcome<Node> {
        let seed = self.nodes.first().map(|seed| seed.gossiper.peer().to_string());
        let config = Config {
            bind,
            seeds: seed.into_iter().filter(|_| !self.settings.alone).collect(),
            interval: self.settings.interval,
            fanout: self.settings.fanout,
            early_news: self.settings.early_news,
            limits: Limits { events: EVENTS, ..Limits::default() },
            initial,
            keyring: self.keyring.clone(),
            ..Config::default()
        };
        let gossiper = if self.settings.loss_percent > 0.0 {
            let udp = UdpTransport::bind(bind)?;
            Gossiper::start_with(config, Arc::new(Lossy::new(udp, self.settings.loss_percent)))?
        } else {
            Gossiper::start(config)?
        };
        let failures = gossiper.subscribe_to(EventFilter::all().kinds([EventKind::PeerFailed]));
        Ok(Node { gossiper, failures })
    }

    /// The nodes that run.
    pub fn nodes(&self) -> impl Iterator<Item = &Gossiper> {
        self.nodes.iter().map(|node| &node.gossiper)
    }

    /// How many run.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The node of this number.
    pub fn node(&self, number: usize) -> &Gossiper {
        &self.nodes[number].gossiper
    }

    /// Waits until every node lists every other as alive, and returns how long that took from before the first one's
    /// start; `None` if it never comes.
    ///
    /// It looks at one node until that one is complete, then at the next, and last at all of them: to ask all of them
    /// each time would cost more than the nodes themselves do.
    pub fn wait_all_alive(&self) -> Option<Duration> {
        let others = self.nodes.len() - 1;
        let mut complete = 0;
        let period = self.period();
        poll(self.started, period, || {
            while complete < self.nodes.len() {
                if self.node(complete).live_peers().len() < others {
                    return false;
                }
                complete += 1;
            }
            complete = 0;
            self.nodes().all(|node| node.live_peers().len() == others)
        })
    }

    /// [`Cluster::wait_all_alive`], for a scenario that needs the cluster.
    ///
    /// # Errors
    /// If it never comes.
    pub fn require_all_alive(&self) -> Outcome<Duration> {
        let time = self
            .wait_all_alive()
            .ok_or_else(|| format!("the nodes did not all see each other within {TIME_LIMIT:?}"))?;
        self.settings.progress(|| format!("all alive after {time:?}"));
        Ok(time)
    }

    /// Whether any node lists this one as alive.
    pub fn anyone_lists(&self, peer: Peer) -> bool {
        self.nodes().any(|node| node.peer_info(peer).is_some_and(|info| info.state == PeerState::Alive))
    }

    /// How often to look at nodes while a time is being measured: a two-hundredth of the interval, within reason.
    pub fn period(&self) -> Duration {
        (self.settings.interval / 200).clamp(Duration::from_micros(500), Duration::from_millis(5))
    }

    /// How often a node took another for dead that had not been stopped.
    pub fn false_failures(&mut self) -> u64 {
        self.look_for_failures();
        self.false_failures
    }

    /// Reads the events of all nodes. To be called before any of them has [`EVENTS`] waiting; one that came too late is
    /// counted as false, so that none is hidden.
    fn look_for_failures(&mut self) {
        for node in &self.nodes {
            while let Some(event) = node.failures.try_recv() {
                match event {
                    Event::PeerFailed { peer, generation, phi } if !self.stopped.contains(&(peer, generation)) => {
                        self.false_failures += 1;
                        let observer = node.gossiper.peer();
                        self.settings
                            .progress(|| format!("{observer} takes {peer} for dead, at a suspicion of {phi:.1}"));
                    }
                    Event::Missed { count } => self.false_failures += count,
                    _ => {}
                }
            }
        }
    }

    /// Counters over all nodes.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for stats in self.nodes().map(Gossiper::stats) {
            if let Some(dropped) = stats.dropped_by_kernel {
                *totals.dropped.get_or_insert(0) += dropped;
            }
            totals.send_errors += stats.send_errors;
            totals.pauses += stats.pauses;
            totals.gaps += stats.gaps;
            totals.retries += stats.retries;
            totals.refused += stats.refused.total();
        }
        totals
    }
}

/// `keys` keys with values of `value_bytes` random bytes.
pub fn random_content(keys: usize, value_bytes: usize, dice: &mut fastrand::Rng) -> Content {
    (0..keys).map(|index| (key_name(index), random_value(value_bytes, dice))).collect()
}

/// The name of a node's key.
pub fn key_name(index: usize) -> String {
    format!("key-{index:05}")
}

/// Random text of this many bytes, of the 94 visible ASCII characters: as the peer's values, which have to be text.
pub fn random_value(bytes: usize, dice: &mut fastrand::Rng) -> Value {
    let text: String = (0..bytes).map(|_| char::from(dice.u8(b'!'..=b'~'))).collect();
    // Text that is encoded cannot fail; and should it, an empty value would show at once.
    Value::encode(&text).unwrap_or_else(|_| Value::from_bytes([]))
}
