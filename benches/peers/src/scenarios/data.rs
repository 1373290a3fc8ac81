//! `spread` and `newcomer`: how a value travels, and a whole state.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use chitchat::{ChitchatHandle, ChitchatId, KeyChangeEvent};
use tokio::sync::mpsc;

use super::{progress, random_phase, report_sample, start_uniform};
use crate::args::Settings;
use crate::cluster::{key_name, random_content, random_text, Cluster, TIME_LIMIT};
use crate::liveness::{poll_until, MEASURING_PERIOD};
use crate::report::Report;

/// The digits at the start of a fresh value, which tell the sample it is of.
const MARK_DIGITS: usize = 8;

/// Rounds that the nodes of `newcomer` get to settle in, once they all hold
/// all keys.
const SETTLING_ROUNDS: u32 = 5;

/// A node sets a key; how soon do all nodes read the new value?
pub async fn spread(settings: &Settings) -> anyhow::Result<Report> {
    let cluster = start_uniform(settings).await?;
    let all_alive = cluster.require_all_live().await?;
    progress(settings, || format!("all live after {all_alive:?}"));

    let mut readers = Readers::subscribe(&cluster).await;
    let mut times = Vec::with_capacity(settings.samples);
    for sample in 1..=settings.samples {
        random_phase(settings.interval).await;
        let time = readers.time_one(settings, &cluster, sample as u64).await?;
        report_sample(settings, sample, time);
        times.push(time);
    }

    let mut report = Report::new(settings);
    report.set_time("all_alive_ms", Some(all_alive));
    report.set_times("spread_ms", &times);
    Ok(report)
}

/// Sees every node read a fresh value.
///
/// It listens to chitchat's key change events rather than ask the nodes again
/// and again: chitchat calls a listener once per node and new value, at the
/// very moment the value enters the node's state, so the time is exact and
/// waiting for it costs nothing.
struct Readers {
    tally: Arc<Mutex<Tally>>,
    /// The samples that have been read by all, and when by the last.
    complete: mpsc::UnboundedReceiver<(u64, Instant)>,
}

/// Which nodes have read the value of the current sample.
struct Tally {
    sample: u64,
    read: Vec<bool>,
}

impl Tally {
    /// Takes note of a value read; true if this was the last node to do so.
    fn note(&mut self, node: usize, value: &str) -> bool {
        // A value of an earlier sample may arrive late; and chitchat may, if
        // it has to reset a state, announce the same value twice.
        if mark_of(value) != Some(self.sample) || self.read[node] {
            return false;
        }
        self.read[node] = true;
        self.read.iter().all(|read| *read)
    }
}

impl Readers {
    async fn subscribe(cluster: &Cluster) -> Self {
        let (sender, complete) = mpsc::unbounded_channel();
        let tally = Arc::new(Mutex::new(Tally { sample: 0, read: vec![false; cluster.nodes().count()] }));
        for (number, node) in cluster.nodes() {
            let tally = Arc::clone(&tally);
            let sender = sender.clone();
            let listener = move |event: KeyChangeEvent<'_>| {
                let mut tally = lock(&tally);
                if tally.note(number, event.value) {
                    // It fails only when the run is over.
                    let _ = sender.send((tally.sample, Instant::now()));
                }
            };
            node.handle().chitchat().lock().await.subscribe_event("", listener).forever();
        }
        Readers { tally, complete }
    }

    /// Sets a fresh value on a random node and waits for all to read it.
    async fn time_one(
        &mut self,
        settings: &Settings,
        cluster: &Cluster,
        sample: u64,
    ) -> anyhow::Result<Option<Duration>> {
        let writer = cluster.node(fastrand::usize(0..settings.nodes))?;
        let key = key_name(fastrand::usize(0..settings.keys));
        let value = marked_value(sample, settings.value_bytes);
        {
            let mut tally = lock(&self.tally);
            tally.sample = sample;
            tally.read.fill(false);
        }

        let set_at = Instant::now();
        writer.handle().with_chitchat(|chitchat| chitchat.self_node_state().set(&key, &value)).await;
        let complete = async {
            loop {
                match self.complete.recv().await {
                    Some((read, at)) if read == sample => return Some(at),
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        let read_at = tokio::time::timeout(TIME_LIMIT, complete).await;
        Ok(read_at.ok().flatten().map(|at| at - set_at))
    }
}

/// Locks the tally. A panic while it was locked cannot have left it half
/// changed in a way that matters.
fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A value of `bytes` random bytes that begins with the number of its sample.
/// It is longer if the number does not fit.
fn marked_value(sample: u64, bytes: usize) -> String {
    let filler = random_text(bytes.saturating_sub(MARK_DIGITS));
    format!("{sample:0width$}{filler}", width = MARK_DIGITS)
}

/// The sample that a value is of, if it is of any.
fn mark_of(value: &str) -> Option<u64> {
    value.get(..MARK_DIGITS)?.parse().ok()
}

/// A fresh node joins a settled cluster; how soon does it hold every key?
///
/// Every sample has a cluster of its own. chitchat has no goodbye, so nodes
/// that were newcomers before would stay listed, first as live and then as
/// dead, and take gossip that is meant for the next one.
pub async fn newcomer(settings: &Settings) -> anyhow::Result<Report> {
    let mut times = Vec::with_capacity(settings.samples);
    for sample in 1..=settings.samples {
        let time = time_newcomer(settings).await?;
        report_sample(settings, sample, time);
        times.push(time);
    }
    let mut report = Report::new(settings);
    report.set_times("newcomer_ms", &times);
    Ok(report)
}

/// One sample of `newcomer`, from the first node to the last.
async fn time_newcomer(settings: &Settings) -> anyhow::Result<Option<Duration>> {
    // The seed owns the keys, and so is where the newcomer asks first.
    let mut contents = vec![Vec::new(); settings.nodes];
    contents[0] = random_content(settings.keys, settings.value_bytes);
    let mut cluster = Cluster::start(settings, contents).await?;
    cluster.require_all_live().await?;
    let owner = cluster.node(0)?.id().clone();
    for number in 1..settings.nodes {
        let handle = cluster.node(number)?.handle();
        poll_until(MEASURING_PERIOD, TIME_LIMIT, async || holds_all(handle, &owner, settings.keys).await)
            .await
            .with_context(|| format!("node {number} never held all keys"))?;
    }
    tokio::time::sleep(settings.interval * SETTLING_ROUNDS).await;
    random_phase(settings.interval).await;

    let started_at = Instant::now();
    cluster.start_fresh(settings.nodes).await?;
    let handle = cluster.node(settings.nodes)?.handle();
    let complete =
        poll_until(MEASURING_PERIOD, TIME_LIMIT, async || holds_all(handle, &owner, settings.keys).await).await;
    cluster.shut_down().await?;
    Ok(complete.map(|at| at - started_at))
}

/// Whether a node holds all keys of the owner.
///
/// chitchat transfers keys in the order of their versions, which count from
/// one, so the version tells cheaply when it is worth counting.
async fn holds_all(node: &ChitchatHandle, owner: &ChitchatId, keys: usize) -> bool {
    node.with_chitchat(|chitchat| {
        chitchat
            .node_state(owner)
            .is_some_and(|state| state.max_version() >= keys as u64 && state.num_key_values() >= keys)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tally_is_complete_once_every_node_has_read_the_current_value() {
        let mut tally = Tally { sample: 2, read: vec![false; 2] };
        let current = marked_value(2, 32);
        assert!(!tally.note(0, &current));
        assert!(!tally.note(0, &current));
        assert!(!tally.note(1, &marked_value(1, 32)));
        assert!(tally.note(1, &current));
        assert!(!tally.note(1, &current));
    }

    #[test]
    fn a_fresh_value_has_its_length_and_tells_its_sample() {
        let value = marked_value(17, 32);
        assert_eq!(value.len(), 32);
        assert_eq!(mark_of(&value), Some(17));
        assert_eq!(mark_of(&marked_value(17, 3)), Some(17));
        assert_eq!(mark_of("short"), None);
    }
}
