//! `idle`: what a cluster costs in which nothing happens.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::Outcome;
use crate::child::nodes::Cluster;
use crate::child::settings::Settings;
use crate::child::usage::{Reading, resident_bytes};
use crate::child::{Report, health, millis};

/// How long the news of the start may take to die down: the longer of this many rounds and this time, which is that of
/// the peer's harness.
const SETTLING_ROUNDS: u32 = 10;
const SETTLING_TIME: Duration = Duration::from_secs(3);

/// The cost of a settled cluster, per node; with `--alone`, of nodes that know of no other.
pub fn idle(settings: &Settings) -> Outcome<Report> {
    let baseline = resident_bytes()?;
    let mut cluster = Cluster::start(settings)?;
    let all_alive = if settings.alone { None } else { Some(cluster.require_all_alive()?) };
    std::thread::sleep(SETTLING_TIME.max(settings.interval * SETTLING_ROUNDS));

    // The traffic first and last: reading it takes a while, and is not to be seen in the other figures.
    let traffic = Traffic::of(&cluster);
    let before = Reading::take()?;
    std::thread::sleep(settings.observe);
    let used = before.used()?;
    let (bytes, datagrams) = traffic.rates_until(&Traffic::of(&cluster));
    let resident = resident_bytes()?;

    let nodes = settings.nodes as f64;
    let node_seconds = nodes * used.wall.as_secs_f64();
    let node_rounds = node_seconds / settings.interval.as_secs_f64();
    let mut report = health(&mut cluster);
    let mut add = |name: &str, value: f64| report.insert(name.to_owned(), json!(value));
    add("cpu_cores_per_node", used.cpu.as_secs_f64() / node_seconds);
    add("bytes_per_node_per_s", bytes);
    add("datagrams_per_node_per_s", datagrams);
    add("rss_bytes_per_node", resident.saturating_sub(baseline) as f64 / nodes);
    add("allocations_per_node_per_round", used.allocations as f64 / node_rounds);
    add("allocated_bytes_per_node_per_round", used.allocated_bytes as f64 / node_rounds);
    report.insert("all_alive_ms".into(), json!(all_alive.map(millis)));
    report.insert("rss_bytes".into(), json!(resident));
    Ok(report)
}

/// What each node has sent, and when it was asked.
struct Traffic(Vec<(Instant, u64, u64)>);

impl Traffic {
    fn of(cluster: &Cluster) -> Self {
        let read = cluster.nodes().map(|node| {
            let stats = node.stats();
            (Instant::now(), stats.bytes_sent, stats.datagrams_sent)
        });
        Traffic(read.collect())
    }

    /// Bytes and datagrams per second of the average node between two readings.
    fn rates_until(&self, later: &Traffic) -> (f64, f64) {
        let (mut bytes, mut datagrams) = (0.0, 0.0);
        for (from, to) in self.0.iter().zip(&later.0) {
            let seconds = (to.0 - from.0).as_secs_f64();
            bytes += (to.1 - from.1) as f64 / seconds;
            datagrams += (to.2 - from.2) as f64 / seconds;
        }
        let nodes = self.0.len() as f64;
        (bytes / nodes, datagrams / nodes)
    }
}
