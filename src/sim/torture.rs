//! A whole run: nodes that write all the time, faults as planned, and everyone's agreement in the end.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::{Config, Limits};
use crate::error::Error;
use crate::event::EventFilter;
use crate::instant::Instant;
use crate::peer::{Peer, PeerState};
use crate::sim::Sim;
use crate::sim::dice::{Dice, Purpose};
use crate::sim::happened::Happened;
use crate::sim::liar::Liar;
use crate::sim::network::{Faults, Scope};
use crate::sim::plan::{Comeback, Fault, Plan, Planned};
use crate::sim::recorder::Recorder;
use crate::sim::witness::{Rule, Violation};
use crate::subscription::Subscription;
use crate::value::Value;

/// What is to be run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Torture {
    /// The faults.
    pub plan: Plan,
    /// The settings of every node.
    pub config: Config,
    /// How often each node writes, per second of virtual time; default 0.5.
    pub writes_per_second: f64,
    /// Within so many intervals after the faults have ended everyone must agree; default 150.
    pub settle_within: u32,
    /// Whether everything that happens is recorded as text; default false.
    pub record: bool,
}

/// What became of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// What went wrong, on purpose.
    pub happened: Happened,
    /// Virtual time, all in all.
    pub simulated: Duration,
    /// How often a node did something.
    pub steps: u64,
    /// After so long everyone agreed, once the faults had ended.
    pub settled: Duration,
    /// A hash of all that happened; equal for equal runs.
    pub trace_hash: u64,
    /// All that happened, if it was to be recorded.
    pub record: String,
    /// The promise that was broken, if one was.
    pub violation: Option<Violation>,
}

impl Torture {
    /// A plan with settings that suit it, drawn from its seed as well: partners in a round, early news or not, sizes of
    /// datagrams, bytes per round; and of each second seed a keyring. Tombstones are collected and peers forgotten after half a minute.
    pub fn new(plan: Plan) -> Torture {
        let mut rng = Dice::new(plan.seed, [u64::MAX, 1]).rng(Purpose::Plan);
        let max_datagram = rng.choice([576, 1_400, 1_400, 8_192]).unwrap_or(1_400);
        let config = Config {
            fanout: rng.usize(1..=3),
            early_news: rng.u8(0..3) > 0,
            max_datagram,
            bytes_per_round: rng.choice([3 * max_datagram, 32_768]).unwrap_or(32_768),
            grace: Duration::from_secs(30),
            // Small enough to be reached by whoever tries.
            limits: Limits { peers: 64.max(4 * plan.nodes), keys: 64, events: 64, ..Limits::default() },
            #[cfg(feature = "encryption")]
            keyring: rng.bool().then(|| keyring(&mut rng)),
            ..Config::default()
        };
        Torture { plan, config, writes_per_second: 0.5, settle_within: SETTLE_WITHIN, record: false }
    }
}

/// So many intervals after the faults have ended everyone agrees. Most of it is the once-a-minute rule: a node that met its own
/// past may take a higher generation again after a minute only.
const SETTLE_WITHIN: u32 = 150;
/// And so long they go on agreeing, while everyone writes on.
const CALM: Duration = Duration::from_secs(20);
/// All nodes are started within `STARTS`, and no fault begins before `ALL_STARTED`.
const STARTS: Duration = Duration::from_secs(3);
const ALL_STARTED: Duration = Duration::from_secs(4);
/// Where a liar is, and somebody who records.
const LIAR: ([u8; 4], u16) = ([10, 66, 0, 1], 6_666);
const RECORDER: ([u8; 4], u16) = ([10, 66, 0, 2], 6_666);

#[cfg(feature = "encryption")]
fn keyring(rng: &mut fastrand::Rng) -> crate::keyring::Keyring {
    let mut key = [0; 32];
    rng.fill(&mut key);
    crate::keyring::Keyring::new(crate::keyring::SecretKey::from_bytes(&key))
}

/// Runs it, watched.
///
/// # Errors
/// Those of [`Sim::start`]: settings that cannot be used. A broken promise is no error but in the [`Outcome`].
pub fn torture(torture: &Torture) -> Result<Outcome, Error> {
    let mut run = Run::new(torture)?;
    if torture.record {
        run.sim.record();
    }
    let violation = run.run().err();
    let sim = &run.sim;
    Ok(Outcome {
        happened: sim.happened(),
        simulated: sim.now() - run.start,
        steps: sim.steps(),
        settled: run.settled,
        trace_hash: sim.trace_hash(),
        record: sim.recorded().to_owned(),
        violation,
    })
}

struct Run<'a> {
    torture: &'a Torture,
    sim: Sim,
    start: Instant,
    nodes: Vec<Peer>,
    /// What is to be done when: by time, then in the order of the list.
    deeds: BTreeMap<(Duration, u64), Deed>,
    /// The faults that have begun and have not ended, by their places in the plan.
    lasting: BTreeSet<usize>,
    deaf: Vec<Subscription>,
    settled: Duration,
}

#[derive(Clone, Copy)]
enum Deed {
    Start(usize),
    Begin(usize),
    End(usize),
    /// A node's so manyeth write.
    Write(usize, u64),
}

impl<'a> Run<'a> {
    fn new(torture: &'a Torture) -> Result<Run<'a>, Error> {
        torture.config.validate()?;
        torture.plan.validate()?;
        let sim = Sim::new(torture.plan.seed).watched();
        let addr = |n: usize| SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 9_000));
        let nodes: Vec<Peer> = (0..torture.plan.nodes).map(|n| Peer::from(addr(n))).collect();
        let mut run = Run {
            torture,
            start: sim.now(),
            sim,
            nodes,
            deeds: BTreeMap::new(),
            lasting: BTreeSet::new(),
            deaf: Vec::new(),
            settled: Duration::ZERO,
        };
        for node in 0..torture.plan.nodes {
            let mut rng = run.dice(node, 0);
            let start = STARTS.mul_f64(rng.f64());
            run.add(start, Deed::Start(node));
            run.add(start + run.pause(&mut rng), Deed::Write(node, 1));
        }
        for (index, planned) in torture.plan.faults.iter().enumerate() {
            let begin = planned.from.max(ALL_STARTED);
            // One that would end before everyone has started is put off, as long as it is.
            let end = begin + planned.until.saturating_sub(planned.from);
            if begin < torture.plan.duration {
                run.add(begin, Deed::Begin(index));
                run.add(end.min(torture.plan.duration), Deed::End(index));
            }
        }
        Ok(run)
    }

    fn run(&mut self) -> Result<(), Violation> {
        self.until(self.torture.plan.duration)?;
        self.sim.calm();
        for node in self.nodes.clone() {
            let is_back = self
                .sim
                .node(node)
                .is_some_and(|found| !found.has_left() && found.config().cluster == self.torture.config.cluster);
            if !is_back {
                self.come_back(node, Comeback::Same);
            }
        }
        let within = self.torture.config.interval * self.torture.settle_within;
        self.settled = self.sim.settle(within)?;
        // Agreement lasts, with everyone writing on.
        self.until(self.sim.now() - self.start + CALM)?;
        self.sim.settle(within)?;
        self.subscribers_were_told()
    }

    /// Runs until this time of the run, and does what is due.
    fn until(&mut self, end: Duration) -> Result<(), Violation> {
        while let Some(entry) = self.deeds.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((due, _), deed) = entry.remove_entry();
            let now = self.sim.now() - self.start;
            self.sim.run_for(due.saturating_sub(now))?;
            self.act(due, deed);
        }
        let now = self.sim.now() - self.start;
        self.sim.run_for(end.saturating_sub(now))
    }

    fn add(&mut self, at: Duration, deed: Deed) {
        let order = match deed {
            Deed::Start(node) => node as u64,
            Deed::Begin(index) => (1 << 32) + index as u64,
            Deed::End(index) => (2 << 32) + index as u64,
            Deed::Write(node, _) => (3 << 32) + node as u64,
        };
        self.deeds.insert((at, order), deed);
    }

    fn dice(&self, node: usize, write: u64) -> fastrand::Rng {
        Dice::new(self.torture.plan.seed, [(1 << 40) + node as u64, write]).rng(Purpose::Program)
    }

    fn pause(&self, rng: &mut fastrand::Rng) -> Duration {
        let mean = 1.0 / self.torture.writes_per_second.max(1e-6);
        Duration::from_secs_f64(-mean * libm::log(1.0 - rng.f64())).max(Duration::from_micros(1))
    }

    fn act(&mut self, now: Duration, deed: Deed) {
        match deed {
            Deed::Start(node) => self.come_back(self.nodes[node], Comeback::Same),
            Deed::Begin(index) => self.begin(index),
            Deed::End(index) => self.end(index),
            Deed::Write(node, count) => {
                let mut rng = self.dice(node, count);
                write(&mut self.sim, self.nodes[node], &mut rng);
                let next = now + self.pause(&mut rng);
                self.add(next, Deed::Write(node, count + 1));
            }
        }
    }

    fn config(&self, node: Peer) -> Config {
        // The first two are everyone's seeds, so that no single one decides.
        let seeds = self.nodes.iter().take(2).filter(|seed| **seed != node).map(Peer::to_string);
        Config { seeds: seeds.collect(), ..self.torture.config.clone() }
    }

    /// Starts a node, or starts it anew. Settings were checked at the start of the run.
    fn come_back(&mut self, node: Peer, comeback: Comeback) {
        let mut config = self.config(node);
        let started = match comeback {
            Comeback::Same if !self.sim.hosts.contains_key(&node) => {
                self.sim.start_at(node.addr(), config, 0).map(|_| ())
            }
            Comeback::Same => {
                self.sim.configure(node, config);
                self.sim.restart(node)
            }
            Comeback::ClockSetBack(back) => {
                self.sim.configure(node, config);
                self.sim.restart_with_clock(node, -back)
            }
            Comeback::Another => {
                // "other", in MessagePack.
                let value = Value::from_bytes([0xa5, b'o', b't', b'h', b'e', b'r']);
                config.initial = vec![("a".to_owned(), value.clone()), ("of another".to_owned(), value)];
                self.sim.replace(node, config)
            }
            Comeback::Foreigner => self.sim.replace(node, Config { cluster: "somebody else's".to_owned(), ..config }),
        };
        if let Err(error) = started {
            let text = format!("{node} cannot be started: {error}");
            self.sim.violated(Violation::new(Rule::Agreement, self.sim.now(), Some(node), text));
        }
    }

    fn begin(&mut self, index: usize) {
        let Planned { fault, .. } = self.torture.plan.faults[index].clone();
        self.lasting.insert(index);
        let number = index as u64;
        match fault {
            Fault::Network(faults) => self.sim.faults_in(number, Scope::Everywhere, faults),
            Fault::AtNode(node, faults) => self.sim.faults_in(number, Scope::Node(self.nodes[node]), faults),
            Fault::OnLink(from, to, faults) => {
                self.sim.faults_in(number, Scope::Link(self.nodes[from], self.nodes[to]), faults);
            }
            Fault::Cut(nodes) => {
                let (cut_off, others) = self.split(&nodes);
                self.sim.cut(&cut_off, &others);
            }
            Fault::CutOneWay(nodes) => {
                let (cut_off, others) = self.split(&nodes);
                self.sim.cut_one_way(&cut_off, &others);
            }
            Fault::Crash(node, _) => self.sim.crash(self.nodes[node]),
            Fault::Leave(node) => drop(self.sim.leave(self.nodes[node])),
            Fault::Pause(node) => self.sim.pause(self.nodes[node]),
            Fault::Sleep(node) => self.sim.sleep(self.nodes[node]),
            Fault::Drift(node, ppm) => self.sim.drift(self.nodes[node], ppm),
            Fault::DeafSubscriber(node) => {
                self.deaf.extend(self.sim.subscribe(self.nodes[node], EventFilter::all()));
            }
            Fault::Recorder => {
                self.sim.intrude(SocketAddr::from(RECORDER), Recorder::new(self.torture.plan.seed));
            }
            Fault::Lies(lies) => {
                let addr = SocketAddr::from(LIAR);
                let liar = Liar::new(self.torture.plan.seed, addr, &self.torture.config, &self.nodes, &lies);
                self.sim.expect_lies();
                self.sim.intrude(addr, liar);
            }
        }
    }

    fn end(&mut self, index: usize) {
        let Planned { fault, .. } = self.torture.plan.faults[index].clone();
        self.lasting.remove(&index);
        match fault {
            Fault::Network(_) | Fault::AtNode(..) | Fault::OnLink(..) => {
                self.sim.faults_in(index as u64, Scope::Everywhere, Faults::NONE);
            }
            Fault::Cut(nodes) | Fault::CutOneWay(nodes) => {
                let (cut_off, others) = self.split(&nodes);
                self.sim.heal_between(&cut_off, &others);
                self.cut_what_lasts();
            }
            // Of several that overlap the last to end brings the node back.
            Fault::Crash(node, _) | Fault::Leave(node) if self.lasts(|other| other.keeps_away() == Some(node)) => {}
            Fault::Pause(node) | Fault::Sleep(node) if self.lasts(|other| other.keeps_still() == Some(node)) => {}
            Fault::Crash(node, comeback) => self.come_back(self.nodes[node], comeback),
            Fault::Leave(node) => self.come_back(self.nodes[node], Comeback::Same),
            Fault::Pause(node) | Fault::Sleep(node) => self.sim.resume(self.nodes[node]),
            // Clocks go on at their rates.
            Fault::Drift(..) | Fault::DeafSubscriber(_) => {}
            Fault::Recorder => self.sim.expel(SocketAddr::from(RECORDER)),
            Fault::Lies(_) => self.sim.expel(SocketAddr::from(LIAR)),
        }
    }

    fn lasts(&self, which: impl Fn(&Fault) -> bool) -> bool {
        self.lasting.iter().any(|index| which(&self.torture.plan.faults[*index].fault))
    }

    /// Two cuts may have links in common: the end of one does not heal the other's.
    fn cut_what_lasts(&mut self) {
        for index in self.lasting.clone() {
            match &self.torture.plan.faults[index].fault {
                Fault::Cut(nodes) => {
                    let (cut_off, others) = self.split(nodes);
                    self.sim.cut(&cut_off, &others);
                }
                Fault::CutOneWay(nodes) => {
                    let (cut_off, others) = self.split(nodes);
                    self.sim.cut_one_way(&cut_off, &others);
                }
                _ => {}
            }
        }
    }

    fn split(&self, nodes: &[usize]) -> (Vec<Peer>, Vec<Peer>) {
        let cut_off: Vec<Peer> = nodes.iter().map(|node| self.nodes[*node]).collect();
        let others = self.nodes.iter().copied().filter(|node| !cut_off.contains(node)).collect();
        (cut_off, others)
    }

    /// Who does not read misses the oldest events, is told how many, and nothing else is lost.
    fn subscribers_were_told(&self) -> Result<(), Violation> {
        let limit = self.torture.config.limits.events;
        let missed = self.sim.happened().events_missed;
        let told: u64 = self.deaf.iter().map(|subscription| subscription.missed()).sum();
        let waiting = self.deaf.iter().map(|subscription| subscription.receiver().len()).max().unwrap_or(0);
        if waiting <= limit && told == missed {
            return Ok(());
        }
        let text = format!("{waiting} events wait, with room for {limit}; {missed} were missed and {told} told");
        Err(Violation::new(Rule::EventsTellTheState, self.sim.now(), None, text))
    }
}

/// One write of a program: mostly small values under few keys, some with a life, deletes, now and then a large one. Where nothing
/// runs, or a map is full, nothing happens.
fn write(sim: &mut Sim, node: Peer, rng: &mut fastrand::Rng) {
    let key = rng.choice(["a", "b", "c", "d", "ключ", "service/web", "service/db", "load"]).unwrap_or("a");
    match rng.u8(0..20) {
        0..9 => drop(sim.set(node, key, &rng.u8(0..4))),
        9..14 => {
            let life = Duration::from_secs_f64(0.05 * libm::pow(1_000.0, rng.f64()));
            drop(sim.set_for(node, key, &rng.u16(..), life));
        }
        14..18 => drop(sim.delete(node, key)),
        18 => drop(sim.set(node, "large", &vec![rng.u8(..); rng.usize(2_000..20_000)])),
        _ => {
            let others = sim.listed(node, PeerState::Failed);
            if let Some(other) = rng.choice(others) {
                drop(sim.forget(node, other));
            }
        }
    }
}
