//! Experiment 2, the first paper's Fig. 3: the rate that flow control permits when everyone wants more than messages can carry.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;
use grapevine::Error;
use grapevine::flow::{Flow, FlowConfig};

use crate::gossip::{Order, Participants};

/// Seconds between two looks at the permitted rates.
const SAMPLE: f64 = 0.5;
/// Seconds between two moments at which a participant may update; with more than ten updates a second several go together.
const TICK: f64 = 0.1;
/// The rate that everyone wants, in updates a second: more than any message can carry.
const WANTED: f64 = 1e6;

/// What is varied. Times are in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    pub keys: usize,
    /// What a message holds at most, until that is halved.
    pub entries: usize,
    /// Seconds between two exchanges that a participant begins.
    pub interval: f64,
    /// The first updates.
    pub start: f64,
    /// From then on a message holds half.
    pub halved: f64,
    pub end: f64,
    pub flow: FlowConfig,
}

impl Default for Setup {
    fn default() -> Setup {
        let flow = FlowConfig { increase: 0.2, initial: 0.0, min: 0.0, ..FlowConfig::default() };
        Setup { keys: 64, entries: 100, interval: 1.0, start: 15.0, halved: 90.0, end: 180.0, flow }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Look,
    Gossip(usize),
    Tick(usize),
}

/// Runs it once. Returns times with the permitted rate then, in updates a second, in the mean over the participants.
///
/// # Errors
/// If an update cannot be written.
pub fn run(setup: &Setup, participants: usize, seed: u64) -> Result<Vec<(f64, f64)>, Error> {
    let mut dice = Rng::with_seed(seed);
    let mut flows = vec![Flow::new(setup.flow.clone()); participants];
    // What each may still update, in updates.
    let mut credits: Vec<f64> = (0..participants).map(|_| dice.f64()).collect();
    let mut participants = Participants::new(participants, setup.keys);
    let mut timers = BinaryHeap::new();
    timers.push(Reverse((micros(setup.start), Timer::Look)));
    for one in 0..participants.len() {
        timers.push(Reverse((micros(setup.start + setup.interval * dice.f64()), Timer::Gossip(one))));
        timers.push(Reverse((micros(setup.start + TICK * dice.f64()), Timer::Tick(one))));
    }
    let mut samples = vec![(0.0, setup.flow.initial)];
    while let Some(Reverse((at, timer))) = timers.pop() {
        let now = at as f64 / 1e6;
        let again = match timer {
            Timer::Gossip(one) => {
                let room = if now < setup.halved { setup.entries } else { setup.entries / 2 };
                let partner = participants.partner(one, &mut dice);
                let overflowed = participants.exchange(one, partner, room, Order::Depth, &mut dice);
                adapt(&mut flows, one, partner, overflowed);
                setup.interval
            }
            Timer::Tick(one) => {
                credits[one] += flows[one].permitted().min(WANTED) * TICK;
                while credits[one] >= 1.0 {
                    credits[one] -= 1.0;
                    participants.write(one, dice.usize(..setup.keys))?;
                }
                TICK
            }
            Timer::Look => {
                samples.push((now, flows.iter().map(Flow::permitted).sum::<f64>() / flows.len() as f64));
                if now >= setup.end {
                    break;
                }
                SAMPLE
            }
        };
        timers.push(Reverse((at + micros(again), timer)));
    }
    Ok(samples)
}

/// Flow control in one exchange, as nodes do it: the partner shares when it answers, and each counts its own message.
fn adapt(flows: &mut [Flow], one: usize, partner: usize, overflowed: (bool, bool)) {
    let permitted = flows[one].permitted();
    let change = flows[partner].share(WANTED, WANTED, permitted);
    flows[partner].message(overflowed.1);
    flows[one].shared(change);
    flows[one].message(overflowed.0);
}

fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}
