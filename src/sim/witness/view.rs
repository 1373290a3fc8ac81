//! What a node holds at one moment, taken down as plain data.

use std::time::Duration;

use crate::config::Limits;
use crate::event::Event;
use crate::instant::Instant;
use crate::node::Node;
use crate::peer::{Peer, PeerState};
use crate::sim::clock::Clock;
use crate::sim::witness::Cause;
use crate::state::{Entry, Map, Member, OwnMap, Progress};
use crate::value::Key;

/// A node right after a step.
pub(in crate::sim) struct Glance<'a> {
    pub(in crate::sim) at: Peer,
    pub(in crate::sim) now: Instant,
    /// Counts the processes at this address.
    pub(in crate::sim) run: u64,
    pub(in crate::sim) clock: &'a Clock,
    pub(in crate::sim) cause: Cause,
    pub(in crate::sim) node: &'a Node,
    pub(in crate::sim) events: &'a [Event],
    pub(in crate::sim) largest_datagram: usize,
}

/// The same, apart from the node.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) at: Peer,
    pub(super) now: Instant,
    pub(super) run: u64,
    /// The time on the node's own clock.
    pub(super) local: Instant,
    pub(super) cause: Cause,
    /// How long the datagram that was the cause had been under way.
    pub(super) flight: Duration,
    pub(super) me: Peer,
    pub(super) heartbeat: u64,
    /// It has left.
    pub(super) left: bool,
    pub(super) own: Held,
    /// Those of whom anything has changed, or something is told; once in a while all of them.
    pub(super) members: Vec<Seen>,
    /// How many there are, and how many of them are not forgotten.
    pub(super) size: usize,
    pub(super) listed: usize,
    /// Of whom nothing is held any more.
    pub(super) gone: Vec<Peer>,
    pub(super) events: Vec<Event>,
    /// Peers that are remembered to be forgotten.
    pub(super) forgotten: usize,
    pub(super) largest_datagram: usize,
    pub(super) max_datagram: usize,
    pub(super) limits: Limits,
    pub(super) interval: Duration,
}

/// Another peer as the node sees it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) peer: Peer,
    pub(super) state: PeerState,
    pub(super) heartbeat: u64,
    pub(super) held: Held,
}

/// A map as it is held.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) progress: Progress,
    pub(super) keys: usize,
    pub(super) bytes: usize,
    /// Bytes of a value that has not come as a whole.
    pub(super) unfinished: usize,
    /// Whether something of it was over a limit here, noted as passed and not held.
    pub(super) refused: bool,
    /// `None` if they are as they were.
    pub(super) entries: Option<Vec<(Key, Entry)>>,
}

/// What a process held at the last look, so far as it takes to see what has changed.
#[derive(Default)]
pub(super) struct Outlines {
    own: Option<Outline>,
    /// In the order of their addresses, with their heartbeats.
    members: Vec<(Peer, u64, Outline)>,
}

/// What changes with a map, whatever changes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outline {
    state: PeerState,
    progress: Progress,
    keys: usize,
    bytes: usize,
    unfinished: usize,
    refused: bool,
    held_over: bool,
    /// Of what is in it, but for held-over entries and for values with a life: see [`Map::sum`].
    sum: u32,
}

impl Outline {
    fn of(state: PeerState, progress: Progress, map: &Map) -> Outline {
        Outline {
            state,
            progress,
            keys: map.len(),
            bytes: map.bytes(),
            unfinished: 0,
            refused: false,
            held_over: map.has_held_over(),
            sum: map.sum(),
        }
    }

    fn of_own(own: &OwnMap) -> Outline {
        Outline::of(PeerState::Alive, own.progress(), own.map())
    }

    fn of_member(member: &Member) -> Outline {
        let replica = &member.replica;
        let progress = replica.progress();
        Outline {
            unfinished: replica.unfinished().map_or(0, |unfinished| unfinished.bytes.len()),
            refused: replica.last_servable() < progress.max,
            ..Outline::of(member.state, progress, replica.map())
        }
    }

    fn held(&self, map: &Map, has_changed: bool) -> Held {
        let entries = || map.iter().map(|(key, entry)| (key.clone(), entry.clone())).collect();
        Held {
            progress: self.progress,
            keys: self.keys,
            bytes: self.bytes,
            unfinished: self.unfinished,
            refused: self.refused,
            entries: has_changed.then(entries),
        }
    }
}

impl View {
    pub(super) fn of(glance: &Glance<'_>, all: bool, outlines: &mut Outlines) -> View {
        let node = glance.node;
        let (ring, config) = (node.ring(), node.config());
        let is_told = |peer| glance.events.iter().any(|event| event.peer() == Some(peer));
        let outline = Outline::of_own(ring.own());
        let has_changed = outlines.own.replace(outline) != Some(outline) || all || is_told(ring.me());
        let own = outline.held(ring.own().map(), has_changed);
        let (mut members, mut gone, mut listed) = (Vec::new(), Vec::new(), 0);
        let room = Vec::with_capacity(outlines.members.len() + 1);
        let before = std::mem::replace(&mut outlines.members, room);
        let mut before = before.into_iter().peekable();
        for (peer, member) in ring.members() {
            while let Some((other, ..)) = before.next_if(|(other, ..)| *other < peer) {
                gone.push(other);
            }
            let before =
                before.next_if(|(other, ..)| *other == peer).map(|(_, heartbeat, outline)| (heartbeat, outline));
            let outline = Outline::of_member(member);
            let map_changed = before.is_none_or(|(_, before)| before != outline) || all || is_told(peer);
            if map_changed || before.is_some_and(|(heartbeat, _)| heartbeat != member.heartbeat) {
                let held = outline.held(member.replica.map(), map_changed);
                members.push(Seen { peer, state: member.state, heartbeat: member.heartbeat, held });
            }
            listed += usize::from(member.state != PeerState::Forgotten);
            outlines.members.push((peer, member.heartbeat, outline));
        }
        gone.extend(before.map(|(other, ..)| other));
        View {
            at: glance.at,
            now: glance.now,
            run: glance.run,
            local: glance.clock.at(glance.now),
            cause: glance.cause,
            flight: Duration::ZERO,
            me: ring.me(),
            heartbeat: ring.own_row().heartbeat,
            left: node.has_left(),
            own,
            members,
            size: outlines.members.len(),
            listed,
            gone,
            events: glance.events.to_vec(),
            forgotten: ring.all_forgotten().count(),
            largest_datagram: glance.largest_datagram,
            max_datagram: config.max_datagram,
            limits: config.limits,
            interval: config.interval,
        }
    }
}
