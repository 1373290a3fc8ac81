//! The scenarios, in groups: how a cluster's members come and go, how its
//! data travels, and what it costs.

mod cost;
mod data;
mod membership;

use std::time::Duration;

use crate::args::{Scenario, Settings};
use crate::cluster::{random_content, Cluster};
use crate::report::{millis, Report};

/// Runs the scenario that the settings name.
pub async fn run(settings: &Settings) -> anyhow::Result<Report> {
    match settings.scenario {
        Scenario::Join => membership::join(settings).await,
        Scenario::Detect => membership::detect(settings).await,
        Scenario::Spread => data::spread(settings).await,
        Scenario::Newcomer => data::newcomer(settings).await,
        Scenario::Idle => cost::idle(settings).await,
    }
}

/// Starts a cluster in which every node has keys of its own.
async fn start_uniform(settings: &Settings) -> anyhow::Result<Cluster> {
    let contents = (0..settings.nodes).map(|_| random_content(settings.keys, settings.value_bytes)).collect();
    Cluster::start(settings, contents).await
}

/// Waits for a random part of an interval, so that what follows falls on no
/// particular phase of the nodes' rounds.
async fn random_phase(interval: Duration) {
    tokio::time::sleep(interval.mul_f64(fastrand::f64())).await;
}

/// Reports progress on standard error, if asked for.
fn progress(settings: &Settings, message: impl FnOnce() -> String) {
    if settings.verbose {
        eprintln!("{}: {}", settings.scenario.name(), message());
    }
}

/// Reports the progress of a scenario that takes samples.
fn report_sample(settings: &Settings, sample: usize, time: Option<Duration>) {
    progress(settings, || match time {
        Some(time) => format!("sample {sample}: {:.1} ms", millis(time)),
        None => format!("sample {sample}: not in time"),
    });
}
