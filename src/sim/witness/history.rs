//! What was really written: taken down at the owners, in the step in which they wrote it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::Event;
use crate::instant::Instant;
use crate::peer::Peer;
use crate::sim::witness::view::View;
use crate::sim::witness::{Broken, Cause, Flights, Rule, broken};
use crate::state::{Content, Entry, Progress};
use crate::value::Key;

/// Every write of every run of every owner.
#[derive(Default)]
pub(super) struct History {
    runs: BTreeMap<(Peer, u64), Run>,
    /// The process at each address and the generation that it has.
    current: BTreeMap<Peer, (u64, u64)>,
    /// How far off lives may be that began before the faults ended.
    pub(super) tolerance_before_calm: Duration,
}

/// One run of an owner.
#[derive(Default)]
pub(super) struct Run {
    writes: BTreeMap<u64, Write>,
    /// The versions of each key, in order.
    keys: BTreeMap<Key, Vec<u64>>,
    /// How far the owner is.
    pub(super) progress: Progress,
    pub(super) heartbeat: u64,
    /// It has left.
    pub(super) left: bool,
}

/// One write.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) key: Key,
    pub(super) content: Content,
    /// When, and for how long.
    pub(super) at: Instant,
    pub(super) life: Option<Duration>,
    /// By how much it was held to live too long so far: on the way lives stand still.
    pub(super) late: Cell<Duration>,
}

impl History {
    pub(super) fn run(&self, owner: Peer, generation: u64) -> Option<&Run> {
        self.runs.get(&(owner, generation))
    }

    /// The faults have ended: what was held up by them may be off for as long as it lives.
    pub(super) fn calm(&mut self, flights: &Flights) {
        let longest_life = self.runs.values().flat_map(|run| run.writes.values()).filter_map(|write| write.life).max();
        let before = flights.tolerance(longest_life.unwrap_or_default());
        self.tolerance_before_calm = self.tolerance_before_calm.max(before);
    }

    /// Takes down what the node wrote in this step, and checks that nobody else did.
    pub(super) fn observe(&mut self, view: &View) -> Result<(), Broken> {
        let generation = view.own.progress.generation;
        let earlier = self.current.insert(view.at, (view.run, generation));
        let is_new = !self.runs.contains_key(&(view.me, generation));
        let run = self.runs.entry((view.me, generation)).or_default();
        let before = std::mem::replace(&mut run.progress, view.own.progress);
        run.heartbeat = run.heartbeat.max(view.heartbeat);
        run.left |= view.left;
        if !is_new {
            if view.own.progress.max < before.max || view.own.progress.floor < before.floor {
                let text = format!("its own map went back from {before:?} to {:?}", view.own.progress);
                return broken(Rule::OwnMapIsOwn, text);
            }
            if before != view.own.progress && matches!(view.cause, Cause::Datagram(_)) {
                let text = format!("a datagram moved its own map from {before:?} to {:?}", view.own.progress);
                return broken(Rule::OwnMapIsOwn, text);
            }
        }
        for event in &view.events {
            if let Event::Update { peer, key, value, version, deadline, .. } = event {
                if *peer == view.me {
                    run.write(view, before.max, key, *version, &Content::Value(value.clone()), *deadline)?;
                }
            }
        }
        let Some(entries) = &view.own.entries else { return Ok(()) };
        for (key, Entry { version, content, deadline, .. }) in entries {
            run.write(view, before.max, key, *version, content, *deadline)?;
        }
        run.nothing_was_lost(view, entries)?;
        let renewed = earlier.filter(|(process, old)| *process == view.run && *old != generation && is_new);
        match renewed.and_then(|(_, old)| self.runs.get(&(view.me, old))) {
            Some(old) if view.cause != Cause::Call => old.is_what_is_renewed(view, entries),
            _ => Ok(()),
        }
    }
}

impl Run {
    pub(super) fn write_at(&self, version: u64) -> Option<&Write> {
        self.writes.get(&version)
    }

    /// Each key with the version of its last write.
    pub(super) fn latest(&self) -> impl Iterator<Item = (&Key, u64)> {
        self.keys.iter().filter_map(|(key, versions)| Some((key, *versions.last()?)))
    }

    /// What was written under a key, from this version on.
    pub(super) fn writes_of<'a>(&'a self, key: &str, from: u64) -> impl Iterator<Item = &'a Write> {
        let versions = self.keys.get(key).map_or(&[][..], |versions| versions);
        let start = versions.partition_point(|version| *version < from);
        versions[start..].iter().filter_map(|version| self.writes.get(version))
    }

    /// Whether the owner had a value under this key when it was at this version.
    pub(super) fn had(&self, key: &str, version: u64) -> bool {
        let versions = self.keys.get(key).map_or(&[][..], |versions| versions);
        let before = versions.partition_point(|other| *other <= version);
        let last = before.checked_sub(1).and_then(|index| versions.get(index));
        last.and_then(|last| self.writes.get(last)).is_some_and(|write| matches!(write.content, Content::Value(_)))
    }

    fn write(
        &mut self,
        view: &View,
        before: u64,
        key: &Key,
        version: u64,
        content: &Content,
        deadline: Option<Instant>,
    ) -> Result<(), Broken> {
        if let Some(known) = self.writes.get(&version) {
            if known.key == *key && known.content == *content {
                return Ok(());
            }
            let text = format!("version {version} was {known:?}, and is {key:?} = {content:?}");
            return broken(Rule::OwnMapIsOwn, text);
        }
        let versions = self.keys.entry(key.clone()).or_default();
        if version <= before || version > view.own.progress.max || versions.last().is_some_and(|last| *last > version) {
            let max = view.own.progress.max;
            let text = format!("{key:?} got version {version} after {versions:?}, from {before} to {max}");
            return broken(Rule::OwnMapIsOwn, text);
        }
        versions.push(version);
        let life = deadline.map(|deadline| deadline - view.local);
        let write = Write { key: key.clone(), content: content.clone(), at: view.now, life, late: Cell::default() };
        self.writes.insert(version, write);
        Ok(())
    }

    /// The owner's map holds the last write of every key, but for tombstones that it has collected.
    fn nothing_was_lost(&self, view: &View, entries: &[(Key, Entry)]) -> Result<(), Broken> {
        for (key, version) in self.latest() {
            let held = entries.binary_search_by(|(other, _)| other.cmp(key));
            let held = held.ok().and_then(|index| entries.get(index)).map(|(_, entry)| entry.version);
            if held != Some(version) && !self.is_collected(version) {
                let floor = view.own.progress.floor;
                let text = format!("its own {key:?} was written at {version} and is at {held:?}; its floor is {floor}");
                return broken(Rule::OwnMapIsOwn, text);
            }
        }
        Ok(())
    }

    /// A higher generation has what the one before it had, but for what has ended.
    fn is_what_is_renewed(&self, view: &View, entries: &[(Key, Entry)]) -> Result<(), Broken> {
        let is_value = |content: &Content| matches!(content, Content::Value(_));
        let mut lost = self.keys.iter().filter_map(|(key, versions)| {
            let write =
                self.writes.get(versions.last()?).filter(|write| is_value(&write.content) && write.life.is_none())?;
            let held = entries.iter().find(|(other, _)| other == key);
            held.is_none_or(|(_, entry)| entry.content != write.content).then_some(write)
        });
        if let Some(write) = lost.next() {
            let text = format!("its own map lost {write:?} with a higher generation");
            return broken(Rule::OwnMapIsOwn, text);
        }
        let had = |key: &Key| self.keys.get(key).and_then(|versions| self.writes.get(versions.last()?));
        let mut values = entries.iter().filter(|(_, entry)| is_value(&entry.content));
        match values.find(|(key, entry)| had(key).is_none_or(|write| write.content != entry.content)) {
            Some((key, entry)) => {
                let text =
                    format!("its own map got {key:?}, {entry:?}, with generation {}", view.own.progress.generation);
                broken(Rule::OwnMapIsOwn, text)
            }
            None => Ok(()),
        }
    }

    /// Whether this version is a tombstone that the owner has collected.
    pub(super) fn is_collected(&self, version: u64) -> bool {
        let is_tombstone = |write: &Write| !matches!(write.content, Content::Value(_));
        version <= self.progress.floor && self.writes.get(&version).is_some_and(is_tombstone)
    }
}
