//! The settings of the failure detector.

use std::ops::RangeInclusive;
use std::time::Duration;

pub(super) const THRESHOLD: RangeInclusive<f64> = 0.5..=100.0;
pub(super) const WINDOW: RangeInclusive<usize> = 2..=10_000;
pub(super) const MIN_STD_DEV_RATIO: RangeInclusive<f64> = 0.0..=1.0;
pub(super) const MIN_STD_DEV: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
pub(super) const MAX_STD_DEV: RangeInclusive<f64> = 0.1..=f64::INFINITY;
pub(super) const PAUSE: RangeInclusive<f64> = 0.0..=1_000.0;
pub(super) const EXTRA_PAUSE: RangeInclusive<f64> = 0.0..=1_000.0;
pub(super) const MAX_SAMPLE: RangeInclusive<f64> = 2.0..=f64::INFINITY;
pub(super) const START_UP: RangeInclusive<f64> = 1.0..=100.0;

/// The distribution that intervals between two advances of a heartbeat are taken to follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Distribution {
    /// Normal, with mean and standard deviation from the window (Hayashibara et al. 2004).
    ///
    /// The time-out is mean + pause + z · standard deviation, where z depends on the threshold alone: 2.33 at 2,
    /// 4.75 at 6, 5.61 at 8, 6.36 at 10, 7.03 at 12.
    #[default]
    Normal,
    /// Exponential, with the mean from the window (Cassandra, and the Node.js originals of this crate).
    ///
    /// The time-out is pause + ln 10 · threshold · mean: 18.4 means at threshold 8. On gossiped heartbeats that is four
    /// to six times later than the normal form, and no more certain.
    Exponential,
}

/// What the failure detectors of a node are told; a [`Judge`](super::Judge) is made of it.
///
/// Some fields are in *expected intervals*. The unit is the expected time between two advances of one peer's
/// heartbeat, which is no setting but is handed to [`Judge::new`](super::Judge::new), because it grows with the
/// cluster once a digest no longer fits into one round.
///
/// # What the defaults give
///
/// Whole nodes on virtual time, gossip every second, timers not in step. The time is from a node's stop until *all*
/// others found it to have failed (40 stops, of 200 nodes 12, of 1,000 nodes 3 or 4); mistakes are those of the whole
/// cluster.
///
/// | nodes | partners | lost | median | worst | mistakes in 10 minutes |
/// |---|---|---|---|---|---|
/// | 10 | 3 | 0 | 3.8 s | 4.4 s | none in 50 hours |
/// | 50 | 3 | 0 | 4.4 s | 4.9 s | none in 10 hours |
/// | 50 | 3 | 2 % | 4.5 s | 5.2 s | none in 10 hours |
/// | 50 | 3 | 5 % | 4.7 s | 5.1 s | 0.02 |
/// | 50 | 3 | 10 % | 4.8 s | 5.7 s | 0.13 |
/// | 50 | 3 | 10 %, [`pause`](Self::pause) 1.0 | 5.6 s | 6.2 s | none in 10 hours |
/// | 50 | 1 | 0 | 11.9 s | 14.3 s | none in 10 hours |
/// | 200 | 3 | 0 | 4.8 s | 5.3 s | none in an hour |
/// | 200 | 1 | 0 | 13.7 s | 14.5 s | none in 100 minutes |
/// | 1,000 | 3 | 0 | 6.0 s | 7.1 s | none in 200 s |
/// | 1,000 | 1 | 0 | 15.3 s | 16.4 s | none in 300 s |
///
/// ```
/// use grapevine::detector::DetectorConfig;
///
/// let config = DetectorConfig { pause: 1.0, ..DetectorConfig::default() };
/// assert_eq!(config.validate(), Ok(()));
/// assert!(DetectorConfig { threshold: f64::NAN, ..config }.validate().is_err());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct DetectorConfig {
    /// The assumed distribution of intervals. Default: [`Distribution::Normal`].
    pub distribution: Distribution,

    /// The φ at which a peer is suspected: −log10 of the chance that a peer which is up stays silent for so long.
    ///
    /// No unit; 0.5 to 100; default 8. It trades detection time for mistakes: a step up at 8 costs 0.4 standard
    /// deviations. How many mistakes it saves depends on the real tail of the intervals, and above 8 the paper's
    /// figures hardly fall; [`pause`](Self::pause) and [`min_std_dev_ratio`](Self::min_std_dev_ratio) are then
    /// the better levers. The exponential form pays 2.3 means for each step.
    pub threshold: f64,

    /// How many intervals are remembered for each peer.
    ///
    /// 2 to 10,000; default 128 (the paper's experiments: 1,000). Each costs two bytes for every watched peer, once it
    /// has been measured. A longer window estimates more steadily, a shorter one forgets a bad spell sooner. On
    /// the paper's trace 128 and 256 make as many mistakes as each other, 1,000 makes an eighth more.
    pub window: usize,

    /// Smallest standard deviation, as a fraction of the window's mean.
    ///
    /// 0 to 1; default 0.45. The larger of this and [`min_std_dev`](Self::min_std_dev) holds.
    ///
    /// It is what makes the defaults quick *and* safe. Gossip timers keep their phases for minutes, so that some
    /// observers measure a standard deviation of 0.2 intervals where the long-term one is 0.4, and theirs are all the
    /// mistakes: at threshold 8 without pause, 50 nodes make 45 in 10 minutes with a floor of 0.05, and none in 55
    /// hours with 0.45. It costs next to nothing, since a node counts as failed when the *last* observer says so,
    /// and that one has a large deviation anyway: the median rises by 0.1 s.
    /// For heartbeats sent directly, 0.05 and a [`pause`](Self::pause) of 1 are right.
    /// Unused by the exponential form.
    pub min_std_dev_ratio: f64,

    /// Smallest standard deviation, as a time.
    ///
    /// 0 to 1 hour; default 1 ms, below which one measures the accuracy of thread wake-ups and not the network. It
    /// matters where [`min_std_dev_ratio`](Self::min_std_dev_ratio) of the mean is less, for very short
    /// intervals. The resolution of a sample (1/1024 of the nominal interval) is a floor in any case, so that identical
    /// intervals do not divide by 0. Unused by the exponential form.
    pub min_std_dev: Duration,

    /// Largest standard deviation, in expected intervals.
    ///
    /// 0.1 to infinity (no limit), and not below [`min_std_dev_ratio`](Self::min_std_dev_ratio); default 3. Without
    /// it a run of outages blinds the detector for a whole window: on the paper's trace (window 1,000) the limit
    /// takes the 99th percentile of detection from 3.0 s to 2.0 s for a tenth more mistakes. Gossiped
    /// heartbeats stay below 1.5 even with one partner a round and 10 % loss. A floor above it wins. Unused by the
    /// exponential form.
    pub max_std_dev: f64,

    /// Acceptable pause, in expected intervals: added to every time-out.
    ///
    /// 0 to 1,000; default 0.1. It pays for what no window has seen: a late wake-up, a collection of garbage, one
    /// more lost datagram. Each interval of pause is an interval of detection time, always, whereas the slack
    /// that comes from [`min_std_dev_ratio`](Self::min_std_dev_ratio) is mostly free; therefore the small default.
    /// Take 1 on a network that loses 10 % or more, or where processes stall for a good part of the interval.
    pub pause: f64,

    /// Further pause, in expected intervals, on that part of the expected interval which exceeds the nominal one.
    ///
    /// 0 to 1,000; default 4: where heartbeats are expected every 1.5 gossip intervals, time-outs are 4 · 0.5 = 2
    /// longer. An expected interval is longer than the nominal one because heartbeats wait for lots to be drawn,
    /// which partner and which part of the digest, and such waiting has an exponential tail that the normal
    /// distribution underrates. [`pause`](Self::pause), on the whole interval, would make small clusters pay for it.
    /// Simulated with 200 nodes, mistakes in 10 minutes at 0, 2, 3 and 4: one partner a round 10, 0, 0, 0 (1,000
    /// nodes: 7,000, 88, 4, 0); a digest of two rounds 120, 0.2, 0, 0; of five rounds 280, 0, 0, 0.
    pub extra_pause: f64,

    /// The longest silence that is still a sample, in means of the window (or expected intervals, if that is longer).
    ///
    /// 2 to infinity (no limit); default 10. A longer one was an outage: it is left out of the window, as in
    /// Cassandra, so that ten minutes of outage change nothing. Clamped to 10 means instead, it would raise the
    /// time-out by 54 % for a whole window of 128. The price is 20 % more mistakes on the paper's trace, where
    /// outages come in bunches (λ 0.0025 against 0.0021 per s). Should *every* silence be so
    /// long, the peer is slow rather than dead, and the window starts again: see
    /// [`Detector::restart`](super::Detector::restart).
    pub max_sample: f64,

    /// How long the first intervals are taken to be, in expected intervals.
    ///
    /// 1 to 100; default 2. A detector starts as if it had seen two, of 3/4 and 5/4 of this (the deviation of a
    /// quarter is Akka's), because real ones are too few to judge by; they leave the window like any others. A
    /// larger value makes fewer mistakes about newcomers, and finds those that stop at once later.
    pub start_up: f64,
}

impl DetectorConfig {
    /// The hardened normal form, with limits set for gossiped heartbeats: the default.
    pub fn hardened() -> Self {
        DetectorConfig {
            distribution: Distribution::Normal,
            threshold: 8.0,
            window: 128,
            min_std_dev_ratio: 0.45,
            min_std_dev: Duration::from_millis(1),
            max_std_dev: 3.0,
            pause: 0.1,
            extra_pause: 4.0,
            max_sample: 10.0,
            start_up: 2.0,
        }
    }

    /// The detector of the paper (Hayashibara et al. 2004): no pause, no limits, but the two intervals at the start.
    ///
    /// For comparison rather than for use: on the paper's trace it makes eight times as many mistakes as
    /// [`hardened`](Self::hardened) does.
    pub fn plain_normal() -> Self {
        DetectorConfig {
            min_std_dev_ratio: 0.0,
            min_std_dev: Duration::ZERO,
            max_std_dev: f64::INFINITY,
            pause: 0.0,
            extra_pause: 0.0,
            max_sample: f64::INFINITY,
            ..DetectorConfig::hardened()
        }
    }

    /// The exponential form without a pause, φ = 0.434 · elapsed / mean; outages are left out of the window.
    pub fn exponential() -> Self {
        DetectorConfig {
            distribution: Distribution::Exponential,
            pause: 0.0,
            extra_pause: 0.0,
            ..DetectorConfig::hardened()
        }
    }

    /// Whether every field is in its range.
    ///
    /// # Errors
    ///
    /// Names the first field that is not, its range, why the range is what it is, and a value to take instead.
    pub fn validate(&self) -> Result<(), String> {
        let check = |name: &str, value: f64, range: &RangeInclusive<f64>, why: &str| {
            if range.contains(&value) {
                return Ok(());
            }
            let (low, high) = (range.start(), range.end());
            Err(format!("detector: {name} must be from {low} to {high}, not {value}: {why}"))
        };
        check(
            "threshold",
            self.threshold,
            &THRESHOLD,
            "below, every other interval of a healthy peer is suspect, and above, none ever is; take 8",
        )?;
        if !WINDOW.contains(&self.window) {
            return Err(format!(
                "detector: window must be from {} to {} intervals, not {}: one interval has no deviation, and each \
                 costs two bytes for every peer; take 128",
                WINDOW.start(),
                WINDOW.end(),
                self.window
            ));
        }
        check(
            "min_std_dev_ratio",
            self.min_std_dev_ratio,
            &MIN_STD_DEV_RATIO,
            "it is a fraction of the mean interval; take 0.45 for gossiped heartbeats",
        )?;
        if !MIN_STD_DEV.contains(&self.min_std_dev) {
            return Err(format!(
                "detector: min_std_dev must be at most {:?}, not {:?}: every time-out is several times as long; take \
                 1ms",
                MIN_STD_DEV.end(),
                self.min_std_dev
            ));
        }
        check(
            "max_std_dev",
            self.max_std_dev,
            &MAX_STD_DEV,
            "it is the largest deviation in expected intervals, and must leave room for the real one; take 3, or \
             infinity for no limit",
        )?;
        if self.max_std_dev < self.min_std_dev_ratio {
            return Err(format!(
                "detector: max_std_dev ({}) is below min_std_dev_ratio ({}): no deviation could satisfy both; raise \
                 the first or lower the second",
                self.max_std_dev, self.min_std_dev_ratio
            ));
        }
        check(
            "pause",
            self.pause,
            &PAUSE,
            "it is added to every time-out, in expected intervals; take 0.1, or 1 on a lossy network",
        )?;
        check(
            "extra_pause",
            self.extra_pause,
            &EXTRA_PAUSE,
            "it is added to time-outs for what the expected interval exceeds the nominal one; take 4",
        )?;
        check(
            "max_sample",
            self.max_sample,
            &MAX_SAMPLE,
            "intervals of two means are ordinary and must count; take 10, or infinity for no limit",
        )?;
        check(
            "start_up",
            self.start_up,
            &START_UP,
            "below, a newcomer is suspected before its second heartbeat, and above, it is not suspected for minutes; \
             take 2",
        )
    }
}

impl Default for DetectorConfig {
    fn default() -> Self {
        DetectorConfig::hardened()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_bad_settings_are_named() {
        for form in [DetectorConfig::hardened(), DetectorConfig::plain_normal(), DetectorConfig::exponential()] {
            assert_eq!(form.validate(), Ok(()));
        }
        assert_eq!(DetectorConfig::default(), DetectorConfig::hardened());
        type Spoil = fn(&mut DetectorConfig);
        let bad: [(&str, Spoil); 12] = [
            ("threshold", |config| config.threshold = 0.0),
            ("threshold", |config| config.threshold = f64::INFINITY),
            ("window", |config| config.window = 1),
            ("window", |config| config.window = 10_001),
            ("min_std_dev_ratio", |config| config.min_std_dev_ratio = -0.1),
            ("min_std_dev", |config| config.min_std_dev = Duration::MAX),
            ("max_std_dev", |config| config.max_std_dev = f64::NAN),
            ("max_std_dev", |config| config.max_std_dev = 0.3),
            ("pause", |config| config.pause = f64::INFINITY),
            ("extra_pause", |config| config.extra_pause = -1.0),
            ("max_sample", |config| config.max_sample = 1.0),
            ("start_up", |config| config.start_up = f64::NAN),
        ];
        for (field, spoil) in bad {
            let mut config = DetectorConfig::default();
            spoil(&mut config);
            let message = config.validate().unwrap_err();
            assert!(message.starts_with(&format!("detector: {field} ")), "{message}");
        }
    }
}
