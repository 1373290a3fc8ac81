//! What the programs at the nodes of a [`Net`] do and see.

use std::net::SocketAddr;
use std::time::Duration;

use grapevine::{Error, Event, Peer, PeerState, Value};

use super::net::Net;

impl Net {
    pub fn set<T: serde::Serialize + ?Sized>(&mut self, at: Peer, key: &str, value: &T) -> u64 {
        let value = Value::encode(value).unwrap();
        self.act(at, |node, now, out| node.set(now, key, value, None, out)).unwrap()
    }

    pub fn set_for<T: serde::Serialize + ?Sized>(&mut self, at: Peer, key: &str, value: &T, life: Duration) -> u64 {
        let value = Value::encode(value).unwrap();
        self.act(at, |node, now, out| node.set(now, key, value, Some(now + life), out)).unwrap()
    }

    pub fn delete(&mut self, at: Peer, key: &str) -> Option<u64> {
        self.act(at, |node, now, out| node.delete(now, key, out)).unwrap()
    }

    pub fn forget(&mut self, at: Peer, peer: Peer) -> Result<(), Error> {
        self.act(at, |node, now, out| node.forget(now, peer, out))
    }

    pub fn leave(&mut self, peer: Peer) {
        self.act(peer, |node, now, out| node.leave(now, out));
    }

    /// Hands a datagram to a node and returns what it sends in the same breath.
    pub fn hand(&mut self, at: Peer, from: SocketAddr, datagram: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        let tap = self.tap.replace(Vec::new());
        self.act(at, |node, now, out| node.handle_datagram(now, from, datagram, out));
        let sent = std::mem::replace(&mut self.tap, tap).unwrap_or_default();
        sent.into_iter().map(|(_, to, bytes)| (to, bytes)).collect()
    }

    /// What a reader at `at` finds under a key of `owner`'s, as JSON.
    pub fn get(&self, at: Peer, owner: Peer, key: &str) -> Option<String> {
        Some(self.node(at).map(owner)?.get(key)?.readable(self.local(at))?.to_string())
    }

    pub fn state(&self, at: Peer, peer: Peer) -> Option<PeerState> {
        self.node(at).peers().find(|(other, _)| *other == peer).map(|(_, state)| state)
    }

    /// Whom a node lists in this state.
    pub fn listed(&self, at: Peer, state: PeerState) -> Vec<Peer> {
        self.node(at).peers().filter(|(_, other)| *other == state).map(|(peer, _)| peer).collect()
    }

    pub fn count(&self, at: Peer, which: impl Fn(&Event) -> bool) -> usize {
        self.events(at).iter().filter(|(_, event)| which(event)).count()
    }

    /// Whether everyone sees everyone alive and everyone's map as its owner does.
    pub fn agrees(&self) -> bool {
        self.disagreement().is_none()
    }

    pub fn disagreement(&self) -> Option<String> {
        let running = self.running();
        for owner in &running {
            let own = self.node(*owner).ring().own();
            let told: Vec<_> = own.map().readable("", self.local(*owner)).map(|(k, e, v)| (k, e.version, v)).collect();
            for at in running.iter().filter(|at| *at != owner) {
                let Some(member) = self.node(*at).ring().member(*owner) else {
                    return Some(format!("{at} does not know {owner}"));
                };
                let map = member.replica.map();
                let held: Vec<_> = map.readable("", self.local(*at)).map(|(k, e, v)| (k, e.version, v)).collect();
                if held != told || member.state != PeerState::Alive || member.replica.progress() != own.progress() {
                    let (here, there) = (member.replica.progress(), own.progress());
                    return Some(format!(
                        "{at} sees {owner} {}: {held:?} {here:?}, not {told:?} {there:?}",
                        member.state
                    ));
                }
            }
        }
        None
    }
}
