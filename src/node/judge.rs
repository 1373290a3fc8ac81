//! What time does to peers and keys: failing, being forgotten, expiring.

use std::time::Duration;

use crate::event::Event;
use crate::instant::Instant;
use crate::node::learn::event_of;
use crate::node::{Node, Output};
use crate::peer::{Peer, PeerState};
use crate::state::{Replica, Telling};

/// Deadlines are looked at no more often than this.
const MIN_CHECK: Duration = Duration::from_millis(1);

impl Node {
    /// Whether some live peer would be found to have failed now. Before believing it, work off what waits in the socket.
    pub fn suspects(&mut self, now: Instant) -> bool {
        self.enter(now);
        self.ring
            .members()
            .any(|(_, member)| member.state == PeerState::Alive && member.detector.suspect(now, &self.judge))
    }

    /// Does what time brings: peers fail and are forgotten, keys expire, tombstones are collected. To be called at
    /// [`Node::next_detect`]; too early or too late does no harm.
    pub fn detect(&mut self, now: Instant, out: &mut Output) {
        self.enter(now);
        self.next_detect = now + self.config.interval;
        self.expire(now, out);
        self.judge_peers(now, out);
        self.collect_tombstones(now);
        self.next_detect = self.next_detect.max(now + MIN_CHECK);
        self.tell_news(now, out);
    }

    /// Ends the lives that are due, of this node's keys and of everyone's.
    pub(super) fn expire(&mut self, now: Instant, out: &mut Output) {
        while let Some(change) = self.ring.change_own(|own| own.expire_next(now)) {
            self.own_changed(now, change, out);
        }
        if let Some(next) = self.ring.own().map().next_deadline() {
            self.next_detect = self.next_detect.min(next);
        }
    }

    fn judge_peers(&mut self, now: Instant, out: &mut Output) {
        let half_grace = self.config.grace / 2;
        let fresh = self.fresh();
        let mut changed = std::mem::take(&mut self.scratch.peers);
        changed.clear();
        for (peer, member) in self.ring.members_mut() {
            let generation = member.replica.progress().generation;
            while let Some(change) = member.replica.expire_next(now) {
                out.events.push(event_of(peer, generation, change));
            }
            let age = now - member.since;
            let due = match member.state {
                // Who leaves does not listen any more.
                PeerState::Alive if self.left => false,
                PeerState::Alive => {
                    let suspect_at = member.detector.suspect_at(&self.judge).unwrap_or(Instant::MAX);
                    self.next_detect = self.next_detect.min(suspect_at);
                    now >= suspect_at
                }
                PeerState::Known => age > self.config.grace || member.telling == Telling::Roster && age > fresh,
                PeerState::Failed | PeerState::Left => {
                    age > self.config.grace || member.telling != Telling::Nobody && age > half_grace
                }
                PeerState::Forgotten => age > self.config.grace,
            };
            if let Some(next) = member.replica.map().next_deadline() {
                self.next_detect = self.next_detect.min(next);
            }
            if due {
                changed.push(peer);
            }
        }
        for peer in changed.drain(..) {
            self.age(now, peer, out);
        }
        self.scratch.peers = changed;
    }

    /// Moves a peer on for which it is time.
    fn age(&mut self, now: Instant, peer: Peer, out: &mut Output) {
        let Some(member) = self.ring.member(peer) else { return };
        let age = now - member.since;
        let grace = self.config.grace;
        match member.state {
            PeerState::Alive => {
                if member.detector.suspect(now, &self.judge) {
                    self.fail(now, peer, out);
                }
            }
            PeerState::Known | PeerState::Failed | PeerState::Left if age > grace => self.forget_for_good(peer, out),
            PeerState::Forgotten if age > grace => self.ring.remove_and_remember(peer, self.config.limits.peers),
            PeerState::Known => {
                if age > self.fresh() {
                    self.ring.change(peer, |member| member.telling = Telling::Nobody);
                }
            }
            PeerState::Failed | PeerState::Left => {
                if age > grace / 2 {
                    self.ring.change(peer, |member| member.telling = Telling::Nobody);
                }
            }
            PeerState::Forgotten => {}
        }
    }

    fn fail(&mut self, now: Instant, peer: Peer, out: &mut Output) {
        let judge = &self.judge;
        let failed = self.ring.change(peer, |member| {
            member.state = PeerState::Failed;
            member.since = now;
            member.telling = Telling::InFull;
            (member.replica.progress().generation, member.detector.phi(now, judge))
        });
        if let Some((generation, phi)) = failed {
            out.events.push(Event::PeerFailed { peer, generation, phi });
        }
    }

    /// Drops a peer's map and tells others for the grace period that it is forgotten.
    pub(super) fn set_forgotten(&mut self, now: Instant, peer: Peer, out: &mut Output) {
        let generation = self.ring.change(peer, |member| {
            let generation = member.replica.progress().generation;
            member.state = PeerState::Forgotten;
            member.since = now;
            member.telling = Telling::InFull;
            member.replica = Replica::default();
            member.replica.begin_generation(generation);
            generation
        });
        if let Some(generation) = generation {
            out.events.push(Event::PeerForgotten { peer, generation });
            self.news.add(peer);
        }
    }

    /// Drops a peer and keeps only the memory of it.
    pub(super) fn forget_for_good(&mut self, peer: Peer, out: &mut Output) {
        let Some(member) = self.ring.member(peer) else { return };
        let generation = member.replica.progress().generation;
        self.ring.remove_and_remember(peer, self.config.limits.peers);
        out.events.push(Event::PeerForgotten { peer, generation });
    }

    /// Collects tombstones that are older than the grace period, once in a grace period at most: each collection raises the
    /// floor, and who is below it has to fetch the whole map.
    fn collect_tombstones(&mut self, now: Instant) {
        let grace = self.config.grace;
        if self.last_collection.is_some_and(|last| now - last < grace) {
            return;
        }
        let due = self.ring.own().oldest_tombstone().is_some_and(|made| now - made >= grace);
        if due {
            self.last_collection = Some(now);
            self.ring.change_own(|own| own.collect(now - grace));
        }
    }
}
