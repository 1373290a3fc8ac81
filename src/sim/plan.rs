//! Which faults strike when, drawn from a seed, each with draws of its own.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

use crate::error::Error;
use crate::sim::dice::{Dice, Purpose};
use crate::sim::liar::Lie;
use crate::sim::network::Faults;

/// So many nodes have addresses of their own.
const MAX_NODES: usize = 65_536;

/// What goes wrong, and when: at random, or as written down. Nodes are counted from 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What it was drawn from; also what every other draw of the run starts from.
    pub seed: u64,
    /// How many nodes there are.
    pub nodes: usize,
    /// After this time all faults have ended.
    pub duration: Duration,
    /// The faults. Leaving some out leaves the others as they are.
    pub faults: Vec<Planned>,
}

/// A fault with its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// When it begins, since the start of the run; within the first 4 seconds, in which the nodes start, it is put off to their end.
    pub from: Duration,
    /// When it ends.
    pub until: Duration,
    /// What it is.
    pub fault: Fault,
}

/// Something that goes wrong for a while.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// The whole network does this.
    Network(Faults),
    /// Whatever goes to or from a node suffers this.
    AtNode(usize, Faults),
    /// What goes from the first node to the second suffers this.
    OnLink(usize, usize, Faults),
    /// These nodes are cut off from the others.
    Cut(Vec<usize>),
    /// Nothing gets from these nodes to the others; what the others send arrives.
    CutOneWay(Vec<usize>),
    /// A node crashes, and comes back in the end.
    Crash(usize, Comeback),
    /// A node leaves, and comes back in the end.
    Leave(usize),
    /// A node's process stands still.
    Pause(usize),
    /// A node's machine sleeps, and its monotonic clock with it.
    Sleep(usize),
    /// A node's monotonic clock runs fast by so many parts in a million, or slow if negative.
    Drift(usize, i32),
    /// A subscriber at a node does not read.
    DeafSubscriber(usize),
    /// Somebody outside of the cluster records what is sent, and sends it again.
    Recorder,
    /// Somebody lies within the cluster.
    Lies(Vec<Lie>),
}

/// As what a crashed node comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Comeback {
    /// As itself, with an empty map.
    Same,
    /// With its wall clock set back by so many milliseconds.
    ClockSetBack(i64),
    /// As another program at the same address: with other keys.
    Another,
    /// As a node of another cluster; the true one comes back at the end of the run.
    Foreigner,
}

/// The kinds of [`Fault`], to leave some out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // Each is what its name says; see `Fault`.
pub enum FaultKind {
    Loss,
    Duplication,
    Delay,
    Reordering,
    Corruption,
    Truncation,
    Replay,
    SlowLink,
    Cut,
    OneWayCut,
    Crash,
    ClockSetBack,
    Replacement,
    Leave,
    Pause,
    Sleep,
    Drift,
    DeafSubscriber,
    Recorder,
    Lies,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [FaultKind; 20] = [
        FaultKind::Loss,
        FaultKind::Duplication,
        FaultKind::Delay,
        FaultKind::Reordering,
        FaultKind::Corruption,
        FaultKind::Truncation,
        FaultKind::Replay,
        FaultKind::SlowLink,
        FaultKind::Cut,
        FaultKind::OneWayCut,
        FaultKind::Crash,
        FaultKind::ClockSetBack,
        FaultKind::Replacement,
        FaultKind::Leave,
        FaultKind::Pause,
        FaultKind::Sleep,
        FaultKind::Drift,
        FaultKind::DeafSubscriber,
        FaultKind::Recorder,
        FaultKind::Lies,
    ];

    /// Its name, in small letters with hyphens.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultKind::Loss => "loss",
            FaultKind::Duplication => "duplication",
            FaultKind::Delay => "delay",
            FaultKind::Reordering => "reordering",
            FaultKind::Corruption => "corruption",
            FaultKind::Truncation => "truncation",
            FaultKind::Replay => "replay",
            FaultKind::SlowLink => "slow-link",
            FaultKind::Cut => "cut",
            FaultKind::OneWayCut => "one-way-cut",
            FaultKind::Crash => "crash",
            FaultKind::ClockSetBack => "clock-set-back",
            FaultKind::Replacement => "replacement",
            FaultKind::Leave => "leave",
            FaultKind::Pause => "pause",
            FaultKind::Sleep => "sleep",
            FaultKind::Drift => "drift",
            FaultKind::DeafSubscriber => "deaf-subscriber",
            FaultKind::Recorder => "recorder",
            FaultKind::Lies => "lies",
        }
    }
}

impl std::str::FromStr for FaultKind {
    type Err = String;

    fn from_str(text: &str) -> Result<FaultKind, String> {
        let kinds = FaultKind::ALL;
        kinds.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
            format!("there is no kind of fault `{text}`; the kinds are {}", names.join(", "))
        })
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Fault {
    /// The node that is dead or has left while it lasts.
    pub(super) fn keeps_away(&self) -> Option<usize> {
        match self {
            Fault::Crash(node, _) | Fault::Leave(node) => Some(*node),
            _ => None,
        }
    }

    /// The node that stands still while it lasts.
    pub(super) fn keeps_still(&self) -> Option<usize> {
        match self {
            Fault::Pause(node) | Fault::Sleep(node) => Some(*node),
            _ => None,
        }
    }

    fn nodes(&self) -> Vec<usize> {
        match self {
            Fault::Network(_) | Fault::Recorder | Fault::Lies(_) => Vec::new(),
            Fault::OnLink(from, to, _) => vec![*from, *to],
            Fault::Cut(nodes) | Fault::CutOneWay(nodes) => nodes.clone(),
            Fault::AtNode(node, _)
            | Fault::Crash(node, _)
            | Fault::Leave(node)
            | Fault::Pause(node)
            | Fault::Sleep(node)
            | Fault::Drift(node, _)
            | Fault::DeafSubscriber(node) => vec![*node],
        }
    }
}

impl Plan {
    /// Faults of every kind but lies, so many of each that all of them overlap now and then.
    pub fn random(seed: u64, nodes: usize, duration: Duration) -> Plan {
        let kinds = FaultKind::ALL.into_iter().filter(|kind| *kind != FaultKind::Lies);
        Plan::of_kinds(seed, nodes, duration, kinds)
    }

    /// Faults of these kinds. Those of each kind are the same whichever others there are.
    pub fn of_kinds(seed: u64, nodes: usize, duration: Duration, kinds: impl IntoIterator<Item = FaultKind>) -> Plan {
        let mut faults = Vec::new();
        for kind in kinds {
            let mut rng = Dice::new(seed, [kind as u64, 0]).rng(Purpose::Plan);
            for _ in 0..count(kind, nodes, &mut rng) {
                let (from, until) = span(kind, duration, &mut rng);
                faults.push(Planned { from, until, fault: fault(kind, nodes, &mut rng) });
            }
        }
        faults.sort_by_key(|planned| (planned.from, planned.until));
        Plan { seed, nodes, duration, faults }
    }

    /// Every fault is at a node that there is.
    pub(super) fn validate(&self) -> Result<(), Error> {
        let missing = self.faults.iter().find(|planned| planned.fault.nodes().iter().any(|node| *node >= self.nodes));
        let problem = match missing {
            Some(Planned { fault, .. }) => format!("{fault:?} is at a node that there is not, of {}", self.nodes),
            None if !(1..=MAX_NODES).contains(&self.nodes) => {
                format!("{} nodes; it can be 1 to {MAX_NODES}", self.nodes)
            }
            None => return Ok(()),
        };
        Err(Error::Config { setting: "plan", problem })
    }

    /// Leaves out the faults for which this holds.
    #[must_use]
    pub fn without(mut self, masked: impl Fn(&Planned) -> bool) -> Plan {
        self.faults.retain(|planned| !masked(planned));
        self
    }
}

/// How many faults of a kind there are.
fn count(kind: FaultKind, nodes: usize, rng: &mut Rng) -> usize {
    match kind {
        FaultKind::Crash | FaultKind::Pause | FaultKind::Drift => rng.usize(1..=2 + nodes / 4),
        FaultKind::Lies | FaultKind::Recorder | FaultKind::DeafSubscriber => 1,
        _ => rng.usize(1..=3),
    }
}

/// From when until when: a second to a sixth of the run, short ones as often as long ones.
fn span(kind: FaultKind, duration: Duration, rng: &mut Rng) -> (Duration, Duration) {
    match kind {
        FaultKind::Drift | FaultKind::DeafSubscriber | FaultKind::Recorder => return (Duration::ZERO, duration),
        FaultKind::Lies => return (duration / 6, duration / 2),
        _ => {}
    }
    let longest = (duration / 6).as_secs_f64().max(1.0);
    let length = Duration::from_secs_f64(libm::pow(longest, rng.f64()));
    let from = duration.saturating_sub(length).mul_f64(rng.f64());
    (from, from + length)
}

fn fault(kind: FaultKind, nodes: usize, rng: &mut Rng) -> Fault {
    let node = rng.usize(..nodes.max(1));
    match kind {
        FaultKind::Loss => spread(nodes, Faults { loss: rng.f64() * 0.5, ..Faults::NONE }, rng),
        FaultKind::Duplication => spread(nodes, Faults { duplication: rng.f64() * 0.5, ..Faults::NONE }, rng),
        FaultKind::Delay => {
            let slowest = Duration::from_micros((1_000.0 * libm::pow(2_000.0, rng.f64())) as u64);
            spread(nodes, Faults { delay: slowest / 4..slowest, ..Faults::NONE }, rng)
        }
        FaultKind::Reordering => spread(nodes, Faults { reordering: rng.f64() * 0.5, ..Faults::NONE }, rng),
        FaultKind::Corruption => spread(nodes, Faults { corruption: rng.f64() * 0.3, ..Faults::NONE }, rng),
        FaultKind::Truncation => spread(nodes, Faults { truncation: rng.f64() * 0.3, ..Faults::NONE }, rng),
        FaultKind::Replay => spread(nodes, Faults { replay: rng.f64() * 0.2, ..Faults::NONE }, rng),
        FaultKind::SlowLink => {
            let rate = (500.0 * libm::pow(200.0, rng.f64())) as u64;
            spread(nodes, Faults { bytes_per_second: Some(rate), ..Faults::NONE }, rng)
        }
        FaultKind::Cut => Fault::Cut(some_of(nodes, rng)),
        FaultKind::OneWayCut => Fault::CutOneWay(some_of(nodes, rng)),
        FaultKind::Crash => Fault::Crash(node, Comeback::Same),
        FaultKind::ClockSetBack => Fault::Crash(node, Comeback::ClockSetBack(rng.i64(1_000..7_200_000))),
        FaultKind::Replacement if rng.bool() => Fault::Crash(node, Comeback::Foreigner),
        FaultKind::Replacement => Fault::Crash(node, Comeback::Another),
        FaultKind::Leave => Fault::Leave(node),
        FaultKind::Pause => Fault::Pause(node),
        FaultKind::Sleep => Fault::Sleep(node),
        FaultKind::Drift => Fault::Drift(node, rng.i32(-50_000..=50_000)),
        FaultKind::DeafSubscriber => Fault::DeafSubscriber(node),
        FaultKind::Recorder => Fault::Recorder,
        FaultKind::Lies => Fault::Lies(Lie::ALL.to_vec()),
    }
}

/// On the whole network, at a node or on a link.
fn spread(nodes: usize, faults: Faults, rng: &mut Rng) -> Fault {
    let node = rng.usize(..nodes.max(1));
    let other = (node + rng.usize(1..nodes.max(2))) % nodes.max(1);
    match rng.u8(0..3) {
        0 => Fault::Network(faults),
        1 => Fault::AtNode(node, faults),
        _ => Fault::OnLink(node, other, faults),
    }
}

/// One at least, half of them at most.
fn some_of(nodes: usize, rng: &mut Rng) -> Vec<usize> {
    let mut all: Vec<usize> = (0..nodes).collect();
    rng.shuffle(&mut all);
    all.truncate(rng.usize(1..=(nodes / 2).max(1)));
    all
}
