//! The wire: what is lost, doubled, delayed, overtaken, damaged and cut, each by draws of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use crate::instant::Instant;
use crate::peer::Peer;
use crate::sim::dice::{Dice, Purpose};
use crate::sim::happened::Happened;

/// A slow link holds what it takes so long to send; the rest is lost, as in a router.
const MAX_BACKLOG: Duration = Duration::from_secs(1);
/// A replayed datagram comes again after so long.
const REPLAY_AFTER: Range<Duration> = Duration::from_secs(5)..Duration::from_secs(90);

/// What the wire does to datagrams. Probabilities are from 0 to 1, each for one datagram; default [`Faults::NONE`].
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    /// It is lost.
    pub loss: f64,
    /// It arrives twice.
    pub duplication: f64,
    /// How long it takes; drawn for each anew, so that those that follow closely overtake each other.
    pub delay: Range<Duration>,
    /// It is held up for up to `reordering_delay` on top, so that later ones overtake it.
    pub reordering: f64,
    /// See `reordering`.
    pub reordering_delay: Duration,
    /// One to four of its bits are flipped.
    pub corruption: f64,
    /// Only a part of it arrives, from the start up to anywhere.
    pub truncation: f64,
    /// It arrives once more, 5 to 90 seconds later, from the same address: recorded and sent again.
    pub replay: f64,
    /// The link passes so many bytes per second; what would wait for more than a second is lost. `None` for no limit.
    pub bytes_per_second: Option<u64>,
}

impl Faults {
    /// A local network: 0.1 to 0.5 ms, nothing else.
    pub const NONE: Faults = Faults {
        loss: 0.0,
        duplication: 0.0,
        delay: Duration::from_micros(100)..Duration::from_micros(500),
        reordering: 0.0,
        reordering_delay: Duration::from_secs(2),
        corruption: 0.0,
        truncation: 0.0,
        replay: 0.0,
        bytes_per_second: None,
    };

    /// Both at once: the larger probabilities and delays, the lower rate.
    fn and(&self, other: &Faults) -> Faults {
        Faults {
            loss: self.loss.max(other.loss),
            duplication: self.duplication.max(other.duplication),
            delay: self.delay.start.max(other.delay.start)..self.delay.end.max(other.delay.end),
            reordering: self.reordering.max(other.reordering),
            reordering_delay: self.reordering_delay.max(other.reordering_delay),
            corruption: self.corruption.max(other.corruption),
            truncation: self.truncation.max(other.truncation),
            replay: self.replay.max(other.replay),
            bytes_per_second: match (self.bytes_per_second, other.bytes_per_second) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
        }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Faults::NONE
    }
}

/// Which datagrams a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Everywhere,
    /// Those to and from this node.
    Node(Peer),
    /// Those from the first to the second, and not those back.
    Link(Peer, Peer),
}

impl Scope {
    fn covers(&self, from: Peer, to: Peer) -> bool {
        match *self {
            Scope::Everywhere => true,
            Scope::Node(peer) => peer == from || peer == to,
            Scope::Link(start, end) => (start, end) == (from, to),
        }
    }
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub(super) struct Datagram {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
    pub(super) sent: Instant,
}

/// Everything between the machines.
pub(super) struct Network {
    seed: u64,
    pub(super) faults: Faults,
    pub(super) scoped: BTreeMap<u64, (Scope, Faults)>,
    /// From whom nothing reaches whom.
    pub(super) cuts: BTreeSet<(Peer, Peer)>,
    flying: BTreeMap<(Instant, u64), Datagram>,
    sent: u64,
    /// Until when a slow link is busy.
    busy: BTreeMap<(Peer, Peer), Instant>,
}

impl Network {
    pub(super) fn new(seed: u64) -> Network {
        Network {
            seed,
            faults: Faults::NONE,
            scoped: BTreeMap::new(),
            cuts: BTreeSet::new(),
            flying: BTreeMap::new(),
            sent: 0,
            busy: BTreeMap::new(),
        }
    }

    /// When the next datagram arrives.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.flying.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn take_next(&mut self) -> Option<Datagram> {
        self.flying.pop_first().map(|(_, datagram)| datagram)
    }

    /// Takes the `number`th datagram that machine `sender` sends, and decides its fate.
    pub(super) fn send(&mut self, datagram: Datagram, sender: u64, number: u64, happened: &mut Happened) {
        let (from, to) = (Peer::from(datagram.from), Peer::from(datagram.to));
        happened.datagrams += 1;
        if self.cuts.contains(&(from, to)) {
            let one_way = !self.cuts.contains(&(to, from));
            *(if one_way { &mut happened.cut_one_way } else { &mut happened.cut }) += 1;
            return;
        }
        let dice = Dice::new(self.seed, [sender, number]);
        let faults = self.faults_between(from, to);
        if dice.happens(Purpose::Loss, faults.loss).is_some() {
            happened.lost += 1;
            return;
        }
        let now = datagram.sent;
        let Some(queued) = self.queue(now, from, to, datagram.bytes.len(), &faults) else {
            happened.overflowed += 1;
            return;
        };
        if !queued.is_zero() {
            happened.slowed += 1;
        }
        if let Some(mut rng) = dice.happens(Purpose::Replay, faults.replay) {
            happened.replayed += 1;
            self.fly(now + between(&REPLAY_AFTER, rng.f64()), datagram.clone());
        }
        let copies = 1 + u64::from(dice.happens(Purpose::Duplication, faults.duplication).is_some());
        happened.duplicated += copies - 1;
        let mut delays = dice.rng(Purpose::Delay);
        for copy in 0..copies {
            let mut delay = queued + between(&faults.delay, delays.f64());
            let held_up = dice.happens(Purpose::Reordering, faults.reordering).filter(|_| copy == 0);
            if let Some(mut rng) = held_up {
                happened.reordered += 1;
                delay += faults.reordering_delay.mul_f64(rng.f64());
            }
            if delay > Faults::NONE.delay.end {
                happened.delayed += 1;
            }
            let mut datagram = datagram.clone();
            if copy == 0 {
                damage(&mut datagram.bytes, dice, &faults, happened);
            }
            self.fly(now + delay, datagram);
        }
    }

    fn fly(&mut self, arrival: Instant, datagram: Datagram) {
        self.sent += 1;
        self.flying.insert((arrival, self.sent), datagram);
    }

    fn faults_between(&self, from: Peer, to: Peer) -> Faults {
        let scoped = self.scoped.values().filter(|(scope, _)| scope.covers(from, to));
        scoped.fold(self.faults.clone(), |faults, (_, other)| faults.and(other))
    }

    /// How long a datagram waits for those before it on a slow link; `None` if there is no room for it.
    fn queue(&mut self, now: Instant, from: Peer, to: Peer, len: usize, faults: &Faults) -> Option<Duration> {
        let Some(rate) = faults.bytes_per_second else { return Some(Duration::ZERO) };
        let busy = self.busy.entry((from, to)).or_insert(now);
        let start = (*busy).max(now);
        let end = start + Duration::from_secs_f64(len as f64 / rate.max(1) as f64);
        if end - now > MAX_BACKLOG {
            return None;
        }
        *busy = end;
        Some(end - now)
    }
}

fn damage(bytes: &mut Vec<u8>, dice: Dice, faults: &Faults, happened: &mut Happened) {
    if let Some(mut rng) = dice.happens(Purpose::Corruption, faults.corruption) {
        happened.corrupted += 1;
        for _ in 0..rng.u8(1..=4) {
            let at = rng.usize(..bytes.len().max(1));
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.u8(..8);
            }
        }
    }
    if let Some(mut rng) = dice.happens(Purpose::Truncation, faults.truncation) {
        happened.truncated += 1;
        bytes.truncate(rng.usize(..bytes.len().max(1)));
    }
}

fn between(range: &Range<Duration>, fraction: f64) -> Duration {
    range.start + range.end.saturating_sub(range.start).mul_f64(fraction)
}
