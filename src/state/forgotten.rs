//! The memory of forgotten peers: bounded, so that hearsay does not bring them back and they leave almost nothing behind.

use std::collections::{BTreeMap, VecDeque};

use crate::peer::Peer;

/// Who was forgotten, and up to which generation and heartbeat. What is newer is somebody who came back.
#[derive(Clone, Debug, Default)]
pub(super) struct Forgotten {
    peers: BTreeMap<Peer, (u64, u64)>,
    oldest_first: VecDeque<Peer>,
}

impl Forgotten {
    /// Remembers a peer, and at most `limit` in all: the oldest memory goes.
    pub(super) fn remember(&mut self, peer: Peer, generation: u64, heartbeat: u64, limit: usize) {
        if self.peers.insert(peer, (generation, heartbeat)).is_none() {
            self.oldest_first.push_back(peer);
        }
        while self.oldest_first.len() > limit {
            if let Some(oldest) = self.oldest_first.pop_front() {
                self.peers.remove(&oldest);
            }
        }
    }

    /// Drops the memory of a peer that is back.
    pub(super) fn recall(&mut self, peer: Peer) {
        if self.peers.remove(&peer).is_some() {
            self.oldest_first.retain(|other| *other != peer);
        }
    }

    pub(super) fn get(&self, peer: Peer) -> Option<(u64, u64)> {
        self.peers.get(&peer).copied()
    }

    /// The peers with their generations.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Peer, u64)> + '_ {
        self.peers.iter().map(|(peer, (generation, _))| (*peer, *generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> Peer {
        Peer::from(std::net::SocketAddr::from(([127, 0, 0, 1], port)))
    }

    #[test]
    fn is_bounded_and_the_oldest_goes_first() {
        let mut forgotten = Forgotten::default();
        for port in 2..100 {
            forgotten.remember(peer(port), 3, 7, 10);
        }
        assert_eq!(forgotten.iter().count(), 10);
        assert_eq!((forgotten.get(peer(99)), forgotten.get(peer(2))), (Some((3, 7)), None));
        forgotten.recall(peer(99));
        assert_eq!((forgotten.peers.len(), forgotten.oldest_first.len()), (9, 9));
    }
}
