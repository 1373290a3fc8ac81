//! What a service counts.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::service::lock::Mutex;
use crate::sync::{AtomicU64, Ordering};

/// A line of the log for the same reason at most this often.
const LOG_PERIOD: Duration = Duration::from_secs(60);
/// Longer times are counted as this one.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Counters and sizes of a [`Service`](crate::service::Service) since its start.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServiceStats {
    /// Own calls that have ended, in a result or an error; without those that nobody waits for.
    pub calls: u64,
    /// Of these, the ones that ended in an error.
    pub call_errors: u64,
    /// How often a call was moved to another provider.
    pub calls_moved: u64,
    /// How long own calls took.
    pub call_time: Latency,
    /// Requests that came from others.
    pub requests: u64,
    /// Of these, the ones that were answered with an error.
    pub request_errors: u64,
    /// Of these, the ones of which nothing was run because nobody waited for the answer any more.
    pub requests_expired: u64,
    /// How long they took, from the line to the answer.
    pub request_time: Latency,
    /// Requests that wait for a thread.
    pub queue: usize,
    /// Connections that others have open here.
    pub connections: usize,
    /// Lines, connections and advertisements that were refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Who offers actions, and how calls to it went.
    pub providers: Vec<ProviderStats>,
}

/// How calls to one provider went.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProviderStats {
    /// Its address, `HOST:PORT`.
    pub addr: String,
    /// Calls that went to a connection to it.
    pub calls: u64,
    /// Calls for which there was no connection, or that it did not answer: connections that broke, and time-outs.
    pub unanswered: u64,
    /// Those that wait for an answer now.
    pub in_flight: usize,
    /// Open connections.
    pub connections: usize,
    /// How long it is left alone because it keeps failing; zero if it is not.
    pub resting: Duration,
}

/// How long things took. A percentile is right to within one hundredth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // The names say it.
pub struct Latency {
    pub p50: Duration,
    pub p90: Duration,
    pub p99: Duration,
    pub max: Duration,
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50, p90, p99, max } = self;
        write!(f, "p50 {p50:.1?}, p90 {p90:.1?}, p99 {p99:.1?}, max {max:.1?}")
    }
}

/// The counters of a running service.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) calls: AtomicU64,
    pub(super) call_errors: AtomicU64,
    pub(super) calls_moved: AtomicU64,
    pub(super) call_time: Times,
    pub(super) requests: AtomicU64,
    pub(super) request_errors: AtomicU64,
    pub(super) requests_expired: AtomicU64,
    pub(super) request_time: Times,
    refused: Mutex<BTreeMap<&'static str, Refusals>>,
}

#[derive(Default)]
struct Refusals {
    count: u64,
    told: Option<Instant>,
}

impl Counters {
    /// Counts what was refused, and says so in the log at most once a minute for each reason.
    pub(super) fn refuse(&self, reason: &'static str, from: Option<SocketAddr>, problem: &dyn fmt::Display) {
        let now = crate::sync::now();
        let mut refused = self.refused.lock();
        let refusals = refused.entry(reason).or_default();
        refusals.count += 1;
        if refusals.told.is_some_and(|told| now - told < LOG_PERIOD) {
            return;
        }
        refusals.told = Some(now);
        drop(refused);
        match from {
            Some(from) => log::warn!("refused from {from}: {reason}: {problem}"),
            None => log::warn!("refused: {reason}: {problem}"),
        }
    }

    pub(super) fn refused(&self) -> BTreeMap<&'static str, u64> {
        self.refused.lock().iter().map(|(reason, refusals)| (*reason, refusals.count)).collect()
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// How long things took, in microseconds.
#[derive(Default)]
pub(super) struct Times(Mutex<Option<Histogram<u32>>>);

impl Times {
    pub(super) fn add(&self, time: Duration) {
        let micros = u64::try_from(time.min(LONGEST).as_micros()).unwrap_or(u64::MAX).max(1);
        let mut times = self.0.lock();
        if times.is_none() {
            *times = Histogram::new_with_max(LONGEST.as_micros() as u64, 2).ok();
        }
        if let Some(times) = times.as_mut() {
            times.saturating_record(micros);
        }
    }

    pub(super) fn latency(&self) -> Latency {
        let times = self.0.lock();
        let Some(times) = times.as_ref() else { return Latency::default() };
        let at = |percentile| Duration::from_micros(times.value_at_percentile(percentile));
        Latency { p50: at(50.0), p90: at(90.0), p99: at(99.0), max: Duration::from_micros(times.max()) }
    }
}
