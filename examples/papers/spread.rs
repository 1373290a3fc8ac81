//! How fast updates spread through whole nodes on virtual time, beside the shipped reconciliation of a single owner.

use std::collections::BTreeMap;

use fastrand::Rng;
use grapevine::instant::Instant;
use grapevine::sim::Sim;
use grapevine::{Config, Event, Peer};

use crate::jobs::parallel;
use crate::options::Options;
use crate::plot::{Axis, COLOURS, Corner, Look, Panel, Series, svg};
use crate::report::{Figure, Report};
use crate::single::{self, Draw};
use crate::{Findings, Outcome};

/// The largest cluster of whole nodes: 1 GB.
pub const MOST_REAL_NODES: usize = 1_000;
/// Rounds until everyone is known to everyone and the roster is settled: 12 in a cluster of 1,000.
const WARM_UP: u32 = 14;
/// Rounds in which the last update has reached everyone.
const COOL_DOWN: u32 = 14;
/// As a part of the reference simulation's figures.
const TOLERANCE: f64 = 0.05;

/// What is varied.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    pub nodes: Vec<usize>,
    pub partners: Vec<usize>,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup { nodes: vec![10, 100, 1_000, 10_000], partners: vec![1, 3] }
    }
}

/// The reference simulation's rounds: nodes, partners, mean and 95th percentile.
const REFERENCES: [(usize, usize, f64, f64); 8] = [
    (10, 1, 2.12, 3.0),
    (10, 3, 0.86, 1.4),
    (100, 1, 4.37, 5.2),
    (100, 3, 1.54, 2.0),
    (1_000, 1, 6.24, 7.0),
    (1_000, 3, 2.04, 2.5),
    (10_000, 1, 7.96, 8.7),
    (10_000, 3, 2.51, 3.0),
];

/// The rounds that updates took to reach everyone.
struct Rounds(Vec<f64>);

impl Rounds {
    fn new(mut rounds: Vec<f64>) -> Rounds {
        rounds.sort_by(f64::total_cmp);
        Rounds(rounds)
    }

    fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    fn p95(&self) -> f64 {
        self.0.get(self.0.len() * 95 / 100).copied().unwrap_or(f64::NAN)
    }
}

/// By what an update is spread.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// The shipped reconciliation of a single owner's map.
    Single(Draw),
    /// Whole nodes.
    Nodes,
}

/// Rounds by number of nodes and partners, and the plot.
///
/// # Errors
/// If a node cannot be started or written to.
pub fn report(options: &Options) -> Outcome<Findings> {
    let Setup { nodes, partners } = &options.spread;
    let mut jobs = Vec::new();
    for (nodes, partners) in nodes.iter().flat_map(|nodes| partners.iter().map(move |partners| (*nodes, *partners))) {
        jobs.extend(WAYS.map(|way| (nodes, partners, way)));
    }
    jobs.retain(|(nodes, _, way)| *way != Way::Nodes || *nodes <= MOST_REAL_NODES);
    // The long ones first, so that no processor is left with one at the end.
    jobs.sort_by_key(|(nodes, partners, way)| (*way != Way::Nodes, std::cmp::Reverse((*nodes, *partners))));
    let seed = options.seeds().next().unwrap_or(0);
    let results = parallel(&jobs, |(nodes, partners, way)| {
        let rounds = match way {
            Way::Single(draw) => single_owner(*nodes, *partners, *draw, seed),
            Way::Nodes => whole_nodes(*nodes, *partners, seed),
        };
        // An error of any kind, to be handed over between threads.
        rounds.map_err(|problem| problem.to_string())
    });
    let results: Result<Vec<Rounds>, String> = results.into_iter().collect();
    let found: Vec<(Job, Rounds)> = jobs.into_iter().zip(results?).collect();
    let mut report = Report::new("Spread: rounds until everyone knows of an update, timers not in step".to_owned());
    for nodes in nodes {
        for partners in partners {
            for figure in figures(*nodes, *partners, &found) {
                report.add(figure);
            }
        }
    }
    report.note(
        "One owner: the shipped reconciliation of a single owner's map, partners drawn independently as in the reference\n\
         simulation, so that one may come twice in a round. The library's are all different, which matters among few.",
    );
    Ok(Findings { report, plots: vec![("spreading", plot(partners, &found))] })
}

type Job = (usize, usize, Way);

const WAYS: [Way; 3] = [Way::Nodes, Way::Single(Draw::Independent), Way::Single(Draw::Different)];
/// Beyond so many nodes it hardly matters whether partners are drawn twice: with 100 it is half a per cent.
const FEW_NODES: usize = 50;

fn figures(nodes: usize, partners: usize, found: &[(Job, Rounds)]) -> Vec<Figure> {
    let rounds = |way: Way| found.iter().find(|(job, _)| *job == (nodes, partners, way)).map(|(_, rounds)| rounds);
    let plural = if partners == 1 { "" } else { "s" };
    let name = |what: &str| format!("N={nodes}, {partners} partner{plural}: {what}");
    let known = REFERENCES.iter().find(|known| (known.0, known.1) == (nodes, partners));
    let mean_of = known.map(|known| known.2);
    let p95_of = known.map(|known| known.3);
    let compare = |figure: Figure, reference: Option<f64>| match reference {
        Some(reference) => figure.reference(reference, TOLERANCE),
        None => figure,
    };
    let mut figures = Vec::new();
    if let Some(rounds) = rounds(Way::Single(Draw::Independent)) {
        figures.push(compare(Figure::new(name("one owner, mean"), vec![rounds.mean()]), mean_of));
        figures.push(compare(Figure::new(name("one owner, 95 %"), vec![rounds.p95()]), p95_of));
    }
    let different = rounds(Way::Single(Draw::Different)).filter(|_| partners > 1);
    if let Some(rounds) = different {
        figures.push(Figure::new(name("one owner, all different, mean"), vec![rounds.mean()]));
    }
    if let Some(rounds) = rounds(Way::Nodes) {
        let mean = compare(Figure::new(name("nodes, mean"), vec![rounds.mean()]), mean_of);
        let p95 = compare(Figure::new(name("nodes, 95 %"), vec![rounds.p95()]), p95_of);
        match different.filter(|_| nodes < FEW_NODES) {
            Some(all_different) => {
                let around = |value: f64| (value * (1.0 - TOLERANCE), value * (1.0 + TOLERANCE));
                let (mean_band, p95_band) = (around(all_different.mean()), around(all_different.p95()));
                figures.push(mean.band(mean_band.0, mean_band.1));
                figures.push(p95.band(p95_band.0, p95_band.1));
            }
            None => figures.extend([mean, p95]),
        }
    }
    figures
}

fn plot(partners: &[usize], found: &[(Job, Rounds)]) -> String {
    let mut series = Vec::new();
    for (partners, colour) in partners.iter().zip(COLOURS.into_iter().cycle()) {
        let plural = if *partners == 1 { "" } else { "s" };
        let of = |way: Way| {
            let mine = found.iter().filter(move |((_, of, by), _)| of == partners && *by == way);
            let mut points: Vec<(f64, f64)> =
                mine.map(|((nodes, ..), rounds)| (*nodes as f64, rounds.mean())).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            points
        };
        let name = format!("{partners} partner{plural} a round: whole nodes");
        series.push(Series { name, colour, points: of(Way::Nodes), look: Look::Line });
        let name = format!("{partners} partner{plural}: one owner alone");
        series.push(Series { name, colour, points: of(Way::Single(Draw::Different)), look: Look::Dashes });
        let known = REFERENCES.iter().filter(|known| known.1 == *partners);
        let points: Vec<(f64, f64)> = known.map(|known| (known.0 as f64, known.2)).collect();
        if !points.is_empty() {
            let name = format!("{partners} partner{plural}: reference");
            series.push(Series { name, colour, points, look: Look::Circles });
        }
    }
    let points = || series.iter().flat_map(|series| &series.points);
    let most = points().map(|(_, y)| *y).fold(1.0, f64::max);
    let (fewest, largest) =
        points().fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), (x, _)| (low.min(*x), high.max(*x)));
    let x = Axis::logarithmic("nodes", fewest, largest.max(fewest * 10.0));
    // The legend has room above the lines.
    let y = Axis::linear("rounds, mean", 0.0, most * 1.65);
    let title = "Rounds until everyone knows of an update (no early news)".to_owned();
    svg(&[Panel { title, x, y, series, legend: Corner::TopLeft }])
}

fn single_owner(nodes: usize, partners: usize, draw: Draw, seed: u64) -> Outcome<Rounds> {
    let mut dice = Rng::with_seed(seed);
    // Means are steady to half a per cent.
    let repetitions = (1_000_000 / nodes).clamp(200, 20_000);
    let rounds: Result<_, _> = (0..repetitions).map(|_| single::rounds(nodes, partners, draw, &mut dice)).collect();
    Ok(Rounds::new(rounds?))
}

/// Whole nodes: updates of random owners at random times, each followed until everyone has told its program of it.
fn whole_nodes(nodes: usize, partners: usize, seed: u64) -> Outcome<Rounds> {
    let mut dice = Rng::with_seed(seed);
    let (updates, spacing) = match nodes {
        ..50 => (4_000, 0.5),
        50..500 => (1_500, 0.2),
        _ => (200, 0.1),
    };
    let config = Config { early_news: false, fanout: partners, ..Config::default() };
    let interval = config.interval;
    let mut sim = Sim::new(seed);
    let peers = settled_cluster(&mut sim, nodes, config)?;
    let mut set_at = Vec::with_capacity(updates);
    for number in 0..updates {
        sim.run_for(interval.mul_f64(2.0 * spacing * dice.f64()))?;
        sim.set(peers[dice.usize(..nodes)], &number.to_string(), &number)?;
        set_at.push(sim.now());
    }
    sim.run_for(interval * COOL_DOWN)?;
    let mut last = BTreeMap::new();
    for peer in &peers {
        for (at, event) in sim.take_events(*peer) {
            if let Event::Update { key, .. } = event {
                let (holders, latest) = last.entry(key).or_insert((0, at));
                *holders += 1;
                *latest = at.max(*latest);
            }
        }
    }
    let rounds = set_at.iter().enumerate().map(|(number, set)| match last.get(number.to_string().as_str()) {
        Some((holders, latest)) if *holders == nodes => (*latest - *set).as_secs_f64() / interval.as_secs_f64(),
        _ => f64::INFINITY,
    });
    Ok(Rounds::new(rounds.collect()))
}

/// A cluster in which everyone knows everyone, and seeds are tried no more: they would be partners beyond those of a round.
pub fn settled_cluster(sim: &mut Sim, nodes: usize, config: Config) -> Outcome<Vec<Peer>> {
    let interval = config.interval;
    let peers = sim.cluster(nodes, config)?;
    sim.run_for(interval * WARM_UP)?;
    for peer in &peers[1..] {
        sim.act(*peer, |node, now: Instant, out| node.seed_resolved(now, 0, &[], out))?;
    }
    sim.run_for(interval * 3)?;
    for peer in &peers {
        sim.take_events(*peer);
    }
    Ok(peers)
}
