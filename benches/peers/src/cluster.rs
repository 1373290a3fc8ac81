//! A cluster of chitchat nodes in this process.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use chitchat::{spawn_chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig};

use crate::args::Settings;
use crate::liveness::{poll_until, FailureWatch, LiveNodes, MEASURING_PERIOD};
use crate::transport::{MeteredUdp, Traffic};

/// How long anything may take before it counts as not happening.
pub const TIME_LIMIT: Duration = Duration::from_secs(120);

/// How long chitchat keeps the trace of a deleted key. Its configuration has
/// no default to take over; a quarter of an hour is what its own tests use.
/// Nothing is deleted here.
const TOMBSTONE_GRACE: Duration = Duration::from_secs(15 * 60);

/// A running node.
pub struct Node {
    id: ChitchatId,
    handle: ChitchatHandle,
    live: LiveNodes,
}

impl Node {
    pub fn id(&self) -> &ChitchatId {
        &self.id
    }

    pub fn handle(&self) -> &ChitchatHandle {
        &self.handle
    }

    pub fn live(&self) -> &LiveNodes {
        &self.live
    }
}

/// Nodes by number. Node 0 is the seed of all others.
pub struct Cluster {
    interval: Duration,
    wire: chitchat::ProtocolVersion,
    transport: MeteredUdp,
    seed: SocketAddr,
    /// The generation of the node started last.
    generation: u64,
    /// When the first node was started.
    started_at: Instant,
    running: BTreeMap<usize, Node>,
}

impl Cluster {
    /// Starts one node per item of `contents`, the key-value pairs that the
    /// nodes own from the start.
    pub async fn start(settings: &Settings, contents: Vec<Vec<(String, String)>>) -> anyhow::Result<Self> {
        let ports = contents.iter().map(|_| Port::any()).collect::<anyhow::Result<Vec<_>>>()?;
        let seed = ports.first().context("a cluster needs a node")?.addr;
        let mut cluster = Cluster {
            interval: settings.interval,
            wire: settings.wire,
            transport: MeteredUdp::new(settings.loss_percent),
            seed,
            generation: 0,
            started_at: Instant::now(),
            running: BTreeMap::new(),
        };
        for (number, (port, content)) in ports.into_iter().zip(contents).enumerate() {
            cluster.start_at(number, port, content).await?;
        }
        Ok(cluster)
    }

    /// Starts a fresh node of a number that is not in use.
    pub async fn start_fresh(&mut self, number: usize) -> anyhow::Result<()> {
        self.start_at(number, Port::any()?, Vec::new()).await
    }

    /// Stops a node on the spot. chitchat has no goodbye to leave out: the
    /// others notice only that it has fallen silent.
    pub async fn stop(&mut self, number: usize) -> anyhow::Result<StoppedNode> {
        let node = self.running.remove(&number).with_context(|| format!("node {number} does not run"))?;
        let ended = node.handle.termination_watcher();
        node.handle.abort();
        // The outcome is that the task was cut off, as it was meant to be.
        let _ = ended.await;
        Ok(StoppedNode { number, port: Port::at(node.id.gossip_advertise_addr)?, id: node.id })
    }

    /// Starts a stopped node again, at its old address.
    pub async fn restart(&mut self, stopped: StoppedNode, content: Vec<(String, String)>) -> anyhow::Result<()> {
        self.start_at(stopped.number, stopped.port, content).await
    }

    async fn start_at(&mut self, number: usize, port: Port, content: Vec<(String, String)>) -> anyhow::Result<()> {
        // chitchat wants a number that grows with every restart of a node, and
        // suggests the time of its start. Every node gets one of its own, as
        // if they were processes: that matters to how well digests compress.
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        self.generation = u64::try_from(now)?.max(self.generation + 1);
        let addr = port.addr;
        let id = ChitchatId::new(format!("node-{number}"), self.generation, addr);
        let config = ChitchatConfig {
            chitchat_id: id.clone(),
            cluster_id: "bench".to_owned(),
            gossip_interval: self.interval,
            listen_addr: addr,
            seed_nodes: if number == 0 { Vec::new() } else { vec![self.seed.to_string()] },
            failure_detector_config: FailureDetectorConfig::default(),
            marked_for_deletion_grace_period: TOMBSTONE_GRACE,
            catchup_callback: None,
            extra_liveness_predicate: None,
            protocol_version: self.wire,
        };
        // Until here the port was held; chitchat insists on binding itself.
        drop(port);
        let handle = spawn_chitchat(config, content, &self.transport).await?;
        let live = handle.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await;
        self.running.insert(number, Node { id, handle, live });
        Ok(())
    }

    /// The nodes that run, with their numbers.
    pub fn nodes(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.running.iter().map(|(number, node)| (*number, node))
    }

    /// The node of this number.
    pub fn node(&self, number: usize) -> anyhow::Result<&Node> {
        self.running.get(&number).with_context(|| format!("node {number} does not run"))
    }

    /// What the nodes have sent.
    pub fn traffic(&self) -> &Traffic {
        self.transport.traffic()
    }

    /// Watches all nodes that run for false failures from now on.
    pub fn watch_failures(&self) -> FailureWatch {
        let mut failures = FailureWatch::new();
        for (number, node) in &self.running {
            failures.add(*number, node.live());
        }
        failures
    }

    /// Whether every node sees all nodes that run as live.
    pub fn all_live(&self) -> bool {
        self.running.values().all(|node| {
            let live = node.live.borrow();
            // The count first: it is cheap and mostly settles the matter.
            live.len() >= self.running.len() && self.running.values().all(|other| live.contains_key(&other.id))
        })
    }

    /// Whether any node lists this id as live.
    pub fn anyone_lists(&self, id: &ChitchatId) -> bool {
        self.running.values().any(|node| node.live.borrow().contains_key(id))
    }

    /// Waits until all nodes see each other; `None` if they never do.
    pub async fn wait_all_live(&self) -> Option<Duration> {
        poll_until(MEASURING_PERIOD, TIME_LIMIT, async || self.all_live()).await.map(|at| at - self.started_at)
    }

    /// As [`Cluster::wait_all_live`], for a scenario that needs the cluster.
    pub async fn require_all_live(&self) -> anyhow::Result<Duration> {
        self.wait_all_live()
            .await
            .with_context(|| format!("the nodes did not all see each other within {} s", TIME_LIMIT.as_secs()))
    }

    /// Ends all nodes and waits until their sockets are closed.
    pub async fn shut_down(self) -> anyhow::Result<()> {
        for (_, node) in self.running {
            node.handle.shutdown().await?;
        }
        Ok(())
    }
}

/// A node that was stopped and may be started again.
pub struct StoppedNode {
    number: usize,
    id: ChitchatId,
    port: Port,
}

impl StoppedNode {
    /// What the node was called in its last life.
    pub fn id(&self) -> &ChitchatId {
        &self.id
    }
}

/// A UDP port that nobody else can take until this is dropped.
///
/// A node has to know its address before chitchat opens its socket, so the
/// system is asked for ports beforehand.
struct Port {
    addr: SocketAddr,
    _holder: UdpSocket,
}

impl Port {
    /// A port of the system's choice.
    fn any() -> anyhow::Result<Self> {
        Self::at((Ipv4Addr::LOCALHOST, 0).into())
    }

    fn at(addr: SocketAddr) -> anyhow::Result<Self> {
        let holder = UdpSocket::bind(addr).with_context(|| format!("cannot bind {addr} for UDP"))?;
        Ok(Port { addr: holder.local_addr().context("a socket has no address")?, _holder: holder })
    }
}

/// `keys` key-value pairs with values of `value_bytes` random bytes.
pub fn random_content(keys: usize, value_bytes: usize) -> Vec<(String, String)> {
    (0..keys).map(|index| (key_name(index), random_text(value_bytes))).collect()
}

/// The name of a node's key.
pub fn key_name(index: usize) -> String {
    format!("key-{index:05}")
}

/// Random text of this many bytes.
///
/// chitchat's values are strings, so a byte is one of the 94 visible ASCII
/// characters. chitchat compresses values; these leave little to compress.
pub fn random_text(bytes: usize) -> String {
    (0..bytes).map(|_| char::from(fastrand::u8(b'!'..=b'~'))).collect()
}
