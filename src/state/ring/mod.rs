//! Everything held of all owners, as a ring in the order of their addresses.

mod walk;

use std::collections::BTreeMap;

use crate::detector::Detector;
use crate::instant::Instant;
use crate::peer::{Peer, PeerState};
use crate::state::forgotten::Forgotten;
use crate::state::member::{Mark, Member, Row, Telling};
use crate::state::own::OwnMap;
use crate::state::replica::Replica;

pub(crate) use walk::{in_window, place};

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
    first_heartbeat: u64,
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
    /// A ring of this node alone, which counts its rounds from `first_heartbeat` on.
    pub fn new(me: Peer, own: OwnMap, first_heartbeat: u64) -> Self {
        let mut ring = Ring {
            me,
            first_heartbeat,
            heartbeat: first_heartbeat,
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

    /// How many rounds this node has run in its generation.
    pub fn rounds(&self) -> u64 {
        self.heartbeat - self.first_heartbeat
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
        self.first_heartbeat = 0;
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
        let before = (member.state, member.telling, member.roster_hash);
        let result = change(member);
        self.changed(peer, before);
        Some(result)
    }

    /// What follows from a change of a member that was in this state, told to this extent and with this hash.
    fn changed(&mut self, peer: Peer, (state, telling, hash): (PeerState, Telling, u64)) {
        let Some(member) = self.members.get_mut(&peer) else { return };
        member.roster_hash = member.row(peer).roster_hash();
        let (new_state, new_telling, new_hash) = (member.state, member.telling, member.roster_hash);
        self.retell((telling, hash), (new_telling, new_hash));
        if state == new_state {
            return;
        }
        if let Some(list) = self.list(state) {
            list.retain(|other| *other != peer);
        }
        if let Some(list) = self.list(new_state) {
            list.push(peer);
        }
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
            token: None,
            proved_until: Instant::ZERO,
            asked: Default::default(),
            asked_elsewhere: None,
            bytes_sent: 0,
            bytes_received: 0,
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

    /// All members, to change what the roster's hash and the lists do not cover.
    pub fn members_mut(&mut self) -> impl Iterator<Item = (Peer, &mut Member)> {
        self.members.iter_mut().map(|(peer, member)| (*peer, member))
    }
}
