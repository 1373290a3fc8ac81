//! What a scenario sets: how large it is, what is special about it, which fault is planted.

use std::time::Duration;

use crate::owner::Op;

pub const KEYS: [&str; 2] = ["a", "b"];
/// At most.
pub const MAX_HOLDERS: usize = 3;
pub const MAX_SLOTS: usize = 3;
/// One tick of a node's clock. Every life is one tick long when it is set.
pub const TICK: Duration = Duration::from_secs(1);

/// Writes are numbered over all generations and a value's bytes are its write's number, so that readers can be asked
/// what they saw. 0 is no write.
pub type Write = u8;

/// What is explored.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub holders: usize,
    /// Messages that wait in the network. They stay until another takes their place, so each may arrive never, late, or
    /// more than once, in any order. Besides, any exchange may happen at once, without waiting there.
    pub slots: usize,
    /// What the owner may do, in any order.
    pub budget: Budget,
    /// How often the clock of each holder moves on.
    pub ticks: u8,
    /// How often each holder starts anew.
    pub restarts: u8,
    pub rules: Rules,
}

/// What a scenario changes in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// If not empty, the owner does just this, in this order: stories that are too long to try all orders.
    pub script: &'static [Op],
    /// The key whose values travel in pieces of one byte each.
    pub big: Option<usize>,
    /// How many pieces that are.
    pub pieces: usize,
    /// One holder refuses values that large.
    pub one_refuses: bool,
    /// The limit on keys, the same for all; the owner keeps to it.
    pub keys: usize,
    pub fault: Fault,
}

impl Rules {
    /// Whether keys may be lost for a while for want of room.
    pub fn crowded(&self) -> bool {
        self.keys < KEYS.len()
    }

    pub fn is_big(&self, key: &str) -> bool {
        self.big.is_some_and(|big| KEYS[big] == key)
    }
}

/// What the owner may still do, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    pub ops: u8,
    pub sets: u8,
    pub lives: u8,
    pub deletes: u8,
    pub ticks: u8,
    pub collects: u8,
    pub restarts: u8,
}

/// What is falsified between the shipped functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Rule 1: digests tell the maximum alone.
    FloorNotTold,
    /// Rule 2: the asker does not adopt the floor when a re-send starts, but when it has come that far.
    FloorNotAdoptedAtOnce,
    /// Rule 2: who answers looks at the asker's maximum alone; records still tell floors.
    AnswererIgnoresAskersFloor,
    /// Rule 3: a node below its own floor is served by, and takes from, everyone.
    ServedFromBelowTheFloor,
    /// Rule 3: a node below its own floor takes what comes, also from one who answered an older digest.
    TakesFromBelowTheFloor,
    /// Rule 4: a node in transfer tells the maximum that it had before.
    TellsOldMaximum,
    /// Rule 4: a node in transfer tells its sender's maximum.
    TellsSendersMaximum,
    /// Rule 4: a node in transfer serves what it held before, as if that were confirmed.
    ServesHeldOver,
    /// The ordering rule: what is left out of an answer is followed by something newer.
    LeavesOutTheFirst,
    /// A delta is applied whatever it starts from.
    IgnoresFrom,
    /// The owner collects tombstones and tells no floor.
    CollectsWithoutFloor,
    /// A holder hides that what it passes on has gaps that end only further up than it is.
    HidesHorizon,
    /// Who hears of a new run from a node that holds nothing of it yet takes its map for empty.
    EmptyByHearsay,
}
