//! Participants that reconcile with the library's code, in messages whose size is counted in entries as in the paper.
//!
//! What is held is [`OwnMap`] and [`Replica`]; who may send what is [`Progress::answer_from`] and [`Progress::offer`]; what is
//! received goes through [`Replica::apply`]. Of its own this file has the room of a message and breadth order.

use std::fmt;
use std::str::FromStr;

use fastrand::Rng;
use grapevine::instant::Instant;
use grapevine::reconcile::{deepest_first, waiting_entries};
use grapevine::state::{Content, Delta, DeltaEntry, Entry, Map, OwnMap, Progress, Replica};
use grapevine::value::{Key, Value};
use grapevine::{Error, Limits};

/// The room of a message that holds whatever there is.
pub const UNLIMITED: usize = usize::MAX;

/// Which entries go first when not all of them fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The owner with the most waiting entries first, each to its end: the library's.
    Depth,
    /// The first waiting entry of every owner, then the second of every owner.
    Breadth,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Order::Depth => "depth",
            Order::Breadth => "breadth",
        })
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Order, String> {
        match text {
            "depth" => Ok(Order::Depth),
            "breadth" => Ok(Order::Breadth),
            _ => Err("an order is `depth` or `breadth`".to_owned()),
        }
    }
}

/// Everything that everyone holds.
pub struct Participants {
    own: Vec<OwnMap>,
    /// By holder, then by owner.
    copies: Vec<Vec<Replica>>,
    /// Named by their numbers.
    keys: Vec<Key>,
    written: u64,
    limits: Limits,
}

/// What one participant sends another: complete deltas, each with its owner.
struct Message {
    deltas: Vec<(usize, Delta, Vec<DeltaEntry>)>,
    overflowed: bool,
}

impl Participants {
    /// So many participants with empty maps, who will write so many keys each.
    pub fn new(participants: usize, keys: usize) -> Participants {
        Participants {
            own: vec![OwnMap::new(1); participants],
            copies: vec![vec![Replica::default(); participants]; participants],
            keys: (0..keys).map(|key| Key::from(key.to_string())).collect(),
            written: 0,
            limits: Limits::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.own.len()
    }

    /// Has an owner write one of its keys. Returns the version.
    pub fn write(&mut self, owner: usize, key: usize) -> Result<u64, Error> {
        self.written += 1;
        let value = Value::encode(&self.written)?;
        self.own[owner].set(&self.keys[key], value, None);
        Ok(self.own[owner].progress().max)
    }

    /// Calls `stale` with each key of which `holder` lacks the owner's current entry, and the version that it holds instead, 0
    /// for none. That an owner's entries up to the holder's maximum are held is the paper's invariant; [`Self::agree`] checks it.
    pub fn each_stale(&self, holder: usize, owner: usize, mut stale: impl FnMut(&Key, u64)) {
        let held = self.map(holder, owner);
        for (key, _) in self.own[owner].map().after(self.progress(holder, owner).max) {
            stale(key, held.get(key).map_or(0, |entry| entry.version));
        }
    }

    /// Whether everyone holds everything.
    pub fn agree(&self) -> bool {
        self.all_copies(|own, copy| own.progress() == copy.progress())
            && self.all_copies(|own, copy| own.map().iter().eq(copy.map().iter()))
    }

    fn all_copies(&self, holds: impl Fn(&OwnMap, &Replica) -> bool) -> bool {
        let participants = 0..self.len();
        participants.clone().all(|holder| {
            participants.clone().all(|owner| holder == owner || holds(&self.own[owner], &self.copies[holder][owner]))
        })
    }

    /// A participant other than this one, any of them as likely as another.
    pub fn partner(&self, of: usize, dice: &mut Rng) -> usize {
        let drawn = dice.usize(..self.len() - 1);
        if drawn < of { drawn } else { drawn + 1 }
    }

    /// `p` exchanges with `q`: digest, answer, and what the answer asked for, each message with room for so many entries.
    /// Returns whether `p`'s message overflowed, and whether `q`'s did.
    pub fn exchange(&mut self, p: usize, q: usize, room: usize, order: Order, dice: &mut Rng) -> (bool, bool) {
        let answer = self.message(q, p, room, order, dice);
        self.deliver(p, answer.deltas);
        let delta = self.message(p, q, room, order, dice);
        self.deliver(q, delta.deltas);
        (delta.overflowed, answer.overflowed)
    }

    fn message(&self, from: usize, to: usize, room: usize, order: Order, dice: &mut Rng) -> Message {
        let mut waiting = Vec::new();
        for owner in 0..self.len() {
            if let Some(start) = self.progress(from, owner).answer_from(&self.progress(to, owner)) {
                let map = self.map(from, owner);
                waiting.push(match order {
                    Order::Depth => (waiting_entries(map, start), owner),
                    Order::Breadth => (map.after(start).count(), owner),
                });
            }
        }
        let mut message = Message { deltas: Vec::with_capacity(waiting.len()), overflowed: false };
        match order {
            Order::Depth => {
                deepest_first(&mut waiting, dice);
                let mut left = room;
                for (_, owner) in waiting {
                    left -= self.put(&mut message, from, to, owner, left);
                }
            }
            Order::Breadth => {
                let shares = breadth_shares(&waiting, room, dice);
                for ((_, owner), share) in waiting.into_iter().zip(shares) {
                    self.put(&mut message, from, to, owner, share);
                }
            }
        }
        message
    }

    /// Adds what the receiver lacks of an owner, at most so many entries. Returns how many.
    fn put(&self, message: &mut Message, from: usize, to: usize, owner: usize, room: usize) -> usize {
        let (mine, theirs) = (self.progress(from, owner), self.progress(to, owner));
        let last = match from == owner {
            true => mine.max,
            false => self.copies[from][owner].last_servable(),
        };
        let mut entries = Vec::new();
        let offer = mine.offer(self.map(from, owner), last, &theirs, |key, entry| {
            let fits = entries.len() < room;
            if fits {
                entries.push(travelling(key, entry));
            }
            fits
        });
        let Some(offer) = offer else { return 0 };
        message.overflowed |= offer.cut.is_some();
        let put = entries.len();
        if offer.delta.to > offer.delta.from {
            message.deltas.push((owner, offer.delta, entries));
        }
        put
    }

    fn deliver(&mut self, to: usize, deltas: Vec<(usize, Delta, Vec<DeltaEntry>)>) {
        for (owner, delta, entries) in deltas {
            let copy = &mut self.copies[to][owner];
            copy.apply(Instant::ZERO, &delta, entries.into_iter(), &self.limits, |_| (), |_| ());
        }
    }

    fn progress(&self, holder: usize, owner: usize) -> Progress {
        if holder == owner { self.own[owner].progress() } else { self.copies[holder][owner].progress() }
    }

    fn map(&self, holder: usize, owner: usize) -> &Map {
        if holder == owner { self.own[owner].map() } else { self.copies[holder][owner].map() }
    }
}

/// How many entries each owner may put in when everyone's first goes before anyone's second. At each rank the owners have
/// their turn in a new random order.
fn breadth_shares(waiting: &[(usize, usize)], room: usize, dice: &mut Rng) -> Vec<usize> {
    let mut shares = vec![0; waiting.len()];
    let mut left = room;
    let mut ranked: Vec<usize> = (0..waiting.len()).collect();
    for rank in 0.. {
        ranked.retain(|at| waiting[*at].0 > rank);
        if ranked.is_empty() || left == 0 {
            break;
        }
        dice.shuffle(&mut ranked);
        for at in ranked.iter().take(left) {
            shares[*at] += 1;
        }
        left -= ranked.len().min(left);
    }
    shares
}

fn travelling(key: &Key, entry: &Entry) -> DeltaEntry {
    let content: Content = entry.content.clone();
    DeltaEntry { key: key.clone(), version: entry.version, content, life: entry.life(Instant::ZERO) }
}
