//! One owner's keys: by name, by version, by deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::ops::Bound;

use siphasher::sip::SipHasher13;

use crate::instant::Instant;
use crate::value::{Key, Value};

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// A value.
    Value(Value),
    /// A tombstone: the owner deleted the key.
    Deleted,
    /// The key's life ended: the owner's tombstone for it, or an entry whose deadline passed here.
    Expired,
}

/// What is known of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The owner's version counter when it wrote this.
    pub version: u64,
    /// What it wrote.
    pub content: Content,
    /// When its life ends, on this node's own clock. `None` for what stays.
    pub deadline: Option<Instant>,
    /// Held over from before a transfer: readable, but not confirmed by it yet, and offered to nobody.
    pub(crate) held_over: bool,
}

impl Entry {
    /// An entry that is confirmed.
    pub fn new(version: u64, content: Content, deadline: Option<Instant>) -> Self {
        Entry { version, content, deadline, held_over: false }
    }

    /// The value, if it is one whose life has not ended. At the deadline itself it has.
    pub fn readable(&self, now: Instant) -> Option<&Value> {
        match &self.content {
            Content::Value(value) if self.deadline.is_none_or(|deadline| now < deadline) => Some(value),
            _ => None,
        }
    }

    /// Whether it is the owner's tombstone, and not an entry whose life ended by this node's own clock.
    fn is_tombstone(&self) -> bool {
        match self.content {
            Content::Value(_) => false,
            Content::Deleted => true,
            Content::Expired => self.deadline.is_none(),
        }
    }

    /// The same for everyone who holds what the owner wrote, also where its life has ended already, or ended on the way.
    fn hash(&self, key: &Key) -> u64 {
        let mut hasher = SipHasher13::new();
        hasher.write(&self.version.to_le_bytes());
        hasher.write(key.as_bytes());
        // In no key, so that none can end in what would be the rest: "k" with 0 came to what "k\u{1}" comes to as a tombstone.
        hasher.write_u8(0xff);
        match &self.content {
            Content::Value(value) if self.deadline.is_none() => {
                hasher.write_u8(1);
                hasher.write(value.as_bytes());
            }
            _ => hasher.write_u8(if self.is_tombstone() { 0 } else { 2 }),
        }
        hasher.finish()
    }

    fn bytes(&self, key: &Key) -> usize {
        let value = match &self.content {
            Content::Value(value) => value.as_bytes().len(),
            Content::Deleted | Content::Expired => 0,
        };
        key.len() + value + Map::ENTRY_OVERHEAD
    }
}

/// One owner's entries with their indexes. Which entries may be in it is its user's business.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Map {
    entries: BTreeMap<Key, Entry>,
    /// Every entry that is not held over.
    by_version: BTreeMap<u64, Key>,
    /// Every readable value with a deadline.
    by_deadline: BTreeSet<(Instant, Key)>,
    bytes: usize,
    held_over: usize,
    /// The sum (wrapping) of the hashes of every entry that is not held over.
    sum: u64,
    /// Whether some of these are of the present generation.
    held_over_within_run: bool,
    /// How far the owner was, at least, when it told what is confirmed here: a key that is missing may have been
    /// overwritten, up to there, by an entry that has not come yet.
    pub(crate) horizon: u64,
}

impl Map {
    /// What an entry costs beside its key and value, as the limit on a map's bytes counts it.
    pub const ENTRY_OVERHEAD: usize = 64;

    /// What is known of `key`, readable or not.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// All entries, tombstones included, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.iter()
    }

    /// The readable values whose key starts with `prefix`, in the order of their keys.
    pub fn readable<'a>(
        &'a self,
        prefix: &'a str,
        now: Instant,
    ) -> impl Iterator<Item = (&'a Key, &'a Entry, &'a Value)> {
        self.entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .filter_map(move |(key, entry)| Some((key, entry, entry.readable(now)?)))
    }

    /// Confirmed entries with a version above `version`, in the order of their versions.
    pub fn after(&self, version: u64) -> impl Iterator<Item = (&Key, &Entry)> {
        self.by_version
            .range((Bound::Excluded(version), Bound::Unbounded))
            .filter_map(|(_, key)| Some((key, self.entries.get(key)?)))
    }

    /// Keys held, tombstones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes held: key + value + [`Map::ENTRY_OVERHEAD`] for each entry.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What tells two copies apart that are equally far: the lower half of the sum (wrapping) of the hashes of all entries.
    ///
    /// A hash is SipHash-1-3 with a zero key over the version (8 bytes, little-endian), the key, 255, and 1 with the value, or 2
    /// for a value with a life, or 0 for a tombstone.
    pub fn sum(&self) -> u32 {
        self.sum as u32
    }

    /// Whether entries are held over from before a transfer.
    pub fn has_held_over(&self) -> bool {
        self.held_over > 0
    }

    /// Entries held over from before a transfer.
    pub(crate) fn held_over(&self) -> usize {
        self.held_over
    }

    /// When the next life ends.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// How many keys and bytes there would be with this entry.
    pub(crate) fn size_with(&self, key: &str, value_bytes: usize) -> (usize, usize) {
        let (old_keys, old_bytes) = match self.entries.get_key_value(key) {
            Some((key, entry)) => (1, entry.bytes(key)),
            None => (0, 0),
        };
        (self.entries.len() + 1 - old_keys, self.bytes - old_bytes + key.len() + value_bytes + Map::ENTRY_OVERHEAD)
    }

    /// Puts an entry in place of what stood under the key, which is returned.
    pub(crate) fn insert(&mut self, key: &Key, entry: Entry) -> Option<Entry> {
        let old = self.remove(key);
        self.bytes += entry.bytes(key);
        self.index(key, &entry);
        self.entries.insert(key.clone(), entry);
        old
    }

    /// Removes a key altogether.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Entry> {
        let (key, entry) = self.entries.remove_entry(key)?;
        self.unindex(&key, &entry);
        self.bytes -= entry.bytes(&key);
        Some(entry)
    }

    /// The first entry whose deadline is at or before `now`, turned into an expired one; its old self is returned.
    pub(crate) fn expire_next(&mut self, now: Instant) -> Option<(Key, Entry)> {
        let (deadline, key) = self.by_deadline.first()?;
        if *deadline > now {
            return None;
        }
        let key = key.clone();
        let old = self.remove(&key)?;
        self.insert(&key, Entry { content: Content::Expired, ..old.clone() });
        Some((key, old))
    }

    /// Declares every entry held over, for a transfer within the same generation. What expired stays known, so that
    /// the transfer cannot bring it back to life.
    ///
    /// Only what is confirmed is looked at: who lies about ever higher floors would have the whole map walked for each of them.
    pub(crate) fn hold_over(&mut self) {
        self.sum = 0;
        self.horizon = 0;
        for key in std::mem::take(&mut self.by_version).into_values() {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.held_over = true;
                self.held_over_within_run = true;
            }
        }
        self.held_over = self.entries.len();
    }

    /// Declares every value held over from an older generation. Their versions become 0, which no owner ever gives, so
    /// that none can be taken for an entry of the new one.
    ///
    /// What is held over from an older one already is not looked at again: who lies about ever higher generations would have a map of
    /// 60,000 keys built anew for each record, with 10,000 allocations.
    pub(crate) fn hold_over_old_generation(&mut self) {
        self.horizon = 0;
        let mut keys: Vec<Key> = std::mem::take(&mut self.by_version).into_values().collect();
        if std::mem::take(&mut self.held_over_within_run) {
            keys = self.entries.keys().cloned().collect();
        }
        for key in keys {
            match self.entries.get_mut(&key) {
                Some(entry) if matches!(entry.content, Content::Value(_)) => {
                    entry.version = 0;
                    entry.held_over = true;
                }
                _ => drop(self.remove(&key)),
            }
        }
        self.sum = 0;
        self.held_over = self.entries.len();
    }

    /// Drops the entries that are held over, except under the key `but`, and calls `gone` with each.
    pub(crate) fn drop_held_over(&mut self, but: Option<&str>, mut gone: impl FnMut(&Key, &Entry)) {
        if self.held_over == 0 {
            return;
        }
        let held_over = self.entries.iter().filter(|(key, entry)| entry.held_over && but != Some(&***key));
        let keys: Vec<Key> = held_over.map(|(key, _)| key.clone()).collect();
        for key in keys {
            if let Some(entry) = self.remove(&key) {
                gone(&key, &entry);
            }
        }
    }

    /// Drops tombstones with a version above `from` and up to `floor`. What expired by this node's own clock is none
    /// yet: the owner may still hold it for alive, and a transfer must find it here to not bring it back to life.
    pub(crate) fn drop_tombstones(&mut self, from: u64, floor: u64) {
        let dead: Vec<Key> = self
            .by_version
            .range((Bound::Excluded(from), Bound::Included(floor.max(from))))
            .filter(|(_, key)| self.entries.get(*key).is_some_and(Entry::is_tombstone))
            .map(|(_, key)| key.clone())
            .collect();
        for key in dead {
            self.remove(&key);
        }
    }

    fn index(&mut self, key: &Key, entry: &Entry) {
        if entry.held_over {
            self.held_over += 1;
        } else {
            self.by_version.insert(entry.version, key.clone());
            self.sum = self.sum.wrapping_add(entry.hash(key));
        }
        if let (Some(deadline), Content::Value(_)) = (entry.deadline, &entry.content) {
            self.by_deadline.insert((deadline, key.clone()));
        }
    }

    fn unindex(&mut self, key: &Key, entry: &Entry) {
        if entry.held_over {
            self.held_over -= 1;
            self.held_over_within_run &= self.held_over > 0;
        } else {
            self.by_version.remove(&entry.version);
            self.sum = self.sum.wrapping_sub(entry.hash(key));
        }
        if let (Some(deadline), Content::Value(_)) = (entry.deadline, &entry.content) {
            self.by_deadline.remove(&(deadline, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    impl Map {
        /// Everything that is kept about the entries, counted anew from them.
        fn check(&self) {
            let confirmed = || self.entries.iter().filter(|(_, entry)| !entry.held_over);
            let sum = confirmed().fold(0u64, |sum, (key, entry)| sum.wrapping_add(entry.hash(key)));
            assert_eq!(self.sum, sum);
            assert_eq!(self.held_over, self.entries.len() - confirmed().count());
            assert_eq!(self.bytes, self.entries.iter().map(|(key, entry)| entry.bytes(key)).sum::<usize>());
            let by_version = confirmed().map(|(key, entry)| (entry.version, key.clone()));
            assert_eq!(self.by_version, by_version.collect());
            let values = self.entries.iter().filter(|(_, entry)| matches!(entry.content, Content::Value(_)));
            let by_deadline = values.filter_map(|(key, entry)| Some((entry.deadline?, key.clone())));
            assert_eq!(self.by_deadline, by_deadline.collect());
            let of_this_run = self.entries.values().any(|entry| entry.held_over && entry.version > 0);
            assert!(self.held_over_within_run || !of_this_run);
        }
    }

    /// Where the key ends is part of what is hashed: it may end in what would be the mark and the value.
    #[test]
    fn no_two_entries_come_to_the_same() {
        let sum = |key: &str, content, deadline| {
            let mut map = Map::default();
            map.insert(&Key::from(key), Entry::new(5, content, deadline));
            map.sum()
        };
        let value = |bytes: &[u8]| Content::Value(Value::from_bytes(bytes));
        assert_ne!(sum("k", value(&[0]), None), sum("k\u{1}", Content::Deleted, None));
        assert_ne!(sum("k", value(&[2]), None), sum("k\u{1}", value(&[9]), Some(Instant::ZERO)));
        assert_ne!(sum("k", value(b"\x01v"), None), sum("k\u{1}", value(b"v"), None));
    }

    #[test]
    fn what_is_kept_about_entries_follows_them() {
        let mut dice = Rng::with_seed(7);
        let mut map = Map::default();
        let mut version = 0u64;
        for _ in 0..3_000 {
            let key = Key::from(["a", "b", "c", "d", "e", "f"][dice.usize(..6)]);
            match dice.u8(..20) {
                0 => map.hold_over(),
                1 => map.hold_over_old_generation(),
                2 => map.drop_held_over(Some(&*key).filter(|_| dice.bool()), |_, _| ()),
                3 => map.drop_tombstones(0, version.saturating_sub(dice.u64(..5))),
                4 => drop(map.remove(&key)),
                5 => drop(map.expire_next(Instant::from_micros(version))),
                _ => {
                    version += 1;
                    let content = match dice.u8(..4) {
                        0 => Content::Deleted,
                        1 => Content::Expired,
                        _ => Content::Value(Value::from_bytes([dice.u8(..)])),
                    };
                    let deadline = dice.bool().then(|| Instant::from_micros(version + dice.u64(..10)));
                    map.insert(&key, Entry::new(version, content, deadline));
                }
            }
            map.check();
        }
    }
}
