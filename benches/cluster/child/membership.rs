//! `join` and `detect`: members that come, and members that go.

use std::time::Instant;

use serde_json::json;

use crate::Outcome;
use crate::child::nodes::Cluster;
use crate::child::settings::Settings;
use crate::child::usage::resident_bytes;
use crate::child::{Report, dice, health, millis, millis_of, poll, random_phase};

/// Rounds that pass before a node is stopped: detection depends on what has been learned about it until then. The
/// peer's harness waits as long.
const SETTLING_ROUNDS: u32 = 15;

/// All nodes start at once; how soon does each list all of them as alive?
pub fn join(settings: &Settings) -> Outcome<Report> {
    let baseline = resident_bytes()?;
    let mut cluster = Cluster::start(settings)?;
    let all_alive = cluster.wait_all_alive();
    let resident = resident_bytes()?;
    settings.progress(|| format!("all alive after {all_alive:?}"));
    // Nothing to do but to be there: failures are events that wait until they are read.
    std::thread::sleep(settings.observe);

    let mut report = health(&mut cluster);
    report.insert("all_alive_ms".into(), json!(all_alive.map(millis)));
    report.insert("rss_bytes".into(), json!(resident));
    let grown = resident.saturating_sub(baseline);
    report.insert("rss_bytes_per_node".into(), json!(grown as f64 / settings.nodes as f64));
    Ok(report)
}

/// A node falls silent; how soon does nobody list it as alive any more?
///
/// Before the first one the cluster is left alone for a while: detectors learn how regular heartbeats are, and nobody
/// stops a cluster's node in its first minute. The whole time is watched for false failures.
pub fn detect(settings: &Settings) -> Outcome<Report> {
    let mut dice = dice();
    let mut cluster = Cluster::start(settings)?;
    let all_alive = cluster.require_all_alive()?;

    let watched_since = Instant::now();
    std::thread::sleep(settings.observe);
    let mut times = Vec::with_capacity(settings.samples);
    for sample in 1..=settings.samples {
        std::thread::sleep(settings.interval * SETTLING_ROUNDS);
        random_phase(settings, &mut dice);

        // Never the seed.
        let number = dice.usize(1..cluster.len());
        let silent_since = Instant::now();
        let stopped = cluster.stop(number);
        // All others at one moment, not each in turn: nobody may bring it back.
        let time = poll(silent_since, cluster.period(), || !cluster.anyone_lists(stopped));
        settings.progress(|| format!("sample {sample}: {time:?}"));
        times.push(time);
        cluster.false_failures();

        cluster.restart(stopped)?;
        cluster.require_all_alive()?;
        cluster.false_failures();
    }

    let mut report = health(&mut cluster);
    report.insert("all_alive_ms".into(), json!(millis(all_alive)));
    report.insert("detect_ms".into(), millis_of(&times));
    report.insert("watched_s".into(), json!(watched_since.elapsed().as_secs_f64()));
    Ok(report)
}
