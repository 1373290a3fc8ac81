//! `spread` and `newcomer`: how a value travels, and a whole map.

use std::time::{Duration, Instant};

use grapevine::subscription::Subscription;
use grapevine::{Event, EventFilter, EventKind, Gossiper, Peer};
use serde_json::json;

use crate::Outcome;
use crate::child::nodes::{Cluster, key_name, random_content, random_value};
use crate::child::settings::Settings;
use crate::child::{Report, dice, health, millis, millis_of, poll, random_phase};

/// Rounds after the start until the cluster is left to itself: every map is everywhere, digests are short, no news is
/// told.
const SETTLING_ROUNDS: u32 = 10;
/// Rounds that the nodes of `newcomer` settle in, as in the peer's harness.
const SETTLING_ROUNDS_OF_TWO: u32 = 5;
/// After a value is everywhere its news is told in two or three more waves, a tenth of an interval apart, until enough
/// in a row knew it. After half an interval it has died out and is not in the next sample's way.
const DYING_OUT: f64 = 0.5;

/// A node sets a key; how soon do all nodes hold the new value?
pub fn spread(settings: &Settings) -> Outcome<Report> {
    let mut dice = dice();
    let mut cluster = Cluster::start(settings)?;
    let all_alive = cluster.require_all_alive()?;
    std::thread::sleep(settings.interval * SETTLING_ROUNDS);

    let observer = Observer::subscribe(&cluster);
    let mut times = Vec::with_capacity(settings.samples);
    for sample in 1..=settings.samples {
        std::thread::sleep(settings.interval.mul_f64(DYING_OUT));
        random_phase(settings, &mut dice);
        let writer = cluster.node(dice.usize(..settings.nodes));
        let key = key_name(dice.usize(..settings.keys));
        let value = random_value(settings.value_bytes, &mut dice);

        let set_at = Instant::now();
        let version = writer.set_value(&key, value, None)?;
        let time = observer.wait_for(writer.peer(), version, set_at);
        settings.progress(|| format!("sample {sample}: {time:?}"));
        times.push(time);
    }

    let mut report = health(&mut cluster);
    report.insert("all_alive_ms".into(), json!(millis(all_alive)));
    report.insert("spread_ms".into(), millis_of(&times));
    Ok(report)
}

/// Sees every node take in a value.
///
/// Every node has a subscription to changes of keys, and one thread looks into all of them, every half millisecond. A
/// look at an empty channel takes no lock and a few nanoseconds, so that all hundred take a few microseconds, about one
/// hundredth of a core; the nodes put one event for each value into a channel in which nobody sleeps. To wait *in* the
/// channels, or in `wait_until` of every node, would wake a thread for each of the nodes just when all of them compete
/// for the cores; to read the maps instead would take each node's lock two thousand times a second. The price is that a
/// time is up to half a millisecond too long.
struct Observer {
    subscriptions: Vec<Subscription>,
    period: Duration,
}

impl Observer {
    fn subscribe(cluster: &Cluster) -> Self {
        let updates = EventFilter::all().kinds([EventKind::Update]);
        Observer {
            subscriptions: cluster.nodes().map(|node| node.subscribe_to(updates.clone())).collect(),
            period: Duration::from_micros(500),
        }
    }

    /// Waits until every node, the writer included, took in this version of the writer's map.
    fn wait_for(&self, writer: Peer, version: u64, set_at: Instant) -> Option<Duration> {
        let mut waiting: Vec<&Subscription> = self.subscriptions.iter().collect();
        poll(set_at, self.period, || {
            waiting.retain(|subscription| {
                !std::iter::from_fn(|| subscription.try_recv()).any(|event| is_of(&event, writer, version))
            });
            waiting.is_empty()
        })
    }
}

/// Whether an event tells of this version. It is of the sample at hand only: an earlier one's was waited for.
fn is_of(event: &Event, writer: Peer, version: u64) -> bool {
    matches!(event, Event::Update { peer, version: told, .. } if *peer == writer && *told == version)
}

/// A fresh node joins a settled cluster; how soon does it hold every key?
///
/// Every sample has a cluster of its own, as in the peer's harness: whoever was a newcomer before would take part.
pub fn newcomer(settings: &Settings) -> Outcome<Report> {
    let mut times = Vec::with_capacity(settings.samples);
    let mut report = Report::new();
    for sample in 1..=settings.samples {
        let (time, health) = time_newcomer(settings)?;
        settings.progress(|| format!("sample {sample}: {time:?} {health:?}"));
        times.push(time);
        // The counters of all samples together.
        for (name, count) in health {
            let sum = report.get(&name).and_then(|sum| sum.as_u64()).unwrap_or(0);
            report.insert(name, json!(sum + count.as_u64().unwrap_or(0)));
        }
    }
    report.insert("newcomer_ms".into(), millis_of(&times));
    Ok(report)
}

/// One sample of `newcomer`, from the first node to the last.
fn time_newcomer(settings: &Settings) -> Outcome<(Option<Duration>, Report)> {
    let mut dice = dice();
    // The seed owns the keys, and so is where the newcomer asks first.
    let mut contents = vec![Vec::new(); settings.nodes];
    contents[0] = random_content(settings.keys, settings.value_bytes, &mut dice);
    let mut cluster = Cluster::start_with(settings, contents)?;
    cluster.require_all_alive()?;
    let owner = cluster.node(0).peer();
    for number in 1..settings.nodes {
        let node = cluster.node(number).clone();
        let settled = poll(Instant::now(), cluster.period(), || holds_all(&node, owner, settings.keys));
        settled.ok_or_else(|| format!("node {number} never held all keys"))?;
    }
    std::thread::sleep(settings.interval * SETTLING_ROUNDS_OF_TWO);
    random_phase(settings, &mut dice);

    let started = Instant::now();
    let number = cluster.add(Vec::new())?;
    let node = cluster.node(number).clone();
    let time = poll(started, Duration::from_micros(500), || holds_all(&node, owner, settings.keys));
    Ok((time, health(&mut cluster)))
}

/// Whether a node holds all keys of the owner. Maps are filled in the order of versions, so the last key tells cheaply
/// when it is worth counting.
fn holds_all(node: &Gossiper, owner: Peer, keys: usize) -> bool {
    node.get_from(owner, &key_name(keys - 1)).is_some() && node.peer_info(owner).is_some_and(|info| info.keys >= keys)
}
