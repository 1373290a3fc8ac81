//! A small cluster on virtual time, whose every node is watched. What happens to each is written down.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use grapevine::config::Config;
use grapevine::instant::Instant;
use grapevine::{Peer, PeerState, Value};

use super::subject::{Act, Datagram, Subject};

/// How long every datagram takes.
const DELAY: Duration = Duration::from_micros(300);

#[derive(Default)]
pub struct World {
    pub now: Instant,
    subjects: BTreeMap<Peer, Subject>,
    flying: BTreeMap<(Instant, u64), Datagram>,
    sent: u64,
}

impl World {
    /// Starts a node at the address with this last byte; what ran there before is gone. The seed is the address with 1.
    pub fn start(&mut self, at: u8, config: &Config) -> Peer {
        let peer = peer(at);
        let config = Config { seeds: vec![self::peer(1).to_string()], ..config.clone() };
        let mut subject = Subject::new(config, peer, self.now, u64::from(at) + self.now.as_micros());
        subject.act(self.now, &Act::Seeds(vec![self::peer(1).addr()]));
        self.subjects.insert(peer, subject);
        self.send(peer);
        peer
    }

    pub fn act(&mut self, at: Peer, act: Act) {
        let now = self.now;
        self.subject(at).act(now, &act);
        self.send(at);
    }

    pub fn set(&mut self, at: Peer, key: &str, value: Value) {
        self.act(at, Act::Set(key.to_owned(), value, None));
    }

    pub fn subject(&mut self, peer: Peer) -> &mut Subject {
        self.subjects.get_mut(&peer).expect("a node of this world")
    }

    /// Ends a node without a word, and hands it over.
    pub fn take(&mut self, peer: Peer) -> Subject {
        self.subjects.remove(&peer).expect("a node of this world")
    }

    /// Puts one back, to go on from now.
    pub fn put(&mut self, peer: Peer, subject: Subject) {
        self.subjects.insert(peer, subject);
    }

    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
    }

    /// Runs until everyone agrees, and says how long that took; `None` if it did not within `limit`.
    pub fn run_until_agreed(&mut self, limit: Duration) -> Option<Duration> {
        let (start, end) = (self.now, self.now + limit);
        while self.disagreement().is_some() {
            if self.now >= end {
                return None;
            }
            self.run_for(Duration::from_millis(100));
        }
        Some(self.now - start)
    }

    /// Who does not see somebody alive, with the map that its owner has.
    pub fn disagreement(&self) -> Option<String> {
        for (owner, subject) in &self.subjects {
            let own = subject.node.ring().own();
            let told: Vec<_> = own.map().readable("", self.now).map(|(key, _, value)| (key, value)).collect();
            for (at, other) in self.subjects.iter().filter(|(at, _)| *at != owner) {
                let Some(member) = other.node.ring().member(*owner) else { return Some(format!("{at} lacks {owner}")) };
                let held = member.replica.map().readable("", self.now).map(|(key, _, value)| (key, value));
                let held: Vec<_> = held.collect();
                let (here, there) = (member.replica.progress(), own.progress());
                if member.state != PeerState::Alive || held != told || here != there {
                    let state = member.state;
                    return Some(format!("{at} sees {owner} {state}: {held:?} {here:?}, not {told:?} {there:?}"));
                }
            }
        }
        None
    }

    /// Has the next thing happen, unless that is after `end`: false, and `end` it is.
    pub fn step(&mut self, end: Instant) -> bool {
        let arrival = self.flying.first_key_value().map_or(Instant::MAX, |((at, _), _)| *at);
        let (due, peer) = self.subjects.iter().map(|(peer, subject)| (subject.due(), *peer)).min().expect("some node");
        let next = arrival.min(due);
        if next > end {
            self.now = end;
            return false;
        }
        self.now = self.now.max(next);
        if due <= arrival {
            let now = self.now;
            self.subject(peer).pass_until(now);
            self.send(peer);
        } else if let Some((_, datagram)) = self.flying.pop_first() {
            let to = Peer::from(datagram.to);
            if self.subjects.contains_key(&to) {
                self.act(to, Act::Datagram(datagram.from, datagram.bytes));
            }
        }
        true
    }

    fn send(&mut self, at: Peer) {
        for datagram in std::mem::take(&mut self.subject(at).sent) {
            self.sent += 1;
            self.flying.insert((self.now + DELAY, self.sent), datagram);
        }
    }
}

/// The node with this last byte in its address.
pub fn peer(at: u8) -> Peer {
    Peer::from(SocketAddr::from(([10, 0, 0, at], 9_000)))
}
