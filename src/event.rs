//! What a node tells its program.

use std::net::SocketAddr;

use crate::instant::Instant;
use crate::peer::Peer;
use crate::value::{Key, Value};

/// Something happened: to a peer, to a key of a peer's map (this node's own included), or to this node.
///
/// Events of one node come in the order in which its state went through them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A peer, or a new run of one, was heard of. Nothing says yet that it is alive.
    NewPeer {
        /// Who.
        peer: Peer,
        /// Which run of it.
        generation: u64,
    },
    /// A peer's heartbeat was seen to advance, for the first time or again.
    PeerAlive {
        /// Who.
        peer: Peer,
        /// Which run of it.
        generation: u64,
    },
    /// A peer that was alive is suspected: φ reached the threshold.
    PeerFailed {
        /// Who.
        peer: Peer,
        /// Which run of it.
        generation: u64,
        /// The suspicion level.
        phi: f64,
    },
    /// A peer said that it leaves.
    PeerLeft {
        /// Who.
        peer: Peer,
        /// Which run of it.
        generation: u64,
    },
    /// A peer and its map were dropped: it was not alive for the grace period, or somebody called `forget`.
    PeerForgotten {
        /// Who.
        peer: Peer,
        /// Which run of it.
        generation: u64,
    },
    /// A key was set.
    Update {
        /// Whose map.
        peer: Peer,
        /// Which run of it.
        generation: u64,
        /// The key.
        key: Key,
        /// Its new value.
        value: Value,
        /// The value's version in its owner's map.
        version: u64,
        /// When its life ends, on this node's clock; `None` for a value that stays.
        deadline: Option<Instant>,
    },
    /// A key was deleted.
    Delete {
        /// Whose map.
        peer: Peer,
        /// Which run of it.
        generation: u64,
        /// The key.
        key: Key,
        /// The version in its owner's map from which on it is gone.
        version: u64,
    },
    /// The life of a key ended.
    Expire {
        /// Whose map.
        peer: Peer,
        /// Which run of it.
        generation: u64,
        /// The key.
        key: Key,
        /// The value that it had.
        value: Value,
        /// The version of that value.
        version: u64,
        /// When its life ended, on this node's clock; `None` if this node had not heard yet that it would.
        deadline: Option<Instant>,
    },
    /// Another program uses this node's advertised address: it was heard of with a higher generation, heartbeat or
    /// version than its own twice within a minute. Give one of the two another `advertise` address.
    AddressConflict {
        /// Where the datagram that told it came from.
        addr: SocketAddr,
        /// The other's generation.
        generation: u64,
    },
    /// A node of another cluster sent a datagram here; nothing of it was used. At most one such event a minute.
    WrongCluster {
        /// Where it came from.
        addr: SocketAddr,
        /// The cluster it belongs to.
        cluster: String,
    },
    /// This subscription was too slow and `count` events were dropped. Read the state afresh.
    Missed {
        /// How many.
        count: u64,
    },
    /// The node has stopped: it left, was dropped, or one of its threads panicked. The last event.
    Stopped {
        /// The thread that panicked, if one did.
        panicked: Option<&'static str>,
    },
}

/// The kinds of [`Event`], to choose which ones a subscription takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // Each is the kind of the event of its name.
pub enum EventKind {
    NewPeer,
    PeerAlive,
    PeerFailed,
    PeerLeft,
    PeerForgotten,
    Update,
    Delete,
    Expire,
    AddressConflict,
    WrongCluster,
    Missed,
    Stopped,
}

impl Event {
    /// Its kind.
    pub fn kind(&self) -> EventKind {
        match self {
            Event::NewPeer { .. } => EventKind::NewPeer,
            Event::PeerAlive { .. } => EventKind::PeerAlive,
            Event::PeerFailed { .. } => EventKind::PeerFailed,
            Event::PeerLeft { .. } => EventKind::PeerLeft,
            Event::PeerForgotten { .. } => EventKind::PeerForgotten,
            Event::Update { .. } => EventKind::Update,
            Event::Delete { .. } => EventKind::Delete,
            Event::Expire { .. } => EventKind::Expire,
            Event::AddressConflict { .. } => EventKind::AddressConflict,
            Event::WrongCluster { .. } => EventKind::WrongCluster,
            Event::Missed { .. } => EventKind::Missed,
            Event::Stopped { .. } => EventKind::Stopped,
        }
    }

    /// The peer that it is about, if it is about one.
    pub fn peer(&self) -> Option<Peer> {
        match self {
            Event::NewPeer { peer, .. }
            | Event::PeerAlive { peer, .. }
            | Event::PeerFailed { peer, .. }
            | Event::PeerLeft { peer, .. }
            | Event::PeerForgotten { peer, .. }
            | Event::Update { peer, .. }
            | Event::Delete { peer, .. }
            | Event::Expire { peer, .. } => Some(*peer),
            _ => None,
        }
    }

    /// The key that it is about, if it is about one.
    pub fn key(&self) -> Option<&str> {
        match self {
            Event::Update { key, .. } | Event::Delete { key, .. } | Event::Expire { key, .. } => Some(key),
            _ => None,
        }
    }
}

/// Which events a subscription takes; by default every one.
///
/// ```
/// use grapevine::event::{EventFilter, EventKind};
///
/// let filter = EventFilter::all().kinds([EventKind::Update, EventKind::Delete]).key_prefix("service/");
/// # let _ = filter;
/// ```
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    kinds: Option<Vec<EventKind>>,
    key_prefix: Option<String>,
}

impl EventFilter {
    /// Every event.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only these kinds. `Stopped` and `Missed` always come.
    #[must_use]
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = EventKind>) -> Self {
        self.kinds = Some(kinds.into_iter().collect());
        self
    }

    /// Of the events about a key, only those whose key starts so. Events about no key are not affected.
    #[must_use]
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.key_prefix = Some(prefix.into());
        self
    }

    /// Whether the event passes.
    pub fn takes(&self, event: &Event) -> bool {
        let kind = event.kind();
        if kind == EventKind::Stopped {
            return true;
        }
        let kind_fits = self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind));
        let key_fits = match (&self.key_prefix, event.key()) {
            (Some(prefix), Some(key)) => key.starts_with(prefix.as_str()),
            _ => true,
        };
        kind_fits && key_fits
    }
}
