//! What a node promises, whatever arrives.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use grapevine::config::Config;
use grapevine::instant::Instant;
use grapevine::node::{Node, Output};
use grapevine::state::{Content, Entry, Member, Telling};
use grapevine::value::Key;
use grapevine::wire::{Deltas, Message, WireContent};
use grapevine::{EventKind, Peer, PeerState};

use super::subject::START_MS;

/// A generation is refused if it is a day ahead of the clock; one that overrules it lies up to 32,768 ms above.
const MOST_AHEAD_MS: u64 = 86_400_000 + 32_768;

/// What a node was before a datagram came.
pub struct Before {
    entries: Vec<(Key, Entry)>,
    progress: (u64, u64),
    generation: u64,
    held: usize,
    /// Generation, heartbeat and maximum of each copy.
    copies: BTreeMap<Peer, (u64, u64, u64)>,
    is_member: bool,
    from: SocketAddr,
    len: usize,
}

impl Before {
    pub fn of(node: &Node, from: SocketAddr, len: usize) -> Before {
        Before {
            entries: own_entries(node),
            progress: own_progress(node),
            generation: node.generation(),
            held: node.ring().members().map(|(_, member)| member.replica.map().len()).sum(),
            copies: node.ring().members().map(|(peer, member)| (peer, numbers(member))).collect(),
            is_member: node.ring().member(Peer::from(from)).is_some(),
            from,
            len,
        }
    }

    /// How many bytes the datagram drew to where it came from. Who is a peer, or has become one by it, is also told what nobody asked
    /// for: news, and a round's digests when its turn comes.
    pub fn drawn(&self, node: &Node, out: &Output) -> usize {
        let is_member = self.is_member || node.ring().member(Peer::from(self.from)).is_some();
        let sent = out.datagrams().filter(|(to, _)| *to == self.from).map(|(_, bytes)| bytes);
        sent.filter(|bytes| !is_member || is_an_answer(bytes)).map(<[u8]>::len).sum()
    }
}

/// What its own program wrote. Tombstones are no part of it: they go when it takes a new generation.
fn own_entries(node: &Node) -> Vec<(Key, Entry)> {
    let entries = node.ring().own().map().iter();
    let entries = entries.filter(|(_, entry)| matches!(entry.content, Content::Value(_)));
    entries.map(|(key, entry)| (key.clone(), entry.clone())).collect()
}

fn numbers(member: &Member) -> (u64, u64, u64) {
    let progress = member.replica.progress();
    (progress.generation, member.heartbeat, progress.max)
}

fn own_progress(node: &Node) -> (u64, u64) {
    let progress = node.ring().own().progress();
    (progress.max, progress.floor)
}

pub fn of_a_datagram(node: &Node, now: Instant, before: &Before, datagram: &[u8], out: &Output) {
    assert!(own_entries(node) == before.entries, "the node's own map changed");
    assert_eq!(own_progress(node), before.progress, "the node's own version or floor changed");
    let told_of_own = out.events.iter().find(|event| event.peer() == Some(node.me()) && event.key().is_some());
    assert!(told_of_own.is_none(), "{told_of_own:?}");

    let limits = &node.config().limits;
    let datagrams = out.datagrams().count();
    // A want's credit, the rest of a window, where rosters differ the window in full, a turn's windows, and news.
    let most = limits.catch_up_datagrams + 1 + 5 + node.config().bytes_per_round / node.config().max_datagram + 3;
    assert!(datagrams <= most, "{datagrams} datagrams for one");
    // Each change costs its sender a byte at least, or takes an entry away that was held.
    let events = out.events.len();
    assert!(events <= before.len + before.held, "{events} events for {} bytes", before.len);
    assert!(out.log.len() <= before.len, "{} lines for the log", out.log.len());
    assert!(node.generation() >= before.generation, "the generation went back");
    for (peer, member) in node.ring().members() {
        of_progress(peer, before.copies.get(&peer).copied(), numbers(member), datagram, out);
    }
    of_the_state(node, now);
}

/// No run and no heartbeat goes back, and no copy moves over a gap.
fn of_progress(
    peer: Peer,
    before: Option<(u64, u64, u64)>,
    (generation, heartbeat, max): (u64, u64, u64),
    datagram: &[u8],
    out: &Output,
) {
    let was_forgotten =
        || out.events.iter().any(|event| event.kind() == EventKind::PeerForgotten && event.peer() == Some(peer));
    let before = before.filter(|_| !was_forgotten());
    if let Some((old_generation, old_heartbeat, _)) = before {
        let (old, new) = ((old_generation, old_heartbeat), (generation, heartbeat));
        assert!(new >= old, "{peer} went back from {old:?} to {new:?}");
    }
    let held = before.filter(|(old, ..)| *old == generation).map_or(0, |(_, _, max)| max);
    if max > held {
        let reached = reached(datagram, peer, generation, held);
        assert!(max <= reached, "the copy of {peer} went from {held} to {max}, where {reached} is as far as it goes");
    }
}

/// How far a copy can go that holds everything up to `held`.
fn reached(datagram: &[u8], owner: Peer, generation: u64, held: u64) -> u64 {
    let Ok((header, message)) = Message::decode(datagram) else { return held };
    let deltas = match &message {
        Message::Answer(answer) => answer.deltas(header.generation),
        Message::Delta(delta) => delta.deltas(header.generation),
        _ => return held,
    };
    let parts = deltas.flatten().filter(|part| part.owner == owner && part.delta.generation == generation);
    parts.fold(held, |held, part| {
        if part.delta.from > held {
            return held;
        }
        let pieces = part.entries.flatten().filter(|entry| matches!(entry.content, WireContent::Piece { .. }));
        pieces.map(|piece| piece.version).max().unwrap_or(0).max(part.delta.to).max(held)
    })
}

/// Messages that a datagram draws. Who is known may be sent digests at any time.
fn is_an_answer(datagram: &[u8]) -> bool {
    let message = Message::decode(datagram).map(|(_, message)| message);
    matches!(message, Ok(Message::Answer(_) | Message::Delta(_) | Message::Want(_)))
}

pub fn of_generations(node: &Node, now: Instant, before: u64, last_renewal: &mut Option<Instant>) {
    let generation = node.generation();
    if generation == before {
        return;
    }
    assert!(generation > before, "the generation went back");
    let since = last_renewal.map(|last| now - last);
    assert!(since.is_none_or(|since| since >= Duration::from_secs(60)), "generations within {since:?}");
    *last_renewal = Some(now);
    let ahead = generation.saturating_sub(START_MS + now.as_micros() / 1000);
    assert!(ahead <= MOST_AHEAD_MS, "a generation {ahead} ms ahead of the clock");
}

pub fn of_what_is_sent(node: &Node, datagram: &[u8]) {
    assert!(datagram.len() <= node.config().max_datagram, "{} bytes are no datagram", datagram.len());
    let (header, message) = Message::decode(datagram).unwrap_or_else(|refusal| panic!("what it sends is {refusal}"));
    assert_eq!((header.cluster, header.sender), (node.config().cluster.as_str(), node.me()));
    assert_eq!(header.generation, node.generation());
    let base = header.generation;
    let deltas_are_well = |deltas: Deltas<'_>| deltas.are_well_formed();
    let is_well = match message {
        Message::Digest(digest) => digest.rows(base).all(|row| row.is_ok()),
        Message::CompactDigest(digest) => {
            digest.maxima().all(|max| max.is_ok()) && digest.columns.heartbeats().count() == digest.maxima().count()
        }
        Message::Answer(answer) => {
            answer.rows(base).all(|row| row.is_ok())
                && answer.wants(base).all(|want| want.is_ok())
                && deltas_are_well(answer.deltas(base))
        }
        Message::Delta(delta) => deltas_are_well(delta.deltas(base)),
        Message::Want(want) => want.wants(base).all(|want| want.is_ok()),
    };
    assert!(is_well, "it sent {message:?}");
}

/// How often its timers may call it: in each interval a round with its turns, ten waves of news and eight requests that are
/// repeated no sooner than after 20 ms; and every millisecond for keys whose lives end.
pub fn of_timers(config: &Config, passed: Duration, calls: u32) {
    let millis = u32::try_from(passed.as_millis()).unwrap_or(u32::MAX);
    let intervals = millis / u32::try_from(config.interval.as_millis()).unwrap_or(u32::MAX).max(1) + 1;
    let most = 16 + millis.saturating_mul(2).saturating_add(intervals.saturating_mul(30));
    assert!(calls <= most, "{calls} calls in {passed:?}");
}

/// Every limit is held, and everything that is kept twice says the same.
pub fn of_the_state(node: &Node, now: Instant) {
    let (ring, limits) = (node.ring(), &node.config().limits);
    assert!(ring.len() <= limits.peers, "{} peers", ring.len());
    assert!(ring.all_forgotten().count() <= 2 * limits.peers, "{} forgotten", ring.all_forgotten().count());
    assert!(ring.member(node.me()).is_none(), "the node is its own peer");
    assert!(node.permitted_rate() >= 1_024.0 && node.permitted_rate() <= 67_108_864.0, "{}", node.permitted_rate());
    for (peer, member) in ring.members() {
        assert_eq!(peer.unreachable_because(), None, "{peer}");
        of_a_copy(node, peer, member);
        let phi = node.peer(now, peer).map_or(0.0, |info| info.phi);
        assert!(phi.is_finite() && phi >= 0.0, "phi is {phi}");
    }
    for state in [PeerState::Alive, PeerState::Failed, PeerState::Known, PeerState::Forgotten] {
        let mut listed = ring.peers_in(state).to_vec();
        listed.sort_unstable();
        let found = ring.members().filter(|(_, member)| member.state == state).map(|(peer, _)| peer);
        assert_eq!(listed, found.collect::<Vec<_>>(), "{state}");
    }
    let whole = ring.roster(node.me(), node.me());
    let rows = ring.rows(node.me(), node.me(), Telling::Roster);
    let sum = rows.fold((0, 0), |(hash, peers), (row, _)| (row.roster_hash().wrapping_add(hash), peers + 1));
    assert_eq!((whole.hash, whole.peers), sum, "the roster's sum is out of step");
}

fn of_a_copy(node: &Node, owner: Peer, member: &Member) {
    let limits = &node.config().limits;
    let map = member.replica.map();
    let progress = member.replica.progress();
    // Old and new together, while it catches up.
    assert!(map.len() <= 2 * limits.keys, "{} keys of {owner}", map.len());
    assert!(map.bytes() <= 2 * limits.map_bytes, "{} bytes of {owner}", map.bytes());
    let mut bytes = 0;
    for (key, entry) in map.iter() {
        let value = match &entry.content {
            Content::Value(value) => value.as_bytes().len(),
            Content::Deleted | Content::Expired => 0,
        };
        assert!(key.len() <= limits.key_bytes && value <= limits.value_bytes, "{} and {value} bytes", key.len());
        bytes += key.len() + value + grapevine::state::Map::ENTRY_OVERHEAD;
    }
    assert_eq!(map.bytes(), bytes, "bytes of {owner}'s map");
    let confirmed: Vec<u64> = map.after(0).map(|(_, entry)| entry.version).collect();
    assert!(confirmed.windows(2).all(|pair| pair[0] < pair[1]), "{owner}'s versions are out of order");
    assert!(confirmed.last().is_none_or(|last| *last <= progress.max), "{owner}'s entries are beyond its maximum");
    assert!(confirmed.len() == map.len() || map.has_held_over(), "an entry of {owner} is in no index");
    if let Some(unfinished) = member.replica.unfinished() {
        let (held, total) = (unfinished.bytes.len(), unfinished.total);
        assert!(held <= total && total <= limits.value_bytes, "{held} bytes of a value of {total}");
        assert!(unfinished.version > progress.max, "an unfinished value that was passed");
    }
    assert!(member.replica.last_servable() <= progress.max);
}
