//! What one datagram costs is in proportion to its own size, not to how much is held here.

use std::alloc::System;
use std::net::SocketAddr;
use std::time::{Duration, Instant as Clock};

use grapevine::instant::Instant;
use grapevine::node::{Node, Output};
use grapevine::state::{Content, Delta, Entry, Mark, Progress, Row};
use grapevine::stats::Refusal;
use grapevine::value::Key;
use grapevine::wire::{
    Answer, DeltaMessage, Digest, End, Header, Message, Rates, put_delta, put_entry, put_row, run_hash,
};
use grapevine::{Config, Peer, Value};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The wall clock at the start: some day in 2024, in milliseconds since 1970.
const START_MS: u64 = 1_720_000_000_000;
/// Whose map is held, and lied about by another.
const OWNER: u8 = 4;
/// A copy as large as it may be, nearly, and one with next to nothing.
const MANY: u64 = 60_000;
const FEW: u64 = 60;
/// The same lie so often in one datagram.
const TIMES: u64 = 40;

/// A node that holds a copy of a map.
struct Holder {
    node: Node,
    /// The ids of what it asked last.
    digest: u32,
    want: u32,
    now: Instant,
    out: Output,
}

/// What a datagram took.
#[derive(Clone, Copy, Debug)]
struct Cost {
    allocations: usize,
    time: Duration,
}

impl Holder {
    fn of(keys: u64) -> Holder {
        // Large datagrams, to fill it soon.
        let config = Config { max_datagram: 65_507, bytes_per_round: 1 << 20, ..Config::default() };
        let node = Node::new(config, peer(2), Instant::ZERO, START_MS, 1).unwrap();
        let mut holder = Holder { node, digest: 0, want: 0, now: Instant::ZERO, out: Output::new() };
        holder.hand(|id| answer(id, &[record(0)]));
        for from in (0..keys).step_by(1_000) {
            let to = keys.min(from + 1_000);
            let part = Delta { generation: START_MS, from, to, floor: 0, max: keys };
            holder.hand(|id| delta(id, &[(part, from + 1..to + 1)]));
        }
        assert_eq!(holder.node.map(peer(OWNER)).map_or(0, |map| map.len()) as u64, keys);
        holder
    }

    /// Hands over a datagram that answers the node's own question, the digest or want with this id.
    fn hand(&mut self, datagram: impl Fn(u32) -> Vec<u8>) -> Cost {
        self.now = self.now + Duration::from_millis(1);
        let datagram = match Message::decode(&datagram(0)) {
            Ok((_, Message::Delta(_))) => datagram(self.draw_want()),
            _ => datagram(self.draw_digest()),
        };
        self.out.clear();
        let (region, start) = (Region::new(ALLOCATOR), Clock::now());
        self.node.handle_datagram(self.now, peer(3).addr(), &datagram, &mut self.out);
        let cost = Cost { time: start.elapsed(), allocations: region.change().allocations };
        self.note_what_it_asks();
        cost
    }

    /// Whoever knows nobody is answered with a digest. Returns its id.
    fn draw_digest(&mut self) -> u32 {
        self.draw(&first_digest(0, &[]));
        self.digest
    }

    /// Whoever claims to have more is asked for it. Returns the id of that want, or of an earlier one that is still open.
    fn draw_want(&mut self) -> u32 {
        let progress = Progress { generation: START_MS, max: u64::MAX, floor: 0 };
        let claim = first_digest(run_hash(peer(2), START_MS), &[Row { heartbeat: 0, progress, ..record(0) }]);
        self.draw(&claim);
        self.want
    }

    fn draw(&mut self, digest: &[u8]) {
        self.out.clear();
        self.node.handle_datagram(self.now, peer(3).addr(), digest, &mut self.out);
        self.note_what_it_asks();
    }

    fn note_what_it_asks(&mut self) {
        for (_, datagram) in self.out.datagrams() {
            match Message::decode(datagram).unwrap().1 {
                Message::Digest(digest) => self.digest = digest.id,
                Message::Want(want) => self.want = want.want_id,
                Message::Answer(answer) if !answer.wants.is_empty() => self.want = answer.want_id,
                _ => {}
            }
        }
    }

    /// What the cheapest of some datagrams took: the first has to take apart what others put together.
    fn cheapest(&mut self, lie: impl Fn(u32, u64) -> Vec<u8>) -> Cost {
        let costs: Vec<Cost> = (1..=10).map(|n| self.hand(|id| lie(id, n * TIMES))).collect();
        assert_eq!(self.node.stats().refused.get(Refusal::NotAsked), 0);
        let allocations = costs.iter().map(|cost| cost.allocations).min().unwrap_or_default();
        Cost { allocations, time: costs.iter().map(|cost| cost.time).min().unwrap_or_default() }
    }
}

fn peer(at: u8) -> Peer {
    SocketAddr::from(([10, 0, 0, at], 9_000)).into()
}

fn record(later: u64) -> Row {
    let progress = Progress { generation: START_MS + later, max: 1, floor: 0 };
    Row { peer: peer(OWNER), heartbeat: 1, progress, mark: Mark::None }
}

fn first_digest(receiver: u32, rows: &[Row]) -> Vec<u8> {
    let records = records(rows);
    let digest = Digest { id: 1, window: None, rates: Rates::default(), records: &records, padding: 500 };
    encode_for(receiver, &Message::Digest(digest))
}

fn answer(id: u32, rows: &[Row]) -> Vec<u8> {
    encode(&Message::Answer(Answer { id, records: &records(rows), ..Answer::default() }))
}

fn records(rows: &[Row]) -> Vec<u8> {
    let mut records = Vec::new();
    rows.iter().for_each(|row| put_row(&mut records, row, START_MS));
    records
}

fn delta(want_id: u32, parts: &[(Delta, std::ops::Range<u64>)]) -> Vec<u8> {
    let mut deltas = Vec::new();
    for (delta, versions) in parts {
        let (mut entries, mut before) = (Vec::new(), delta.from);
        for version in versions.clone() {
            let entry = Entry::new(version, Content::Value(Value::encode(&version).unwrap()), None);
            put_entry(&mut entries, &Key::from(version.to_string()), &entry, before, Instant::ZERO);
            before = version;
        }
        put_delta(&mut deltas, peer(OWNER), delta, &entries, START_MS);
    }
    encode(&Message::Delta(DeltaMessage { want_id, sequence: 0, end: End::Complete, deltas: &deltas }))
}

fn encode(message: &Message<'_>) -> Vec<u8> {
    encode_for(run_hash(peer(2), START_MS), message)
}

fn encode_for(receiver: u32, message: &Message<'_>) -> Vec<u8> {
    let header = Header {
        key_id: 0,
        cluster: "grapevine",
        speaks: 1,
        sender: peer(3),
        generation: START_MS,
        receiver,
        echo: None,
        token: None,
    };
    let mut datagram = Vec::new();
    message.encode(&header, &mut datagram);
    datagram
}

/// The same lie costs about the same, however much it is about: 20 times as much would be a walk through all of it.
fn assert_alike(lie: impl Fn(u32, u64) -> Vec<u8> + Copy) {
    let (few, many) = (Holder::of(FEW).cheapest(lie), Holder::of(MANY).cheapest(lie));
    assert!(many.allocations <= few.allocations + 10, "with {FEW} keys {few:?}, with {MANY} {many:?}");
    let least = few.time.max(Duration::from_micros(100));
    assert!(many.time <= 20 * least, "with {FEW} keys {few:?}, with {MANY} {many:?}");
}

/// One test alone in this program: it counts what all of its threads allocate.
#[test]
fn a_lie_costs_no_more_for_a_large_map() {
    // A record of a later run, and of a later one again: each holds over what is held.
    assert_alike(|id, n| answer(id, &(n..n + TIMES).map(record).collect::<Vec<_>>()));
    // A floor above all that is held, and a higher one again: each begins a transfer.
    assert_alike(|id, n| {
        let head = |floor| Delta { generation: START_MS, from: 0, to: 0, floor: MANY + floor, max: u64::MAX >> 1 };
        delta(id, &(n..n + TIMES).map(|floor| (head(floor), 0..0)).collect::<Vec<_>>())
    });
}
