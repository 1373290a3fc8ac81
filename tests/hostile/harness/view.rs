//! What a program knows of the cluster that only listens to the events.

use std::collections::BTreeMap;

use grapevine::instant::Instant;
use grapevine::node::Node;
use grapevine::value::{Key, Value};
use grapevine::{Event, Peer, PeerState};

type Entries = BTreeMap<Key, (Value, u64)>;

pub struct View {
    pub generation: u64,
    me: Peer,
    own: Entries,
    peers: BTreeMap<Peer, (PeerState, Entries)>,
}

impl View {
    pub fn new(node: &Node) -> View {
        let own = node.ring().own().map().iter();
        let own =
            own.filter_map(|(key, entry)| Some((key.clone(), (entry.readable(Instant::ZERO)?.clone(), entry.version))));
        View { generation: node.generation(), me: node.me(), own: own.collect(), peers: BTreeMap::new() }
    }

    pub fn follow(&mut self, node: &Node, events: &[Event]) {
        self.generation = node.generation();
        for event in events {
            match event {
                Event::NewPeer { peer, .. } => self.peers.entry(*peer).or_insert_with(no_peer).0 = PeerState::Known,
                Event::PeerAlive { peer, .. } => self.turn(*peer, PeerState::Alive),
                Event::PeerFailed { peer, .. } => self.turn(*peer, PeerState::Failed),
                Event::PeerLeft { peer, .. } => self.turn(*peer, PeerState::Left),
                Event::PeerForgotten { peer, .. } => {
                    assert!(self.peers.remove(peer).is_some(), "{peer} was forgotten, and never there");
                }
                Event::Update { peer, key, value, version, .. } => {
                    self.entries(*peer).insert(key.clone(), (value.clone(), *version));
                }
                Event::Delete { peer, key, .. } | Event::Expire { peer, key, .. } => {
                    assert!(self.entries(*peer).remove(key).is_some(), "{key:?} of {peer} went, and was never there");
                }
                Event::AddressConflict { .. } | Event::WrongCluster { .. } => {}
                other => panic!("{other:?} from the core"),
            }
        }
    }

    /// Compares with the state, after everything whose life has ended was told.
    pub fn check(&self, node: &Node, now: Instant) {
        let told: Vec<(Peer, PeerState)> = self.peers.iter().map(|(peer, (state, _))| (*peer, *state)).collect();
        assert_eq!(told, node.peers().collect::<Vec<_>>(), "the peers that events told of, and those that are listed");
        let peers = self.peers.iter().map(|(peer, (_, entries))| (*peer, entries));
        for (peer, entries) in peers.chain([(self.me, &self.own)]) {
            let Some(map) = node.map(peer) else { panic!("{peer} has no map") };
            let readable = map.readable("", now).map(|(key, entry, value)| (key, (value, entry.version)));
            let told = entries.iter().map(|(key, (value, version))| (key, (value, *version)));
            // Versions of what is held over from an older run are no matter of the program's.
            let plain = |(key, (value, _))| (key, value);
            let (told, readable): (Vec<_>, Vec<_>) = (told.map(plain).collect(), readable.map(plain).collect());
            assert_eq!(told, readable, "what events told of {peer}'s map, and what is readable");
        }
    }

    fn turn(&mut self, peer: Peer, state: PeerState) {
        self.peers.get_mut(&peer).unwrap_or_else(|| panic!("{peer} is {state}, and was never new")).0 = state;
    }

    fn entries(&mut self, peer: Peer) -> &mut Entries {
        if peer == self.me {
            return &mut self.own;
        }
        &mut self.peers.get_mut(&peer).unwrap_or_else(|| panic!("a key of {peer}, which was never new")).1
    }
}

fn no_peer() -> (PeerState, Entries) {
    (PeerState::Known, Entries::new())
}
