//! Experiment 1, the first paper's Fig. 2: how stale one observer's view becomes while messages cannot hold all there is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;
use grapevine::Error;

use crate::gossip::{Order, Participants, UNLIMITED};
use crate::jobs::parallel;
use crate::options::Options;
use crate::plot::{Axis, COLOURS, Corner, Look, Panel, Series, svg};
use crate::report::{Figure, Report};
use crate::{Findings, Outcome};

/// Seconds between two looks at what the observers lack.
const SAMPLE: f64 = 1.0;
/// Of so many participants what each lacks is looked at; a single one's view depends on its partners.
const OBSERVERS: usize = 32;

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

/// What one observer lacks, in the mean over some of them.
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

/// The mean over the observers, who are spread evenly over the participants.
fn look(participants: &Participants, log: &Log, now: f64) -> Sample {
    let everyone = 0..participants.len();
    let observers = everyone.clone().step_by(participants.len().div_ceil(OBSERVERS));
    let (mut stale, mut staleness) = (0, 0.0);
    for observer in observers.clone() {
        let mut oldest = now;
        for owner in everyone.clone() {
            participants.each_stale(observer, owner, |key, held| {
                stale += 1;
                oldest = oldest.min(log.after(owner, key, held));
            });
        }
        staleness += now - oldest;
    }
    let observers = observers.count() as f64;
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

/// The papers' set-ups of both orders side by side, and the plot.
///
/// # Errors
/// Those of [`run`].
pub fn report(options: &Options) -> Outcome<Findings> {
    let setup = &options.staleness;
    let comparable = *setup == Setup::default();
    let jobs: Vec<(Order, u64)> =
        options.orders.iter().flat_map(|order| options.seeds().map(|seed| (*order, seed))).collect();
    let mut runs = parallel(&jobs, |(order, seed)| run(setup, *order, *seed)).into_iter();
    let mut report = Report::new(format!(
        "Experiment 1: what one observer lacks while messages hold {} entries\n\
         ({} participants × {} keys; {} runs)",
        setup.entries, setup.participants, setup.keys, options.runs
    ));
    let mut plotted = Vec::new();
    for order in &options.orders {
        let runs: Vec<Run> = runs.by_ref().take(options.runs).collect::<Result<_, _>>()?;
        let mean = mean_over(&runs);
        for figure in figures(setup, *order, &runs, &mean) {
            report.add(figure.compare_if(comparable));
        }
        plotted.push((*order, mean));
    }
    report.note(
        "Converged: seconds after the last update until everyone holds everything, looked at every second; within 1 s.",
    );
    Ok(Findings { report, plots: vec![("reconciliation", plot(setup, &plotted, comparable))] })
}

/// The reference figures of one order.
struct Reference {
    stale_peak: (f64, f64),
    stale_at_stop: f64,
    staleness_at_75: (f64, f64),
    staleness_peak: (f64, f64),
    converged: (f64, f64),
}

const DEPTH: Reference = Reference {
    stale_peak: (2200.0, 1977.0),
    stale_at_stop: 348.0,
    staleness_at_75: (21.0, 20.4),
    staleness_peak: (24.0, 21.3),
    converged: (6.0, 6.0),
};
const BREADTH: Reference = Reference {
    stale_peak: (3050.0, 2798.0),
    stale_at_stop: 678.0,
    staleness_at_75: (38.0, 39.1),
    staleness_peak: (62.0, 60.0),
    converged: (7.0, 8.0),
};
/// At t = 20, whatever the order: from 369 to 426 entries, and from 4.7 to 5.1 s.
const STEADY: (f64, f64) = (397.5, 4.9);

fn reference(order: Order) -> &'static Reference {
    match order {
        Order::Depth => &DEPTH,
        Order::Breadth => &BREADTH,
    }
}

fn figures(setup: &Setup, order: Order, runs: &[Run], mean: &[Sample]) -> Vec<Figure> {
    let Reference { stale_peak, stale_at_stop, staleness_at_75, staleness_peak, converged } = reference(order);
    let each = |figure: &dyn Fn(&Run) -> f64| runs.iter().map(figure).collect::<Vec<f64>>();
    let name = |what: &str| format!("{order}: {what}");
    let (steady, loaded) = (setup.doubled.0 - 5.0, setup.doubled.1);
    let mut figures = vec![
        Figure::new(name(&format!("stale entries at {steady} s")), each(&|run| at(&run.samples, steady).stale))
            .reference(STEADY.0, 0.1),
        Figure::new(name(&format!("staleness at {steady} s, s")), each(&|run| at(&run.samples, steady).staleness))
            .reference(STEADY.1, 0.1),
        Figure::new(name("stale entries, peak"), each(&|run| peak(&run.samples, |sample| sample.stale)))
            .paper(stale_peak.0)
            .reference(stale_peak.1, 0.1),
        Figure::new(
            name(&format!("stale entries at {} s", setup.stop)),
            each(&|run| at(&run.samples, setup.stop).stale),
        )
        .reference(*stale_at_stop, 0.1),
        Figure::new(name(&format!("staleness at {loaded} s, s")), each(&|run| at(&run.samples, loaded).staleness))
            .paper(staleness_at_75.0)
            .reference(staleness_at_75.1, 0.1),
        // Of the mean over the runs, as it is plotted: the peak of a single run is where chance put it on top.
        Figure::new(name("staleness, peak, s"), vec![peak(mean, |sample| sample.staleness)])
            .paper(staleness_peak.0)
            .reference(staleness_peak.1, 0.1),
        // Ten per cent of 126 would be no check at all.
        Figure::new(name("converged, s"), each(&|run| run.converged - setup.stop))
            .paper(converged.0)
            .reference(converged.1, 0.1)
            .band(converged.1 - 1.0, converged.1 + 1.0),
    ];
    if order == Order::Depth {
        let at_100 = Figure::new(name("staleness at 100 s, s"), each(&|run| at(&run.samples, 100.0).staleness));
        figures.insert(6, at_100.reference(7.8, 0.1));
    }
    figures
}

fn at(samples: &[Sample], time: f64) -> Sample {
    samples.iter().find(|sample| sample.time >= time).copied().unwrap_or_default()
}

fn peak(samples: &[Sample], what: impl Fn(&Sample) -> f64) -> f64 {
    samples.iter().map(what).fold(0.0, f64::max)
}

/// The mean over the runs at each time. A run that has converged lacks nothing any more.
fn mean_over(runs: &[Run]) -> Vec<Sample> {
    let longest = runs.iter().map(|run| run.samples.len()).max().unwrap_or(0);
    let mean = |number: usize, what: fn(&Sample) -> f64| {
        runs.iter().filter_map(|run| run.samples.get(number)).map(what).sum::<f64>() / runs.len() as f64
    };
    (0..longest)
        .map(|number| Sample {
            time: number as f64 * SAMPLE,
            stale: mean(number, |sample| sample.stale),
            staleness: mean(number, |sample| sample.staleness),
        })
        .collect()
}

fn plot(setup: &Setup, orders: &[(Order, Vec<Sample>)], comparable: bool) -> String {
    let end = orders.iter().flat_map(|(_, samples)| samples.last()).map(|sample| sample.time).fold(1.0, f64::max);
    let panel = |title: &str, label, what: fn(&Sample) -> f64, papers: &dyn Fn(&Reference) -> Vec<(f64, f64)>| {
        let mut series = Vec::new();
        for ((order, samples), colour) in orders.iter().zip(COLOURS) {
            let points = samples.iter().map(|sample| (sample.time, what(sample))).collect();
            series.push(Series { name: format!("{order} first"), colour, points, look: Look::Line });
            if comparable {
                let points = papers(reference(*order));
                series.push(Series { name: format!("{order}, the paper's"), colour, points, look: Look::Circles });
            }
        }
        let most = series.iter().flat_map(|series| &series.points).map(|(_, y)| *y).fold(1.0, f64::max);
        let x = Axis::linear("seconds", 0.0, (end / 10.0).ceil() * 10.0);
        let y = Axis::linear(label, 0.0, most * 1.08);
        Panel { title: title.to_owned(), x, y, series, legend: Corner::TopLeft }
    };
    let set_up = format!("{} participants, {} entries a message", setup.participants, setup.entries);
    svg(&[
        panel(
            &format!("Entries that one observer lacks ({set_up})"),
            "stale entries",
            |sample| sample.stale,
            &|paper| vec![(setup.doubled.1, paper.stale_peak.0)],
        ),
        panel("The oldest update that it lacks", "seconds ago", |sample| sample.staleness, &|paper| {
            // The peaks are at 86 s and 118 s in the paper.
            let peak_at = if paper.staleness_peak.0 < 50.0 { 86.0 } else { 118.0 };
            vec![(setup.doubled.1, paper.staleness_at_75.0), (peak_at, paper.staleness_peak.0)]
        }),
    ])
}
