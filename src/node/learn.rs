//! What member records say: who is there, how far its heartbeat is, whether it left.

use std::time::Duration;

use log::Level;

use crate::detector::Judge;
use crate::event::Event;
use crate::instant::Instant;
use crate::node::guard::once_a_minute;
use crate::node::{Node, Output};
use crate::peer::{Peer, PeerState};
use crate::state::{Change, Mark, Member, Row, Telling};
use crate::stats::Refusal;

/// A generation further ahead than this of one's own clock is refused, in milliseconds: one day.
const MAX_AHEAD_MS: u64 = 86_400_000;
/// A generation taken because of one that was heard of lies up to so many milliseconds above it. Below a minute, the least time
/// between two renewals, so that generations cannot run ahead of the clock.
pub(super) const RENEWAL_SPREAD_MS: u64 = 32_768;
/// A clock before 2020 was never set, and cannot judge generations. In milliseconds since 1970.
pub(super) const YEAR_2020_MS: u64 = 1_577_836_800_000;

impl Node {
    /// Takes in what a record says.
    pub(super) fn learn(&mut self, now: Instant, row: &Row, from: std::net::SocketAddr, out: &mut Output) {
        let generation = row.progress.generation;
        if row.peer == self.ring.me() {
            self.hear_of_self(now, row, from, out);
            return;
        }
        if let Some(member) = self.ring.member(row.peer) {
            let known = member.replica.progress().generation;
            if generation == known {
                self.learn_same_run(now, row, out);
            }
            if generation <= known {
                return;
            }
        } else if self.ring.forgotten(row.peer).is_some_and(|memory| memory >= (generation, row.heartbeat)) {
            return;
        }
        // A run that is new here. Of one that is over already there is nothing to gain.
        if row.mark == Mark::None && self.may_take_in(now, row, from, out) {
            self.learn_new_run(now, row, out);
        }
    }

    /// A heartbeat of the run that is known here, higher than before: the only evidence that a peer is alive.
    pub(super) fn advance(&mut self, now: Instant, peer: Peer, heartbeat: u64, out: &mut Output) {
        let judging = Judging { judge: &self.judge, catching_up: self.guard.is_catching_up(now) };
        let Some(member) = self.ring.member_mut(peer) else { return };
        if let Some(old) = advance_member(member, now, heartbeat, judging) {
            self.came_alive(now, peer, old, out);
        }
    }

    /// A peer whose heartbeat advanced was in state `old` and is alive now.
    pub(super) fn came_alive(&mut self, now: Instant, peer: Peer, old: PeerState, out: &mut Output) {
        let judge = &self.judge;
        let generation = self.ring.change(peer, |member| {
            match old {
                // A run's first advance ends a pause that says nothing of its rhythm; what an earlier run taught stays.
                PeerState::Known => member.detector.restart(now, judge),
                _ => member.detector.heartbeat(now, judge),
            }
            member.state = PeerState::Alive;
            member.since = now;
            member.telling = Telling::Roster;
            member.replica.progress().generation
        });
        if let Some(generation) = generation {
            out.events.push(Event::PeerAlive { peer, generation });
        }
    }

    fn learn_same_run(&mut self, now: Instant, row: &Row, out: &mut Output) {
        let Some(member) = self.ring.member(row.peer) else {
            return;
        };
        let (state, heartbeat, floor) = (member.state, member.heartbeat, member.replica.progress().floor);
        let peer = row.peer;
        match row.mark {
            Mark::Forgotten
                if row.heartbeat >= heartbeat
                    && matches!(state, PeerState::Known | PeerState::Failed | PeerState::Left) =>
            {
                self.set_forgotten(now, peer, out);
                return;
            }
            Mark::Forgotten => return,
            Mark::Left
                if row.heartbeat >= heartbeat
                    && matches!(state, PeerState::Known | PeerState::Alive | PeerState::Failed) =>
            {
                self.set_left(now, row, out);
            }
            Mark::Left => {}
            Mark::None if state == PeerState::Forgotten && row.heartbeat > heartbeat => {
                self.learn_new_run(now, row, out);
            }
            Mark::None => self.advance(now, peer, row.heartbeat, out),
        }
        if row.progress.floor > floor {
            self.ring.change(peer, |member| member.replica.adopt_floor(row.progress.generation, row.progress.floor));
        }
    }

    fn set_left(&mut self, now: Instant, row: &Row, out: &mut Output) {
        self.ring.change(row.peer, |member| {
            member.state = PeerState::Left;
            member.heartbeat = row.heartbeat;
            member.since = now;
            member.telling = Telling::InFull;
        });
        out.events.push(Event::PeerLeft { peer: row.peer, generation: row.progress.generation });
        self.news.add(row.peer);
    }

    fn learn_new_run(&mut self, now: Instant, row: &Row, out: &mut Output) {
        let (peer, generation) = (row.peer, row.progress.generation);
        let restarted = self.ring.member(peer).is_some_and(|member| member.replica.progress().generation < generation);
        out.events.push(Event::NewPeer { peer, generation });
        if restarted {
            let heartbeat = row.heartbeat;
            self.ring.change(peer, |member| {
                // What was held of the old run stays readable until the map of the new one is here.
                member.replica.begin_generation(generation);
                member.state = PeerState::Known;
                member.heartbeat = heartbeat;
                member.since = now;
                member.telling = Telling::Roster;
                // What the earlier run gave and counted says nothing of this one.
                member.token = None;
                member.proved_until = Instant::ZERO;
                (member.asked, member.asked_elsewhere) = Default::default();
            });
        } else {
            self.ring.insert(now, peer, row.heartbeat, generation);
        }
        self.news.add(peer);
    }

    /// Whether a run that is new here may be taken in: a plausible generation, an address that can be reached, room.
    fn may_take_in(&mut self, now: Instant, row: &Row, from: std::net::SocketAddr, out: &mut Output) -> bool {
        if row.peer.unreachable_because().is_some() {
            self.refuse(now, Refusal::BadAddress, from, out);
            return false;
        }
        if self.is_too_far_ahead(now, row.progress.generation) {
            self.refuse(now, Refusal::FutureGeneration, from, out);
            return false;
        }
        if self.ring.member(row.peer).is_some() || self.ring.len() < self.config.limits.peers {
            return true;
        }
        // First they give way of whom only the memory is told, then those that were never alive.
        let forgotten = self.ring.peers_in(PeerState::Forgotten).first().copied();
        let known = self.ring.peers_in(PeerState::Known).first().copied();
        match (forgotten, known) {
            (Some(forgotten), _) => self.ring.remove_and_remember(forgotten, self.config.limits.peers),
            (None, Some(known)) => self.forget_for_good(known, out),
            (None, None) => {
                self.refuse(now, Refusal::TooManyPeers, from, out);
                return false;
            }
        }
        true
    }

    fn is_too_far_ahead(&self, now: Instant, generation: u64) -> bool {
        let clock = self.unix_ms(now);
        clock >= YEAR_2020_MS && generation > clock.saturating_add(MAX_AHEAD_MS)
    }

    /// Somebody says something of this node. If it is more than this node ever said itself, it comes from an earlier run with
    /// a clock that was ahead, from another program with the same address, or it is a lie: a higher generation ends it,
    /// whatever it is.
    fn hear_of_self(&mut self, now: Instant, row: &Row, from: std::net::SocketAddr, out: &mut Output) {
        let own = self.ring.own_row();
        let (heard, mine) = (row.progress, own.progress);
        let above = heard.generation > mine.generation
            || heard.generation == mine.generation
                && match row.mark {
                    Mark::None => row.heartbeat > own.heartbeat || heard.max > mine.max || heard.floor > mine.floor,
                    Mark::Left => !self.left,
                    Mark::Forgotten => row.heartbeat >= own.heartbeat,
                };
        if !above || self.left {
            return;
        }
        // Whatever the others may have believed has to be overruled, though for what lies at the very limit they refuse the
        // generation taken then until the clock has moved on, by `RENEWAL_SPREAD_MS` at most.
        if self.is_too_far_ahead(now, heard.generation) || heard.generation == u64::MAX {
            self.refuse(now, Refusal::FutureGeneration, from, out);
            return;
        }
        if let Some(generation) = self.renew(now, heard.generation) {
            out.log(
                Level::Info,
                format!("heard of this node's own past or of a twin from {from}; took generation {generation}"),
            );
        } else if once_a_minute(&mut self.last_conflict, now) {
            out.events.push(Event::AddressConflict { addr: from, generation: heard.generation });
            let me = self.ring.me();
            out.log(Level::Warn, format!("another program seems to use the address {me} (told by {from}); give one of them another `advertise`"));
        }
    }

    /// Takes a generation above this one and above its own, once a minute at most; everyone then fetches the map anew.
    pub(super) fn renew(&mut self, now: Instant, heard: u64) -> Option<u64> {
        if !once_a_minute(&mut self.last_renewal, now) {
            return None;
        }
        // Not just the next one: a run before this one, which met the same past, may have taken that.
        let beyond = heard.saturating_add(self.dice.u64(1..=RENEWAL_SPREAD_MS));
        let generation = self.unix_ms(now).max(beyond).max(self.generation().saturating_add(1));
        self.ring.renew(generation);
        self.fingerprints.clear();
        // Answers to what was asked before are about the run that has ended.
        self.open_digests.close_all();
        self.news.add_own(self.ring.me());
        Some(generation)
    }
}

/// How advances are judged at one moment.
#[derive(Clone, Copy)]
pub(super) struct Judging<'a> {
    pub(super) judge: &'a Judge,
    /// What comes now waited in the socket during a pause of this node's own: evidence of life without a rhythm.
    pub(super) catching_up: bool,
}

/// Notes a heartbeat, and one sample of its interval if the peer was alive. If it was not, its state is returned.
pub(super) fn advance_member(
    member: &mut Member,
    now: Instant,
    heartbeat: u64,
    judging: Judging<'_>,
) -> Option<PeerState> {
    if heartbeat <= member.heartbeat {
        return None;
    }
    match member.state {
        PeerState::Alive => {
            member.heartbeat = heartbeat;
            if judging.catching_up {
                member.detector.shift(Duration::MAX, now);
            } else {
                member.detector.heartbeat(now, judging.judge);
            }
            None
        }
        PeerState::Known | PeerState::Failed => {
            member.heartbeat = heartbeat;
            Some(member.state)
        }
        // The heartbeat with which it left was its last; one who is forgotten comes back by `learn` only.
        PeerState::Left | PeerState::Forgotten => None,
    }
}

/// The event that tells of a change in a peer's map.
pub(super) fn event_of(peer: Peer, generation: u64, change: Change) -> Event {
    match change {
        Change::Update { key, value, version, deadline } => {
            Event::Update { peer, generation, key, value, version, deadline }
        }
        Change::Delete { key, version } => Event::Delete { peer, generation, key, version },
        Change::Expire { key, value, version, deadline } => {
            Event::Expire { peer, generation, key, value, version, deadline }
        }
    }
}
