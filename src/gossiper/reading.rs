//! Reading: keys and values of any peer, and the peers themselves.

use crate::gossiper::Gossiper;
use crate::peer::{Peer, PeerInfo, PeerState};
use crate::snapshot::{PeerEntry, Snapshot};
use crate::value::{Key, Value};

impl Gossiper {
    /// The value of a key of this node's own map.
    ///
    /// ```
    /// # use grapevine::Gossiper;
    /// let node = Gossiper::builder().start()?;
    /// node.set("load", &0.7)?;
    /// let load: Option<f64> = node.get("load").map(|value| value.decode()).transpose()?;
    /// assert_eq!(load, Some(0.7));
    /// # Ok::<(), grapevine::Error>(())
    /// ```
    pub fn get(&self, key: &str) -> Option<Value> {
        self.get_from(self.peer(), key)
    }

    /// The value of a key of any peer's map, as far as it is known here.
    ///
    /// While the map of a peer that restarted is on its way, keys that it had before stay readable with their old values,
    /// so that a reader does not see those vanish which come back; [`Gossiper::entry`] tells which these are.
    ///
    /// ```
    /// # use grapevine::Gossiper;
    /// # let node = Gossiper::builder().start()?;
    /// for peer in node.live_peers() {
    ///     if let Some(load) = node.get_from(peer, "load") {
    ///         println!("{peer} has a load of {:.1}", load.decode::<f64>()?);
    ///     }
    /// }
    /// # Ok::<(), grapevine::Error>(())
    /// ```
    pub fn get_from(&self, peer: Peer, key: &str) -> Option<Value> {
        self.read(|node, now| node.map(peer)?.get(key)?.readable(now).cloned())
    }

    /// A key of any peer's map with everything known of it.
    pub fn entry(&self, peer: Peer, key: &str) -> Option<PeerEntry> {
        self.read(|node, now| {
            let map = node.map(peer)?;
            let entry = map.readable(key, now).next().filter(|(found, ..)| &***found == key)?;
            Some(PeerEntry::new(peer, entry))
        })
    }

    /// The keys of a peer's map, in their order; none for a peer that is not known.
    pub fn keys(&self, peer: Peer) -> Vec<Key> {
        self.read(|node, now| match node.map(peer) {
            Some(map) => map.readable("", now).map(|(key, ..)| key.clone()).collect(),
            None => Vec::new(),
        })
    }

    /// Every peer's entries whose key starts with `prefix`, this node's own included, by peer and key. Those of peers that are not
    /// alive are among them until the peers are forgotten.
    ///
    /// ```
    /// # use grapevine::Gossiper;
    /// let node = Gossiper::builder().start()?;
    /// node.set("service/web", "10.0.0.1:80")?;
    /// node.set("load", &0.7)?;
    /// let found = node.entries("service/");
    /// assert_eq!((found.len(), &*found[0].key), (1, "service/web"));
    /// # Ok::<(), grapevine::Error>(())
    /// ```
    pub fn entries(&self, prefix: &str) -> Vec<PeerEntry> {
        self.read(|node, now| {
            let mut peers: Vec<Peer> = node.peers().map(|(peer, _)| peer).chain([node.me()]).collect();
            peers.sort_unstable();
            let maps = peers.iter().filter_map(|peer| Some((*peer, node.map(*peer)?)));
            maps.flat_map(|(peer, map)| map.readable(prefix, now).map(move |entry| PeerEntry::new(peer, entry)))
                .collect()
        })
    }

    /// The entries of one peer's map, or of this node's own, in the order of their keys; none for a peer that is not known.
    ///
    /// ```
    /// # use grapevine::Gossiper;
    /// let node = Gossiper::builder().initial("zone", "eu-1").start()?;
    /// for entry in node.entries_of(node.peer()) {
    ///     println!("{} = {}, version {}", entry.key, entry.value, entry.version);
    /// }
    /// # Ok::<(), grapevine::Error>(())
    /// ```
    pub fn entries_of(&self, peer: Peer) -> Vec<PeerEntry> {
        self.read(|node, now| {
            let entries = node.map(peer).into_iter().flat_map(|map| map.readable("", now));
            entries.map(|entry| PeerEntry::new(peer, entry)).collect()
        })
    }

    /// Everything at one moment: all peers with all entries.
    ///
    /// ```
    /// # use grapevine::Gossiper;
    /// let node = Gossiper::builder().initial("zone", "eu-1").start()?;
    /// for (peer, seen) in &node.snapshot().peers {
    ///     println!("{peer} is {}", seen.info.state);
    ///     for entry in &seen.entries {
    ///         println!("  {} = {}", entry.key, entry.value);
    ///     }
    /// }
    /// # Ok::<(), grapevine::Error>(())
    /// ```
    pub fn snapshot(&self) -> Snapshot {
        self.read(Snapshot::of)
    }

    /// All peers except this node, whatever their state, in the order of their addresses; forgotten ones excepted, of whom
    /// only [`peers_in(PeerState::Forgotten)`](Gossiper::peers_in) tells.
    ///
    /// ```
    /// # use grapevine::Gossiper;
    /// # let node = Gossiper::builder().start()?;
    /// for seen in node.peers() {
    ///     println!("{} is {} (phi {:.1}) with {} keys", seen.peer, seen.state, seen.phi, seen.keys);
    /// }
    /// # Ok::<(), grapevine::Error>(())
    /// ```
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.read(|node, now| node.peers().filter_map(|(peer, _)| node.peer(now, peer)).collect())
    }

    /// The peers that are alive.
    pub fn live_peers(&self) -> Vec<Peer> {
        self.peers_in(PeerState::Alive)
    }

    /// The peers that have failed.
    pub fn failed_peers(&self) -> Vec<Peer> {
        self.peers_in(PeerState::Failed)
    }

    /// The peers in this state, this node not among them.
    pub fn peers_in(&self, state: PeerState) -> Vec<Peer> {
        self.read(|node, _| match state {
            PeerState::Forgotten => node.ring().all_forgotten().map(|(peer, _)| peer).collect(),
            state => node.peers().filter(|(_, other)| *other == state).map(|(peer, _)| peer).collect(),
        })
    }

    /// What is known of one peer, or of this node itself; nothing of a forgotten one.
    pub fn peer_info(&self, peer: Peer) -> Option<PeerInfo> {
        self.read(|node, now| node.peer(now, peer))
    }
}
