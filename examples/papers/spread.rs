//! How fast updates spread through whole nodes on virtual time, beside the shipped reconciliation of a single owner.

use std::collections::BTreeMap;
use std::time::Duration;

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
/// Rounds until everyone is known to everyone and the roster is settled.
const WARM_UP: u32 = 25;
/// Rounds in which the last update has reached everyone.
const COOL_DOWN: u32 = 30;

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

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Single(Draw),
    Nodes,
}

/// Rounds by number of nodes and partners, and the plot.
///
/// # Errors
/// If a node cannot be started or written to.
pub fn report(options: &Options) -> Outcome<Findings> {
    let Setup { nodes, partners } = &options.spread;
    let mut jobs = Vec::new();
    for nodes in nodes {
        for partners in partners {
            for way in [Way::Nodes, Way::Single(Draw::Independent), Way::Single(Draw::Different)] {
                jobs.push((*nodes, *partners, way));
            }
        }
    }
    jobs.retain(|(nodes, _, way)| *way != Way::Nodes || *nodes <= MOST_REAL_NODES);
    // The long ones first, so that no processor is left with one at the end.
    jobs.sort_by_key(|(nodes, partners, way)| (*way != Way::Nodes, std::cmp::Reverse((*nodes, *partners))));
    let seed = options.seeds().next().unwrap_or(0);
    let results = parallel(&jobs, |(nodes, partners, way)| {
        let t = std::time::Instant::now();
        let rounds = match way {
            Way::Single(draw) => single_owner(*nodes, *partners, *draw, seed),
            Way::Nodes => whole_nodes(*nodes, *partners, seed),
        };
        eprintln!("{nodes} {partners} {:?}", t.elapsed());
        rounds.map_err(|problem| problem.to_string())
    });
    let mut found = Vec::new();
    for (job, rounds) in jobs.iter().zip(results) {
        let rounds = rounds?;
        println!(
            "{} {} {} {:.3} {:.2} {}",
            job.0,
            job.1,
            match job.2 {
                Way::Nodes => "nodes",
                Way::Single(Draw::Independent) => "indep",
                _ => "diff",
            },
            rounds.mean(),
            rounds.p95(),
            rounds.0.len()
        );
        found.push((*job, rounds));
    }
    Err("later".into())
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
        _ => (400, 0.1),
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
