//! The φ accrual failure detector: how sure one node is that a peer has stopped.
//!
//! After Hayashibara, Défago, Yared and Katayama, "The φ Accrual Failure Detector" (2004). From a window of intervals
//! between advances of a peer's heartbeat follow a mean and a standard deviation, and from these
//! φ = −log10 P(silence lasts longer than it does now). A peer whose φ reaches the threshold is suspected.
//! [`DetectorConfig`] adds what running systems found necessary.
//!
//! Three rules are the caller's to keep, since nothing in here can see them:
//! - One call of [`Detector::heartbeat`] for each *advance*, after it was applied; never for a mention of a heartbeat
//!   that was known (several samples for one heartbeat shrank the mean until clusters above 20 nodes flapped:
//!   ScyllaDB #2861).
//! - After a pause of one's own, [`Detector::shift`] every detector, and read what has arrived before asking any
//!   (five observers convicted healthy peers for their own pauses: restate #5156).
//! - No clock is read: times are the caller's [`Instant`]s.

mod config;
mod gauss;
#[cfg(test)]
mod tests;

pub use config::{DetectorConfig, Distribution};

use std::f64::consts::LN_10;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::instant::Instant;

/// A [`DetectorConfig`] worked out for one expected interval: everything that all detectors of a node have in common.
///
/// When the expected interval changes (the cluster grew), make another one of the same configuration and nominal
/// interval; the detectors go on with it as they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judge {
    distribution: Distribution,
    /// The threshold, in standard deviations above the mean (normal) or in means (exponential).
    reach: f64,
    window: usize,
    /// The resolution of a sample, in microseconds. The fields below that are times are in microseconds as well.
    unit: u64,
    expected: f64,
    pause: f64,
    min_std_dev_ratio: f64,
    min_std_dev: f64,
    max_std_dev: f64,
    max_sample: f64,
    start_up: f64,
}

impl Judge {
    /// Works out `config` for peers whose heartbeats should advance every `expected`, in a cluster that gossips every
    /// `nominal`.
    ///
    /// `nominal` sets the resolution of samples and must stay the same for as long as a detector lives: 1/1024 of it,
    /// but no less than 1 µs and no more than 33 s. Intervals up to 2,080 of it are told apart.
    ///
    /// `expected` may change at any time. Seen by one observer, a heartbeat advances every 1.0 gossip intervals with
    /// three partners a round, 1.1 with two and 1.5 with one. Where a digest does not fit into one round, take that
    /// times the number of rounds in which *one* partner would be sent all of it; advances are then about twice as
    /// frequent, as several partners send their parts, but in their tail they are not. (Each partner of a round should
    /// be sent another part: with the same for all three, the tail is half as long again.)
    ///
    /// Of a field that is outside its range the nearest value inside is taken;
    /// [`validate`](DetectorConfig::validate) tells beforehand.
    pub fn new(config: &DetectorConfig, nominal: Duration, expected: Duration) -> Self {
        let threshold = within(config.threshold, &config::THRESHOLD);
        let unit = (micros(nominal) / UNITS_PER_INTERVAL).clamp(1, MAX_UNIT);
        let expected = (micros(expected) as f64).max(1.0);
        let excess = (expected - micros(nominal) as f64).max(0.0);
        let min_std_dev = config.min_std_dev.min(*config::MIN_STD_DEV.end());
        Judge {
            distribution: config.distribution,
            reach: match config.distribution {
                Distribution::Normal => gauss::z_of(threshold),
                Distribution::Exponential => threshold * LN_10,
            },
            window: config.window.clamp(*config::WINDOW.start(), *config::WINDOW.end()),
            unit,
            expected,
            pause: within(config.pause, &config::PAUSE) * expected
                + within(config.extra_pause, &config::EXTRA_PAUSE) * excess,
            min_std_dev_ratio: within(config.min_std_dev_ratio, &config::MIN_STD_DEV_RATIO),
            min_std_dev: micros(min_std_dev).max(unit) as f64,
            max_std_dev: within(config.max_std_dev, &config::MAX_STD_DEV) * expected,
            max_sample: within(config.max_sample, &config::MAX_SAMPLE),
            start_up: within(config.start_up, &config::START_UP) * expected,
        }
    }
}

/// What one node knows of the rhythm of one peer's heartbeat.
///
/// 56 bytes, and two more for each interval remembered; these are allocated as intervals arrive, so that a peer only
/// heard of costs nothing further. All methods take the node's [`Judge`].
///
/// ```
/// use grapevine::detector::{Detector, DetectorConfig, Judge};
/// use grapevine::instant::Instant;
/// use std::time::Duration;
///
/// let second = Duration::from_secs(1);
/// let judge = Judge::new(&DetectorConfig::default(), second, second);
/// let mut detector = Detector::new();
/// let mut now = Instant::ZERO;
/// for _ in 0..100 {
///     now = now + second;
///     detector.heartbeat(now, &judge);
/// }
///
/// assert!(detector.phi(now + second, &judge) < 0.5);
/// assert!(!detector.suspect(now + 3 * second, &judge));
/// assert!(detector.suspect(now + 4 * second, &judge));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Detector {
    /// The window: intervals as [`encode`]d units.
    ring: Vec<u16>,
    /// Sum of the intervals in `ring`, in units: an integer, so that no error builds up however long it runs.
    sum: u64,
    /// Sum of their squares. At most 10,000 · 2,129,792² = 4.5e16.
    sum_of_squares: u64,
    last_advance: Instant,
    /// Microseconds that rounding has kept back so far, to be added to the next interval.
    carry: u32,
    /// Where the oldest interval is, once the window is full.
    oldest: u16,
    /// Whether there was an advance at all.
    started: bool,
    /// Whether the last advance ended an outage.
    returned: bool,
}

impl Detector {
    /// A detector for a peer of which no advance was seen yet.
    pub fn new() -> Self {
        Detector::default()
    }

    /// Notes that the heartbeat advanced at `now`.
    ///
    /// The first advance starts the window with two likely intervals ([`DetectorConfig::start_up`]). A silence beyond
    /// [`DetectorConfig::max_sample`] is not taken for an interval but treated as by [`restart`](Self::restart); a
    /// shorter one is, also if the peer was suspected meanwhile, so that a mistake is not repeated.
    pub fn heartbeat(&mut self, now: Instant, judge: &Judge) {
        if !self.started {
            self.start(now, judge);
            return;
        }
        let interval = micros(now - self.last_advance);
        let longest = judge.max_sample * self.mean_micros(judge).max(judge.expected);
        if interval as f64 > longest {
            self.restart(now, judge);
            return;
        }
        self.record(interval, judge);
        self.last_advance = now;
        self.returned = false;
    }

    /// Notes that the peer is back at `now` after what was certainly an outage, such as a restart of its process (a new
    /// generation): an advance, but no interval.
    ///
    /// The window stays: the peer comes back on the same network with the same rhythm, and what is known of it
    /// serves from the first second, neither stretched by the outage nor started anew.
    ///
    /// The exception is an outage that follows on another with not one interval between them. Then it is the window
    /// that is wrong, for the peer beats, only much slower than it used to. The window starts again from the length of
    /// this outage, up to [`DetectorConfig::max_sample`] expected intervals; else such a peer would flap for ever.
    pub fn restart(&mut self, now: Instant, judge: &Judge) {
        if !self.started {
            self.start(now, judge);
            return;
        }
        if self.returned {
            let slowest = (judge.max_sample * judge.expected).max(judge.start_up);
            let outage = micros(now - self.last_advance) as f64;
            self.ring.clear();
            self.sum = 0;
            self.sum_of_squares = 0;
            self.oldest = 0;
            self.record_likely(outage.clamp(judge.start_up, slowest), judge);
        }
        self.returned = !self.returned;
        self.last_advance = now;
    }

    /// Moves the last advance later by `gap`, for which this node itself did not run, but not beyond `now`.
    ///
    /// Thus the gap counts neither as the peer's silence nor, at the next advance, as part of an interval.
    pub fn shift(&mut self, gap: Duration, now: Instant) {
        if self.started {
            self.last_advance = (self.last_advance + gap).min(now);
        }
    }

    /// φ at `now`: 1 means that a healthy peer is silent for so long once in 10 intervals, 8 once in 100 million.
    ///
    /// Never negative, infinite or NaN, and never falls while the silence grows; 0 before the first advance, as there is
    /// no evidence either way. For display: [`suspect`](Self::suspect) is cheaper.
    pub fn phi(&self, now: Instant, judge: &Judge) -> f64 {
        if !self.started {
            return 0.0;
        }
        let silence = micros(now - self.last_advance) as f64;
        let (mean, std_dev) = self.hardened_moments(judge);
        match judge.distribution {
            Distribution::Normal => gauss::phi_of((silence - mean - judge.pause) / std_dev),
            Distribution::Exponential => (silence - judge.pause).max(0.0) / mean / LN_10,
        }
    }

    /// The time since the last advance at which φ reaches the threshold, rounded up to a microsecond.
    ///
    /// Costs a square root and no other function, so that it can be asked for every peer at every check. Before the
    /// first advance it is what it will be just after it.
    pub fn timeout(&self, judge: &Judge) -> Duration {
        Duration::from_micros(self.timeout_micros(judge))
    }

    /// Whether the silence at `now` has reached [`timeout`](Self::timeout). Never before the first advance.
    pub fn suspect(&self, now: Instant, judge: &Judge) -> bool {
        self.suspect_at(judge).is_some_and(|at| now >= at)
    }

    /// When the peer becomes suspect, should it stay silent. `None` before the first advance.
    pub fn suspect_at(&self, judge: &Judge) -> Option<Instant> {
        let at = self.last_advance.as_micros().saturating_add(self.timeout_micros(judge));
        self.started.then_some(Instant::from_micros(at))
    }

    /// When the heartbeat last advanced, with [`shift`](Self::shift)s.
    pub fn last_advance(&self) -> Option<Instant> {
        self.started.then_some(self.last_advance)
    }

    /// Intervals in the window, the two that it started with included while they are in it.
    pub fn samples(&self) -> usize {
        self.ring.len()
    }

    /// Mean of the window, without pause or limits. Before the first advance, of the two likely intervals.
    pub fn mean(&self, judge: &Judge) -> Duration {
        to_duration(self.mean_micros(judge))
    }

    /// Standard deviation of the window, without limits. Before the first advance, of the two likely intervals.
    pub fn std_dev(&self, judge: &Judge) -> Duration {
        to_duration(self.moments(judge).1)
    }

    /// Bytes that this detector occupies, with its window.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.ring.capacity() * size_of::<u16>()
    }

    fn start(&mut self, now: Instant, judge: &Judge) {
        // Half a unit makes the first sample rounded instead of cut off, and by the carry all others too.
        self.carry = u32::try_from(judge.unit / 2).unwrap_or(0);
        self.record_likely(judge.start_up, judge);
        self.last_advance = now;
        self.started = true;
    }

    /// Records two intervals, in microseconds, around a likely one. The deviation of a quarter is Akka's.
    fn record_likely(&mut self, interval: f64, judge: &Judge) {
        for factor in [1.0 - LIKELY_DEVIATION, 1.0 + LIKELY_DEVIATION] {
            self.record(micros(to_duration(interval * factor)), judge);
        }
    }

    fn record(&mut self, interval: u64, judge: &Judge) {
        let due = interval.saturating_add(u64::from(self.carry));
        let sample = encode(due / judge.unit);
        let units = decode(sample);
        // What is not recorded now is with the next interval, so that the sum of all samples is never off by more than
        // one step. The longest sample alone stands for anything above it, and keeps nothing back.
        if sample != u16::MAX {
            self.carry = u32::try_from(due - units * judge.unit).unwrap_or(0);
        }
        if self.ring.len() < judge.window {
            self.grow(judge.window);
            self.ring.push(sample);
        } else {
            let slot = usize::from(self.oldest);
            let evicted = decode(std::mem::replace(&mut self.ring[slot], sample));
            self.sum -= evicted;
            self.sum_of_squares -= evicted * evicted;
            self.oldest += 1;
            if usize::from(self.oldest) == self.ring.len() {
                self.oldest = 0;
            }
        }
        self.sum += units;
        self.sum_of_squares += units * units;
    }

    /// Makes room for one more sample, but never beyond the window.
    fn grow(&mut self, window: usize) {
        let length = self.ring.len();
        if length == self.ring.capacity() {
            let room = if length < FIRST_ROOM { FIRST_ROOM } else { (2 * length).max(SECOND_ROOM) };
            self.ring.reserve_exact(room.min(window) - length);
        }
    }

    fn timeout_micros(&self, judge: &Judge) -> u64 {
        let (mean, std_dev) = self.hardened_moments(judge);
        let timeout = match judge.distribution {
            Distribution::Normal => mean + judge.pause + judge.reach * std_dev,
            Distribution::Exponential => judge.pause + judge.reach * mean,
        };
        // `ceil` is a call of its own where the processor is not known to have an instruction for it.
        let whole = timeout as u64;
        whole.saturating_add(u64::from((whole as f64) < timeout))
    }

    /// Mean and standard deviation that the verdict is based on, in microseconds; neither is 0.
    fn hardened_moments(&self, judge: &Judge) -> (f64, f64) {
        let (mean, std_dev) = self.moments(judge);
        let floor = judge.min_std_dev.max(judge.min_std_dev_ratio * mean);
        (mean.max(judge.unit as f64), std_dev.min(judge.max_std_dev).max(floor))
    }

    /// Mean and standard deviation of the window, in microseconds.
    fn moments(&self, judge: &Judge) -> (f64, f64) {
        if self.ring.is_empty() {
            return (judge.start_up, judge.start_up * LIKELY_DEVIATION);
        }
        let count = self.ring.len() as u64;
        // n·Σx² − (Σx)² loses most of its digits in the subtraction: integers keep all. It reaches 4.5e20, but 64 bits
        // nearly always do, and converting 128 to a float is a call of its own.
        let spread = match (count.checked_mul(self.sum_of_squares), self.sum.checked_mul(self.sum)) {
            (Some(squares), Some(square)) => (squares - square) as f64,
            _ => {
                let squares = u128::from(count) * u128::from(self.sum_of_squares);
                (squares - u128::from(self.sum) * u128::from(self.sum)) as f64
            }
        };
        (self.mean_micros(judge), spread.sqrt() * judge.unit as f64 / count as f64)
    }

    fn mean_micros(&self, judge: &Judge) -> f64 {
        match self.ring.len() {
            0 => judge.start_up,
            count => self.sum as f64 * judge.unit as f64 / count as f64,
        }
    }
}

/// A sample's unit is this part of the nominal interval: 1 ms for a second. Rounding adds 0.04 % of the interval to a
/// standard deviation of 20 % or more.
const UNITS_PER_INTERVAL: u64 = 1024;

/// Longest unit, in microseconds: with it, the carry of the coarsest step still fits 32 bits. Reached at 9.5 hours.
const MAX_UNIT: u64 = 1 << 25;

/// Samples below this are exact to a unit.
const FINE: u64 = 1 << 15;

/// Units in a step of the samples from [`FINE`] on. The fine ones end at 32 nominal intervals; large clusters, whose
/// digests take many rounds, need more, and of these 1/16 of an interval is precise enough.
const COARSE_STEP: u64 = 64;

/// Standard deviation of the intervals that a window starts with, as a fraction of their mean.
const LIKELY_DEVIATION: f64 = 0.25;

/// Samples that the first allocation of a window holds: enough for a peer that turns out to be gone.
const FIRST_ROOM: usize = 8;

/// Samples that the second one holds, and further ones twice as many. Windows grow in step in all of a cluster, so that
/// what a smaller allocation gives back is of no use to any other: for a thousand peers, holes of 250 kB.
const SECOND_ROOM: usize = 128;

fn encode(units: u64) -> u16 {
    let sample = if units < FINE { units } else { FINE + (units - FINE) / COARSE_STEP };
    u16::try_from(sample).unwrap_or(u16::MAX)
}

fn decode(sample: u16) -> u64 {
    let sample = u64::from(sample);
    if sample < FINE { sample } else { FINE + (sample - FINE) * COARSE_STEP }
}

/// `value`, or the bound that is nearest to it; the lower one for NaN.
fn within(value: f64, range: &RangeInclusive<f64>) -> f64 {
    value.max(*range.start()).min(*range.end())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// `micros` microseconds, rounded; `as` saturates, and makes 0 of NaN and of what is negative.
fn to_duration(micros: f64) -> Duration {
    Duration::from_micros(micros.round() as u64)
}
