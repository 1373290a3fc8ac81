//! A holder: what the functions that ship make of what it hears and takes, watched at every step.

use grapevine::config::Limits;
use grapevine::instant::Instant;
use grapevine::state::{Change, Content, Delta, Entry, Map, Progress, Replica};
use grapevine::value::Value;

use crate::exchange::Answer;
use crate::properties::value_bytes;
use crate::rules::{Fault, KEYS, Rules, TICK, Write};

/// What has gone before in a holder that only a planted fault needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Before {
    pub replica: Replica,
    pub senders_max: u64,
}

/// What a reader sees under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    value: Value,
    version: u64,
    deadline: Option<Instant>,
    confirmed: bool,
}

/// One holder of the owner's map.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    pub replica: Replica,
    ticks: u64,
    pub ticks_left: u8,
    pub restarts_left: u8,
    /// Whether it refuses values of more than one byte.
    pub refuses: bool,
    /// The newest write that readers here saw under each key, and the generation it was seen in.
    seen: [(Write, u64); 2],
    pub before: Option<Box<Before>>,
}

pub fn write_of(value: &Value) -> Write {
    value.as_bytes()[0]
}

impl Holder {
    pub fn new(ticks_left: u8, restarts_left: u8, refuses: bool) -> Self {
        let replica = Replica::default();
        Holder { replica, ticks: 0, ticks_left, restarts_left, refuses, seen: [(0, 0); 2], before: None }
    }

    pub fn now(&self) -> Instant {
        Instant::ZERO + TICK * u32::try_from(self.ticks).unwrap()
    }

    /// What is readable here under each key.
    pub fn readable(&self) -> [Write; 2] {
        KEYS.map(|key| self.replica.map().get(key).and_then(|entry| entry.readable(self.now())).map_or(0, write_of))
    }

    pub fn confirmed(&self, key: &str) -> Option<&Entry> {
        let mut confirmed = self.replica.map().after(0);
        confirmed.find(|(other, _)| ***other == *key).map(|(_, entry)| entry)
    }

    /// Whether nothing is held over.
    pub fn all_confirmed(&self) -> bool {
        self.replica.map().after(0).count() == self.replica.map().len()
    }

    fn in_transfer(&self) -> bool {
        self.replica.progress().in_transfer() || !self.all_confirmed()
    }

    /// What its events have told under each key: like what is readable, except that an entry whose deadline has passed
    /// counts until its event.
    fn shown(&self) -> [Option<Shown>; 2] {
        KEYS.map(|key| {
            let entry = self.replica.map().get(key)?;
            let Content::Value(value) = &entry.content else {
                return None;
            };
            let confirmed = self.confirmed(key).is_some();
            Some(Shown { value: value.clone(), version: entry.version, deadline: entry.deadline, confirmed })
        })
    }

    /// Runs one of the shipped functions on a copy and checks what it did, as far as this holder alone can tell.
    fn watched(
        &self,
        rules: &Rules,
        run: impl FnOnce(&mut Replica, Instant, &mut Vec<Change>),
    ) -> Result<Holder, String> {
        let mut after = self.clone();
        let mut events = Vec::new();
        run(&mut after.replica, self.now(), &mut events);
        let (was, is) = (self.replica.progress(), after.replica.progress());
        let forward = is.generation > was.generation
            || is.generation == was.generation && is.floor >= was.floor && (is.max >= was.max || is.floor > was.floor);
        if !forward {
            return Err(format!("told progress went back from {was:?} to {is:?}"));
        }
        check_books(after.replica.map())?;
        let (shown_before, shown_after) = (self.shown(), after.shown());
        for (key, name) in KEYS.iter().enumerate() {
            let told: Vec<&Change> = events.iter().filter(|change| **change.key() == **name).collect();
            let new_run = is.generation > was.generation;
            check_events(&shown_before[key], &shown_after[key], &told, new_run)
                .map_err(|problem| format!("{problem} of `{name}`"))?;
        }
        let (before, now) = (self.readable(), after.readable());
        for key in 0..KEYS.len() {
            let (seen, seen_in) = self.seen[key];
            // A value that was gone may come back only by a new run of its owner that says so.
            let said_anew = after.confirmed(KEYS[key]).is_some() && is.generation > seen_in;
            let again = now[key] == seen && before[key] == 0 && !said_anew && !rules.crowded();
            if now[key] != 0 && (now[key] < seen || again) {
                return Err(format!("`{}` is write {} again after write {seen} was seen", KEYS[key], now[key]));
            }
            if now[key] != 0 && (now[key] != before[key] || said_anew) {
                after.seen[key] = (now[key], is.generation);
            }
        }
        Ok(after)
    }

    /// A record is told: how far `told` is, by the owner or another holder.
    pub fn hear(&self, told: &Progress, rules: &Rules) -> Result<Holder, String> {
        let after = self.watched(rules, |replica, now, events| {
            let new = told.generation > replica.progress().generation;
            replica.begin_generation(told.generation);
            if rules.fault == Fault::EmptyByHearsay && new && told.max == 0 {
                let empty = Delta { generation: told.generation, from: 0, to: 0, floor: 0, max: 0 };
                let limits = Limits::default();
                replica.apply(now, &empty, std::iter::empty(), &limits, |change| events.push(change), |_| ());
            }
            replica.adopt_floor(told.generation, told.floor);
        })?;
        Ok(after.remembering(self, None, rules))
    }

    /// An answer arrives.
    pub fn take(&self, answer: &Answer, rules: &Rules) -> Result<Holder, String> {
        let mut delta = answer.delta;
        let held = self.replica.progress();
        match rules.fault {
            Fault::FloorNotAdoptedAtOnce => delta.floor = 0,
            Fault::ServedFromBelowTheFloor | Fault::TakesFromBelowTheFloor if delta.generation == held.generation => {
                delta.floor = delta.floor.max(held.floor);
            }
            Fault::IgnoresFrom => delta.from = delta.from.min(held.max),
            _ => {}
        }
        let mut limits = Limits { keys: rules.keys, ..Limits::default() };
        if self.refuses {
            limits.value_bytes = 1;
        }
        let mut refused = None;
        let after = self.watched(rules, |replica, now, events| {
            let entries = answer.entries.iter().cloned();
            replica.apply(now, &delta, entries, &limits, |change| events.push(change), |reason| refused = Some(reason));
        })?;
        let mut after = after.remembering(self, Some(&delta), rules);
        if let Some(piece) = &answer.piece {
            // It is in the same datagram, but what the delta before it did is checked by itself.
            after = after.watched(rules, |replica, now, events| {
                let part = (piece.total, piece.offset, &piece.bytes[..]);
                let (changed, refuse) = (|change| events.push(change), |reason| refused = Some(reason));
                replica.apply_piece(now, &delta, piece.entry.clone(), part, &limits, changed, refuse);
            })?;
        }
        match refused {
            Some(reason) if !self.refuses => Err(format!("refused an entry: {reason:?}")),
            _ => Ok(after),
        }
    }

    fn remembering(mut self, before: &Holder, delta: Option<&Delta>, rules: &Rules) -> Holder {
        if !matches!(rules.fault, Fault::TellsOldMaximum | Fault::TellsSendersMaximum | Fault::ServesHeldOver) {
            return self;
        }
        if !self.in_transfer() {
            self.before = None;
        } else if self.before.is_none() {
            self.before = Some(Box::new(Before { replica: before.replica.clone(), senders_max: 0 }));
        }
        if let (Some(kept), Some(delta)) = (&mut self.before, delta) {
            kept.senders_max = kept.senders_max.max(delta.max);
        }
        self
    }

    /// Its clock moves on.
    pub fn tick(&self) -> Option<Holder> {
        let ticks_left = self.ticks_left.checked_sub(1)?;
        Some(Holder { ticks: self.ticks + 1, ticks_left, ..self.clone() })
    }

    /// Whether something has expired and was not hidden yet.
    pub fn has_expired(&self) -> bool {
        let ended = |entry: &Entry| entry.deadline.is_some_and(|deadline| deadline <= self.now());
        self.replica.map().iter().any(|(_, entry)| matches!(entry.content, Content::Value(_)) && ended(entry))
    }

    /// It hides what has expired.
    pub fn expire(&self, rules: &Rules) -> Result<Holder, String> {
        let after = self.watched(rules, |replica, now, events| {
            while let Some(change) = replica.expire_next(now) {
                events.push(change);
            }
        })?;
        if after.has_expired() { Err("did not notice that something expired".to_owned()) } else { Ok(after) }
    }

    /// It starts anew and knows nothing; so do its readers.
    pub fn restart(&self) -> Option<Holder> {
        let restarts_left = self.restarts_left.checked_sub(1)?;
        Some(Holder { ticks: self.ticks, ..Holder::new(self.ticks_left, restarts_left, self.refuses) })
    }

    pub fn much_later(&self, rules: &Rules) -> Result<Holder, String> {
        Holder { ticks: self.ticks + 100, ..self.clone() }.expire(rules)
    }
}

/// What a map says of itself is what is in it.
fn check_books(map: &Map) -> Result<(), String> {
    let bytes = map.iter().map(|(key, entry)| key.len() + value_bytes(entry) + Map::ENTRY_OVERHEAD).sum::<usize>();
    let values = map.iter().filter(|(_, entry)| matches!(entry.content, Content::Value(_)));
    let deadline = values.filter_map(|(_, entry)| entry.deadline).min();
    let confirmed: Vec<u64> = map.after(0).map(|(_, entry)| entry.version).collect();
    let held_over = confirmed.len() < map.iter().count();
    let right = (bytes, deadline, held_over) == (map.bytes(), map.next_deadline(), map.has_held_over());
    if right && confirmed.is_sorted() { Ok(()) } else { Err(format!("keeps wrong books of {map:?}")) }
}

/// Events are exactly the difference between what was shown before and what is shown after.
fn check_events(before: &Option<Shown>, after: &Option<Shown>, told: &[&Change], new_run: bool) -> Result<(), String> {
    let right = match (before, after, told) {
        (None, None, []) => true,
        (Some(before), Some(after), []) => {
            let shortened = match (before.deadline, after.deadline) {
                (Some(before), Some(after)) => after <= before,
                (before, after) => before == after || before.is_none(),
            };
            before.value == after.value && (shortened || before.version != after.version)
        }
        (before, Some(after), [Change::Update { value, version, deadline, .. }]) => {
            let news =
                new_run || before.as_ref().is_none_or(|before| (&before.value, before.version) != (value, *version));
            news && after.confirmed && (&after.value, after.version, after.deadline) == (value, *version, *deadline)
        }
        (Some(_), None, [Change::Delete { .. }]) => true,
        (Some(before), None, [Change::Expire { value, .. }]) => before.value == *value,
        _ => false,
    };
    if right { Ok(()) } else { Err(format!("events {told:?} do not tell the change from {before:?} to {after:?}")) }
}
