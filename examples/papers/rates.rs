//! Experiment 2, the first paper's Fig. 3: the rate that flow control permits when everyone wants more than messages can carry.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;
use grapevine::Error;
use grapevine::flow::{Flow, FlowConfig};

use crate::gossip::{Order, Participants};
use crate::jobs::parallel;
use crate::options::Options;
use crate::plot::{Axis, COLOURS, Corner, Look, Panel, Series, svg};
use crate::report::{Figure, Report};
use crate::{Findings, Outcome};

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

/// The paper's two sizes side by side, and the plot.
///
/// # Errors
/// Those of [`run`].
pub fn report(options: &Options) -> Outcome<Findings> {
    let setup = &options.rates;
    let jobs: Vec<(usize, u64)> =
        options.participants.iter().flat_map(|one| options.seeds().map(|seed| (*one, seed))).collect();
    let mut runs = parallel(&jobs, |(participants, seed)| run(setup, *participants, *seed)).into_iter();
    let mut report = Report::new(format!(
        "Experiment 2: the rate that flow control permits each participant, in updates a second\n\
         (messages of {} entries, of {} from {} s on; {} runs)",
        setup.entries,
        setup.entries / 2,
        setup.halved,
        options.runs
    ));
    report.note("Capacity: rate × participants ÷ (entries that a message holds × rounds a second), after the halving.");
    let mut plotted = Vec::new();
    for participants in &options.participants {
        let runs: Vec<Rates> = runs.by_ref().take(options.runs).collect::<Result<_, _>>()?;
        for figure in figures(setup, *participants, &runs) {
            report.add(figure);
        }
        plotted.push((*participants, mean_over(&runs)));
    }
    Ok(Findings { report, plots: vec![("flow-control", plot(setup, &plotted))] })
}

/// Times and rates.
type Rates = Vec<(f64, f64)>;

/// Of each size: the paper's and the reference simulation's rate at equilibrium, after the halving, and at its lowest.
const REFERENCES: [(usize, [(f64, f64); 3]); 2] =
    [(128, [(1.0, 1.02), (0.5, 0.53), (0.35, 0.34)]), (64, [(1.95, 1.84), (1.0, 0.99), (0.68, 0.76)])];
/// The rate, times participants, for each entry that a message holds and each round a second.
const CAPACITY: f64 = 1.28;

fn figures(setup: &Setup, participants: usize, runs: &[Rates]) -> Vec<Figure> {
    let each = |figure: &dyn Fn(&Rates) -> f64| runs.iter().map(figure).collect::<Vec<f64>>();
    let name = |what: &str| format!("N={participants}: {what}");
    let before = (setup.halved - 30.0, setup.halved);
    let after = (setup.end - 40.0, setup.end);
    let half = (setup.entries / 2) as f64 / setup.interval;
    let capacity = |rates: &Rates| participants as f64 * mean(rates, after) / half;
    let lowest = |rates: &Rates| within(rates, (setup.halved, setup.end)).fold(f64::INFINITY, f64::min);
    let figures = [
        Figure::new(name(&format!("rate at {} to {} s", before.0, before.1)), each(&|rates| mean(rates, before))),
        Figure::new(name(&format!("rate at {} to {} s", after.0, after.1)), each(&|rates| mean(rates, after))),
        Figure::new(name("undershoot"), each(&lowest)),
    ];
    let comparable = *setup == Setup::default();
    let known = REFERENCES.iter().find(|(size, _)| *size == participants && comparable);
    let compare = |(number, figure): (usize, Figure)| match known {
        Some((_, references)) => figure.paper(references[number].0).reference(references[number].1, 0.1),
        None => figure,
    };
    let mut figures: Vec<Figure> = figures.into_iter().enumerate().map(compare).collect();
    let law = Figure::new(name("capacity"), each(&capacity));
    figures.push(law.reference(CAPACITY, 0.1).compare_if(comparable));
    figures
}

fn within(rates: &Rates, (from, to): (f64, f64)) -> impl Iterator<Item = f64> {
    rates.iter().filter(move |(time, _)| (from..to).contains(time)).map(|(_, rate)| *rate)
}

fn mean(rates: &Rates, times: (f64, f64)) -> f64 {
    within(rates, times).sum::<f64>() / within(rates, times).count() as f64
}

fn mean_over(runs: &[Rates]) -> Rates {
    let Some(first) = runs.first() else { return Vec::new() };
    let mean = |number: usize| runs.iter().map(|rates| rates[number].1).sum::<f64>() / runs.len() as f64;
    first.iter().enumerate().map(|(number, (time, _))| (*time, mean(number))).collect()
}

fn plot(setup: &Setup, sizes: &[(usize, Rates)]) -> String {
    let mut series = Vec::new();
    for ((participants, rates), colour) in sizes.iter().zip(COLOURS.into_iter().cycle()) {
        let name = format!("{participants} participants");
        series.push(Series { name, colour, points: rates.clone(), look: Look::Line });
        if let Some((_, [before, after, lowest])) =
            REFERENCES.iter().find(|(size, _)| size == participants && *setup == Setup::default())
        {
            let points =
                vec![(setup.halved - 15.0, before.0), (setup.halved + 15.0, lowest.0), (setup.end - 20.0, after.0)];
            series.push(Series { name: format!("{participants}, the paper's"), colour, points, look: Look::Circles });
        }
    }
    let most = series.iter().flat_map(|series| &series.points).map(|(_, y)| *y).fold(0.1, f64::max);
    let title = format!("The permitted rate: {} entries a message, half from {} s on", setup.entries, setup.halved);
    let x = Axis::linear("seconds", 0.0, setup.end);
    let y = Axis::linear("updates a second, each", 0.0, most * 1.08);
    svg(&[Panel { title, x, y, series, legend: Corner::TopRight }])
}
