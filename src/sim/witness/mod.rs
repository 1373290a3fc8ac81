//! Looks at every step of every node, and says which promise was broken first.
//!
//! It believes nobody. What owners wrote it sees at the owners, at the moment of writing; what readers are shown, it compares with
//! that; and events are its log of every mutation. A peer is looked at whenever its heartbeat has moved; its map whenever an event
//! tells of it, or its size, progress or sum of hashes has changed: a violation that passes would have to leave all of these as they were.

mod history;
mod limits;
mod maps;
mod members;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::instant::Instant;
use crate::peer::Peer;
use history::History;
use maps::MapLog;
use members::MemberLog;
pub(super) use view::Glance;
use view::{Outlines, View};

/// The promises that are checked at every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// What anyone holds of a map, its owner wrote: key, value, version, life, heartbeat.
    OnlyTheOwnerWrites,
    /// Nothing that arrives changes a node's own map; each version is written once, in order.
    OwnMapIsOwn,
    /// Scuttlebutt's invariant (van Renesse et al. 2008, section 3): of every key a node either holds the owner's last version, or
    /// that version is above its maximum.
    NothingIsSkipped,
    /// What was deleted, overwritten or has expired is never visible again.
    NothingReturns,
    /// A key vanishes for a reader only if its owner deleted it, or its life has ended: no flicker.
    NothingVanishes,
    /// A life ends when the owner said, as exactly as clocks and delays allow.
    LivesEndInTime,
    /// (Generation, floor, version) of a copy never go back, nor do heartbeats.
    ProgressOnlyForward,
    /// A generation is never alive again after a higher one.
    OldRunsStayDead,
    /// Nobody lists itself as a peer, or as failed.
    NobodyFailsItself,
    /// A node that stood still convicts nobody for it.
    PausesConvictNobody,
    /// Events, added up, are exactly the state, in the order in which the state went through them.
    EventsTellTheState,
    /// Every table is within its limit.
    TablesAreBounded,
    /// No datagram is larger than `max_datagram`.
    DatagramsAreBounded,
    /// No node is busy for ever without time passing.
    TimePasses,
    /// Once the faults have ended everyone agrees, within the time that was asked for.
    Agreement,
}

/// A promise that was broken, and how.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Violation {
    /// Which one.
    pub rule: Rule,
    /// When, on the simulator's clock.
    pub now: Instant,
    /// At which node, if at one.
    pub at: Option<Peer>,
    /// What was seen.
    pub text: String,
}

impl Violation {
    pub(super) fn new(rule: Rule, now: Instant, at: Option<Peer>, mut text: String) -> Violation {
        // Large values say nothing.
        let end = text.char_indices().nth(MAX_TEXT_CHARS).map_or(text.len(), |(end, _)| end);
        text.truncate(end);
        Violation { rule, now, at, text }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.now.as_micros() as f64 / 1e6;
        write!(f, "{:?} is broken at {seconds:.6} s", self.rule)?;
        if let Some(at) = self.at {
            write!(f, " by {at}")?;
        }
        write!(f, ": {}", self.text)
    }
}

impl std::error::Error for Violation {}

/// Why a node did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was started.
    Start,
    /// Its program asked for it.
    Call,
    /// It was time.
    Timer,
    /// A datagram came, from this address.
    Datagram(SocketAddr),
}

const MAX_TEXT_CHARS: usize = 600;
/// Every so many steps of a node all that it holds is looked at, and not only what seems to have changed.
const FULL_LOOK_EVERY: u64 = 32;
/// Over so many nodes an entry may have come, each time rounded up to a millisecond.
const HOPS: u32 = 8;

/// What the witness knows.
pub(super) struct Witness {
    history: History,
    watches: BTreeMap<Peer, Watch>,
    observers: BTreeMap<Peer, Observer>,
    /// Somebody lies within the cluster: what is held of others need not be theirs.
    among_liars: bool,
    flights: Flights,
    /// Every view so far, to be spoilt and looked at again.
    #[cfg(test)]
    views: Vec<View>,
}

/// How far off the end of a life may be.
#[derive(Clone, Debug, Default)]
struct Flights {
    longest: Duration,
    /// That of the datagram that is being handed over.
    last: Duration,
    /// Every machine's sleep, with when it ended.
    slept: Vec<(Instant, Duration)>,
    drift: f64,
}

/// Which parts of what a process holds have changed since the last look.
#[derive(Default)]
struct Watch {
    run: u64,
    steps: u64,
    outlines: Outlines,
}

/// What one process was seen to hold.
#[derive(Default)]
struct Observer {
    run: u64,
    maps: MapLog,
    members: MemberLog,
}

impl Witness {
    pub(super) fn new() -> Witness {
        Witness {
            history: History::default(),
            watches: BTreeMap::new(),
            observers: BTreeMap::new(),
            among_liars: false,
            flights: Flights::default(),
            #[cfg(test)]
            views: Vec::new(),
        }
    }

    /// Somebody lies from now on: who wrote what is not checked any more, but everything else is.
    pub(super) fn expect_lies(&mut self) {
        self.among_liars = true;
    }

    /// A datagram was so long under way.
    pub(super) fn flight(&mut self, time: Duration) {
        self.flights.longest = self.flights.longest.max(time);
        self.flights.last = time;
    }

    /// A machine slept for so long, until now: what it holds lives longer by that.
    pub(super) fn slept(&mut self, now: Instant, time: Duration) {
        self.flights.slept.push((now, time));
    }

    /// Some clock runs fast or slow by so many parts in a million.
    pub(super) fn drift(&mut self, ppm: i32) {
        self.flights.drift = self.flights.drift.max(f64::from(ppm.unsigned_abs()) / 1e6);
    }

    /// The faults have ended.
    pub(super) fn calm(&mut self) {
        self.history.calm(&self.flights);
        self.flights.longest = Duration::ZERO;
    }

    /// By how much two nodes may disagree on when a life ends of which so much is left.
    pub(super) fn tolerance(&self, left: Duration) -> Duration {
        self.flights.tolerance(left).max(self.history.tolerance_before_calm)
    }

    /// Checks what a node has become.
    pub(super) fn look(&mut self, glance: &Glance<'_>) -> Result<(), Violation> {
        let mut view = self.view(glance);
        view.flight = std::mem::take(&mut self.flights.last);
        #[cfg(test)]
        self.views.push(view.clone());
        self.check(&view)
    }

    /// Takes down what a node holds, as far as it may have changed.
    fn view(&mut self, glance: &Glance<'_>) -> View {
        let watch = self.watches.entry(glance.at).or_default();
        if watch.run != glance.run {
            *watch = Watch { run: glance.run, ..Watch::default() };
        }
        watch.steps += 1;
        let all = watch.steps % FULL_LOOK_EVERY == 1;
        View::of(glance, all, &mut watch.outlines)
    }

    fn check(&mut self, view: &View) -> Result<(), Violation> {
        let result = self.check_rules(view);
        result.map_err(|(rule, text)| Violation::new(rule, view.now, Some(view.at), text))
    }

    fn check_rules(&mut self, view: &View) -> Result<(), Broken> {
        self.history.observe(view)?;
        let observer = self.observers.entry(view.at).or_default();
        if observer.run != view.run {
            *observer = Observer { run: view.run, ..Observer::default() };
        }
        limits::check(view)?;
        observer.members.check(view, &self.history, self.among_liars)?;
        observer.maps.check(view, &self.history, &self.flights, self.among_liars)
    }
}

/// A rule and how it was broken.
type Broken = (Rule, String);

fn broken<T>(rule: Rule, text: String) -> Result<T, Broken> {
    Err((rule, text))
}

impl Flights {
    fn tolerance(&self, life: Duration) -> Duration {
        let delays = (self.longest + Duration::from_millis(1)) * HOPS + self.slept_since(Instant::ZERO);
        self.drifted(life) + delays
    }

    /// One clock fast, the other slow.
    fn drifted(&self, life: Duration) -> Duration {
        life.mul_f64(2.2 * self.drift)
    }

    fn slept_since(&self, then: Instant) -> Duration {
        self.slept.iter().filter(|(until, _)| *until > then).map(|(_, time)| *time).sum()
    }
}
