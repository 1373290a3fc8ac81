//! Experiment 1, the first paper's Fig. 2: how stale one observer's view becomes while messages cannot hold all there is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;
use grapevine::Error;

use crate::gossip::{Order, Participants, UNLIMITED};

/// Seconds between two looks at what the observers lack.
const SAMPLE: f64 = 1.0;

/// What is varied. Times are in seconds from the start.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    pub participants: usize,
    pub keys: usize,
    /// What a message holds at most.
    pub entries: usize,
    /// Seconds between two exchanges that a participant begins.
    pub interval: f64,
    /// Updates a second by each participant.
    pub rate: f64,
    /// Until then messages hold whatever there is.
    pub unlimited_until: f64,
    /// While updates come twice as fast.
    pub doubled: (f64, f64),
    /// The last updates.
    pub stop: f64,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            participants: 128,
            keys: 64,
            entries: 100,
            interval: 1.0,
            rate: 1.0,
            unlimited_until: 15.0,
            doubled: (25.0, 75.0),
            stop: 120.0,
        }
    }
}

/// What one observer lacks, in the mean over all of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    pub time: f64,
    /// Keys of which it lacks the current entry.
    pub stale: f64,
    /// The time since the oldest update that it lacks, in seconds.
    pub staleness: f64,
}

/// What one run gave.
pub struct Run {
    pub samples: Vec<Sample>,
    /// When everyone held everything, after the last update.
    pub converged: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Look,
    Gossip(usize),
    Update(usize),
}

/// Runs it once.
///
/// # Errors
/// If it has not converged within ten times as long as there were updates.
pub fn run(setup: &Setup, order: Order, seed: u64) -> Result<Run, Error> {
    let mut dice = Rng::with_seed(seed);
    let mut participants = Participants::new(setup.participants, setup.keys);
    let mut log = Log(vec![vec![Vec::new(); setup.keys]; setup.participants]);
    let mut timers = BinaryHeap::new();
    timers.push(Reverse((micros(0.0), Timer::Look)));
    for one in 0..setup.participants {
        timers.push(Reverse((micros(setup.interval * dice.f64()), Timer::Gossip(one))));
        timers.push(Reverse((micros(dice.f64() / setup.rate), Timer::Update(one))));
    }
    let mut run = Run { samples: Vec::new(), converged: f64::INFINITY };
    while let Some(Reverse((at, timer))) = timers.pop() {
        let now = at as f64 / 1e6;
        match timer {
            Timer::Gossip(one) => {
                let room = if now < setup.unlimited_until { UNLIMITED } else { setup.entries };
                let partner = participants.partner(one, &mut dice);
                participants.exchange(one, partner, room, order, &mut dice);
                timers.push(Reverse((at + micros(setup.interval), timer)));
            }
            Timer::Update(one) if now < setup.stop => {
                let key = dice.usize(..setup.keys);
                let version = participants.write(one, key)?;
                log.0[one][key].push((version, now));
                let doubled = (setup.doubled.0..setup.doubled.1).contains(&now);
                let rate = if doubled { 2.0 * setup.rate } else { setup.rate };
                timers.push(Reverse((at + micros(1.0 / rate), timer)));
            }
            Timer::Update(_) => {}
            Timer::Look => {
                run.samples.push(look(&participants, &log, now));
                if now >= setup.stop && participants.agree() {
                    run.converged = now;
                    break;
                }
                if now > 10.0 * setup.stop.max(1.0) {
                    break;
                }
                timers.push(Reverse((at + micros(SAMPLE), timer)));
            }
        }
    }
    Ok(run)
}

/// The mean over all observers.
fn look(participants: &Participants, log: &Log, now: f64) -> Sample {
    let everyone = 0..participants.len();
    let (mut stale, mut staleness) = (0, 0.0);
    for observer in everyone.clone() {
        let mut oldest = now;
        for owner in everyone.clone() {
            participants.each_stale(observer, owner, |key, held| {
                stale += 1;
                oldest = oldest.min(log.after(owner, key, held));
            });
        }
        staleness += now - oldest;
    }
    let observers = participants.len() as f64;
    Sample { time: now, stale: f64::from(stale) / observers, staleness: staleness / observers }
}

/// When each version of each key was made.
struct Log(Vec<Vec<Vec<(u64, f64)>>>);

impl Log {
    /// When the first update above a version was made.
    fn after(&self, owner: usize, key: &str, held: u64) -> f64 {
        let updates = key.parse::<usize>().map_or(&[][..], |key| &self.0[owner][key]);
        let next = updates.partition_point(|(version, _)| *version <= held);
        updates.get(next).map_or(f64::INFINITY, |(_, made)| *made)
    }
}

fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}
