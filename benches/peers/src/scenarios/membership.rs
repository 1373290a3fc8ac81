//! `join` and `detect`: members that come, and members that go.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::{progress, report_sample, start_uniform};
use crate::args::Settings;
use crate::cluster::{random_content, Cluster, TIME_LIMIT};
use crate::liveness::{poll_until, FailureWatch, MEASURING_PERIOD};
use crate::report::Report;
use crate::usage::resident_bytes;

/// Rounds to let pass before a node is stopped: failure detection depends on
/// what has been learned about the node until then.
const SETTLING_ROUNDS: f64 = 15.0;

/// All nodes start at once; how soon does each see all of them?
pub async fn join(settings: &Settings) -> anyhow::Result<Report> {
    let baseline = resident_bytes()?;
    let cluster = start_uniform(settings).await?;
    let all_alive = cluster.wait_all_live().await;
    let resident = resident_bytes()?;
    progress(settings, || format!("all live after {all_alive:?}"));

    let mut failures = cluster.watch_failures();
    failures.poll_for(settings.observe, settings.interval).await;

    let mut report = Report::new(settings);
    report.set_time("all_alive_ms", all_alive);
    report.set("rss_bytes", resident);
    report.set("rss_bytes_per_node", resident.saturating_sub(baseline) as f64 / settings.nodes as f64);
    report.set("false_failures", failures.false_failures());
    Ok(report)
}

/// A node falls silent; how soon does nobody take it for live any more?
pub async fn detect(settings: &Settings) -> anyhow::Result<Report> {
    let mut cluster = start_uniform(settings).await?;
    let all_alive = cluster.require_all_live().await?;
    progress(settings, || format!("all live after {all_alive:?}"));

    let mut failures = cluster.watch_failures();
    let mut times = Vec::with_capacity(settings.samples);
    for sample in 1..=settings.samples {
        // The random part keeps the end from falling on a particular phase of
        // the nodes' rounds.
        let settling = settings.interval.mul_f64(SETTLING_ROUNDS + fastrand::f64());
        failures.poll_for(settling, settings.interval).await;
        let time = stop_and_restart(settings, &mut cluster, &mut failures).await?;
        report_sample(settings, sample, time);
        times.push(time);
    }

    let mut report = Report::new(settings);
    report.set_time("all_alive_ms", Some(all_alive));
    report.set_times("detect_ms", &times);
    report.set("false_failures", failures.false_failures());
    Ok(report)
}

/// One sample of `detect`. Leaves a complete cluster behind.
async fn stop_and_restart(
    settings: &Settings,
    cluster: &mut Cluster,
    failures: &mut FailureWatch,
) -> anyhow::Result<Option<Duration>> {
    // Never the seed.
    let number = fastrand::usize(1..settings.nodes);
    failures.poll();
    failures.stop(number, cluster.node(number)?.id());
    let silent_since = Instant::now();
    let stopped = cluster.stop(number).await?;
    // That all others agree is asked of one moment, not of each in turn:
    // chitchat takes a dead node for live again when it hears, late, of a
    // heartbeat after the last one it knew.
    let unlisted = poll_until(MEASURING_PERIOD, TIME_LIMIT, async || {
        failures.poll();
        !cluster.anyone_lists(stopped.id())
    })
    .await;

    let content = random_content(settings.keys, settings.value_bytes);
    cluster.restart(stopped, content).await?;
    failures.add(number, cluster.node(number)?.live());
    poll_until(MEASURING_PERIOD, TIME_LIMIT, async || {
        failures.poll();
        cluster.all_live()
    })
    .await
    .with_context(|| format!("node {number} and the others did not all see each other again"))?;
    Ok(unlisted.map(|at| at - silent_since))
}
