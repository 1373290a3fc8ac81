//! Everything held of all owners, as a ring in the order of their addresses.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::detector::Detector;
use crate::instant::Instant;
use crate::peer::{Peer, PeerState};
use crate::state::forgotten::Forgotten;
use crate::state::member::{Mark, Member, Row, Telling};
use crate::state::own::OwnMap;
use crate::state::replica::Replica;

/// A roster in short: equal ones have equal sums, whoever holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RosterSum {
    /// The sum of the records' roster hashes.
    pub hash: u64,
    /// How many records there are.
    pub peers: usize,
}

impl RosterSum {
    fn add(&mut self, hash: u64) {
        self.hash = self.hash.wrapping_add(hash);
        self.peers += 1;
    }

    fn subtract(&mut self, hash: u64) {
        self.hash = self.hash.wrapping_sub(hash);
        self.peers -= 1;
    }
}

/// This node and all its peers, in the order of their addresses.
#[derive(Clone, Debug)]
pub struct Ring {
    me: Peer,
    heartbeat: u64,
    left: bool,
    own: OwnMap,
    own_hash: u64,
    members: BTreeMap<Peer, Member>,
    forgotten: Forgotten,
    /// Peers by state, to choose from; those first that are in it for longest.
    alive: Vec<Peer>,
    failed: Vec<Peer>,
    known: Vec<Peer>,
    forgotten_but_told: Vec<Peer>,
    /// The roster of the whole ring.
    roster: RosterSum,
    roster_changes: u64,
}

impl Ring {
    /// A ring of this node alone.
    pub fn new(me: Peer, own: OwnMap) -> Self {
        let mut ring = Ring {
            me,
            heartbeat: 0,
            left: false,
            own,
            own_hash: 0,
            members: BTreeMap::new(),
            forgotten: Forgotten::default(),
            alive: Vec::new(),
            failed: Vec::new(),
            known: Vec::new(),
            forgotten_but_told: Vec::new(),
            roster: RosterSum::default(),
            roster_changes: 0,
        };
        ring.own_hash = ring.own_row().roster_hash();
        ring.roster.add(ring.own_hash);
        ring
    }

    /// This node.
    pub fn me(&self) -> Peer {
        self.me
    }

    /// This node's map.
    pub fn own(&self) -> &OwnMap {
        &self.own
    }

    /// Changes this node's map.
    pub fn change_own<R>(&mut self, change: impl FnOnce(&mut OwnMap) -> R) -> R {
        let before = self.own.progress();
        let result = change(&mut self.own);
        let after = self.own.progress();
        if (before.generation, before.floor) != (after.generation, after.floor) {
            self.own_changed();
        }
        result
    }

    /// This node's own record.
    pub fn own_row(&self) -> Row {
        let mark = if self.left { Mark::Left } else { Mark::None };
        Row { peer: self.me, heartbeat: self.heartbeat, progress: self.own.progress(), mark }
    }

    /// One more round was run.
    pub fn beat(&mut self) {
        self.heartbeat = self.heartbeat.saturating_add(1);
    }

    /// This node leaves: one last heartbeat, with the mark.
    pub fn leave(&mut self) {
        self.beat();
        self.left = true;
        self.own_changed();
    }

    /// This node takes a new generation and starts counting its rounds anew.
    pub fn renew(&mut self, generation: u64) {
        self.own.renew(generation);
        self.heartbeat = 1;
        self.left = false;
        self.own_changed();
    }

    fn own_changed(&mut self) {
        self.roster.subtract(self.own_hash);
        self.own_hash = self.own_row().roster_hash();
        self.roster.add(self.own_hash);
        self.roster_changes += 1;
    }

    /// All others, those being told as forgotten included.
    pub fn members(&self) -> impl Iterator<Item = (Peer, &Member)> {
        self.members.iter().map(|(peer, member)| (*peer, member))
    }

    /// How many others there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether this node is alone.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// One other.
    pub fn member(&self, peer: Peer) -> Option<&Member> {
        self.members.get(&peer)
    }

    /// Changes what the roster does not tell of a member: heartbeat, versions, detector, token.
    pub fn member_mut(&mut self, peer: Peer) -> Option<&mut Member> {
        self.members.get_mut(&peer)
    }

    /// Changes a member in any way, and keeps the lists and the roster's hash in step.
    pub fn change<R>(&mut self, peer: Peer, change: impl FnOnce(&mut Member) -> R) -> Option<R> {
        let member = self.members.get_mut(&peer)?;
        let (state, telling, hash) = (member.state, member.telling, member.roster_hash);
        let result = change(member);
        member.roster_hash = member.row(peer).roster_hash();
        let (new_state, new_telling, new_hash) = (member.state, member.telling, member.roster_hash);
        self.retell((telling, hash), (new_telling, new_hash));
        if state != new_state {
            if let Some(list) = self.list(state) {
                list.retain(|other| *other != peer);
            }
            if let Some(list) = self.list(new_state) {
                list.push(peer);
            }
        }
        Some(result)
    }

    /// Takes in a peer that was heard of.
    pub fn insert(&mut self, now: Instant, peer: Peer, heartbeat: u64, generation: u64) {
        let mut replica = Replica::default();
        replica.begin_generation(generation);
        let member = Member {
            state: PeerState::Known,
            heartbeat,
            replica,
            detector: Detector::new(),
            since: now,
            telling: Telling::Roster,
            held_over_since: None,
            token: None,
            proved_until: Instant::ZERO,
            roster_hash: 0,
        };
        self.remove(peer);
        let mut member = member;
        member.roster_hash = member.row(peer).roster_hash();
        self.retell((Telling::Nobody, 0), (member.telling, member.roster_hash));
        self.members.insert(peer, member);
        self.known.push(peer);
        self.forgotten.recall(peer);
    }

    /// Keeps the roster's sum in step with a member that was told to some extent with some hash, and now is with others.
    fn retell(&mut self, old: (Telling, u64), new: (Telling, u64)) {
        let was_in = (old.0 == Telling::Roster).then_some(old.1);
        let is_in = (new.0 == Telling::Roster).then_some(new.1);
        if was_in == is_in {
            return;
        }
        if let Some(hash) = was_in {
            self.roster.subtract(hash);
        }
        if let Some(hash) = is_in {
            self.roster.add(hash);
        }
        self.roster_changes += 1;
    }

    /// Takes a peer out altogether.
    pub fn remove(&mut self, peer: Peer) -> Option<Member> {
        let member = self.members.remove(&peer)?;
        if let Some(list) = self.list(member.state) {
            list.retain(|other| *other != peer);
        }
        self.retell((member.telling, member.roster_hash), (Telling::Nobody, 0));
        Some(member)
    }

    /// Takes a peer out and remembers, for at most `limit` peers, that it was.
    pub fn remove_and_remember(&mut self, peer: Peer, limit: usize) {
        let Some(member) = self.remove(peer) else { return };
        self.forgotten.remember(peer, member.replica.progress().generation, member.heartbeat, limit);
    }

    /// Up to which (generation, heartbeat) a peer was forgotten.
    pub fn forgotten(&self, peer: Peer) -> Option<(u64, u64)> {
        let told = self.members.get(&peer).filter(|member| member.state == PeerState::Forgotten);
        let told = told.map(|member| (member.replica.progress().generation, member.heartbeat));
        told.or_else(|| self.forgotten.get(peer))
    }

    /// Everyone who is forgotten and still remembered to be, with the generation.
    pub fn all_forgotten(&self) -> impl Iterator<Item = (Peer, u64)> + '_ {
        let told = self.members.iter().filter(|(_, member)| member.state == PeerState::Forgotten);
        let told = told.map(|(peer, member)| (*peer, member.replica.progress().generation));
        told.chain(self.forgotten.iter())
    }

    /// The peers in this state, those first that are in it for longest. For `Left` there is no such list.
    pub fn peers_in(&self, state: PeerState) -> &[Peer] {
        match state {
            PeerState::Alive => &self.alive,
            PeerState::Failed => &self.failed,
            PeerState::Known => &self.known,
            PeerState::Forgotten => &self.forgotten_but_told,
            PeerState::Left => &[],
        }
    }

    fn list(&mut self, state: PeerState) -> Option<&mut Vec<Peer>> {
        match state {
            PeerState::Alive => Some(&mut self.alive),
            PeerState::Failed => Some(&mut self.failed),
            PeerState::Known => Some(&mut self.known),
            PeerState::Forgotten => Some(&mut self.forgotten_but_told),
            PeerState::Left => None,
        }
    }

    /// Counts every change of who is told to others; equal counts mean an unchanged roster.
    pub fn roster_changes(&self) -> u64 {
        self.roster_changes
    }

    /// This peer's record, told or not.
    pub fn row(&self, peer: Peer) -> Option<Row> {
        if peer == self.me {
            return Some(self.own_row());
        }
        self.members.get(&peer).map(|member| member.row(peer))
    }

    /// The roster in a window, in short. Of the whole ring it is kept, of a part it is summed up.
    pub fn roster(&self, from: Peer, to: Peer) -> RosterSum {
        if from == to {
            return self.roster;
        }
        let mut sum = RosterSum::default();
        self.rows(from, to, Telling::Roster).for_each(|(_, hash)| sum.add(hash));
        sum
    }

    /// The records that are told to at least this extent, with their roster hashes, from `from` once around the ring
    /// until `to`; the whole ring if they are the same. This node's own is always among them.
    pub fn rows(&self, from: Peer, to: Peer, extent: Telling) -> impl Iterator<Item = (Row, u64)> + '_ {
        let (first, second) = if from < to {
            (self.members.range(from..to), self.members.range(..Peer::LOWEST))
        } else {
            (self.members.range(from..), self.members.range(..to))
        };
        let mut own = in_window(self.me, from, to).then(|| (self.own_row(), self.own_hash));
        let mut others = first
            .chain(second)
            .filter(move |(_, member)| member.telling >= extent)
            .map(|(peer, member)| (member.row(*peer), member.roster_hash))
            .peekable();
        std::iter::from_fn(move || {
            let own_is_next = match (&own, others.peek()) {
                (Some((own, _)), Some((other, _))) => place(own.peer, from) < place(other.peer, from),
                (own, _) => own.is_some(),
            };
            if own_is_next { own.take() } else { others.next() }
        })
    }

    /// Walks the roster in a window in the order of [`Ring::rows`], to change what the roster's hash does not cover.
    /// This node itself comes as `None`.
    pub fn walk_roster(&mut self, from: Peer, to: Peer, mut visit: impl FnMut(Peer, Option<&mut Member>)) {
        let ranges = if from < to {
            [Some((from, Some(to))), None]
        } else {
            [Some((from, None)), Some((Peer::LOWEST, Some(to)))]
        };
        let mut own = in_window(self.me, from, to).then_some(self.me);
        for (low, high) in ranges.into_iter().flatten() {
            let high = high.map_or(Bound::Unbounded, Bound::Excluded);
            for (peer, member) in self.members.range_mut((Bound::Included(low), high)) {
                if member.telling < Telling::Roster {
                    continue;
                }
                if let Some(me) = own.take_if(|me| place(*me, from) < place(*peer, from)) {
                    visit(me, None);
                }
                visit(*peer, Some(member));
            }
        }
        if let Some(me) = own {
            visit(me, None);
        }
    }

    /// All members, to change what the roster's hash and the lists do not cover.
    pub fn members_mut(&mut self) -> impl Iterator<Item = (Peer, &mut Member)> {
        self.members.iter_mut().map(|(peer, member)| (*peer, member))
    }
}

/// A peer's place on the ring, counted from `from` on.
pub(crate) fn place(peer: Peer, from: Peer) -> (bool, Peer) {
    (peer < from, peer)
}

/// Whether `peer` is in the window from `from` once around the ring until `to`.
pub(crate) fn in_window(peer: Peer, from: Peer, to: Peer) -> bool {
    if from < to { from <= peer && peer < to } else { from <= peer || peer < to }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> Peer {
        Peer::from(std::net::SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn ring(me: u16, others: &[u16]) -> Ring {
        let mut ring = Ring::new(peer(me), OwnMap::new(1));
        for port in others {
            ring.insert(Instant::ZERO, peer(*port), 1, 1);
        }
        ring
    }

    fn ports(ring: &Ring, from: u16, to: u16) -> Vec<u16> {
        ring.rows(peer(from), peer(to), Telling::Roster).map(|(row, _)| row.peer.addr().port()).collect()
    }

    fn walked(ring: &mut Ring, from: u16, to: u16) -> Vec<u16> {
        let mut ports = Vec::new();
        ring.walk_roster(peer(from), peer(to), |peer, _| ports.push(peer.addr().port()));
        ports
    }

    #[test]
    fn windows_go_around_the_ring_and_include_this_node() {
        let mut ring = ring(5, &[1, 3, 7, 9]);
        for from in 0..11 {
            for to in 0..11 {
                assert_eq!(ports(&ring, from, to), walked(&mut ring, from, to), "{from}..{to}");
            }
        }
        assert_eq!(ports(&ring, 1, 1), [1, 3, 5, 7, 9]);
        assert_eq!(ports(&ring, 4, 4), [5, 7, 9, 1, 3]);
        assert_eq!(ports(&ring, 3, 7), [3, 5]);
        assert_eq!(ports(&ring, 8, 4), [9, 1, 3]);
        assert_eq!(ports(&ring, 6, 5), [7, 9, 1, 3]);
        assert_eq!(ports(&ring, 6, 6), [7, 9, 1, 3, 5]);
    }

    #[test]
    fn equal_rosters_have_equal_hashes_whoever_holds_them() {
        let sum = |ring: &Ring| ring.roster(peer(0), peer(0));
        let (a, b) = (ring(1, &[2, 3]), ring(2, &[1, 3]));
        assert_eq!(sum(&a), sum(&b));
        let mut c = b.clone();
        c.change(peer(3), |member| member.replica.begin_generation(2));
        assert_ne!(sum(&a), sum(&c));
    }

    /// The sum that is kept is the sum that there is, whatever happens to the members.
    #[test]
    fn the_roster_is_kept_in_step() {
        let mut ring = ring(5, &[1, 3, 7, 9]);
        let mut dice = fastrand::Rng::with_seed(3);
        for step in 0..2_000 {
            let one = peer(dice.u16(1..20));
            match dice.u8(0..6) {
                0 if one != ring.me() => ring.insert(Instant::ZERO, one, 1, step),
                1 => drop(ring.remove(one)),
                2 => ring.remove_and_remember(one, 5),
                3 => drop(ring.change(one, |member| member.telling = Telling::Nobody)),
                4 => drop(ring.change(one, |member| member.telling = Telling::Roster)),
                _ => drop(ring.change(one, |member| member.replica.begin_generation(step))),
            }
            if step % 100 == 0 {
                ring.renew(step + 2);
            }
            let mut sum = RosterSum::default();
            ring.rows(one, one, Telling::Roster).for_each(|(row, _)| sum.add(row.roster_hash()));
            assert_eq!(ring.roster(one, one), sum);
        }
    }
}
