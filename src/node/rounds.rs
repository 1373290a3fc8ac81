//! What a node does by itself: rounds, joining through seeds, waves of news, repeated requests.

use std::net::SocketAddr;
use std::time::Duration;

use crate::detector::Judge;
use crate::instant::Instant;
use crate::node::proof::Path;
use crate::node::{Node, Output};
use crate::peer::{Peer, PeerState};
use crate::reconcile::PreparedDigest;
use crate::select::{Candidates, choose, choose_alive};
use crate::wire::{CompactDigest, Digest, Message, Rates};

/// What a digest takes beside the header and its records or columns, at most: id, window, rates, roster, base, tick,
/// padding, and the lengths of the sequences.
pub(super) const DIGEST_BYTES: usize = 5 + 40 + 18 + 27 + 9 + 6;
/// A first digest, to an address that does not know this node, is padded to this size: the answer may then take
/// three times as much.
const FIRST_DIGEST_BYTES: usize = 1_200;
/// For so many intervals after a change of the roster digests are sent in full: a compact one would often meet another
/// roster.
const ROSTER_SETTLES: u32 = 2;
/// Addresses of one seed's name that are tried at once.
const ADDRESSES_PER_SEED: usize = 3;

impl Node {
    /// Does what is due: a round, joining, news, requests to repeat. To be called at [`Node::next_gossip`]; too early or too
    /// late does no harm.
    pub fn gossip(&mut self, now: Instant, out: &mut Output) {
        self.enter(now);
        if self.left {
            if now >= self.next_round && !self.farewell_heard() {
                self.say_farewell(now, out);
            }
            return;
        }
        if now >= self.next_round {
            // Whose turn did not come has it now.
            while !self.turns.is_empty() {
                self.turn(now, out);
            }
            self.round(now, out);
        }
        if self.turn_ends.is_some_and(|end| now >= end) {
            self.turn(now, out);
        }
        if self.next_join.is_some_and(|due| now >= due) {
            self.join(now, out);
        }
        while let Some(session) = self.catch_up.overdue(now) {
            self.stats.retries += 1;
            self.ask_again(now, session, out);
        }
        self.tell_news(now, out);
    }

    /// A seed's name was resolved to these addresses (or is one).
    pub fn seed_resolved(&mut self, now: Instant, index: usize, addrs: &[SocketAddr], out: &mut Output) {
        self.enter(now);
        let Some(seed) = self.seeds.get_mut(index) else { return };
        let fresh: Vec<SocketAddr> = addrs.iter().filter(|addr| !seed.contains(addr)).copied().collect();
        seed.clear();
        seed.extend_from_slice(&addrs[..addrs.len().min(16)]);
        // The name was tried with its old addresses already; only what is new about it is left to try.
        for addr in fresh.into_iter().take(ADDRESSES_PER_SEED) {
            self.send_first_digest(now, addr, out);
        }
    }

    fn round(&mut self, now: Instant, out: &mut Output) {
        self.next_round = self.next_round + self.config.interval;
        if self.next_round <= now {
            // After a pause rounds are not made up for: a burst of them would help nobody.
            self.next_round = now + self.config.interval;
        }
        self.budget = self.config.bytes_per_round;
        self.ring.beat();
        self.stats.rounds += 1;
        self.choose_partners();
        let partners = std::mem::take(&mut self.scratch.partners);
        for peer in &partners.others {
            self.send_first_digest(now, peer.addr(), out);
        }
        if let Some(index) = partners.seed {
            self.try_seed(now, index, out);
        }
        self.turns.extend(&partners.alive);
        self.scratch.partners = partners;
        self.turn(now, out);
    }

    /// Exchanges with the next of the round's live partners. The first has its turn when the round begins, each of the
    /// others when the one before has answered every part, so that each is told what the one before had to say: told all at once, three
    /// partners are worth hardly more than two in time (50 nodes: the standard deviation of intervals between advances is
    /// 0.44 of the interval instead of 0.37). Who does not answer within an eighth of the interval is passed over.
    pub(super) fn turn(&mut self, now: Instant, out: &mut Output) {
        self.turn_partner = self.turns.pop_front();
        self.turn_ends = self.turn_partner.map(|_| now + self.config.interval / 8);
        let Some(partner) = self.turn_partner else { return };
        let compact = self.roster_is_settled(now);
        let limit = (self.config.bytes_per_round / self.config.fanout / self.config.max_datagram).max(1);
        let whole = self.prepare_windows(compact, self.ring.me(), limit);
        self.expect_advances(whole, compact);
        if !whole {
            // Each partner another part of the ring, so that together they are told more of it.
            let start = self.random_place();
            self.prepare_windows(compact, start, limit);
        }
        self.send_digests(now, partner.addr(), compact, out);
    }

    fn choose_partners(&mut self) {
        let mut partners = std::mem::take(&mut self.scratch.partners);
        let mut failed = std::mem::take(&mut self.scratch.peers);
        failed.clear();
        let told = |peer: &&Peer| self.ring.member(**peer).is_some_and(|m| m.telling != crate::state::Telling::Nobody);
        failed.extend(self.ring.peers_in(PeerState::Failed).iter().filter(told));
        let candidates = Candidates {
            alive: self.ring.peers_in(PeerState::Alive),
            failed: &failed,
            known: self.ring.peers_in(PeerState::Known),
            seeds: self.seeds.len(),
        };
        choose(candidates, self.config.fanout, &mut self.dice, &mut partners);
        self.scratch.peers = failed;
        self.scratch.partners = partners;
    }

    /// Cuts the ring from `start` on into at most `limit` windows. Returns whether that is all of it.
    fn prepare_windows(&mut self, compact: bool, start: Peer, limit: usize) -> bool {
        let room = self.message_room().saturating_sub(DIGEST_BYTES);
        let tick = u64::try_from(self.config.interval.as_millis()).unwrap_or(u64::MAX);
        let set = if compact {
            self.scratch.compact.prepare_compact(&self.ring, (start, start), tick, room, limit);
            &self.scratch.compact
        } else {
            self.scratch.full.prepare_full(&self.ring, start, start, room, limit);
            &self.scratch.full
        };
        set.digests().last().is_none_or(|last| last.window().1 == start)
    }

    /// How often a heartbeat can be expected to advance here: once in an interval with three partners, a little less often
    /// with fewer (measured with 50 to 1,000 nodes whose timers are not in step), and in proportion less often if a
    /// round's budget covers only part of the ring.
    fn expect_advances(&mut self, whole: bool, compact: bool) {
        let intervals = match self.config.fanout {
            1 => 1.5,
            2 => 1.1,
            _ => 1.0,
        };
        let rounds = if whole {
            1.0
        } else {
            let set = if compact { &self.scratch.compact } else { &self.scratch.full };
            let covered: usize = set.digests().iter().map(PreparedDigest::peers).sum();
            (self.ring.len() + 1) as f64 / covered.max(1) as f64
        };
        let expected = self.config.interval.mul_f64(intervals * rounds.min(1_000.0));
        // Where it falls because digests turn compact again, the silences under judgement date from before. (200 nodes
        // with room for three sevenths of a full digest in a round, 8 crashes: 9 to 14 live peers were found to have
        // failed, and none if it falls by 3 % a turn.)
        let expected = expected.max(self.expected_advance.mul_f64(0.97));
        if self.expected_advance != expected {
            self.expected_advance = expected;
            self.judge = Judge::new(&self.config.detector, self.config.interval, expected);
        }
    }

    fn random_place(&mut self) -> Peer {
        let alive = self.ring.peers_in(PeerState::Alive);
        self.dice.choice(alive).copied().unwrap_or(Peer::LOWEST)
    }

    fn roster_is_settled(&mut self, now: Instant) -> bool {
        let changes = self.ring.roster_changes();
        if self.roster_seen.0 != changes {
            self.roster_seen = (changes, now);
        }
        now - self.roster_seen.1 >= self.config.interval * ROSTER_SETTLES
    }

    /// Sends the round's windows to a live partner.
    fn send_digests(&mut self, now: Instant, to: SocketAddr, compact: bool, out: &mut Output) {
        let path = self.path_to(now, to);
        let set = std::mem::take(if compact { &mut self.scratch.compact } else { &mut self.scratch.full });
        self.turn_bytes = 0;
        self.turn_answers = set.digests().len();
        for digest in set.digests() {
            self.turn_bytes += self.send_digest(&path, digest, compact, 0, out);
        }
        self.budget = self.budget.saturating_sub(self.turn_bytes);
        *(if compact { &mut self.scratch.compact } else { &mut self.scratch.full }) = set;
    }

    /// Sends a first digest, padded, to somebody who may not know this node, or may know it under another roster.
    pub(super) fn send_first_digest(&mut self, now: Instant, to: SocketAddr, out: &mut Output) {
        if Peer::from(to) == self.ring.me() {
            return;
        }
        let path = self.path_to(now, to);
        let room = self.message_room().saturating_sub(DIGEST_BYTES);
        let start = self.random_place();
        let mut set = std::mem::take(&mut self.scratch.small);
        set.prepare_full(&self.ring, start, start, room, 1);
        for digest in set.digests() {
            let padding =
                if path.echo.is_none() { FIRST_DIGEST_BYTES.saturating_sub(digest.bytes() + DIGEST_BYTES) } else { 0 };
            let sent = self.send_digest(&path, digest, false, padding.min(room - digest.bytes().min(room)), out);
            self.budget = self.budget.saturating_sub(sent);
        }
        self.scratch.small = set;
    }

    /// Sends the part of the ring from `from` until `to` in full, in at most `limit` datagrams and what the path allows.
    pub(super) fn send_part(&mut self, mut path: Path, (from, to): (Peer, Peer), limit: usize, out: &mut Output) {
        let allowed = path.allowance.saturating_sub(self.header(&path).bytes());
        let room = self.message_room().min(allowed).saturating_sub(DIGEST_BYTES);
        let mut set = std::mem::take(&mut self.scratch.small);
        set.prepare_full(&self.ring, from, to, room, limit);
        for digest in set.digests() {
            if digest.bytes() + DIGEST_BYTES + self.header(&path).bytes() > path.allowance {
                break;
            }
            path.spend(self.send_digest(&path, digest, false, 0, out));
        }
        self.scratch.small = set;
    }

    fn send_digest(
        &mut self,
        path: &Path,
        digest: &PreparedDigest,
        compact: bool,
        padding: usize,
        out: &mut Output,
    ) -> usize {
        let id = self.open_digests.open(path.is_proved());
        let rates = self.rates();
        let message = if compact {
            Message::CompactDigest(CompactDigest { id, rates, columns: digest.columns(), maxima: digest.maxima() })
        } else {
            Message::Digest(Digest { id, window: Some(digest.window()), rates, records: digest.records(), padding })
        };
        self.send(path, &message, out)
    }

    pub(super) fn send(&mut self, path: &Path, message: &Message<'_>, out: &mut Output) -> usize {
        let header = self.header(path);
        let sent = out.datagram(path.to, &self.seal, |bytes| message.encode(&header, bytes));
        self.stats.datagrams_sent += 1;
        self.stats.bytes_sent += sent as u64;
        if let Some(member) = self.ring.member_mut(Peer::from(path.to)) {
            member.bytes_sent += sent as u64;
        }
        sent
    }

    pub(super) fn rates(&self) -> Rates {
        Rates { wanted: self.write_rate.get(self.guard.now()) as u64, permitted: self.flow.permitted() as u64 }
    }

    /// What a datagram has room for beside its envelope and header.
    pub(super) fn message_room(&self) -> usize {
        let path = Path { to: self.ring.me().addr(), receiver: 0, echo: Some(0), token: Some(0), allowance: 0 };
        self.config.max_datagram.saturating_sub(self.header(&path).bytes())
    }

    /// Tries every seed until somebody is known.
    fn join(&mut self, now: Instant, out: &mut Output) {
        if !self.ring.is_empty() {
            self.next_join = None;
            return;
        }
        for index in 0..self.seeds.len() {
            self.try_seed(now, index, out);
        }
        self.next_join = Some(now + self.join_delay);
        self.join_delay = (self.join_delay * 2).min(self.config.interval);
        if self.join_delay == self.config.interval {
            // From here on the rounds try a seed each.
            self.next_join = None;
        }
    }

    fn try_seed(&mut self, now: Instant, index: usize, out: &mut Output) {
        let Some(seed) = self.seeds.get(index) else { return };
        let mut addrs = seed.clone();
        self.dice.shuffle(&mut addrs);
        for addr in addrs.into_iter().take(ADDRESSES_PER_SEED) {
            self.send_first_digest(now, addr, out);
        }
        out.resolve.push(index);
    }

    /// Tells news, if there is some and a wave is due.
    pub(super) fn tell_news(&mut self, now: Instant, out: &mut Output) {
        if !self.config.early_news || self.left || self.news.next_wave().is_none_or(|due| now < due) {
            return;
        }
        let room = self.message_room().saturating_sub(DIGEST_BYTES);
        let mut partners = std::mem::take(&mut self.scratch.peers);
        choose_alive(self.ring.peers_in(PeerState::Alive), self.config.fanout, &mut self.dice, &mut partners);
        // A newcomer has seen nobody alive yet, but somebody to tell it knows already.
        let missing = self.config.fanout - partners.len();
        partners.extend(self.ring.peers_in(PeerState::Known).iter().rev().take(missing));
        let mut owners = self.news.owners();
        let mut set = std::mem::take(&mut self.scratch.small);
        let rows = owners.iter().filter_map(|owner| self.ring.row(*owner));
        let taken = set.prepare_news(rows, self.generation(), room);
        owners.truncate(taken);
        let cost = partners.len() * (set.digests().first().map_or(0, PreparedDigest::bytes) + DIGEST_BYTES);
        // What the rest of the round will take is not to be spent on news.
        let reserved = self.turns.len() * self.turn_bytes;
        if partners.is_empty() {
            // Who comes later fetches everything anyway.
            self.news.clear();
        } else if taken == 0 || cost + reserved > self.budget {
            self.news.postpone(now);
        } else if let Some(digest) = set.digests().first() {
            self.news.told(now, self.open_digests.next_id(), partners.len() as u32, owners);
            for peer in &partners {
                let path = self.path_to(now, peer.addr());
                let id = self.open_digests.open(true);
                let message = Message::Digest(Digest {
                    id,
                    window: None,
                    rates: self.rates(),
                    records: digest.records(),
                    padding: 0,
                });
                let sent = self.send(&path, &message, out);
                self.budget = self.budget.saturating_sub(sent);
            }
        }
        self.scratch.small = set;
        self.scratch.peers = partners;
    }

    /// How long a peer that was only heard of is told to others: long enough for everyone to see its heartbeat advance if it runs, and
    /// short enough that newcomers do not hand the dead on from one to the next.
    pub(super) fn fresh(&self) -> Duration {
        self.expected_advance * 10
    }
}
