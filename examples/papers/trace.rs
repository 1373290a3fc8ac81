//! The second paper's trace, made anew: heartbeats from Switzerland to Japan for a week, of which only the statistics are known.

use fastrand::Rng;

/// Milliseconds between two heartbeats.
pub const PERIOD_MS: f64 = 103.5;
/// How long a heartbeat takes at least, in milliseconds.
pub const BASE_DELAY_MS: f64 = 141.65;
/// Heartbeats of the paper's trace.
pub const BEATS: usize = 5_845_712;

/// With which probability a heartbeat is late by what, in milliseconds; otherwise by the absolute value of a normal variable.
const EXTRA_DELAYS: [(f64, f64, f64); 6] = [
    (0.0128, 0.5, 1.5),
    (0.0026, 1.5, 2.5),
    (0.0015, 2.5, 3.5),
    (0.0007, 3.5, 4.5),
    (0.000_56, 4.5, 7.0),
    (0.000_85, 7.0, 22.0),
];
const USUAL_DELAY_MS: f64 = 0.12;
/// Single heartbeats are lost with this probability.
const LOSS: f64 = 0.001_25;

/// So many spells of so many heartbeats, at random places, in which there are gaps.
const BAD_EPISODES: usize = 60;
const BAD_EPISODE_BEATS: usize = 1_000;
/// Heartbeats between two gaps, beside one, in the mean of an exponential distribution.
const BETWEEN_GAPS: f64 = 12.0;
/// With this probability the heartbeats of a gap are lost; otherwise they arrive together at its end.
const GAP_IS_LOSS: f64 = 0.25;

/// Runs of lost heartbeats at random places, in heartbeats: these, and so many between these lengths.
const LONG_LOSSES: [usize; 5] = [495, 503, 621, 819, 1_093];
const MORE_LONG_LOSSES: usize = 43;
const MORE_LONG_LOSS_BEATS: (f64, f64) = (34.0, 480.0);

/// What became of a heartbeat.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Sent,
    Lost,
    /// It arrives then, in milliseconds.
    Stalled(f64),
}

/// The times of arrival, in microseconds, of `beats` heartbeats. With fewer than the paper's, bad episodes and long losses are
/// fewer in proportion.
pub fn arrivals(beats: usize, seed: u64) -> Vec<u64> {
    let mut dice = Rng::with_seed(seed);
    let mut fates = vec![Fate::Sent; beats];
    let share = beats as f64 / BEATS as f64;
    for _ in 0..(BAD_EPISODES as f64 * share).round() as usize {
        let start = dice.usize(..beats.saturating_sub(BAD_EPISODE_BEATS).max(1));
        bad_episode(&mut fates, start, &mut dice);
    }
    for number in 0..((LONG_LOSSES.len() + MORE_LONG_LOSSES) as f64 * share).round() as usize {
        let drawn = log_uniform(MORE_LONG_LOSS_BEATS, &mut dice).round() as usize;
        let length = LONG_LOSSES.get(number).copied().unwrap_or(drawn);
        let start = dice.usize(..beats.saturating_sub(length).max(1));
        fates.iter_mut().skip(start).take(length).for_each(|fate| *fate = Fate::Lost);
    }
    let mut last = 0;
    let mut arrivals = Vec::with_capacity(beats);
    for (beat, fate) in fates.into_iter().enumerate() {
        let extra = extra_delay(&mut dice);
        let lost = dice.f64() < LOSS;
        let at = match fate {
            Fate::Lost => continue,
            Fate::Sent if lost => continue,
            Fate::Sent => beat as f64 * PERIOD_MS + BASE_DELAY_MS + extra,
            Fate::Stalled(at) => at,
        };
        // Arrivals keep their order.
        last = last.max((at * 1e3).round() as u64);
        arrivals.push(last);
    }
    arrivals
}

fn bad_episode(fates: &mut [Fate], start: usize, dice: &mut Rng) {
    let end = fates.len().min(start + BAD_EPISODE_BEATS);
    let mut beat = start;
    loop {
        beat += 1 + (-BETWEEN_GAPS * (1.0 - dice.f64()).ln()).round() as usize;
        let length_ms = gap_seconds(dice) * 1e3;
        // From the arrival of the heartbeat before the gap to the next one.
        let missing = (length_ms / PERIOD_MS).round() as usize - 1;
        if beat + missing >= end {
            return;
        }
        let fate = if dice.f64() < GAP_IS_LOSS {
            Fate::Lost
        } else {
            Fate::Stalled((beat as f64 - 1.0) * PERIOD_MS + BASE_DELAY_MS + length_ms)
        };
        fates[beat..beat + missing].fill(fate);
        beat += missing;
    }
}

fn gap_seconds(dice: &mut Rng) -> f64 {
    match dice.f64() {
        ..0.60 => log_uniform((0.31, 1.0), dice),
        ..0.73 => uniform((1.0, 2.0), dice),
        ..0.88 => uniform((2.0, 5.0), dice),
        _ => uniform((5.0, 10.0), dice),
    }
}

fn extra_delay(dice: &mut Rng) -> f64 {
    let mut drawn = dice.f64();
    for (probability, low, high) in EXTRA_DELAYS {
        if drawn < probability {
            return uniform((low, high), dice);
        }
        drawn -= probability;
    }
    // Box and Muller's method.
    let radius = (-2.0 * (1.0 - dice.f64()).ln()).sqrt();
    USUAL_DELAY_MS * (radius * (std::f64::consts::TAU * dice.f64()).cos()).abs()
}

fn uniform((low, high): (f64, f64), dice: &mut Rng) -> f64 {
    low + (high - low) * dice.f64()
}

fn log_uniform((low, high): (f64, f64), dice: &mut Rng) -> f64 {
    low * (high / low).powf(dice.f64())
}
