//! `idle`: what a cluster costs in which nothing happens.

use std::time::Duration;

use super::{progress, start_uniform};
use crate::args::Settings;
use crate::report::Report;
use crate::usage::{resident_bytes, Meter};

/// How long to let the news of the start die down.
const SETTLING_TIME: Duration = Duration::from_secs(3);

/// The cost of a settled cluster, per node.
pub async fn idle(settings: &Settings) -> anyhow::Result<Report> {
    let baseline = resident_bytes()?;
    let cluster = start_uniform(settings).await?;
    let all_alive = cluster.require_all_live().await?;
    progress(settings, || format!("all live after {all_alive:?}"));
    tokio::time::sleep(SETTLING_TIME).await;

    let mut failures = cluster.watch_failures();
    let before = Meter::read(cluster.traffic());
    failures.poll_for(settings.observe, settings.interval).await;
    let used = before.used_until(&Meter::read(cluster.traffic()));
    let resident = resident_bytes()?;

    let nodes = settings.nodes as f64;
    let node_seconds = nodes * used.wall.as_secs_f64();
    let node_rounds = node_seconds / settings.interval.as_secs_f64();
    let mut report = Report::new(settings);
    report.set_time("all_alive_ms", Some(all_alive));
    report.set("cpu_cores_per_node", used.cpu.as_secs_f64() / node_seconds);
    report.set("bytes_per_node_per_s", used.payload_bytes as f64 / node_seconds);
    report.set("datagrams_per_node_per_s", used.datagrams as f64 / node_seconds);
    report.set("rss_bytes_per_node", resident.saturating_sub(baseline) as f64 / nodes);
    let per_round = |total: usize| total as f64 / node_rounds;
    let heap = used.heap.as_ref();
    report.set("allocations_per_node_per_round", heap.map(|heap| per_round(heap.allocations)));
    report.set("allocated_bytes_per_node_per_round", heap.map(|heap| per_round(heap.bytes)));
    report.set("false_failures", failures.false_failures());
    Ok(report)
}
