//! The owner: everything that it can do, by the functions that ship, and what the model knows of it beside.

use std::time::Duration;

use grapevine::instant::Instant;
use grapevine::state::{Change, OwnMap};
use grapevine::value::{Key, Value};

use crate::rules::{Budget, KEYS, Rules, Scenario, TICK, Write};

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
    pub fn new(scenario: &Scenario) -> Self {
        let n = u8::try_from(scenario.rules.script.len()).unwrap();
        let all = Budget { ops: n, sets: n, lives: n, deletes: n, ticks: n, collects: n, restarts: n };
        let left = if n > 0 { all } else { scenario.budget };
        Owner { own: OwnMap::new(1), ticks: 0, writes: 0, streak: [0; 2], last: [0; 2], left }
    }

    /// Versions serve as microseconds, so that tombstones have different ages without a clock that ticks.
    pub fn now(&self) -> Instant {
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
        if let Some(place) = rules.script.len().checked_sub(usize::from(left.ops)).filter(|_| !rules.script.is_empty())
        {
            return vec![(rules.script[place], self.after(rules.script[place], rules))];
        }
        let mut ops = Vec::new();
        for (key, name) in KEYS.into_iter().enumerate() {
            // The two keys are alike unless one is big: that `a` is the first to be set costs nothing.
            let first = key == 0 || self.writes > 0 || rules.big.is_some();
            let map = self.own.map();
            let may_set = first && (map.get(name).is_some() || map.len() < rules.keys);
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
                owner.own.collect(oldest);
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
                owner.last = KEYS.map(|key| owner.own.map().get(key).map_or(0, |entry| entry.version));
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
