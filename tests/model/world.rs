//! What is modelled: an owner, the holders of its map, and what passes between them.
//!
//! Nothing here decides anything about versions or floors: that is done by the functions that ship. This file calls them
//! and watches; where a [`Fault`] is planted, it falsifies what passes between two of those calls.

use std::time::Duration;

use grapevine::config::Limits;
use grapevine::instant::Instant;
use grapevine::state::{Change, Content, Delta, DeltaEntry, Entry, Map, OwnMap, Progress, Replica};
use grapevine::value::{Key, Value};

pub const KEYS: [&str; 2] = ["a", "b"];
/// One tick of a node's clock. Every life is one tick long when it is set.
const TICK: Duration = Duration::from_secs(1);

/// Writes are numbered over all generations and a value's bytes are its write's number, so that readers can be asked what
/// they saw. 0 is no write.
pub type Write = u8;

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

/// What a scenario changes in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
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
    fn crowded(&self) -> bool {
        self.keys < KEYS.len()
    }

    fn is_big(&self, key: &str) -> bool {
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

/// One thing that the owner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Set(usize),
    SetWithLife(usize),
    Delete(usize),
    /// Its clock moves on.
    Tick,
    /// It notices what has expired.
    Expire,
    CollectOldest,
    CollectAll,
    /// The process starts anew with an empty map.
    RestartEmpty,
    /// The process starts anew, and has set these keys again (bit i for key i) before it says anything.
    RestartWith(u8),
    /// It takes a new generation and keeps everything.
    Renew,
}

/// The owner, and what the model knows of it beside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    pub own: OwnMap,
    ticks: u64,
    writes: Write,
    /// Since which write each key has been readable without a break and without a life; 0 if it is not.
    pub streak: [Write; 2],
    /// The version of the last write of each key in this generation, also where its tombstone has been collected.
    pub last: [u64; 2],
    pub left: Budget,
}

impl Owner {
    pub fn new(left: Budget) -> Self {
        Owner { own: OwnMap::new(1), ticks: 0, writes: 0, streak: [0; 2], last: [0; 2], left }
    }

    /// Versions serve as microseconds, so that tombstones have different ages without a clock that ticks.
    fn now(&self) -> Instant {
        Instant::ZERO + TICK * u32::try_from(self.ticks).unwrap() + Duration::from_micros(self.own.progress().max)
    }

    fn readable(&self, key: usize) -> bool {
        self.own.map().get(KEYS[key]).is_some_and(|entry| entry.readable(self.now()).is_some())
    }

    /// Everything that it can do now, each with what it is then.
    pub fn ops(&self, rules: &Rules) -> Vec<(Op, Owner)> {
        let left = &self.left;
        if left.ops == 0 {
            return Vec::new();
        }
        let mut ops = Vec::new();
        for key in 0..KEYS.len() {
            // The two keys are alike unless one is big: that `a` is the first to be set costs nothing.
            let first = key == 0 || self.writes > 0 || rules.big.is_some();
            let map = self.own.map();
            let may_set = first && (map.get(KEYS[key]).is_some() || map.len() < rules.keys);
            if left.sets > 0 && may_set {
                ops.push(Op::Set(key));
            }
            if left.lives > 0 && may_set {
                ops.push(Op::SetWithLife(key));
            }
            if left.deletes > 0 && self.readable(key) {
                ops.push(Op::Delete(key));
            }
        }
        if left.ticks > 0 {
            ops.push(Op::Tick);
        }
        if self.own.map().next_deadline().is_some_and(|deadline| deadline <= self.now()) {
            ops.push(Op::Expire);
        }
        if left.collects > 0 && self.own.oldest_tombstone().is_some() {
            ops.extend([Op::CollectOldest, Op::CollectAll]);
        }
        if left.restarts > 0 && self.writes > 0 {
            ops.extend([Op::RestartEmpty, Op::Renew]);
            let held = (0..KEYS.len()).filter(|key| self.readable(*key)).fold(0u8, |bits, key| bits | 1 << key);
            ops.extend((1..4).filter(|keys| keys & held == *keys).map(Op::RestartWith));
        }
        ops.into_iter().map(|op| (op, self.after(op, rules))).collect()
    }

    fn after(&self, op: Op, rules: &Rules) -> Owner {
        let mut owner = self.clone();
        owner.left.ops -= 1;
        let (now, before) = (self.now(), self.own.progress());
        match op {
            Op::Set(key) => {
                owner.left.sets -= 1;
                owner.set(key, None, rules);
            }
            Op::SetWithLife(key) => {
                owner.left.lives -= 1;
                let deadline = Instant::ZERO + TICK * u32::try_from(owner.ticks + 1).unwrap();
                owner.set(key, Some(deadline), rules);
            }
            Op::Delete(key) => {
                owner.left.deletes -= 1;
                let change = owner.own.delete(now, KEYS[key]);
                assert!(matches!(change, Some(Change::Delete { version, .. }) if version == before.max + 1));
                owner.gone(key);
            }
            Op::Tick => {
                owner.left.ticks -= 1;
                owner.ticks += 1;
            }
            Op::Expire => owner.expire(now),
            Op::CollectOldest => {
                owner.left.collects -= 1;
                let oldest = owner.own.oldest_tombstone().unwrap();
                assert!(owner.own.collect(oldest));
            }
            Op::CollectAll => {
                owner.left.collects -= 1;
                owner.collect_all();
            }
            Op::RestartEmpty => owner.restart(0, rules),
            Op::RestartWith(keys) => owner.restart(keys, rules),
            Op::Renew => {
                owner.left.restarts -= 1;
                owner.own.renew(before.generation + 1);
                for key in 0..KEYS.len() {
                    owner.last[key] = owner.own.map().get(KEYS[key]).map_or(0, |entry| entry.version);
                }
            }
        }
        let after = owner.own.progress();
        assert!((before.generation, before.max) <= (after.generation, after.max) && after.floor <= after.max);
        owner
    }

    fn set(&mut self, key: usize, deadline: Option<Instant>, rules: &Rules) {
        self.writes += 1;
        let value = Value::from_bytes(vec![self.writes; if rules.is_big(KEYS[key]) { rules.pieces } else { 1 }]);
        let change = self.own.set(&Key::from(KEYS[key]), value.clone(), deadline);
        self.last[key] = self.own.progress().max;
        let expected = Change::Update { key: Key::from(KEYS[key]), value, version: self.last[key], deadline };
        assert_eq!(change, Some(expected));
        if deadline.is_some() {
            self.streak[key] = 0;
        } else if self.streak[key] == 0 {
            self.streak[key] = self.writes;
        }
    }

    fn gone(&mut self, key: usize) {
        self.last[key] = self.own.progress().max;
        self.streak[key] = 0;
    }

    fn expire(&mut self, now: Instant) {
        while let Some(change) = self.own.expire_next(now) {
            let key = KEYS.iter().position(|key| **key == **change.key()).unwrap();
            self.gone(key);
        }
    }

    pub fn collect_all(&mut self) {
        self.own.collect(self.now());
        assert_eq!(self.own.oldest_tombstone(), None);
    }

    fn restart(&mut self, keys: u8, rules: &Rules) {
        self.left.restarts -= 1;
        let generation = self.own.progress().generation + 1;
        let old = std::mem::replace(&mut self.own, OwnMap::new(generation));
        self.last = [0; 2];
        for (key, name) in KEYS.iter().enumerate() {
            if keys & 1 << key == 0 {
                self.streak[key] = 0;
            } else {
                self.set(key, old.map().get(name).and_then(|entry| entry.deadline), rules);
            }
        }
    }

    /// Long after: every life has ended.
    pub fn much_later(&self) -> Owner {
        let mut owner = self.clone();
        owner.ticks += 100;
        owner.expire(owner.now());
        owner
    }
}

/// What has gone before in a holder that only a planted fault needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Before {
    replica: Replica,
    senders_max: u64,
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
    before: Option<Box<Before>>,
}

fn write_of(value: &Value) -> Write {
    value.as_bytes()[0]
}

impl Holder {
    pub fn new(ticks_left: u8, restarts_left: u8, refuses: bool) -> Self {
        let replica = Replica::default();
        Holder { replica, ticks: 0, ticks_left, restarts_left, refuses, seen: [(0, 0); 2], before: None }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + TICK * u32::try_from(self.ticks).unwrap()
    }

    /// What is readable here under each key.
    pub fn readable(&self) -> [Write; 2] {
        KEYS.map(|key| self.replica.map().get(key).and_then(|entry| entry.readable(self.now())).map_or(0, write_of))
    }

    fn confirmed(&self, key: &str) -> Option<&Entry> {
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
        let after = self.watched(rules, |replica, _, events| {
            let new = told.generation > replica.progress().generation;
            replica.begin_generation(told.generation, told.max, |change| events.push(change));
            if rules.fault == Fault::EmptyByHearsay && new && told.max == 0 {
                replica.abandon_transfer(|change| events.push(change));
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
        self.replica.map().next_deadline().is_some_and(|deadline| deadline <= self.now())
    }

    /// It hides what has expired.
    pub fn expire(&self, rules: &Rules) -> Result<Holder, String> {
        self.watched(rules, |replica, now, events| {
            while let Some(change) = replica.expire_next(now) {
                events.push(change);
            }
        })
    }

    /// It starts anew and knows nothing; so do its readers.
    pub fn restart(&self) -> Option<Holder> {
        let restarts_left = self.restarts_left.checked_sub(1)?;
        Some(Holder { ticks: self.ticks, ..Holder::new(self.ticks_left, restarts_left, self.refuses) })
    }

    /// It gives up a transfer: nobody was left to end it.
    pub fn abandon(&self, rules: &Rules) -> Option<Result<Holder, String>> {
        let restarts_left = self.restarts_left.checked_sub(1).filter(|_| !self.all_confirmed())?;
        let after = self.watched(rules, |replica, _, events| replica.abandon_transfer(|change| events.push(change)));
        Some(after.map(|mut after| {
            after.restarts_left = restarts_left;
            // What went was not deleted: it may come back.
            let (before, now) = (self.readable(), after.readable());
            for key in (0..KEYS.len()).filter(|key| now[*key] != before[*key]) {
                after.seen[key].0 -= 1;
            }
            after
        }))
    }

    pub fn much_later(&self, rules: &Rules) -> Result<Holder, String> {
        Holder { ticks: self.ticks + 100, ..self.clone() }.expire(rules)
    }
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

/// An answer under way: a delta with its entries, and perhaps a piece of the value that follows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Answer {
    pub delta: Delta,
    pub entries: Vec<DeltaEntry>,
    pub piece: Option<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Piece {
    pub entry: DeltaEntry,
    pub total: usize,
    pub offset: usize,
    pub bytes: Vec<u8>,
}

/// Who is asked.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    Owner(&'a Owner),
    Holder(&'a Holder),
}

/// How far a node says it is.
pub fn told(node: Source<'_>, rules: &Rules) -> Progress {
    let mut progress = match node {
        Source::Owner(owner) => owner.own.progress(),
        Source::Holder(holder) => holder.replica.progress(),
    };
    if let Source::Holder(Holder { before: Some(before), .. }) = node {
        match rules.fault {
            Fault::TellsOldMaximum => progress.max = before.replica.progress().max,
            Fault::TellsSendersMaximum => progress.max = before.senders_max,
            _ => {}
        }
    }
    let owner = matches!(node, Source::Owner(_));
    if rules.fault == Fault::FloorNotTold || rules.fault == Fault::CollectsWithoutFloor && owner {
        progress.floor = 0;
    }
    progress
}

/// How much fits an answer: so many entries.
pub type Room = usize;

impl Source<'_> {
    fn now(&self) -> Instant {
        match self {
            Source::Owner(owner) => owner.now(),
            Source::Holder(holder) => holder.now(),
        }
    }

    /// The answer to `asker` with at most `room` entries; and the entry that follows, if it has to come in pieces.
    fn offer(&self, asker: &Progress, room: Room, rules: &Rules) -> Option<(Answer, Option<Piece>)> {
        let (mut progress, mut map, mut last) = match self {
            Source::Owner(owner) => (owner.own.progress(), owner.own.map(), owner.own.progress().max),
            Source::Holder(holder) => (holder.replica.progress(), holder.replica.map(), holder.replica.last_servable()),
        };
        let mut asker = *asker;
        match (rules.fault, self) {
            (Fault::CollectsWithoutFloor, Source::Owner(_)) => progress.floor = 0,
            (Fault::AnswererIgnoresAskersFloor, _) => asker.floor = 0,
            (Fault::ServedFromBelowTheFloor, _) if asker.in_transfer() => asker.floor = asker.floor.min(progress.max),
            (Fault::ServesHeldOver, Source::Holder(Holder { before: Some(before), .. })) => {
                (progress.max, map, last) = (before.senders_max, before.replica.map(), before.senders_max);
            }
            _ => {}
        }
        let is_big = |key: &Key, entry: &Entry| matches!(entry.content, Content::Value(_)) && rules.is_big(key);
        let mut entries: Vec<DeltaEntry> = Vec::new();
        let offer = progress.offer(map, last, &asker, |key, entry| {
            let fits = entries.len() < room && !is_big(key, entry);
            if fits {
                entries.push(travelling(key, entry, self.now(), entry.content.clone()));
            }
            fits
        })?;
        let mut delta = offer.delta;
        match (rules.fault, self) {
            (Fault::LeavesOutTheFirst, _) if entries.len() > 1 => drop(entries.remove(0)),
            (Fault::HidesHorizon, Source::Holder(_)) => delta.max = last,
            _ => {}
        }
        let piece = offer.cut.filter(|(key, entry)| is_big(key, entry)).and_then(|(key, entry)| {
            let Content::Value(value) = &entry.content else {
                return None;
            };
            let bytes = value.as_bytes().to_vec();
            // The receiver does not look at the content that comes with a piece.
            let entry = travelling(key, entry, self.now(), Content::Deleted);
            Some(Piece { entry, total: bytes.len(), offset: 0, bytes })
        });
        Some((Answer { delta, entries, piece: None }, piece))
    }

    /// Everything that may be sent to one who told `asker`: cut after no entry, after one or at the end, and what an
    /// answer of several datagrams holds in the later ones, for each of which the earlier ones count as arrived.
    pub fn answers(&self, asker: &Progress, rules: &Rules) -> Vec<Answer> {
        let mut askers = vec![*asker];
        let mut answers: Vec<Answer> = Vec::new();
        let mut next = 0;
        while let Some(asker) = askers.get(next).copied() {
            next += 1;
            for room in [0, 1, Room::MAX] {
                let Some((answer, piece)) = self.offer(&asker, room, rules) else {
                    continue;
                };
                let mut arrived =
                    Progress { generation: answer.delta.generation, max: answer.delta.to, floor: answer.delta.floor };
                if asker.generation == arrived.generation {
                    arrived.floor = arrived.floor.max(asker.floor);
                }
                note(&mut askers, arrived);
                if let Some(piece) = piece {
                    note(&mut askers, Progress { max: piece.entry.version, ..arrived });
                    for offset in 0..piece.total {
                        let piece = Piece { offset, bytes: vec![piece.bytes[offset]], ..piece.clone() };
                        note(&mut answers, Answer { piece: Some(piece), ..answer.clone() });
                    }
                }
                note(&mut answers, answer);
            }
        }
        answers
    }

    /// The one answer that an asker gets when nothing goes wrong.
    pub fn answer(&self, asker: &Progress, holder: &Holder, room: Room, rules: &Rules) -> Option<Answer> {
        let (mut answer, piece) = self.offer(asker, room, rules)?;
        answer.piece = piece.map(|mut piece| {
            let unfinished = holder.replica.unfinished().filter(|unfinished| unfinished.version == piece.entry.version);
            piece.offset = unfinished.map_or(0, |unfinished| unfinished.bytes.len());
            piece.bytes = vec![piece.bytes[piece.offset]];
            piece
        });
        Some(answer)
    }
}

fn note<T: PartialEq>(all: &mut Vec<T>, one: T) {
    if !all.contains(&one) {
        all.push(one);
    }
}

fn travelling(key: &Key, entry: &Entry, now: Instant, content: Content) -> DeltaEntry {
    let life = entry.life(now);
    // A value whose life has ended is told as expired, as the wire does it.
    let ended = matches!(content, Content::Value(_)) && life == Some(Duration::ZERO);
    let content = if ended { Content::Expired } else { content };
    DeltaEntry { key: key.clone(), version: entry.version, content, life }
}

/// The paper's invariant, and what it becomes with floors, between the owner and one holder of its present run:
///
/// - nobody is further than the owner;
/// - for every key whose last write the holder has passed (`last` ≤ max): it holds exactly what the owner holds, or has
///   hidden it by its own clock; where the owner has collected the tombstone, it holds no value;
/// - for every other key: what it holds of it is older; and if the last write is not above the holder's floor (it is in
///   transfer), it holds nothing confirmed of it, for those who may serve it have all passed that write.
pub fn invariant(owner: &Owner, holder: &Holder) -> Result<(), String> {
    let (far, progress) = (owner.own.progress(), holder.replica.progress());
    if progress.generation > far.generation {
        return Err("is of a generation that never was".to_owned());
    }
    if progress.generation < far.generation {
        return Ok(());
    }
    if progress.max > far.max || progress.floor > far.floor {
        return Err(format!("is further than the owner, {far:?}"));
    }
    for (key, name) in KEYS.iter().enumerate() {
        let (current, held, last) = (owner.own.map().get(name), holder.confirmed(name), owner.last[key]);
        let right = if last <= progress.max {
            match (current, held) {
                (Some(current), Some(held)) => current.version == held.version && same_content(current, held),
                (Some(current), None) => holder.refuses && value_bytes(current) > 1,
                (None, Some(held)) => !matches!(held.content, Content::Value(_)),
                (None, None) => true,
            }
        } else {
            held.is_none_or(|held| held.version < last && last > progress.floor)
        };
        if !right {
            return Err(format!("confirmed {held:?} of `{name}`, the owner has {current:?}, last written at {last}"));
        }
    }
    Ok(())
}

fn value_bytes(entry: &Entry) -> usize {
    match &entry.content {
        Content::Value(value) => value.as_bytes().len(),
        Content::Deleted | Content::Expired => 0,
    }
}

/// Whether a holder that went from one state to the other lost a key that its owner had all the time.
pub fn flicker(owner: &Owner, before: &Holder, after: &Holder, rules: &Rules) -> Result<(), String> {
    let (was, is) = (before.readable(), after.readable());
    for (key, streak) in owner.streak.into_iter().enumerate() {
        let may_lose = rules.crowded() || before.refuses && rules.is_big(KEYS[key]);
        if streak != 0 && was[key] >= streak && is[key] == 0 && !may_lose {
            return Err(format!("lost `{}`, which the owner has had since write {streak}", KEYS[key]));
        }
    }
    Ok(())
}

fn same_content(current: &Entry, held: &Entry) -> bool {
    let by_own_clock = current.deadline.is_some() && held.deadline.is_some() && held.content == Content::Expired;
    current.content == held.content || by_own_clock
}

/// Whether a holder has all that the owner has.
pub fn is_complete(owner: &Owner, holder: &Holder) -> Result<(), String> {
    let (far, progress) = (owner.own.progress(), holder.replica.progress());
    if (progress.generation, progress.max) != (far.generation, far.max) {
        return Err(format!("got no further than {progress:?} of {far:?}"));
    }
    if !holder.all_confirmed() {
        return Err("still holds entries over".to_owned());
    }
    invariant(owner, holder)
}

/// One line about a map, for traces.
fn line(progress: Progress, map: &Map, now: Instant) -> String {
    let mut line = format!("g{} max {} floor {}", progress.generation, progress.max, progress.floor);
    let confirmed: Vec<&Key> = map.after(0).map(|(key, _)| key).collect();
    for (key, entry) in map.iter() {
        let what = match &entry.content {
            Content::Value(value) if entry.readable(now).is_some() => format!("write {}", write_of(value)),
            Content::Value(value) => format!("write {}, past its life", write_of(value)),
            Content::Deleted => "deleted".to_owned(),
            Content::Expired => "expired".to_owned(),
        };
        let held_over = if confirmed.contains(&key) { "" } else { ", held over" };
        line += &format!("  {key}:{} ({what}{held_over})", entry.version);
    }
    line
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&line(self.own.progress(), self.own.map(), self.now()))
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&line(self.replica.progress(), self.replica.map(), self.now()))
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Delta { generation, from, to, floor, max } = self.delta;
        write!(f, "g{generation} ({from}, {to}] of {max}, floor {floor}, [")?;
        for entry in &self.entries {
            write!(f, " {}:{} {:?}", entry.key, entry.version, entry.content)?;
        }
        f.write_str(" ]")?;
        match &self.piece {
            Some(piece) => write!(f, " + byte {} of {}:{}", piece.offset, piece.entry.key, piece.entry.version),
            None => Ok(()),
        }
    }
}
