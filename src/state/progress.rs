//! How far a copy of a map is, where an answer to it starts, and what an answer holds: the paper's ordering rule and
//! the rules of the floor. Every decision about who may send what to whom is in this file and in
//! [`Replica::apply`](crate::state::Replica::apply).

use std::time::Duration;

use crate::instant::Instant;
use crate::state::map::{Content, Entry, Map};
use crate::value::Key;

/// How far one node's copy of an owner's map is. The digest tells it (van Renesse et al. 2008, section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Progress {
    /// The run of the owner that the copy is of; 0 for no copy at all.
    pub generation: u64,
    /// Everything up to this version is held. While `max < floor` a transfer of the whole map is under way.
    pub max: u64,
    /// Tombstones up to this version have been collected. What a copy with `max < floor` lacks cannot be told from
    /// what was deleted, so it needs the whole map.
    pub floor: u64,
}

impl Progress {
    /// Whether a transfer of the whole map is under way: deletions up to the floor may have been missed.
    pub fn in_transfer(&self) -> bool {
        self.max < self.floor
    }

    /// The version after which an answer to `asker` starts, from a node that is this far; `None` if it has nothing to
    /// offer. Three of the four rules of the floor:
    ///
    /// 1. both sides tell (max, floor), and both count;
    /// 2. the whole map is sent, from version 0, only if the asker's max *and* floor are below this floor: an asker that
    ///    has adopted the floor is in the middle of the transfer, and goes on from its max;
    /// 3. (with [`Replica::apply`](crate::state::Replica::apply)) an asker below its own floor is served only by one
    ///    whose max has reached that floor;
    /// 4. a node in transfer itself offers nothing: what it holds says nothing of what was deleted.
    pub fn answer_from(&self, asker: &Progress) -> Option<u64> {
        if self.in_transfer() || asker.generation > self.generation {
            return None;
        }
        if asker.generation < self.generation {
            return (self.max > 0).then_some(0);
        }
        if asker.in_transfer() && self.max < asker.floor {
            return None;
        }
        if asker.max < self.floor && asker.floor < self.floor {
            return Some(0);
        }
        (self.max > asker.max).then_some(asker.max)
    }

    /// Whether this copy lacks something that one that is as far as `other` has.
    pub fn is_behind(&self, other: &Progress) -> bool {
        other.answer_from(self).is_some()
    }
}

/// What a copy of a map comes to. Two that are equally far differ if their sums do; a copy that differs was lied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// How far the owner was when it told this, as far as is known: [`Progress::max`] of a copy that is complete.
    pub max: u64,
    /// [`Progress::floor`].
    pub floor: u64,
    /// [`Map::sum`]; `None` of a copy that is not complete.
    pub sum: Option<u32>,
}

/// What an answer about one owner says besides its entries: it is complete for the versions in (from, to].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Delta {
    /// The run of the owner.
    pub generation: u64,
    /// It applies only to a copy that holds everything up to here.
    pub from: u64,
    /// The copy then holds everything up to here.
    pub to: u64,
    /// The sender's floor, or the asker's if that is higher and the sender has reached it.
    pub floor: u64,
    /// How far the owner was, at least, when it told what the sender has confirmed: there is more to ask for, of this
    /// sender or another, if `to` is below it. A key that is missing here may have been overwritten up to there.
    pub max: u64,
}

/// One entry as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeltaEntry {
    /// The key.
    pub key: Key,
    /// The owner's version of it.
    pub version: u64,
    /// What stands under it.
    pub content: Content,
    /// How much of its life is left; `None` for what stays.
    pub life: Option<Duration>,
}

/// An answer being made: its head, and the entry that did not fit, if one did not.
#[derive(Debug)]
pub struct Offer<'a> {
    /// The head of the delta.
    pub delta: Delta,
    /// The first entry that did not fit.
    pub cut: Option<(&'a Key, &'a Entry)>,
}

impl Progress {
    /// Makes the answer to `asker` from `map`, which is this far: hands entries in the order of their versions to `put`
    /// until it says that one does not fit. That is the ordering rule (section 3.1): what is left out is followed by
    /// nothing newer.
    ///
    /// `last` is the highest version that can be served (below `max` only where an entry was over a limit here).
    pub fn offer<'a>(
        &self,
        map: &'a Map,
        last: u64,
        asker: &Progress,
        mut put: impl FnMut(&Key, &Entry) -> bool,
    ) -> Option<Offer<'a>> {
        let from = Progress { max: last, ..*self }.answer_from(asker)?;
        let max = last.max(map.horizon);
        // Rule 3: only who has reached the asker's floor answers it, and the answer is only taken if it says so.
        let same_run = asker.generation == self.generation;
        let floor = if same_run { self.floor.max(asker.floor) } else { self.floor };
        let mut delta = Delta { generation: self.generation, from, to: from, floor, max };
        for (key, entry) in map.after(from) {
            if entry.version > last {
                break;
            }
            if !put(key, entry) {
                return Some(Offer { delta, cut: Some((key, entry)) });
            }
            delta.to = entry.version;
        }
        delta.to = last;
        Some(Offer { delta, cut: None })
    }
}

impl Entry {
    /// How much of its life is left at `now`, rounded up to the millisecond in which lives travel, so that it is zero
    /// only when the life has ended; `None` for what stays.
    pub fn life(&self, now: Instant) -> Option<Duration> {
        self.deadline.map(|deadline| {
            let left = (deadline - now).as_micros().div_ceil(1000);
            Duration::from_millis(u64::try_from(left).unwrap_or(u64::MAX))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(max: u64, floor: u64) -> Progress {
        Progress { generation: 1, max, floor }
    }

    #[test]
    fn an_ordinary_answer_starts_at_what_is_held() {
        assert_eq!(at(10, 0).answer_from(&at(4, 0)), Some(4));
        assert_eq!(at(10, 0).answer_from(&at(10, 0)), None);
        assert_eq!(at(10, 0).answer_from(&at(11, 0)), None);
        assert_eq!(at(10, 0).answer_from(&Progress::default()), Some(0), "a new peer is asked for from version 0");
    }

    #[test]
    fn generations_come_before_versions() {
        let old = Progress { generation: 1, max: 99, floor: 50 };
        let new = Progress { generation: 2, max: 3, floor: 0 };
        assert_eq!(new.answer_from(&old), Some(0));
        assert_eq!(old.answer_from(&new), None);
    }

    #[test]
    fn whole_map_only_below_the_floor_in_both() {
        assert_eq!(at(60, 50).answer_from(&at(40, 0)), Some(0));
        assert_eq!(at(60, 50).answer_from(&at(50, 0)), Some(50));
        assert_eq!(at(60, 50).answer_from(&at(7, 50)), Some(7), "has adopted the floor: goes on");
        assert_eq!(at(60, 50).answer_from(&at(0, 40)), Some(0), "in transfer to an older floor: starts again");
    }

    #[test]
    fn an_answer_says_that_its_sender_has_reached_the_askers_floor() {
        let map = Map::default();
        let floor = |asker: Progress| at(60, 20).offer(&map, 60, &asker, |_, _| true).map(|offer| offer.delta.floor);
        assert_eq!(floor(at(30, 10)), Some(20));
        assert_eq!(floor(at(30, 50)), Some(50));
        assert_eq!(floor(at(30, 70)), None);
        assert_eq!(floor(Progress { generation: 0, max: 99, floor: 50 }), Some(20), "a floor of another run");
    }

    #[test]
    fn below_its_floor_an_asker_is_served_only_from_above_it() {
        assert_eq!(at(45, 0).answer_from(&at(7, 50)), None);
        assert_eq!(at(50, 0).answer_from(&at(7, 50)), Some(7));
        assert_eq!(at(20, 50).answer_from(&at(7, 0)), None, "in transfer itself");
    }
}
