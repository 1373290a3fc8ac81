//! How fast one update spreads by the shipped reconciliation alone: one owner, bare push-pull, nothing else in the messages.

use fastrand::Rng;
use grapevine::instant::Instant;
use grapevine::state::{Content, DeltaEntry, Map, OwnMap, Progress, Replica};
use grapevine::value::{Key, Value};
use grapevine::{Error, Limits};

/// One owner's map, and everyone else's copy of it.
struct Holders {
    own: OwnMap,
    copies: Vec<Replica>,
    limits: Limits,
}

/// How the partners of a round are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    /// Each by itself, so that one may come twice: the reference simulation's.
    Independent,
    /// All different: the library's.
    Different,
}

/// The rounds until all of `nodes` hold an update, when each exchanges once a round with so many others, at a time of its own in
/// the round.
///
/// # Errors
/// If the update cannot be written.
pub fn rounds(nodes: usize, partners: usize, draw: Draw, dice: &mut Rng) -> Result<f64, Error> {
    let mut holders = Holders::new(nodes);
    holders.own.set(&Key::from("k"), Value::encode(&1)?, None);
    let mut timers: Vec<(f64, usize)> = (0..nodes).map(|node| (dice.f64(), node)).collect();
    timers.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut missing = nodes - 1;
    for round in 0.. {
        for (phase, node) in &timers {
            for partner in choose(nodes, *node, partners, draw, dice) {
                missing -= usize::from(holders.exchange(*node, partner));
            }
            if missing == 0 {
                return Ok(f64::from(round) + phase);
            }
        }
    }
    Ok(f64::INFINITY)
}

/// So many partners of `node`.
fn choose(nodes: usize, node: usize, partners: usize, draw: Draw, dice: &mut Rng) -> Vec<usize> {
    let others = nodes - 1;
    let mut chosen = Vec::with_capacity(partners);
    match draw {
        Draw::Independent => chosen.extend((0..partners).map(|_| dice.usize(..others))),
        // Floyd's sampling, as in the library.
        Draw::Different => {
            for last in others - partners.min(others)..others {
                let drawn = dice.usize(..=last);
                chosen.push(if chosen.contains(&drawn) { last } else { drawn });
            }
        }
    }
    chosen.iter_mut().filter(|other| **other >= node).for_each(|other| *other += 1);
    chosen
}

impl Holders {
    fn new(nodes: usize) -> Holders {
        let own = OwnMap::new(1);
        let mut copy = Replica::default();
        copy.begin_generation(1);
        Holders { own, copies: vec![copy; nodes], limits: Limits::default() }
    }

    /// Whoever is behind is brought forward. Returns whether that one holds the update now and did not before.
    fn exchange(&mut self, p: usize, q: usize) -> bool {
        let (at_p, at_q) = (self.progress(p), self.progress(q));
        if at_p.is_behind(&at_q) {
            self.send(q, p)
        } else if at_q.is_behind(&at_p) {
            self.send(p, q)
        } else {
            false
        }
    }

    fn send(&mut self, from: usize, to: usize) -> bool {
        let (mine, theirs) = (self.progress(from), self.progress(to));
        let mut entries = Vec::new();
        let offer = mine.offer(self.map(from), mine.max, &theirs, |key, entry| {
            let content: Content = entry.content.clone();
            entries.push(DeltaEntry { key: key.clone(), version: entry.version, content, life: None });
            true
        });
        let Some(delta) = offer.map(|offer| offer.delta) else { return false };
        self.copies[to].apply(Instant::ZERO, &delta, entries.into_iter(), &self.limits, |_| (), |_| ());
        self.copies[to].progress() == self.own.progress()
    }

    /// The owner is node 0.
    fn progress(&self, holder: usize) -> Progress {
        if holder == 0 { self.own.progress() } else { self.copies[holder].progress() }
    }

    fn map(&self, holder: usize) -> &Map {
        if holder == 0 { self.own.map() } else { self.copies[holder].map() }
    }
}
