//! A node's own map: the only place where entries are written.

use std::collections::VecDeque;

use crate::instant::Instant;
use crate::state::map::{Content, Entry, Map};
use crate::state::progress::{Fingerprint, Progress};
use crate::value::{Key, Value};

/// What became of a key; the body of an [`Event`](crate::event::Event).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has this value now.
    Update {
        /// The key.
        key: Key,
        /// Its value.
        value: Value,
        /// The value's version.
        version: u64,
        /// When its life ends.
        deadline: Option<Instant>,
    },
    /// It is gone.
    Delete {
        /// The key.
        key: Key,
        /// The version from which on it is gone.
        version: u64,
    },
    /// Its life ended.
    Expire {
        /// The key.
        key: Key,
        /// The value that it had.
        value: Value,
        /// The version of that value.
        version: u64,
        /// When its life ended.
        deadline: Option<Instant>,
    },
}

impl Change {
    /// The key that changed.
    pub fn key(&self) -> &Key {
        match self {
            Change::Update { key, .. } | Change::Delete { key, .. } | Change::Expire { key, .. } => key,
        }
    }
}

/// The map that this node owns, with its version counter and tombstones.
///
/// Every write takes the next version, so that an entry's version is above every older one of this owner
/// (van Renesse et al. 2008, section 3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnMap {
    generation: u64,
    version: u64,
    floor: u64,
    map: Map,
    /// When each tombstone was made and its version; oldest first. Some may have been overwritten since.
    tombstones: VecDeque<(Instant, u64)>,
}

impl OwnMap {
    /// An empty map of the given run. Its start counts as a version, so that the others can tell an empty map from one
    /// of which they hold nothing yet.
    pub fn new(generation: u64) -> Self {
        OwnMap { generation, version: 1, floor: 0, map: Map::default(), tombstones: VecDeque::new() }
    }

    /// How far it is, which is by definition as far as anyone can be.
    pub fn progress(&self) -> Progress {
        Progress { generation: self.generation, max: self.version, floor: self.floor }
    }

    /// What a copy comes to that is as far as this.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint { max: self.version, floor: self.floor, sum: Some(self.map.sum()) }
    }

    /// The entries.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Takes a new generation: the others then fetch the whole map anew. Tombstones are of no more use.
    pub fn renew(&mut self, generation: u64) {
        self.generation = generation;
        self.map.drop_tombstones(0, u64::MAX);
        self.tombstones.clear();
    }

    /// Sets a key. `None` if it has this value with this deadline already.
    pub fn set(&mut self, key: &Key, value: Value, deadline: Option<Instant>) -> Option<Change> {
        if let Some(Entry { content: Content::Value(old), deadline: old_deadline, .. }) = self.map.get(key) {
            if *old == value && *old_deadline == deadline {
                return None;
            }
        }
        let version = self.write(key, Content::Value(value.clone()), deadline);
        Some(Change::Update { key: key.clone(), value, version, deadline })
    }

    /// Deletes a key. `None` if there is no such key.
    pub fn delete(&mut self, now: Instant, key: &str) -> Option<Change> {
        let entry = self.map.get(key)?;
        entry.readable(now)?;
        let key = Key::from(key);
        let version = self.bury(now, &key, Content::Deleted);
        Some(Change::Delete { key, version })
    }

    /// Ends one life that is due. Call it until it returns `None`.
    ///
    /// The expired entry becomes a tombstone with a new version, so that a holder whose clock stood still, or who never
    /// got the entry, is mended by the ordinary exchange.
    pub fn expire_next(&mut self, now: Instant) -> Option<Change> {
        let (key, old) = self.map.expire_next(now)?;
        self.bury(now, &key, Content::Expired);
        match old.content {
            Content::Value(value) => Some(Change::Expire { key, value, version: old.version, deadline: old.deadline }),
            Content::Deleted | Content::Expired => None,
        }
    }

    /// Drops the tombstones made at or before `before`; the highest of their versions becomes the floor.
    pub fn collect(&mut self, before: Instant) {
        let floor = self.floor;
        while let Some((made, version)) = self.tombstones.front() {
            if *made > before {
                break;
            }
            self.floor = *version;
            self.tombstones.pop_front();
        }
        self.map.drop_tombstones(floor, self.floor);
    }

    /// When the oldest tombstone was made.
    pub fn oldest_tombstone(&self) -> Option<Instant> {
        self.tombstones.front().map(|(made, _)| *made)
    }

    fn bury(&mut self, now: Instant, key: &Key, content: Content) -> u64 {
        let version = self.write(key, content, None);
        self.tombstones.push_back((now, version));
        // A key that is deleted and set in turn leaves outdated records here: keep at most a few for each real one.
        if self.tombstones.len() > 2 * self.map.len() + 16 {
            let map = &self.map;
            let real = |version: u64| map.after(version - 1).next().is_some_and(|(_, entry)| entry.version == version);
            self.tombstones.retain(|(_, version)| real(*version));
        }
        version
    }

    fn write(&mut self, key: &Key, content: Content, deadline: Option<Instant>) -> u64 {
        // One write every nanosecond would take 584 years to get there.
        self.version = self.version.saturating_add(1);
        self.map.insert(key, Entry { version: self.version, content, deadline, held_over: false });
        self.version
    }
}
