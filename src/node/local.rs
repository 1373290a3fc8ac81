//! What this node's own program does: writing its map, reading every map, leaving.

use std::net::SocketAddr;
use std::time::Duration;

use crate::error::Error;
use crate::event::Event;
use crate::instant::Instant;
use crate::node::learn::event_of;
use crate::node::{Node, Output};
use crate::peer::{Peer, PeerInfo, PeerState};
use crate::reconcile::PreparedDigest;
use crate::select::choose_alive;
use crate::state::{Change, Map};
use crate::value::{Key, RESERVED_PREFIX, Value};
use crate::wire::{Digest, Message};

/// What writing a key costs beside its bytes, for flow control: about what it takes in a datagram.
const WRITE_OVERHEAD: usize = 16;
/// Over which time the rate of writes is averaged.
const RATE_WINDOW_SECONDS: f64 = 10.0;
/// A writer that paused may make up for so much time at once.
const BURST_SECONDS: f64 = 1.0;
/// A node that leaves may go when so many heard it: each of them tells the others as news and in its digests.
const FAREWELLS_WANTED: usize = 3;

/// How fast this node writes or would write, and whether it may: a decaying average and a token bucket.
#[derive(Debug)]
pub(super) struct WriteRate {
    recent: f64,
    tokens: f64,
    last: Instant,
}

impl WriteRate {
    pub(super) fn new(now: Instant) -> Self {
        WriteRate { recent: 0.0, tokens: 0.0, last: now }
    }

    /// In bytes per second.
    pub(super) fn get(&self, now: Instant) -> f64 {
        let elapsed = (now - self.last).as_secs_f64();
        self.recent * libm::exp(-elapsed / RATE_WINDOW_SECONDS) / RATE_WINDOW_SECONDS
    }

    fn pass(&mut self, now: Instant, permitted: f64) {
        let elapsed = (now - self.last).as_secs_f64();
        self.recent = self.get(now) * RATE_WINDOW_SECONDS;
        self.tokens = (self.tokens + elapsed * permitted).min(permitted * BURST_SECONDS);
        self.last = self.last.max(now);
    }

    fn wrote(&mut self, now: Instant, bytes: usize, permitted: f64) {
        self.pass(now, permitted);
        self.recent += bytes as f64;
        // What was written without asking does not count against the future for ever.
        self.tokens = (self.tokens - bytes as f64).max(-permitted * BURST_SECONDS);
    }

    /// How long to wait until so many bytes may be written; `None` if they may be now. A single write larger than what a
    /// full bucket holds may pass when it is full.
    fn wait(&mut self, now: Instant, bytes: usize, permitted: f64) -> Option<Duration> {
        self.pass(now, permitted);
        let needed = (bytes as f64).min(permitted * BURST_SECONDS);
        if self.tokens >= needed {
            return None;
        }
        // What is wanted and not let through is still wanted, once, however often it is tried: flow control shares by it.
        self.recent = self.recent.max((permitted + needed) * RATE_WINDOW_SECONDS);
        Some(Duration::from_secs_f64((needed - self.tokens) / permitted))
    }
}

impl Node {
    /// Sets a key of this node's map; with `deadline`, until then. Returns the version, an unchanged one if the key has this value
    /// already.
    ///
    /// # Errors
    /// [`Error::ReservedKey`], [`Error::KeyTooLong`], [`Error::ValueTooLarge`], [`Error::MapFull`], and [`Error::Stopped`]
    /// after [`Node::leave`].
    pub fn set(
        &mut self,
        now: Instant,
        key: &str,
        value: Value,
        deadline: Option<Instant>,
        out: &mut Output,
    ) -> Result<u64, Error> {
        check_not_reserved(key)?;
        self.set_any(now, key, value, deadline, out)
    }

    /// [`Node::set`], for reserved keys too.
    pub(crate) fn set_any(
        &mut self,
        now: Instant,
        key: &str,
        value: Value,
        deadline: Option<Instant>,
        out: &mut Output,
    ) -> Result<u64, Error> {
        self.enter(now);
        self.check_entry(key, &value)?;
        self.expire(now, out);
        let bytes = cost(key, &value);
        let key: Key = key.into();
        if let Some(change) = self.ring.change_own(|own| own.set(&key, value, deadline)) {
            self.write_rate.wrote(now, bytes, self.flow.permitted());
            self.own_changed(now, change, out);
        }
        self.next_detect = self.next_detect.min(deadline.unwrap_or(Instant::MAX));
        self.expire(now, out);
        Ok(self.ring.own().map().get(&key).map_or(0, |entry| entry.version))
    }

    /// [`Node::set`], unless that would exceed the rate that flow control permits.
    ///
    /// # Errors
    /// Those of [`Node::set`], and [`Error::RateExceeded`].
    pub fn try_set(
        &mut self,
        now: Instant,
        key: &str,
        value: Value,
        deadline: Option<Instant>,
        out: &mut Output,
    ) -> Result<u64, Error> {
        check_not_reserved(key)?;
        self.check_entry(key, &value)?;
        let permitted = self.flow.permitted();
        if let Some(retry_after) = self.write_rate.wait(now, cost(key, &value), permitted) {
            return Err(Error::RateExceeded { permitted, retry_after });
        }
        self.set(now, key, value, deadline, out)
    }

    /// Deletes a key of this node's map. Returns the version from which on it is gone, `None` if there was none.
    ///
    /// # Errors
    /// [`Error::ReservedKey`], and [`Error::Stopped`] after [`Node::leave`].
    pub fn delete(&mut self, now: Instant, key: &str, out: &mut Output) -> Result<Option<u64>, Error> {
        check_not_reserved(key)?;
        self.delete_any(now, key, out)
    }

    /// [`Node::delete`], for reserved keys too.
    pub(crate) fn delete_any(&mut self, now: Instant, key: &str, out: &mut Output) -> Result<Option<u64>, Error> {
        self.enter(now);
        if self.left {
            return Err(Error::Stopped);
        }
        self.expire(now, out);
        let Some(change) = self.ring.change_own(|own| own.delete(now, key)) else {
            return Ok(None);
        };
        self.write_rate.wrote(now, key.len() + WRITE_OVERHEAD, self.flow.permitted());
        self.own_changed(now, change, out);
        Ok(Some(self.ring.own().progress().max))
    }

    /// Tells whoever is at this address of this node, as a seed is told. An address that nobody can have is passed over.
    ///
    /// # Errors
    /// [`Error::Stopped`] after [`Node::leave`].
    pub fn contact(&mut self, now: Instant, addr: SocketAddr, out: &mut Output) -> Result<(), Error> {
        self.enter(now);
        if self.left {
            return Err(Error::Stopped);
        }
        if Peer::from(addr).unreachable_because().is_none() {
            self.send_first_digest(now, addr, out);
        }
        Ok(())
    }

    /// Forgets a peer that is not alive. Those who do not see it alive either follow, unless they have heard a later heartbeat
    /// of it: then it is known again here, until it is forgotten for good.
    ///
    /// # Errors
    /// [`Error::UnknownPeer`], and [`Error::StillAlive`], for this node itself too.
    pub fn forget(&mut self, now: Instant, peer: Peer, out: &mut Output) -> Result<(), Error> {
        self.enter(now);
        if peer == self.ring.me() {
            return Err(Error::StillAlive(peer));
        }
        match self.ring.member(peer).map(|member| member.state) {
            None | Some(PeerState::Forgotten) => Err(Error::UnknownPeer(peer)),
            Some(PeerState::Alive) => Err(Error::StillAlive(peer)),
            Some(_) => {
                self.set_forgotten(now, peer, out);
                self.tell_news(now, out);
                Ok(())
            }
        }
    }

    /// Leaves the cluster: a last heartbeat with a mark goes to a few partners, who tell the others. Afterwards the node does
    /// nothing more than to repeat that, at [`Node::next_gossip`], until [`Node::farewell_heard`].
    pub fn leave(&mut self, now: Instant, out: &mut Output) {
        self.enter(now);
        if self.left {
            return;
        }
        self.ring.leave();
        self.left = true;
        // Answers to what was asked before are no sign that anybody heard of it.
        self.open_digests.close_all();
        self.say_farewell(now, out);
    }

    /// Tells `fanout` partners that this node leaves; one who answers has heard it.
    pub(super) fn say_farewell(&mut self, now: Instant, out: &mut Output) {
        self.next_round = now + self.config.interval / 10;
        let mut partners = std::mem::take(&mut self.scratch.peers);
        choose_alive(self.ring.peers_in(PeerState::Alive), self.config.fanout, &mut self.dice, &mut partners);
        let known = self.ring.peers_in(PeerState::Known);
        partners.extend(known.iter().take(self.config.fanout.saturating_sub(partners.len())));
        let mut set = std::mem::take(&mut self.scratch.small);
        set.prepare_news([self.ring.own_row()].into_iter(), self.generation(), self.message_room());
        let records = set.digests().first().map_or(&[][..], PreparedDigest::records);
        for peer in &partners {
            let path = self.path_to(now, peer.addr());
            let id = self.open_digests.open(true);
            let message = Message::Digest(Digest { id, window: None, rates: self.rates(), records, padding: 0 });
            self.send(&path, &message, out);
        }
        if partners.is_empty() {
            self.farewells_heard = FAREWELLS_WANTED;
        }
        self.scratch.small = set;
        self.scratch.peers = partners;
    }

    /// Whether enough partners heard that this node leaves, so that the others will hear it too.
    pub fn farewell_heard(&self) -> bool {
        let peers = self.ring.peers_in(PeerState::Alive).len() + self.ring.peers_in(PeerState::Known).len();
        self.left && self.farewells_heard >= FAREWELLS_WANTED.min(peers)
    }

    /// Whether it has left.
    pub fn has_left(&self) -> bool {
        self.left
    }

    /// The map of a peer, this node's own included; `None` for a peer that is not known.
    pub fn map(&self, peer: Peer) -> Option<&Map> {
        if peer == self.ring.me() {
            return Some(self.ring.own().map());
        }
        let member = self.ring.member(peer).filter(|member| member.state != PeerState::Forgotten)?;
        Some(member.replica.map())
    }

    /// One peer as it is seen here, this node included.
    pub fn peer(&self, now: Instant, peer: Peer) -> Option<PeerInfo> {
        let row = self.ring.row(peer)?;
        let is_self = peer == self.ring.me();
        let member = self.ring.member(peer);
        let state = member.map_or(PeerState::Alive, |member| member.state);
        if state == PeerState::Forgotten {
            return None;
        }
        let detector = member.map(|member| &member.detector);
        let last_advance = detector.and_then(|detector| detector.last_advance()).map(|last| now - last);
        Some(PeerInfo {
            peer,
            generation: row.progress.generation,
            state,
            heartbeat: row.heartbeat,
            phi: detector.map_or(0.0, |detector| detector.phi(now, &self.judge)),
            last_advance: if is_self { Some(Duration::ZERO) } else { last_advance },
            version: row.progress.max,
            keys: self.map(peer).map_or(0, |map| map.readable("", now).count()),
            bytes_sent: member.map_or(0, |member| member.bytes_sent),
            bytes_received: member.map_or(0, |member| member.bytes_received),
            is_self,
        })
    }

    /// All peers, this node not included, in the order of their addresses.
    pub fn peers(&self) -> impl Iterator<Item = (Peer, PeerState)> + '_ {
        let members = self.ring.members().filter(|(_, member)| member.state != PeerState::Forgotten);
        members.map(|(peer, member)| (peer, member.state))
    }

    /// Publishes a change of this node's own map, and has it told.
    pub(super) fn own_changed(&mut self, now: Instant, change: Change, out: &mut Output) {
        let event: Event = event_of(self.ring.me(), self.generation(), change);
        out.events.push(event);
        self.fingerprints.note(self.ring.own().fingerprint());
        self.news.add_own(self.ring.me());
        self.tell_news(now, out);
    }

    /// Whether an entry is within the limits, alone and together with the map.
    pub(super) fn check_entry(&self, key: &str, value: &Value) -> Result<(), Error> {
        if self.left {
            return Err(Error::Stopped);
        }
        let limits = &self.config.limits;
        if key.len() > limits.key_bytes {
            return Err(Error::KeyTooLong { len: key.len(), limit: limits.key_bytes });
        }
        let len = value.as_bytes().len();
        if len > limits.value_bytes {
            return Err(Error::ValueTooLarge { len, limit: limits.value_bytes });
        }
        let (keys, bytes) = self.ring.own().map().size_with(key, len);
        if keys > limits.keys || bytes > limits.map_bytes {
            let map = self.ring.own().map();
            return Err(Error::MapFull { keys: map.len(), bytes: map.bytes() });
        }
        Ok(())
    }
}

pub(super) fn check_not_reserved(key: &str) -> Result<(), Error> {
    if key.starts_with(RESERVED_PREFIX) {
        return Err(Error::ReservedKey { key: key.to_owned(), prefix: RESERVED_PREFIX });
    }
    Ok(())
}

fn cost(key: &str, value: &Value) -> usize {
    key.len() + value.as_bytes().len() + WRITE_OVERHEAD
}
