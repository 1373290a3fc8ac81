//! Experiment 3, the second paper's figures: mistakes and detection time of detectors on one trace of heartbeats.

use std::time::Duration;

use grapevine::detector::{Detector, DetectorConfig, Judge};
use grapevine::instant::Instant;

use crate::trace::{BASE_DELAY_MS, PERIOD_MS};

/// What a detector made of a trace.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Mistakes a second.
    pub mistake_rate: f64,
    /// Seconds from a crash until it is suspected, if it comes just after a heartbeat was sent: mean and 99th percentile.
    pub detection_time: f64,
    pub detection_time_p99: f64,
}

/// Runs detectors of one configuration but for the threshold over the arrivals. The state of a detector does not depend on its
/// threshold, so that one serves for all of them.
pub fn run(config: &DetectorConfig, thresholds: &[f64], arrivals: &[u64]) -> Vec<Outcome> {
    let period = Duration::from_secs_f64(PERIOD_MS / 1e3);
    let judges: Vec<Judge> = thresholds
        .iter()
        .map(|threshold| Judge::new(&DetectorConfig { threshold: *threshold, ..config.clone() }, period, period))
        .collect();
    let mut tallies = vec![Tally::default(); judges.len()];
    let mut detector = Detector::new();
    let Some(first_judge) = judges.first() else { return Vec::new() };
    for at in arrivals {
        let now = Instant::from_micros(*at);
        for (judge, tally) in judges.iter().zip(&mut tallies) {
            tally.mistakes += u64::from(detector.suspect(now, judge));
        }
        detector.heartbeat(now, first_judge);
        for (judge, tally) in judges.iter().zip(&mut tallies) {
            tally.timeout(detector.timeout(judge));
        }
    }
    let seconds = span(arrivals);
    tallies.iter().map(|tally| tally.outcome(seconds)).collect()
}

/// The baseline without a detector: suspicion after a fixed time.
pub fn fixed(timeout: Duration, arrivals: &[u64]) -> Outcome {
    let mut tally = Tally::default();
    tally.timeout(timeout);
    let late = arrivals.windows(2).filter(|pair| Duration::from_micros(pair[1] - pair[0]) >= timeout);
    tally.mistakes = late.count() as u64;
    tally.outcome(span(arrivals))
}

fn span(arrivals: &[u64]) -> f64 {
    match arrivals {
        [first, .., last] => (last - first) as f64 / 1e6,
        _ => 0.0,
    }
}

/// A histogram of time-outs, in steps of a millisecond up to a minute.
#[derive(Clone)]
struct Tally {
    mistakes: u64,
    timeouts: u64,
    sum: Duration,
    histogram: Vec<u64>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { mistakes: 0, timeouts: 0, sum: Duration::ZERO, histogram: vec![0; 60_000] }
    }
}

impl Tally {
    fn timeout(&mut self, timeout: Duration) {
        self.timeouts += 1;
        self.sum += timeout;
        let bin = (timeout.as_millis() as usize).min(self.histogram.len() - 1);
        self.histogram[bin] += 1;
    }

    fn outcome(&self, seconds: f64) -> Outcome {
        let delay = BASE_DELAY_MS / 1e3;
        let mut above = self.timeouts;
        let p99 = self.histogram.iter().position(|count| {
            above -= count;
            above as f64 <= 0.01 * self.timeouts as f64
        });
        Outcome {
            mistake_rate: self.mistakes as f64 / seconds,
            detection_time: delay + self.sum.as_secs_f64() / self.timeouts as f64,
            detection_time_p99: delay + p99.unwrap_or_default() as f64 / 1e3,
        }
    }
}
