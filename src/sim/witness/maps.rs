//! What readers are shown of every map, compared with what its owner wrote.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::Event;
use crate::instant::Instant;
use crate::peer::{Peer, PeerState};
use crate::sim::witness::history::{History, Run, Write};
use crate::sim::witness::view::{Held, View};
use crate::sim::witness::{Broken, Cause, Flights, Rule, broken};
use crate::state::{Content, Entry, Progress};
use crate::value::{Key, Value};

/// What one process was seen to hold of every map.
#[derive(Default)]
pub(super) struct MapLog {
    owners: BTreeMap<Peer, Owner>,
}

/// One owner's map as it is held.
#[derive(Default)]
struct Owner {
    progress: Progress,
    /// What the events add up to.
    told: BTreeMap<Key, Told>,
    /// Up to which (generation, version) each key has been seen: nothing older may come.
    seen: BTreeMap<Key, (u64, u64)>,
    /// The end of each life, with its version, when it was looked at last.
    lives: BTreeMap<Key, (u64, Option<Instant>)>,
    /// The longest that a datagram was under way that has changed something of it since then.
    flight: Duration,
}

/// A value that a reader was shown.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    generation: u64,
    version: u64,
    value: Value,
}

/// What everything is compared with.
struct Truth<'a> {
    view: &'a View,
    history: &'a History,
    flights: &'a Flights,
    among_liars: bool,
}

impl MapLog {
    pub(super) fn check(
        &mut self,
        view: &View,
        history: &History,
        flights: &Flights,
        among_liars: bool,
    ) -> Result<(), Broken> {
        let truth = Truth { view, history, flights, among_liars };
        if view.cause == Cause::Start {
            self.start(view);
        }
        for event in &view.events {
            self.event(&truth, event)?;
        }
        let members = view.members.iter().filter(|seen| seen.state != PeerState::Forgotten);
        for (peer, held) in members.map(|seen| (seen.peer, &seen.held)).chain([(view.me, &view.own)]) {
            let owner = self.owners.entry(peer).or_default();
            owner.only_forward(peer, held.progress)?;
            owner.flight = owner.flight.max(view.flight);
            let Some(entries) = &held.entries else { continue };
            owner.is_as_told(peer, entries)?;
            if !among_liars {
                truth.compare(peer, held, entries)?;
                owner.lives_end_in_time(&truth, peer, held, entries)?;
            }
        }
        // Of whom nothing is held any more the events must have told that it is gone.
        let told_of = view.events.iter().filter_map(Event::peer);
        let is_gone =
            |peer: &Peer| *peer != view.me && view.members.binary_search_by_key(peer, |seen| seen.peer).is_err();
        for peer in view.gone.iter().copied().chain(told_of).filter(is_gone) {
            if let Some(owner) = self.owners.get(&peer).filter(|owner| !owner.told.is_empty()) {
                let text = format!("{peer} is gone, and no event told of {:?}", owner.told);
                return broken(Rule::EventsTellTheState, text);
            }
        }
        Ok(())
    }

    /// What a node has from its start no event tells.
    fn start(&mut self, view: &View) {
        let owner = self.owners.entry(view.me).or_default();
        for (key, entry) in view.own.entries.iter().flatten() {
            if let Content::Value(value) = &entry.content {
                let (generation, version) = (view.own.progress.generation, entry.version);
                owner.told.insert(key.clone(), Told { generation, version, value: value.clone() });
            }
        }
    }

    fn event(&mut self, truth: &Truth<'_>, event: &Event) -> Result<(), Broken> {
        match event {
            Event::PeerForgotten { peer, .. } => {
                self.owners.remove(peer);
                Ok(())
            }
            Event::Update { peer, generation, key, value, version, .. } => {
                let told = Told { generation: *generation, version: *version, value: value.clone() };
                self.owners.entry(*peer).or_default().update(truth, *peer, key, told)
            }
            Event::Delete { peer, generation, key, version } => {
                self.owners.entry(*peer).or_default().delete(truth, *peer, key, (*generation, *version))
            }
            Event::Expire { peer, generation, key, value, version, .. } => {
                let owner = self.owners.entry(*peer).or_default();
                owner.expire(truth, *peer, key, (*generation, *version), value)
            }
            _ => Ok(()),
        }
    }
}

impl Owner {
    fn update(&mut self, truth: &Truth<'_>, peer: Peer, key: &Key, told: Told) -> Result<(), Broken> {
        let is_new = (told.generation, told.version);
        let seen = self.seen.insert(key.clone(), is_new);
        if !truth.among_liars {
            if seen.is_some_and(|seen| seen >= is_new) {
                let text = format!("{peer}'s {key:?} is shown at {is_new:?} after {seen:?}");
                return broken(Rule::NothingReturns, text);
            }
            truth.was_written(peer, key, &told)?;
        }
        self.told.insert(key.clone(), told);
        Ok(())
    }

    fn delete(&mut self, truth: &Truth<'_>, peer: Peer, key: &Key, from: (u64, u64)) -> Result<(), Broken> {
        let Some(told) = self.told.remove(key) else {
            return broken(Rule::EventsTellTheState, format!("{peer}'s {key:?} was deleted and had not been there"));
        };
        let seen = self.seen.entry(key.clone()).or_default();
        *seen = from.max(*seen);
        if truth.among_liars {
            return Ok(());
        }
        let (generation, version) = from;
        if truth.run(peer, generation)?.had(key, version) {
            let text = format!("{peer}'s {key:?} vanished, {told:?}, and was there at version {version}");
            return broken(Rule::NothingVanishes, text);
        }
        Ok(())
    }

    fn expire(
        &mut self,
        truth: &Truth<'_>,
        peer: Peer,
        key: &Key,
        (generation, version): (u64, u64),
        value: &Value,
    ) -> Result<(), Broken> {
        let told = self.told.remove(key);
        // Of an earlier run the version is 0 by then.
        let is_it = |told: &Told| told.value == *value && (told.version == version || version == 0);
        let Some(told) = told.filter(is_it) else {
            return broken(
                Rule::EventsTellTheState,
                format!("{peer}'s {key:?} at {version} expired and was not shown"),
            );
        };
        let seen = self.seen.entry(key.clone()).or_default();
        *seen = (*seen).max((generation, version));
        if truth.among_liars { Ok(()) } else { truth.expired_in_time(peer, generation, key, &told) }
    }

    /// Looks at each life once, when it comes: from then on only clocks and sleep change when it ends.
    fn lives_end_in_time(
        &mut self,
        truth: &Truth<'_>,
        peer: Peer,
        held: &Held,
        entries: &[(Key, Entry)],
    ) -> Result<(), Broken> {
        // The first part of a large value brings its life, the last one the value.
        let flight = self.flight;
        self.flight = if held.unfinished > 0 { flight } else { Duration::ZERO };
        if held.progress.generation == 0 {
            return Ok(());
        }
        let run = truth.run(peer, held.progress.generation)?;
        let old = std::mem::take(&mut self.lives);
        for (key, entry) in entries.iter().filter(|(_, entry)| !entry.held_over) {
            let life = (entry.version, entry.deadline);
            self.lives.insert(key.clone(), life);
            if let Some(write) = run.write_at(entry.version).filter(|_| old.get(key) != Some(&life)) {
                truth.ends_in_time(peer, write, key, entry, flight)?;
            }
        }
        Ok(())
    }

    fn only_forward(&mut self, peer: Peer, progress: Progress) -> Result<(), Broken> {
        let before = std::mem::replace(&mut self.progress, progress);
        let same_run = progress.generation == before.generation;
        let is_transfer = progress.floor > before.floor && before.max < progress.floor;
        let back = progress.generation < before.generation
            || same_run && (progress.floor < before.floor || progress.max < before.max && !is_transfer);
        if back {
            let text = format!("its copy of {peer}'s map went back from {before:?} to {progress:?}");
            return broken(Rule::ProgressOnlyForward, text);
        }
        Ok(())
    }

    /// Whether the values held are those of which the events told.
    fn is_as_told(&self, peer: Peer, entries: &[(Key, Entry)]) -> Result<(), Broken> {
        let values = entries.iter().filter_map(|(key, entry)| match &entry.content {
            Content::Value(value) => Some((key, value)),
            Content::Deleted | Content::Expired => None,
        });
        let mut told = self.told.iter();
        for (key, value) in values {
            let next = told.next();
            if next.is_none_or(|(other, told)| other != key || told.value != *value) {
                let text = format!("it holds {peer}'s {key:?} = {value}, and the events told next of {next:?}");
                return broken(Rule::EventsTellTheState, text);
            }
        }
        match told.next() {
            Some((key, told)) => {
                broken(Rule::EventsTellTheState, format!("events told of {peer}'s {key:?}, {told:?}; it is not held"))
            }
            None => Ok(()),
        }
    }
}

impl Truth<'_> {
    fn run(&self, owner: Peer, generation: u64) -> Result<&Run, Broken> {
        let run = self.history.run(owner, generation);
        let text = || format!("{owner} never had generation {generation}");
        run.ok_or_else(|| (Rule::OnlyTheOwnerWrites, text()))
    }

    fn was_written(&self, peer: Peer, key: &Key, told: &Told) -> Result<(), Broken> {
        let write = self.run(peer, told.generation)?.write_at(told.version);
        let is_it = write.is_some_and(|write| write.key == *key && write.content == Content::Value(told.value.clone()));
        if is_it {
            return Ok(());
        }
        broken(Rule::OnlyTheOwnerWrites, format!("{peer}'s {key:?} is shown as {told:?}; it wrote {write:?}"))
    }

    /// A life ends with the value itself, or with one that replaced it and never was visible here.
    fn expired_in_time(&self, peer: Peer, generation: u64, key: &Key, told: &Told) -> Result<(), Broken> {
        let mut writes: Vec<&Write> = self.run(peer, told.generation)?.writes_of(key, told.version).collect();
        if told.generation < generation {
            writes.extend(self.run(peer, generation)?.writes_of(key, 0));
        }
        if writes.iter().any(|write| self.has_ended(write)) {
            return Ok(());
        }
        let text = format!("{peer}'s {key:?} expired, {told:?}; it was written so: {writes:?}");
        broken(Rule::LivesEndInTime, text)
    }

    fn has_ended(&self, write: &Write) -> bool {
        match (&write.content, write.life) {
            (Content::Expired, _) => true,
            // Written by a slow clock and read by a fast one, it ends early for the reader.
            (Content::Value(_), Some(life)) => {
                let least = life.mul_f64((1.0 - 2.2 * self.flights.drift).max(0.0));
                self.view.now - write.at >= least.saturating_sub(Duration::from_millis(1))
            }
            (Content::Value(_) | Content::Deleted, _) => false,
        }
    }

    /// Compares a copy with the map that it is of.
    fn compare(&self, peer: Peer, held: &Held, entries: &[(Key, Entry)]) -> Result<(), Broken> {
        if held.progress.generation == 0 {
            return Ok(());
        }
        let run = self.run(peer, held.progress.generation)?;
        if held.progress.max > run.progress.max || held.progress.floor > run.progress.floor {
            let text = format!("its copy of {peer}'s map is at {:?}, beyond {:?}", held.progress, run.progress);
            return broken(Rule::OnlyTheOwnerWrites, text);
        }
        for (key, entry) in entries.iter().filter(|(_, entry)| !entry.held_over) {
            self.is_the_owners(peer, run, key, entry)?;
        }
        let has_held_over = entries.iter().any(|(_, entry)| entry.held_over);
        for (key, version) in run.latest().filter(|(_, version)| *version <= held.progress.max) {
            let index = entries.binary_search_by(|(other, _)| other.cmp(key)).ok();
            let entry = index.and_then(|index| entries.get(index)).map(|(_, entry)| entry);
            let here = entry.map(|entry| entry.version);
            let collected = run.is_collected(version) && (here.is_none() || has_held_over);
            if here != Some(version) && !collected && !held.refused {
                let text = format!(
                    "it holds {peer}'s {key:?} at {here:?}, says that it is at {:?}, and lacks {version}",
                    held.progress
                );
                return broken(Rule::NothingIsSkipped, text);
            }
        }
        Ok(())
    }

    fn is_the_owners(&self, peer: Peer, run: &Run, key: &Key, entry: &Entry) -> Result<(), Broken> {
        let write = run.write_at(entry.version).filter(|write| write.key == *key);
        let Some(write) = write else {
            let text = format!("{peer} never wrote {key:?} at {}: {entry:?}", entry.version);
            return broken(Rule::OnlyTheOwnerWrites, text);
        };
        let matches = match (&entry.content, &write.content) {
            // Its life has ended, here or on the way.
            (Content::Expired, Content::Value(_)) => self.has_ended(write),
            (held, written) => held == written,
        };
        if !matches {
            let text = format!("{peer}'s {key:?} is held as {:?}; it wrote {write:?}", entry.content);
            return broken(Rule::OnlyTheOwnerWrites, text);
        }
        Ok(())
    }

    fn ends_in_time(
        &self,
        peer: Peer,
        write: &Write,
        key: &Key,
        entry: &Entry,
        flight: Duration,
    ) -> Result<(), Broken> {
        let (Content::Value(_), Some(life)) = (&entry.content, write.life) else {
            return if entry.deadline.is_none() || write.life.is_some() {
                Ok(())
            } else {
                broken(Rule::LivesEndInTime, format!("{peer}'s {key:?} was written to stay: {entry:?}"))
            };
        };
        let Some(deadline) = entry.deadline else {
            let text = format!("{peer}'s {key:?} is held to stay; it was written to live for {life:?}");
            return broken(Rule::LivesEndInTime, text);
        };
        if deadline <= self.view.local {
            // Nobody is shown it any more.
            return Ok(());
        }
        let late = (self.view.now - write.at + (deadline - self.view.local)).saturating_sub(life);
        // It came in this datagram from somebody who held it before; a life is rounded up to a millisecond.
        let slept = self.flights.slept_since(write.at);
        let most = write.late.get() + flight + Duration::from_millis(2) + self.flights.drifted(life) + slept;
        if late > most {
            let text =
                format!("{peer}'s {key:?} was written for {life:?}; it is to live {late:?} longer, not {most:?}");
            return broken(Rule::LivesEndInTime, text);
        }
        write.late.set(late.max(write.late.get()));
        Ok(())
    }
}
