//! Whether every node holds the same maps.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use grapevine::snapshot::PeerSnapshot;
use grapevine::value::Key;
use grapevine::{Gossiper, Peer, PeerEntry, PeerState, Value};

/// Looked again after this time.
const PAUSE: Duration = Duration::from_millis(10);

/// How soon the nodes agreed, and on how many keys in the end.
pub struct Agreement {
    /// On every key that has no life.
    pub lasting: Duration,
    /// On all of them: when the last life has ended, or sooner.
    pub keys: usize,
    /// The bytes of keys and values in all maps of all nodes.
    pub map_bytes: u64,
}

/// Waits until each node lists all others as alive, and nobody else, and holds exactly the map that its owner has.
///
/// # Errors
/// What is not equal after `patience`.
pub fn wait_until_equal(nodes: &[Gossiper], patience: Duration) -> Result<Agreement, String> {
    let start = Instant::now();
    wait_for(patience, || compare(nodes, |entry| entry.deadline.is_none()))?;
    let lasting = start.elapsed();
    // While lives end, no two nodes can be looked at in the same moment.
    let (keys, bytes) = wait_for(patience, || compare(nodes, |_| true))?;
    Ok(Agreement { lasting, keys, map_bytes: (bytes * nodes.len()) as u64 })
}

fn wait_for<R>(patience: Duration, mut holds: impl FnMut() -> Result<R, String>) -> Result<R, String> {
    let deadline = Instant::now() + patience;
    loop {
        match holds() {
            Ok(found) => return Ok(found),
            Err(problem) if Instant::now() > deadline => {
                return Err(format!("after {patience:?} without a write {problem}"));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Compares the entries that `counts` is true of. Returns their number and their bytes.
fn compare(nodes: &[Gossiper], counts: impl Fn(&PeerEntry) -> bool) -> Result<(usize, usize), String> {
    let entries = |map: &PeerSnapshot| map.entries.iter().filter(|entry| counts(entry)).map(entry_of).collect();
    let mut own: BTreeMap<Peer, Vec<Entry>> = BTreeMap::new();
    for node in nodes {
        own.extend(node.snapshot().peers.get(&node.peer()).map(|map| (node.peer(), entries(map))));
    }
    for node in nodes {
        let seen = node.snapshot();
        let mut alive = 0;
        for map in seen.peers.values().filter(|map| map.info.is_self || map.info.state == PeerState::Alive) {
            alive += 1;
            let owner = map.info.peer;
            let Some(told) = own.get(&owner) else { return Err(format!("{node:?} lists {owner} as alive")) };
            let held: Vec<Entry> = entries(map);
            if *told != held {
                let (held, told) = (held.len(), told.len());
                return Err(format!("{node:?} holds {held} keys, and not the same {told} as {owner}: {:?}", map.info));
            }
        }
        if alive != nodes.len() {
            return Err(format!("{node:?} sees {alive} nodes of {} alive: {:?}", nodes.len(), node.peers()));
        }
    }
    let bytes = own.values().flatten().map(|(key, _, value)| key.len() + value.as_bytes().len()).sum();
    Ok((own.values().map(Vec::len).sum(), bytes))
}

/// Key, version, value; and not whether it is held over, which its owner's own never is.
type Entry = (Key, u64, Value);

fn entry_of(entry: &PeerEntry) -> Entry {
    (entry.key.clone(), entry.version, entry.value.clone())
}
