//! What a node sees. An error is what it sees instead.

use std::collections::BTreeMap;

use grapevine::value::Key;
use grapevine::{Gossiper, Peer, PeerState, Value};

pub fn sees_alive(node: &Gossiper, others: usize) -> Result<(), String> {
    match node.live_peers().len() {
        alive if alive == others => Ok(()),
        alive => Err(format!("sees {alive} of {others} others alive")),
    }
}

pub fn sees_state(node: &Gossiper, peer: Peer, state: PeerState) -> Result<(), String> {
    match node.peer_info(peer) {
        Some(info) if info.state == state => Ok(()),
        Some(info) => Err(format!("lists it as {} with phi {:.1}", info.state, info.phi)),
        None => Err("does not know it".to_owned()),
    }
}

pub fn sees_value(node: &Gossiper, peer: Peer, key: &str, expected: Option<&str>) -> Result<(), String> {
    let found = node.get_from(peer, key);
    if found == expected.map(|text| Value::encode(text).expect("text can be encoded")) {
        return Ok(());
    }
    match found {
        Some(value) => Err(format!("has {key} = {value}")),
        None => Err(format!("has no {key}")),
    }
}

/// What a node holds of a peer at one moment.
#[derive(Debug, Default, PartialEq)]
pub struct Map {
    pub generation: u64,
    pub version: u64,
    pub entries: BTreeMap<Key, Value>,
}

impl Map {
    pub fn seen_by(node: &Gossiper, peer: Peer) -> Map {
        let Some(seen) = node.snapshot().peers.remove(&peer) else {
            return Map::default();
        };
        Map {
            generation: seen.info.generation,
            version: seen.info.version,
            entries: seen.entries.into_iter().map(|entry| (entry.key, entry.value)).collect(),
        }
    }
}
