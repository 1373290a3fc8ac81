//! What a node holds at one moment, taken down as plain data.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Limits;
use crate::event::Event;
use crate::instant::Instant;
use crate::node::Node;
use crate::peer::{Peer, PeerState};
use crate::sim::clock::Clock;
use crate::sim::witness::Cause;
use crate::state::{Entry, Map, Progress};
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
    pub(super) members: Vec<Seen>,
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

/// What changes with a map, whatever changes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outline {
    state: PeerState,
    progress: Progress,
    keys: usize,
    bytes: usize,
    held_over: bool,
    /// Of what is in it, but for held-over entries and for values with a life: see [`Map::sum`].
    sum: u32,
}

impl View {
    pub(super) fn of(glance: &Glance<'_>, all: bool, outlines: &mut BTreeMap<Peer, Outline>) -> View {
        let node = glance.node;
        let (ring, config) = (node.ring(), node.config());
        let mut take = |peer, state, progress: Progress, map: &Map, (servable, unfinished): (u64, usize)| {
            let outline = Outline {
                state,
                progress,
                keys: map.len(),
                bytes: map.bytes(),
                held_over: map.has_held_over(),
                sum: map.sum(),
            };
            let told = || glance.events.iter().any(|event| event.peer() == Some(peer));
            let changed = outlines.insert(peer, outline) != Some(outline) || all || told();
            let entries = || map.iter().map(|(key, entry)| (key.clone(), entry.clone())).collect();
            Held {
                progress,
                keys: map.len(),
                bytes: map.bytes(),
                unfinished,
                refused: servable < progress.max,
                entries: changed.then(entries),
            }
        };
        let own = take(ring.me(), PeerState::Alive, ring.own().progress(), ring.own().map(), (u64::MAX, 0));
        let members = ring.members().map(|(peer, member)| {
            let replica = &member.replica;
            let unfinished = replica.unfinished().map_or(0, |unfinished| unfinished.bytes.len());
            let rest = (replica.last_servable(), unfinished);
            let held = take(peer, member.state, replica.progress(), replica.map(), rest);
            Seen { peer, state: member.state, heartbeat: member.heartbeat, held }
        });
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
            members: members.collect(),
            events: glance.events.to_vec(),
            forgotten: ring.all_forgotten().count(),
            largest_datagram: glance.largest_datagram,
            max_datagram: config.max_datagram,
            limits: config.limits,
            interval: config.interval,
        }
    }
}
