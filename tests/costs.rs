//! What one datagram costs is in proportion to its own size, not to how much is held here.

use std::alloc::System;
use std::net::SocketAddr;
use std::time::{Duration, Instant as Clock};

use grapevine::instant::Instant;
use grapevine::node::{Node, Output};
use grapevine::state::{Content, Delta, Entry, Mark, Progress, Row};
use grapevine::value::Key;
use grapevine::wire::{Answer, DeltaMessage, End, Header, Message, put_delta, put_entry, put_row, run_hash};
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
        let mut holder = Holder { node, now: Instant::ZERO, out: Output::new() };
        holder.hand(&answer(&[record(0)]));
        for from in (0..keys).step_by(1_000) {
            let to = keys.min(from + 1_000);
            holder.hand(&delta(&[(Delta { generation: START_MS, from, to, floor: 0, max: keys }, from + 1..to + 1)]));
        }
        assert_eq!(holder.node.map(peer(OWNER)).map_or(0, |map| map.len()) as u64, keys);
        holder
    }

    fn hand(&mut self, datagram: &[u8]) -> Cost {
        self.now = self.now + Duration::from_millis(1);
        self.out.clear();
        let (region, start) = (Region::new(ALLOCATOR), Clock::now());
        self.node.handle_datagram(self.now, peer(3).addr(), datagram, &mut self.out);
        Cost { time: start.elapsed(), allocations: region.change().allocations }
    }

    /// What the cheapest of some datagrams took: the first has to take apart what others put together.
    fn cheapest(&mut self, lie: impl Fn(u64) -> Vec<u8>) -> Cost {
        let costs: Vec<Cost> = (1..=10).map(|n| self.hand(&lie(n * TIMES))).collect();
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

fn answer(rows: &[Row]) -> Vec<u8> {
    let mut records = Vec::new();
    rows.iter().for_each(|row| put_row(&mut records, row, START_MS));
    encode(&Message::Answer(Answer { records: &records, ..Answer::default() }))
}

fn delta(parts: &[(Delta, std::ops::Range<u64>)]) -> Vec<u8> {
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
    encode(&Message::Delta(DeltaMessage { want_id: 1, sequence: 0, end: End::Complete, deltas: &deltas }))
}

fn encode(message: &Message<'_>) -> Vec<u8> {
    let header = Header {
        key_id: 0,
        cluster: "grapevine",
        speaks: 1,
        sender: peer(3),
        generation: START_MS,
        receiver: run_hash(peer(2), START_MS),
        echo: None,
        token: None,
    };
    let mut datagram = Vec::new();
    message.encode(&header, &mut datagram);
    datagram
}

/// The same lie costs about the same, however much it is about: 20 times as much would be a walk through all of it.
fn assert_alike(lie: impl Fn(u64) -> Vec<u8> + Copy) {
    let (few, many) = (Holder::of(FEW).cheapest(lie), Holder::of(MANY).cheapest(lie));
    assert!(many.allocations <= few.allocations + 10, "with {FEW} keys {few:?}, with {MANY} {many:?}");
    let least = few.time.max(Duration::from_micros(100));
    assert!(many.time <= 20 * least, "with {FEW} keys {few:?}, with {MANY} {many:?}");
}

/// One test alone in this program: it counts what all of its threads allocate.
#[test]
fn a_lie_costs_no_more_for_a_large_map() {
    // A record of a later run, and of a later one again: each holds over what is held.
    assert_alike(|n| answer(&(n..n + TIMES).map(record).collect::<Vec<_>>()));
    // A floor above all that is held, and a higher one again: each begins a transfer.
    assert_alike(|n| {
        let head = |floor| Delta { generation: START_MS, from: 0, to: 0, floor: MANY + floor, max: u64::MAX >> 1 };
        delta(&(n..n + TIMES).map(|floor| (head(floor), 0..0)).collect::<Vec<_>>())
    });
}
