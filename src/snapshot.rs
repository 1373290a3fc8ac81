//! Copies of the state for the program to keep.

use std::collections::BTreeMap;

use crate::instant::Instant;
use crate::node::Node;
use crate::peer::{Peer, PeerInfo};
use crate::state::Entry;
use crate::value::{Key, Value};

/// A key of a peer's map with everything known of it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PeerEntry {
    /// Whose map.
    pub peer: Peer,
    /// The key.
    pub key: Key,
    /// Its value.
    pub value: Value,
    /// The value's version in its owner's map.
    pub version: u64,
    /// When its life ends, on this node's clock; `None` for what stays.
    pub deadline: Option<Instant>,
    /// Whether it is held over: the peer restarted, or its map is sent anew, and that it still has this key is not
    /// confirmed yet. Of an earlier run, the version is 0.
    pub held_over: bool,
}

impl PeerEntry {
    pub(crate) fn new(peer: Peer, (key, entry, value): (&Key, &Entry, &Value)) -> Self {
        PeerEntry {
            peer,
            key: key.clone(),
            value: value.clone(),
            version: entry.version,
            deadline: entry.deadline,
            held_over: entry.held_over,
        }
    }
}

/// Everything that a node held at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Every peer, the node itself included.
    pub peers: BTreeMap<Peer, PeerSnapshot>,
}

impl Snapshot {
    /// What a node holds when its own clock shows `now`.
    pub fn of(node: &Node, now: Instant) -> Snapshot {
        let peers = node.peers().map(|(peer, _)| peer).chain([node.me()]);
        let peers = peers.filter_map(|peer| {
            let entries = node.map(peer)?.readable("", now).map(|entry| PeerEntry::new(peer, entry));
            Some((peer, PeerSnapshot { entries: entries.collect(), info: node.peer(now, peer)? }))
        });
        Snapshot { peers: peers.collect() }
    }

    /// The value of a key of a peer's map.
    pub fn get(&self, peer: Peer, key: &str) -> Option<&Value> {
        let entries = &self.peers.get(&peer)?.entries;
        let index = entries.binary_search_by(|entry| (*entry.key).cmp(key)).ok()?;
        Some(&entries[index].value)
    }
}

/// One peer with its map at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PeerSnapshot {
    /// The peer.
    pub info: PeerInfo,
    /// Its entries in the order of their keys.
    pub entries: Vec<PeerEntry>,
}
