//! One scenario with one cluster of Grapevine nodes, in this process. It prints one JSON object on standard output.
//!
//! Arguments and fields are those of the peer's harness (`benches/peers`), so that the parent can run either.

mod cost;
mod data;
mod lossy;
mod membership;
mod nodes;
mod seal;
mod settings;
mod usage;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::Outcome;
use crate::arguments::Arguments;
use crate::child::nodes::Cluster;
use crate::child::settings::{Scenario, Settings};

/// How long anything may take before it counts as not happening.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// Runs the scenario that the arguments name.
///
/// # Errors
/// If they are not understood, a node cannot be started, or the cluster never forms.
pub fn run(arguments: Arguments) -> Outcome<()> {
    let Some(settings) = Settings::parse(arguments)? else {
        print!("{}", settings::USAGE);
        return Ok(());
    };
    let mut report = settings.report();
    let measured = match settings.scenario {
        Scenario::Join => membership::join(&settings)?,
        Scenario::Detect => membership::detect(&settings)?,
        Scenario::Spread => data::spread(&settings)?,
        Scenario::Newcomer => data::newcomer(&settings)?,
        Scenario::Idle => cost::idle(&settings)?,
        Scenario::Seal => seal::seal(&settings)?,
    };
    report.extend(measured);
    println!("{}", Value::Object(report));
    Ok(())
}

/// What a scenario measured, by the names that the parent reads.
type Report = Map<String, Value>;

/// What is worth knowing of every run: whether anything went wrong that the figures do not show.
fn health(cluster: &mut Cluster) -> Report {
    let totals = cluster.totals();
    let mut report = Report::new();
    report.insert("false_failures".into(), json!(cluster.false_failures()));
    report.insert("dropped_by_kernel".into(), json!(totals.dropped));
    report.insert("send_errors".into(), json!(totals.send_errors));
    report.insert("pauses".into(), json!(totals.pauses));
    report.insert("gaps".into(), json!(totals.gaps));
    report.insert("retries".into(), json!(totals.retries));
    report.insert("refused".into(), json!(totals.refused));
    report
}

/// Looks every `period` whether `done` holds, and returns after how long, counted from `since`, it was seen to; `None`
/// after [`TIME_LIMIT`]. The period bounds the error.
fn poll(since: Instant, period: Duration, mut done: impl FnMut() -> bool) -> Option<Duration> {
    let deadline = Instant::now() + TIME_LIMIT;
    loop {
        if done() {
            return Some(since.elapsed());
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(period);
    }
}

/// Waits for a random part of an interval, so that what follows falls on no particular phase of the nodes' rounds.
fn random_phase(settings: &Settings, dice: &mut fastrand::Rng) {
    std::thread::sleep(settings.interval.mul_f64(dice.f64()));
}

/// Random numbers that differ from run to run.
fn dice() -> fastrand::Rng {
    fastrand::Rng::with_seed(RandomState::new().build_hasher().finish())
}

/// A duration in milliseconds, as reports give it.
fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// A list of times in milliseconds, null for what never happened.
fn millis_of(times: &[Option<Duration>]) -> Value {
    times.iter().map(|time| time.map(millis)).collect()
}
