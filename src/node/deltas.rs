//! The third message and catching up: applying deltas, serving wants, asking on.

use crate::instant::Instant;
use crate::node::learn::event_of;
use crate::node::proof::Path;
use crate::node::receive::Sender;
use crate::node::{Node, Output};
use crate::peer::{Peer, PeerState};
use crate::reconcile::{Packed, Room, Session, pack_owner};
use crate::state::{Applied, Content, DeltaEntry};
use crate::stats::Refusal;
use crate::value::Value;
use crate::wire::{
    DeltaMessage, Deltas, End, Message, OwnerDelta, Want, WantMessage, WireContent, WireEntry, put_want,
};

/// What a delta message or a want message takes beside the header and its sequence, at most.
const DELTA_MESSAGE_BYTES: usize = 5 + 2 + 1 + 3;

/// Owners of whom there is more to ask for.
#[derive(Debug, Default)]
pub(super) struct Wishes(Vec<Peer>);

impl Wishes {
    pub(super) fn add(&mut self, owner: Peer) {
        if !self.0.contains(&owner) {
            self.0.push(owner);
        }
    }
}

impl Node {
    pub(super) fn handle_delta(
        &mut self,
        now: Instant,
        sender: &Sender,
        message: &DeltaMessage<'_>,
        out: &mut Output,
    ) -> Result<(), Refusal> {
        let deltas = message.deltas(sender.generation);
        if !deltas.are_well_formed() {
            return Err(Refusal::Malformed);
        }
        let mut wishes = Wishes::default();
        self.apply_deltas(now, sender, deltas, Some(message.want_id), &mut wishes, out);
        let session = self.catch_up.arrived(now, message.want_id, message.sequence, message.end);
        if let Some(session) = session {
            let credit = session.credit;
            self.wish(now, sender.path, Wishes(session.owners), Some(credit), session.attempts, out);
        }
        Ok(())
    }

    pub(super) fn handle_want(
        &mut self,
        now: Instant,
        sender: &Sender,
        message: &WantMessage<'_>,
        out: &mut Output,
    ) -> Result<(), Refusal> {
        if message.wants(sender.generation).any(|want| want.is_err()) {
            return Err(Refusal::Malformed);
        }
        self.serve(now, sender, message.want_id, message.credit, message.wants(sender.generation).flatten(), out);
        Ok(())
    }

    /// What this node wants of an owner: everything after what it holds.
    pub(super) fn want(&self, owner: Peer) -> Want {
        let replica = self.ring.member(owner).map(|member| &member.replica);
        let unfinished = replica.and_then(|replica| replica.unfinished());
        Want {
            owner,
            progress: replica.map(|replica| replica.progress()).unwrap_or_default(),
            unfinished: unfinished.map_or((0, 0), |unfinished| (unfinished.version, unfinished.bytes.len() as u64)),
        }
    }

    /// The room for deltas in a datagram that holds nothing else.
    pub(super) fn delta_room(&self) -> usize {
        self.message_room().saturating_sub(DELTA_MESSAGE_BYTES)
    }

    /// Applies well-formed deltas. Owners of whom there is more are added to `wishes`, unless they belong to the request
    /// `want_id`, which knows itself.
    pub(super) fn apply_deltas(
        &mut self,
        now: Instant,
        sender: &Sender,
        deltas: Deltas<'_>,
        want_id: Option<u32>,
        wishes: &mut Wishes,
        out: &mut Output,
    ) {
        for part in deltas.flatten() {
            if part.owner == self.ring.me() {
                self.refuse(now, Refusal::OwnState, sender.from, out);
                continue;
            }
            self.apply_owner(now, sender, &part, want_id, wishes, out);
        }
    }

    fn apply_owner(
        &mut self,
        now: Instant,
        sender: &Sender,
        part: &OwnerDelta<'_>,
        want_id: Option<u32>,
        wishes: &mut Wishes,
        out: &mut Output,
    ) {
        let owner = part.owner;
        let delta = &part.delta;
        if self.ring.member(owner).is_some_and(|member| member.replica.progress().generation < delta.generation) {
            // Of a run that is new here its record has to be told first, with the heartbeat from which on it counts as alive.
            return;
        }
        let limits = self.config.limits;
        let events = &mut out.events;
        let mut refused = Vec::new();
        let first_event = events.len();
        let known = self.ring.member(owner).filter(|member| member.state != PeerState::Forgotten);
        let Some(held) =
            known.map(|member| member.replica.progress()).filter(|held| held.generation == delta.generation)
        else {
            return;
        };
        let applied = self.ring.change(owner, |member| {
            let mut changed = |change| events.push(event_of(owner, delta.generation, change));
            let entries = part.entries.clone().flatten();
            let whole = entries.filter_map(|entry| whole_entry(&entry));
            let mut applied =
                member.replica.apply(now, delta, whole, &limits, &mut changed, |reason| refused.push(reason));
            if let Some((entry, piece)) = part.entries.clone().flatten().find_map(|entry| piece_of(&entry)) {
                let more = |reason| refused.push(reason);
                let with_piece = member.replica.apply_piece(now, delta, entry, piece, &limits, &mut changed, more);
                if with_piece == Applied::Forward || applied != Applied::Forward {
                    applied = with_piece;
                }
            }
            let next_deadline = member.replica.map().next_deadline();
            self.next_detect = self.next_detect.min(next_deadline.unwrap_or(Instant::MAX));
            (applied, member.replica.progress(), member.state, member.replica.unfinished().is_some())
        });
        for reason in refused {
            self.refuse(now, reason, sender.from, out);
        }
        let Some((applied, progress, state, unfinished)) = applied else {
            return;
        };
        match applied {
            Applied::Forward => {
                if let Some(id) = want_id {
                    self.catch_up.moved(id);
                }
                let complete = progress.max >= delta.max && !unfinished;
                match want_id {
                    Some(id) if complete => self.catch_up.complete(id, owner),
                    None if !complete => wishes.add(owner),
                    _ => {}
                }
                // What a newcomer learns of those who were there before is no news to anyone.
                let changed =
                    out.events[first_event..].iter().any(|event| event.peer() == Some(owner) && event.key().is_some());
                if changed && state == PeerState::Alive && held.max > 0 || changed && progress.max <= 2 {
                    self.news.add(owner);
                }
            }
            Applied::Nothing => {
                if let (Some(id), true) = (want_id, progress.max >= delta.max) {
                    self.catch_up.complete(id, owner);
                }
            }
            Applied::Gap => {
                self.stats.gaps += 1;
                if want_id.is_none() {
                    wishes.add(owner);
                }
            }
            Applied::Outdated => {}
        }
    }

    /// Asks for what is missing of these owners. Returns what the path allows afterwards.
    pub(super) fn wish(
        &mut self,
        now: Instant,
        mut path: Path,
        wishes: Wishes,
        credit: Option<u8>,
        attempts: u8,
        out: &mut Output,
    ) -> Path {
        let Wishes(mut owners) = wishes;
        owners.retain(|owner| self.ring.member(*owner).is_some() && !self.catch_up.is_asking_for(*owner));
        if owners.is_empty() {
            return path;
        }
        let Some(credit) = self.catch_up.credit(credit) else {
            return path;
        };
        let base = self.generation();
        let allowed = path.allowance.saturating_sub(self.header(&path).bytes() + DELTA_MESSAGE_BYTES);
        let room = self.delta_room().min(allowed);
        let mut wants = std::mem::take(&mut self.scratch.wants);
        wants.clear();
        let mut asked = 0;
        for owner in &owners {
            let before = wants.len();
            put_want(&mut wants, &self.want(*owner), base);
            if wants.len() > room {
                wants.truncate(before);
                break;
            }
            asked += 1;
        }
        owners.truncate(asked);
        if asked > 0 {
            let want_id = self.catch_up.next_id();
            self.catch_up.begin(now, path.to, path.is_proved(), owners, credit, attempts);
            path.spend(self.send(&path, &Message::Want(WantMessage { want_id, credit, wants: &wants }), out));
        }
        self.scratch.wants = wants;
        path
    }

    /// Repeats a request that nobody answered, with another live peer if there is one, else with the same if it has proved its
    /// address: nobody's name is to be used to have this node write to somebody again and again.
    pub(super) fn ask_again(&mut self, now: Instant, session: Session, out: &mut Output) {
        let alive = self.ring.peers_in(PeerState::Alive);
        let same = session.server_is_proved.then_some(session.server);
        let Some(server) = self.dice.choice(alive).map(|peer| peer.addr()).or(same) else { return };
        let path = self.path_to(now, server);
        self.wish(now, path, Wishes(session.owners), Some(session.credit), session.attempts, out);
    }

    /// Sends what is wanted, depth first, in at most `credit` datagrams and what the path allows. Returns what it allows afterwards.
    pub(super) fn serve(
        &mut self,
        now: Instant,
        sender: &Sender,
        want_id: u32,
        credit: u8,
        wants: impl Iterator<Item = Want>,
        out: &mut Output,
    ) -> Path {
        let room = self.delta_room();
        let base = self.generation();
        let mut deltas = std::mem::take(&mut self.scratch.deltas);
        let mut entries = std::mem::take(&mut self.scratch.entries);
        deltas.clear();
        let mut burst = Burst {
            path: sender.path,
            want_id,
            credit: credit.min(self.config.limits.catch_up_datagrams as u8),
            sequence: 0,
        };
        let mut any = false;
        let mut end = End::Complete;
        'wants: for mut want in wants {
            any = true;
            let space = Room { bytes: room, empty_datagram_bytes: room };
            while pack_owner(&self.ring, now, &mut want, space, (&mut deltas, &mut entries), base) == Packed::Cut {
                if deltas.is_empty() || !self.may_send_another(&burst, room) {
                    end = End::CreditUsed;
                    break 'wants;
                }
                self.send_delta(&mut burst, &mut deltas, End::No, out);
            }
        }
        if any && burst.credit > 0 {
            let bytes = self.header(&burst.path).bytes() + DELTA_MESSAGE_BYTES + deltas.len();
            if bytes <= burst.path.allowance {
                self.send_delta(&mut burst, &mut deltas, end, out);
            } else {
                self.refuse(now, Refusal::Unproved, sender.from, out);
            }
        }
        self.scratch.deltas = deltas;
        self.scratch.entries = entries;
        burst.path
    }

    /// Whether the burst has room for one datagram beyond the one in the making.
    fn may_send_another(&self, burst: &Burst, room: usize) -> bool {
        let full = self.header(&burst.path).bytes() + DELTA_MESSAGE_BYTES + room;
        burst.sequence + 1 < burst.credit && full.saturating_mul(2) <= burst.path.allowance
    }

    fn send_delta(&mut self, burst: &mut Burst, deltas: &mut Vec<u8>, end: End, out: &mut Output) {
        let message = DeltaMessage { want_id: burst.want_id, sequence: burst.sequence, end, deltas };
        let sent = self.send(&burst.path, &Message::Delta(message), out);
        burst.path.spend(sent);
        burst.sequence += 1;
        deltas.clear();
    }
}

/// The datagrams that answer one want.
struct Burst {
    path: Path,
    want_id: u32,
    credit: u8,
    sequence: u8,
}

fn whole_entry(entry: &WireEntry<'_>) -> Option<DeltaEntry> {
    let content = match entry.content {
        WireContent::Value(bytes) => Content::Value(Value::from_bytes(bytes)),
        WireContent::Deleted => Content::Deleted,
        WireContent::Expired => Content::Expired,
        WireContent::Piece { .. } => return None,
    };
    Some(DeltaEntry { key: entry.key.into(), version: entry.version, content, life: entry.life })
}

/// Total size, offset and bytes.
type Piece<'a> = (usize, usize, &'a [u8]);

fn piece_of<'a>(entry: &WireEntry<'a>) -> Option<(DeltaEntry, Piece<'a>)> {
    let WireContent::Piece { total, offset, bytes } = entry.content else {
        return None;
    };
    let piece = (usize::try_from(total).ok()?, usize::try_from(offset).ok()?, bytes);
    let content = Content::Expired;
    Some((DeltaEntry { key: entry.key.into(), version: entry.version, content, life: entry.life }, piece))
}
