//! Heartbeats as gossip brings them: the intervals between two advances that an observer sees, and what detectors make of them.

use std::time::Duration;

use grapevine::Config;
use grapevine::detector::{Detector, DetectorConfig, Judge};
use grapevine::instant::Instant;
use grapevine::sim::Sim;

use crate::jobs::parallel;
use crate::options::Options;
use crate::report::{Figure, Report};
use crate::spread::settled_cluster;
use crate::{Findings, Outcome};

/// So many nodes are looked at closely; what one sees of the others hardly depends on which.
const OBSERVERS: usize = 5;
/// Rounds that are watched in each run.
const ROUNDS: u32 = 120;

/// What is varied.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    pub nodes: usize,
    /// Partners in a round, and the probability that a datagram is lost.
    pub cases: Vec<(usize, f64)>,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup { nodes: 200, cases: vec![(1, 0.0), (3, 0.0), (1, 0.1)] }
    }
}

/// The reference simulation's, in rounds.
struct Reference {
    case: (usize, f64),
    mean: f64,
    deviation: f64,
    /// When the plain normal and the exponential form suspect a silent peer, at threshold 8.
    fires: Option<(f64, f64)>,
}

const REFERENCES: [Reference; 3] = [
    Reference { case: (1, 0.0), mean: 1.51, deviation: 0.92, fires: Some((6.7, 28.0)) },
    Reference { case: (3, 0.0), mean: 1.01, deviation: 0.41, fires: Some((3.3, 19.0)) },
    Reference { case: (1, 0.1), mean: 1.68, deviation: 1.05, fires: None },
];
const MEAN: f64 = 0.05;
const DEVIATION: f64 = 0.1;
/// Mean and deviation together.
const FIRES: f64 = 0.1;

/// Means, deviations and tails by partners and loss.
///
/// # Errors
/// If a node cannot be started.
pub fn report(options: &Options) -> Outcome<Findings> {
    let setup = &options.detect;
    let jobs: Vec<((usize, f64), u64)> =
        setup.cases.iter().flat_map(|case| options.seeds().map(move |seed| (*case, seed))).collect();
    let runs =
        parallel(&jobs, |(case, seed)| intervals(setup.nodes, *case, *seed).map_err(|problem| problem.to_string()));
    let mut runs = runs.into_iter();
    let mut report = Report::new(format!(
        "Detect: rounds between advances of a heartbeat, as one of {} nodes sees them ({} runs)",
        setup.nodes, options.runs
    ));
    for case in &setup.cases {
        let runs: Vec<Vec<f64>> = runs.by_ref().take(options.runs).collect::<Result<_, _>>()?;
        for figure in figures(*case, &runs) {
            report.add(figure.compare_if(setup.nodes == Setup::default().nodes));
        }
        let of = runs.iter().map(Vec::len).sum::<usize>();
        let beyond = |rounds: f64| runs.iter().flatten().filter(|interval| **interval > rounds).count();
        let tail: Vec<String> = (3..=10).map(|rounds| format!("{} > {rounds}", beyond(f64::from(rounds)))).collect();
        report.note(format!("{}: of {of} intervals {}", name(*case), tail.join(", ")));
    }
    Ok(Findings { report, plots: Vec::new() })
}

fn name((partners, loss): (usize, f64)) -> String {
    let plural = if partners == 1 { "" } else { "s" };
    let lost = if loss > 0.0 { format!(", {} % lost", loss * 100.0) } else { String::new() };
    format!("{partners} partner{plural}{lost}")
}

fn figures(case: (usize, f64), runs: &[Vec<f64>]) -> Vec<Figure> {
    let each = |figure: &dyn Fn(&[f64]) -> f64| runs.iter().map(|run| figure(run)).collect::<Vec<f64>>();
    let known = REFERENCES.iter().find(|known| known.case == case);
    let figure = |what: &str, ours: Vec<f64>, reference: Option<f64>, tolerance: f64| {
        let figure = Figure::new(format!("{}: {what}", name(case)), ours);
        reference.into_iter().fold(figure, |figure, reference| figure.reference(reference, tolerance))
    };
    let fires = known.and_then(|known| known.fires);
    let (plain, exponential) = (DetectorConfig::plain_normal(), DetectorConfig::exponential());
    vec![
        figure("mean", each(&mean), known.map(|known| known.mean), MEAN),
        figure("deviation", each(&deviation), known.map(|known| known.deviation), DEVIATION),
        figure(
            "the normal form suspects after",
            each(&|run| suspects_after(plain.clone(), run)),
            fires.map(|f| f.0),
            FIRES,
        ),
        figure(
            "the exponential form suspects after",
            each(&|run| suspects_after(exponential.clone(), run)),
            fires.map(|fires| fires.1),
            FIRES,
        ),
        figure(
            "the library's default suspects after",
            each(&|run| suspects_after(DetectorConfig::default(), run)),
            None,
            0.0,
        ),
    ]
}

fn mean(intervals: &[f64]) -> f64 {
    intervals.iter().sum::<f64>() / intervals.len() as f64
}

fn deviation(intervals: &[f64]) -> f64 {
    let mean = mean(intervals);
    (intervals.iter().map(|interval| (interval - mean).powi(2)).sum::<f64>() / intervals.len() as f64).sqrt()
}

/// After how many rounds of silence a detector that was shown these intervals suspects their sender.
fn suspects_after(config: DetectorConfig, intervals: &[f64]) -> f64 {
    let round = Duration::from_secs(1);
    // The paper's window is 1,000; here it is as long as can be, for the mean over what all observers saw.
    let judge = Judge::new(&DetectorConfig { window: 10_000, ..config }, round, round.mul_f64(mean(intervals)));
    let (mut detector, mut now) = (Detector::new(), Instant::ZERO);
    for interval in intervals {
        now = now + round.mul_f64(*interval);
        detector.heartbeat(now, &judge);
    }
    detector.timeout(&judge).as_secs_f64()
}

/// The intervals, in rounds, that some observers saw between advances of everyone else's heartbeat.
fn intervals(nodes: usize, (partners, loss): (usize, f64), seed: u64) -> Outcome<Vec<f64>> {
    // Nobody is convicted: then everyone would see other intervals.
    let detector = DetectorConfig { threshold: 100.0, ..DetectorConfig::default() };
    let config = Config { fanout: partners, detector, early_news: false, ..Config::default() };
    let interval = config.interval.as_secs_f64();
    let mut sim = Sim::new(seed);
    let peers = settled_cluster(&mut sim, nodes, config)?;
    sim.faults().loss = loss;
    sim.run_for(Duration::from_secs_f64(interval * 20.0))?;
    let observers = &peers[..OBSERVERS.min(nodes)];
    // What each observer has seen last of each member, in the order of the ring, which stays the same.
    let mut seen: Vec<Vec<(u64, Instant)>> = Vec::new();
    for observer in observers {
        let node = sim.node(*observer).ok_or("a node has gone")?;
        seen.push(node.ring().members().map(|(_, member)| (member.heartbeat, sim.now())).collect());
    }
    let start = sim.now();
    let mut intervals = Vec::new();
    let end = start + Duration::from_secs_f64(interval * f64::from(ROUNDS));
    while sim.step(end)? {
        for (observer, seen) in observers.iter().zip(&mut seen) {
            let Some(node) = sim.node(*observer) else { continue };
            for ((_, member), (heartbeat, at)) in node.ring().members().zip(seen) {
                if member.heartbeat != *heartbeat {
                    // The first one may have begun before anybody looked.
                    if *at > start {
                        intervals.push((sim.now() - *at).as_secs_f64() / interval);
                    }
                    (*heartbeat, *at) = (member.heartbeat, sim.now());
                }
            }
        }
    }
    Ok(intervals)
}
