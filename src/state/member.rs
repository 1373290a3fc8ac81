//! What is told of a peer, and what is held of it.

use std::hash::Hasher;
use std::num::NonZeroU64;

use siphasher::sip::SipHasher13;

use crate::detector::Detector;
use crate::instant::Instant;
use crate::peer::{Peer, PeerState};
use crate::state::progress::Progress;
use crate::state::replica::Replica;
use crate::state::seen::Seen;

/// What a member record says of its peer beside the numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// Nothing special.
    #[default]
    None,
    /// It has left; this heartbeat is its last.
    Left,
    /// The sender has forgotten it up to this heartbeat: it wants nothing of it, and who does not see it alive should
    /// forget it too.
    Forgotten,
}

/// A member record: what one node tells another about a peer, the peer's map not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who.
    pub peer: Peer,
    /// Its number of rounds, which it counts from a number that it draws.
    pub heartbeat: u64,
    /// How far the teller's copy of its map is, and of which run it is.
    pub progress: Progress,
    /// Anything special.
    pub mark: Mark,
}

impl Row {
    /// The part of a roster's hash that this row contributes: all of it that stays the same while nothing happens.
    pub fn roster_hash(&self) -> u64 {
        let mut hasher = SipHasher13::new();
        hasher.write(&self.peer.to_wire());
        hasher.write(&self.progress.generation.to_le_bytes());
        hasher.write(&self.progress.floor.to_le_bytes());
        hasher.finish()
    }
}

/// One other peer.
#[derive(Clone, Debug)]
pub struct Member {
    /// What this node thinks of it.
    pub state: PeerState,
    /// Its highest heartbeat that was heard of.
    pub heartbeat: u64,
    /// The copy of its map, which also knows its generation.
    pub replica: Replica,
    /// When its heartbeat advanced, and what to make of that.
    pub detector: Detector,
    /// Since when it is in this state.
    pub since: Instant,
    /// To whom it is told.
    pub telling: Telling,
    /// The token that it gave; returned to it, the token proves this node's address.
    pub token: Option<NonZeroU64>,
    /// Until when its address counts as proved.
    pub proved_until: Instant,
    /// What it asked for from where it is reached.
    pub asked: Asked,
    /// What it asked for from elsewhere, as from behind NAT: nobody who is elsewhere can count for it.
    pub asked_elsewhere: Option<Box<Asked>>,
    /// In UDP payload, what it was sent since it was new here.
    pub bytes_sent: u64,
    /// In UDP payload, what came from it since it was new here.
    pub bytes_received: u64,
    /// Of its record as it was told last; [`Ring::change`](crate::state::Ring::change) keeps it.
    pub(super) roster_hash: u64,
}

impl Member {
    /// Its record.
    pub fn row(&self, peer: Peer) -> Row {
        let mark = match self.state {
            PeerState::Left => Mark::Left,
            PeerState::Forgotten => Mark::Forgotten,
            PeerState::Known | PeerState::Alive | PeerState::Failed => Mark::None,
        };
        Row { peer, heartbeat: self.heartbeat, progress: self.replica.progress(), mark }
    }
}

/// What has come of what a peer asks for and numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Its digests.
    pub digests: Seen,
    /// Its wants.
    pub wants: Seen,
}

/// Which peers are told to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Telling {
    /// It is not told any more.
    Nobody,
    /// It is told in full digests and in answers to them: it failed or left, or is told as forgotten.
    InFull,
    /// It belongs to the roster, which two nodes compare by its hash: it is alive, or new.
    Roster,
}
