//! A copy of another owner's map: moves forward by deltas, and shows readers no flicker while it does.

use crate::config::Limits;
use crate::instant::Instant;
use crate::state::map::{Content, Entry, Map};
use crate::state::own::Change;
use crate::state::progress::{Delta, DeltaEntry, Fingerprint, Progress};
use crate::stats::Refusal;
use crate::value::Value;

/// A copy of another owner's map.
///
/// While the whole map is sent again (the owner restarted, or this copy fell below the owner's floor) the old entries
/// stay readable, marked as held over; the transfer confirms or replaces them, and those that it did not confirm go
/// when it ends. Only confirmed progress is told and offered to others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Replica {
    progress: Progress,
    map: Map,
    /// The lowest version that was over a limit here: from there on this copy can serve nobody.
    refused: Option<u64>,
    unfinished: Option<Box<Unfinished>>,
}

/// A value of which some pieces have come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unfinished {
    /// The version of the value.
    pub version: u64,
    /// The size of the whole value.
    pub total: usize,
    /// The bytes so far.
    pub bytes: Vec<u8>,
    /// When its life ends, if it does.
    pub deadline: Option<Instant>,
}

/// What became of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The copy moved forward.
    Forward,
    /// Nothing in it was new.
    Nothing,
    /// It starts above what is held: something before it was lost or overtaken.
    Gap,
    /// It comes from a node that is too far behind, or is of an old generation.
    Outdated,
}

impl Replica {
    /// How far this copy is: confirmed progress only.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// The entries, those held over included.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// The highest version that can be served to others.
    pub fn last_servable(&self) -> u64 {
        self.refused.map_or(self.progress.max, |refused| self.progress.max.min(refused.saturating_sub(1)))
    }

    /// What this copy comes to, with a sum if it is what the owner's map was at that version: not on the way to a later one, in
    /// which case keys overwritten above what has come are missing here, nor where something was not held because it was over a
    /// limit. `None` if nothing was told yet.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        let Progress { max, floor, .. } = self.progress;
        let told = max.max(self.map.horizon);
        let is_complete = max == told && !self.progress.in_transfer() && !self.map.has_held_over();
        let sum = (is_complete && self.refused.is_none()).then(|| self.map.sum());
        (told > 0).then_some(Fingerprint { max: told, floor, sum })
    }

    /// The value of which some pieces have come.
    pub fn unfinished(&self) -> Option<&Unfinished> {
        self.unfinished.as_deref()
    }

    /// Turns to a newer run of the owner, of which nothing is held yet. What is held over stays until the transfer ends,
    /// also if the teller's maximum is 0: that only says that the teller holds nothing of that run yet, for an owner's
    /// own starts at 1.
    pub fn begin_generation(&mut self, generation: u64) {
        if generation <= self.progress.generation {
            return;
        }
        self.map.hold_over_old_generation();
        self.progress = Progress { generation, max: 0, floor: 0 };
        self.refused = None;
        self.unfinished = None;
    }

    /// Takes what an answer says. Entries are in the order of their versions, within (from, to]; what is not is passed
    /// over.
    pub fn apply(
        &mut self,
        now: Instant,
        delta: &Delta,
        entries: impl Iterator<Item = DeltaEntry>,
        limits: &Limits,
        mut changed: impl FnMut(Change),
        mut refused: impl FnMut(Refusal),
    ) -> Applied {
        let held = self.progress;
        match self.admit(delta) {
            Applied::Forward => {}
            other => return other,
        }
        for entry in entries {
            if entry.version > self.progress.max && entry.version <= delta.to {
                self.progress.max = entry.version;
                self.take(now, entry, limits, &mut changed, &mut refused);
            }
        }
        self.progress.max = self.progress.max.max(delta.to);
        self.settle(&mut changed);
        if self.progress == held { Applied::Nothing } else { Applied::Forward }
    }

    /// Takes a piece of the value that follows `delta`: bytes from `offset` on of `entry`, whose content is not looked
    /// at. The value is taken when its last byte is here.
    #[allow(clippy::too_many_arguments)] // The parts of one wire record.
    pub fn apply_piece(
        &mut self,
        now: Instant,
        delta: &Delta,
        mut entry: DeltaEntry,
        (total, offset, bytes): (usize, usize, &[u8]),
        limits: &Limits,
        mut changed: impl FnMut(Change),
        mut refused: impl FnMut(Refusal),
    ) -> Applied {
        let version = entry.version;
        match self.admit(delta) {
            Applied::Forward => {}
            other => return other,
        }
        if version <= self.progress.max {
            return Applied::Nothing;
        }
        if delta.to > self.progress.max {
            return Applied::Gap;
        }
        if total > limits.value_bytes || entry.key.len() > limits.key_bytes {
            // Noted as passed at once: fetching all of it to refuse it then would be a waste.
            entry.content = Content::Value(Value::from_bytes(Vec::new()));
            let reason = if total > limits.value_bytes { Refusal::ValueTooLarge } else { Refusal::KeyTooLong };
            self.progress.max = version;
            self.refuse(&entry, reason, &mut changed, &mut refused);
            self.settle(&mut changed);
            return Applied::Forward;
        }
        let deadline = entry.life.map(|life| now + life);
        let known = self.unfinished.as_ref().is_some_and(|u| u.version == version && u.total == total);
        if !known {
            if offset != 0 {
                return Applied::Gap;
            }
            self.unfinished = Some(Box::new(Unfinished { version, total, bytes: Vec::new(), deadline }));
        }
        let Some(unfinished) = self.unfinished.as_mut() else {
            return Applied::Gap;
        };
        if offset > unfinished.bytes.len() {
            return Applied::Gap;
        }
        let new = unfinished.bytes.len() - offset;
        let Some(new_bytes) = bytes.get(new..).filter(|new_bytes| !new_bytes.is_empty()) else {
            return Applied::Nothing;
        };
        if unfinished.bytes.len() + new_bytes.len() > total {
            self.unfinished = None;
            return Applied::Gap;
        }
        unfinished.bytes.extend_from_slice(new_bytes);
        unfinished.deadline = earlier(unfinished.deadline, deadline);
        if unfinished.bytes.len() < total {
            return Applied::Forward;
        }
        let Some(whole) = self.unfinished.take() else {
            return Applied::Gap;
        };
        entry.content = Content::Value(Value::from_bytes(whole.bytes));
        entry.life = whole.deadline.map(|deadline| deadline - now);
        self.progress.max = version;
        self.take(now, entry, limits, &mut changed, &mut refused);
        self.settle(&mut changed);
        Applied::Forward
    }

    /// Adopts a floor that somebody told, if everything up to it is held: its tombstones are of no more use.
    pub fn adopt_floor(&mut self, generation: u64, floor: u64) -> bool {
        let higher = generation == self.progress.generation && floor > self.progress.floor;
        if higher && self.progress.max >= floor {
            // Those up to the old floor are gone already: looking at them again for each step of a floor that somebody
            // raises in small ones would cost the whole map every time.
            self.map.drop_tombstones(self.progress.floor, floor);
            self.progress.floor = floor;
            return true;
        }
        false
    }

    /// Hides one entry whose deadline has passed. Call it until it returns `None`.
    pub fn expire_next(&mut self, now: Instant) -> Option<Change> {
        let (key, old) = self.map.expire_next(now)?;
        match old.content {
            Content::Value(value) => Some(Change::Expire { key, value, version: old.version, deadline: old.deadline }),
            Content::Deleted | Content::Expired => None,
        }
    }

    /// Whether a delta applies, and what it changes before its entries: the generation, the start of a transfer.
    fn admit(&mut self, delta: &Delta) -> Applied {
        if delta.generation < self.progress.generation || delta.to < delta.from || delta.max < delta.to {
            return Applied::Outdated;
        }
        if delta.generation > self.progress.generation {
            if delta.from != 0 {
                return Applied::Gap;
            }
            self.begin_generation(delta.generation);
        }
        // Rule 2: below the sender's floor in both, the whole map is taken anew, and the floor adopted at once.
        if self.progress.max < delta.floor && self.progress.floor < delta.floor {
            if delta.from != 0 {
                return Applied::Gap;
            }
            self.map.hold_over();
            self.progress.max = 0;
            self.progress.floor = delta.floor;
            self.refused = None;
            self.unfinished = None;
        }
        // Rule 3: below its own floor, a copy listens only to those whose max has reached that floor. Their own floor
        // says so, for they offer nothing below it.
        if delta.floor.max(delta.to) < self.progress.floor && self.progress.in_transfer() {
            return Applied::Outdated;
        }
        if delta.from > self.progress.max {
            return Applied::Gap;
        }
        // Before the entries: they may need the room of tombstones that the owner has collected.
        self.adopt_floor(delta.generation, delta.floor);
        self.map.horizon = self.map.horizon.max(delta.max);
        Applied::Forward
    }

    /// What follows from having moved forward: a transfer that is complete ends.
    fn settle(&mut self, changed: &mut impl FnMut(Change)) {
        if self.unfinished.as_ref().is_some_and(|unfinished| unfinished.version <= self.progress.max) {
            self.unfinished = None;
        }
        if self.map.held_over() > 0 && self.progress.max >= self.map.horizon && !self.progress.in_transfer() {
            self.drop_held_over(None, changed);
        }
    }

    fn drop_held_over(&mut self, but: Option<&str>, changed: &mut impl FnMut(Change)) {
        let version = self.progress.max;
        self.map.drop_held_over(but, |key, entry| {
            if matches!(entry.content, Content::Value(_)) {
                changed(Change::Delete { key: key.clone(), version });
            }
        });
    }

    fn take(
        &mut self,
        now: Instant,
        entry: DeltaEntry,
        limits: &Limits,
        changed: &mut impl FnMut(Change),
        refused: &mut impl FnMut(Refusal),
    ) {
        if self.map.get(&entry.key).is_some_and(|held_over| held_over.version > entry.version) {
            // In a transfer, from a sender who is behind with this key. The owner has overwritten both, above what the
            // sender has confirmed; until that comes, readers keep the newer one.
            return;
        }
        let size = match &entry.content {
            Content::Value(value) => value.as_bytes().len(),
            Content::Deleted | Content::Expired => 0,
        };
        // A tombstone that the owner has collected meanwhile says that its key is gone, and takes no room.
        let tombstone = !matches!(entry.content, Content::Value(_)) && entry.life.is_none();
        let collected = tombstone && entry.version <= self.progress.floor;
        // On the way to what the owner holds, there may be entries here which it has overwritten by then: it never held
        // these together with what replaces others, so that both may need the room of a map.
        let maps = if entry.version < self.map.horizon { 2 } else { 1 };
        let is_full = |map: &Map| {
            let (keys, bytes) = map.size_with(&entry.key, size);
            !collected && (keys > maps * limits.keys || bytes > maps * limits.map_bytes)
        };
        if is_full(&self.map) {
            // Better a flicker than an entry that does not come again.
            self.drop_held_over(Some(&*entry.key), changed);
        }
        let over = if entry.key.len() > limits.key_bytes {
            Some(Refusal::KeyTooLong)
        } else if size > limits.value_bytes {
            Some(Refusal::ValueTooLarge)
        } else if is_full(&self.map) {
            Some(Refusal::MapFull)
        } else {
            None
        };
        if let Some(reason) = over {
            self.refuse(&entry, reason, changed, refused);
            return;
        }
        let DeltaEntry { key, version, mut content, life } = entry;
        let mut deadline = life.map(|life| now + life);
        let old = self.map.get(&key);
        let confirms = old.is_some_and(|old| old.version == version);
        if let (true, Some(old)) = (confirms, old) {
            // The same version again, in a transfer: its life is not lengthened, and what was over stays over.
            deadline = earlier(deadline, old.deadline);
            if !matches!(old.content, Content::Value(_)) {
                content = old.content.clone();
            }
        }
        if deadline.is_some_and(|deadline| deadline <= now) {
            content = Content::Expired;
        }
        let new = Entry { version, content, deadline, held_over: false };
        let old = if collected { self.map.remove(&key) } else { self.map.insert(&key, new.clone()) };
        let old_value = old.and_then(|old| match old.content {
            Content::Value(value) => Some((value, old.version, old.deadline)),
            Content::Deleted | Content::Expired => None,
        });
        match (new.content, old_value) {
            (Content::Value(value), Some((old, ..))) if confirms && value == old => {}
            // Another value under the same version is a lie, but it is what is readable now.
            (Content::Value(value), _) => changed(Change::Update { key, value, version, deadline }),
            (Content::Expired, Some((value, version, deadline))) => {
                changed(Change::Expire { key, value, version, deadline });
            }
            (Content::Deleted, Some(_)) => changed(Change::Delete { key, version }),
            (Content::Deleted | Content::Expired, None) => {}
        }
    }

    /// Notes an entry as passed without holding it. An older value of its key is overwritten at the owner, so it goes.
    fn refuse(
        &mut self,
        entry: &DeltaEntry,
        reason: Refusal,
        changed: &mut impl FnMut(Change),
        refused: &mut impl FnMut(Refusal),
    ) {
        self.refused = Some(self.refused.map_or(entry.version, |lowest| lowest.min(entry.version)));
        refused(reason);
        if let Some(Entry { content: Content::Value(_), .. }) = self.map.remove(&entry.key) {
            changed(Change::Delete { key: entry.key.clone(), version: entry.version });
        }
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
