//! What holds whatever happens: drawn schedules of writes and faults, drawn and damaged datagrams.

mod common;

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};

use grapevine::state::{Content, Delta, Entry, Map, Mark, Progress, Row};
use grapevine::value::Key;
use grapevine::wire::{
    Answer, Columns, CompactDigest, DeltaMessage, Deltas, Digest, End, Header, Message, Rates, Want, WantMessage,
    WireContent, put_delta, put_entry, put_row, put_want,
};
use grapevine::{Config, Event, Peer, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use common::forge::{Forger, mend, row};
use common::net::{Faults, START_MS};
use common::{Net, config, ms, secs};

/// So many cases, the same ones each time: what fails once fails always. `PROPTEST_CASES` and `PROPTEST_RNG_SEED` make it a
/// search for others.
fn cases(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, max_shrink_iters: 2_000, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(1);
    }
    config
}

// Schedules.

#[derive(Clone, Debug)]
enum Op {
    Set { at: usize, key: usize, value: u8 },
    SetFor { at: usize, key: usize, life_ms: u64 },
    Delete { at: usize, key: usize },
    Restart { at: usize, back_ms: i64 },
    Pause { at: usize },
    Resume { at: usize },
    Cut { one: usize, other: usize },
    Heal,
    Run { ms: u64 },
}

const NODES: usize = 4;
const KEYS: [&str; 4] = ["a", "b", "c", "ключ"];

fn op() -> impl Strategy<Value = Op> {
    let (at, key) = (0..NODES, 0..KEYS.len());
    prop_oneof![
        8 => (at.clone(), key.clone(), 0..4u8).prop_map(|(at, key, value)| Op::Set { at, key, value }),
        3 => (at.clone(), key.clone(), 100..9_000u64).prop_map(|(at, key, life_ms)| Op::SetFor { at, key, life_ms }),
        4 => (at.clone(), key).prop_map(|(at, key)| Op::Delete { at, key }),
        1 => (at.clone(), 0..3_600_000i64).prop_map(|(at, back_ms)| Op::Restart { at, back_ms }),
        1 => at.clone().prop_map(|at| Op::Pause { at }),
        1 => at.clone().prop_map(|at| Op::Resume { at }),
        2 => (at.clone(), at).prop_map(|(one, other)| Op::Cut { one, other }),
        1 => Just(Op::Heal),
        // Up to half a minute: tombstones are collected after 15 seconds, and peers forgotten.
        8 => (10..30_000u64).prop_map(|ms| Op::Run { ms }),
    ]
}

fn faults() -> impl Strategy<Value = Faults> {
    (0.0..0.4, 0.0..0.3, 1..800u64).prop_map(|(loss, duplication, slowest)| Faults {
        loss,
        duplication,
        delay: ms(0)..ms(slowest),
    })
}

/// What a node's events add up to, and how many of them were read.
type Told = (BTreeMap<(Peer, Key), Value>, usize);

/// What is known of the world beside what the nodes hold.
struct Witness {
    peers: Vec<Peer>,
    /// For each run of each owner the version of the last write of each key, and whether its tombstone was collected.
    written: BTreeMap<(Peer, u64), BTreeMap<Key, (u64, bool)>>,
    told: BTreeMap<Peer, Told>,
}

impl Witness {
    /// Looks at everything after each step.
    fn look(&mut self, net: &Net) {
        for owner in net.running() {
            let own = net.node(owner).ring().own();
            let written = self.written.entry((owner, own.progress().generation)).or_default();
            for (_, collected) in written.values_mut() {
                *collected = true;
            }
            written.extend(own.map().iter().map(|(key, entry)| (key.clone(), (entry.version, false))));
        }
        for at in net.running() {
            self.invariant(net, at);
            self.events(net, at);
        }
    }

    /// Scuttlebutt's: of every key a node either holds the owner's last version, or that version is above its maximum.
    fn invariant(&self, net: &Net, at: Peer) {
        for (owner, member) in net.node(at).ring().members() {
            let (progress, map) = (member.replica.progress(), member.replica.map());
            let Some(written) = self.written.get(&(owner, progress.generation)) else { continue };
            for (key, (version, collected)) in written {
                let held = map.get(key).map(|entry| entry.version);
                let kept = held == Some(*version) || *collected && (held.is_none() || map.has_held_over());
                assert!(
                    progress.max < *version || kept,
                    "{at} holds {owner}'s {key:?} at {held:?}, says {progress:?}, and lacks {version}"
                );
            }
        }
    }

    /// Events are the differences of the state: added up, they are the state.
    fn events(&mut self, net: &Net, at: Peer) {
        let (told, read) = self.told.entry(at).or_default();
        for (_, event) in &net.events(at)[*read..] {
            match event {
                Event::Update { peer, key, value, .. } => drop(told.insert((*peer, key.clone()), value.clone())),
                Event::Delete { peer, key, .. } => assert!(told.remove(&(*peer, key.clone())).is_some(), "{event:?}"),
                Event::Expire { peer, key, value, .. } => {
                    assert_eq!(told.remove(&(*peer, key.clone())).as_ref(), Some(value), "{event:?}");
                }
                Event::PeerForgotten { peer, .. } => told.retain(|(owner, _), _| owner != peer),
                _ => {}
            }
        }
        *read = net.events(at).len();
        let node = net.node(at);
        let owners = node.peers().map(|(peer, _)| peer).chain([at]);
        let held =
            owners.flat_map(|owner| values(node.map(owner).unwrap()).map(move |(key, value)| ((owner, key), value)));
        let held: BTreeMap<_, _> = held.collect();
        assert_eq!(*told, held, "at {at}");
    }
}

fn values(map: &Map) -> impl Iterator<Item = (Key, Value)> + '_ {
    map.iter().filter_map(|(key, entry)| match &entry.content {
        Content::Value(value) => Some((key.clone(), value.clone())),
        _ => None,
    })
}

fn run(net: &mut Net, witness: &mut Witness, duration: std::time::Duration) {
    let end = net.now + duration;
    while net.step(end) {
        witness.look(net);
    }
}

fn apply(net: &mut Net, witness: &mut Witness, op: &Op) {
    let peer = |at: usize| witness.peers[at];
    match *op {
        Op::Set { at, key, value } => drop(net.set(peer(at), KEYS[key], &value)),
        Op::SetFor { at, key, life_ms } => drop(net.set_for(peer(at), KEYS[key], "brief", ms(life_ms))),
        Op::Delete { at, key } => drop(net.delete(peer(at), KEYS[key])),
        Op::Restart { at, back_ms } => {
            let peer = peer(at);
            net.restart_with_clock(peer, -back_ms);
            witness.told.entry(peer).or_default().0.clear();
        }
        Op::Pause { at } => net.pause(peer(at)),
        Op::Resume { at } => net.resume(peer(at)),
        Op::Cut { one, other } => net.cut(peer(one), peer(other)),
        Op::Heal => net.heal(),
        Op::Run { ms: millis } => run(net, witness, ms(millis)),
    }
    witness.look(net);
}

proptest! {
    #![proptest_config(cases(150))]

    /// Whatever is written and however the network behaves: nobody ever skips anything, events tell what happens, and once the
    /// faults end everyone agrees exactly.
    #[test]
    fn everyone_agrees_once_the_faults_end(seed: u64, faults in faults(), ops in vec(op(), 1..40)) {
        let mut net = Net::new(seed);
        let peers = net.cluster(NODES, Config { grace: secs(15), ..config() });
        net.faults = faults;
        let mut witness = Witness { peers, written: BTreeMap::new(), told: BTreeMap::new() };
        for op in &ops {
            apply(&mut net, &mut witness, op);
        }
        for peer in witness.peers.clone() {
            net.resume(peer);
        }
        net.faults = Faults::NONE;
        net.heal();
        let mut waited = 0;
        while !net.agrees() {
            waited += 1;
            prop_assert!(waited < 200, "no agreement after 200 s: {}", net.disagreement().unwrap());
            run(&mut net, &mut witness, secs(1));
        }
        run(&mut net, &mut witness, secs(20));
    }
}

// Sizes.

proptest! {
    #![proptest_config(cases(25))]

    /// No datagram is ever larger than allowed, however small that is, however long the names and keys; and everything arrives.
    #[test]
    fn no_datagram_is_ever_too_large(
        seed: u64,
        max_datagram in prop_oneof![Just(576usize), 576..3_000usize],
        cluster in "[a-zé]{1,32}",
        ipv6: bool,
        entries in vec((1..=256usize, 0..4_000usize), 1..12),
        nodes in 2..16u16,
    ) {
        let mut net = Net::new(seed);
        net.tap = Some(Vec::new());
        let addr = |n: u16| match ipv6 {
            true => Peer::from(SocketAddr::from((Ipv6Addr::new(0xfd00, 1, 2, 3, 4, 5, 6, n), 9_000))),
            false => Peer::from(SocketAddr::from(([10, 3, 0, n as u8], 9_000))),
        };
        let config = Config { max_datagram, cluster, seeds: vec![addr(0).to_string()], ..config() };
        for n in 0..nodes {
            net.start_at(addr(n), config.clone(), 0);
        }
        net.faults.loss = 0.02;
        for (n, (key_len, value_len)) in entries.iter().enumerate() {
            let key = format!("{n:k<key_len$}");
            let key = &key[..*key_len.max(&1)];
            net.act(addr(n as u16 % nodes), |node, now, out| {
                node.set(now, key, Value::from_bytes(vec![n as u8; *value_len]), None, out).map(drop)
            }).unwrap();
        }
        net.run_for(secs(8));
        net.settle();
        let largest = net.tap.take().unwrap().into_iter().map(|(_, _, datagram)| datagram.len()).max();
        prop_assert!(largest.unwrap() <= max_datagram, "{largest:?} of {max_datagram}");
    }
}

// Datagrams.

/// Datagrams of every kind as they are really sent: digests, answers, pieces, wants.
fn real_datagrams() -> Vec<Vec<u8>> {
    let mut net = busy_net(3);
    net.tap = Some(Vec::new());
    let newcomer = net.join(config(), &[net.running()[0]]);
    net.run_for(ms(1_500));
    net.set(newcomer, "late", "x");
    net.faults.loss = 0.2;
    net.run_for(secs(4));
    let mut kinds: BTreeMap<_, Vec<Vec<u8>>> = BTreeMap::new();
    for (_, _, datagram) in net.tap.take().unwrap() {
        let kind = match Message::decode(&datagram).unwrap().1 {
            Message::Digest(_) => 1,
            Message::CompactDigest(_) => 2,
            Message::Answer(answer) => 3 + u8::from(!answer.deltas.is_empty()),
            Message::Delta(_) => 5,
            Message::Want(_) => 6,
        };
        kinds.entry(kind).or_default().push(datagram);
    }
    assert_eq!(kinds.len(), 6, "every kind of message was sent");
    kinds.into_values().flat_map(|datagrams| datagrams.into_iter().take(20)).collect()
}

/// Three nodes with keys of every sort.
fn busy_net(seed: u64) -> Net {
    let mut net = Net::new(seed);
    let peers = net.cluster(3, config());
    net.settle();
    for n in 0..30 {
        net.set(peers[n % 3], &format!("key{n}"), &vec![n; n * 20]);
        net.set_for(peers[n % 3], &format!("brief{n}"), &n, secs(60));
    }
    for n in 0..5 {
        net.delete(peers[n % 3], &format!("key{n}"));
    }
    net.run_for(secs(6));
    net
}

#[derive(Clone, Debug)]
enum Damage {
    Flip { at: prop::sample::Index, bit: u8 },
    Put { at: prop::sample::Index, byte: u8 },
    Insert { at: prop::sample::Index, bytes: Vec<u8> },
    Cut { at: prop::sample::Index },
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    // Markers of MessagePack do more harm than other bytes.
    let byte = prop_oneof![any::<u8>(), 0xc0..=0xdfu8, Just(0xcf), Just(0xff)];
    prop_oneof![
        4 => (at(), 0..8u8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        4 => (at(), byte).prop_map(|(at, byte)| Damage::Put { at, byte }),
        1 => (at(), vec(any::<u8>(), 1..10)).prop_map(|(at, bytes)| Damage::Insert { at, bytes }),
        1 => at().prop_map(|at| Damage::Cut { at }),
    ]
}

fn damaged(datagram: &[u8], damage: &[Damage]) -> Vec<u8> {
    let mut bytes = datagram.to_vec();
    for damage in damage {
        let len = bytes.len().max(1);
        match damage {
            Damage::Flip { at, bit } => bytes[at.index(len)] ^= 1 << bit,
            Damage::Put { at, byte } => bytes[at.index(len)] = *byte,
            Damage::Insert { at, bytes: new } => drop(bytes.splice(at.index(len)..at.index(len), new.iter().copied())),
            Damage::Cut { at } => bytes.truncate(at.index(len).max(1)),
        }
    }
    // The envelope is left as it was: what is behind it is the matter.
    let head = bytes.len().min(4);
    bytes[..head].copy_from_slice(&datagram[..head]);
    mend(&mut bytes);
    bytes
}

/// Reads all that is in a datagram; returns how much that was.
fn walk(datagram: &[u8]) -> usize {
    let Ok((header, message)) = Message::decode(datagram) else { return 0 };
    let base = header.generation;
    let entries = |deltas: Deltas<'_>| deltas.flatten().map(|part| 1 + part.entries.count()).sum::<usize>();
    match message {
        Message::Digest(digest) => digest.rows(base).count(),
        Message::CompactDigest(digest) => digest.columns.heartbeats().count() + digest.maxima().count(),
        Message::Answer(answer) => {
            let columns = answer.columns.map_or(0, |columns| columns.heartbeats().count());
            columns + answer.rows(base).count() + answer.wants(base).count() + entries(answer.deltas(base))
        }
        Message::Delta(delta) => entries(delta.deltas(base)),
        Message::Want(want) => want.wants(base).count(),
    }
}

/// What its own program wrote. Its tombstones are no part of it: they go when it takes a new generation.
fn own(net: &Net, at: Peer) -> (Vec<(Key, Entry)>, u64) {
    let own = net.node(at).ring().own();
    let entries = own.map().iter().filter(|(_, entry)| matches!(entry.content, Content::Value(_)));
    (entries.map(|(key, entry)| (key.clone(), entry.clone())).collect(), own.progress().max)
}

proptest! {
    #![proptest_config(cases(2_000))]

    /// Arbitrary bytes never panic, and what they hold is no more than what they are.
    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(walk(&bytes) <= bytes.len());
        for (n, magic) in b"GV\x01\x00".iter().enumerate().take(bytes.len()) {
            bytes[n] = *magic;
        }
        mend(&mut bytes);
        prop_assert!(walk(&bytes) <= bytes.len());
    }
}

/// Damaged datagrams with the checksum mended: they never panic, never change the receiver's own map, and draw no more than
/// three times their size for an address that is not proved; and the node goes on.
#[test]
fn damaged_datagrams_do_no_lasting_harm() {
    let datagrams = real_datagrams();
    let mut net = busy_net(4);
    let peers = net.running();
    let friend = peers[1].addr();
    let stranger = SocketAddr::from(([10, 8, 8, 8], 8));
    let mut runner = proptest::test_runner::TestRunner::new(cases(3_000));
    let strategy = (any::<prop::sample::Index>(), vec(damage(), 1..6), any::<bool>());
    let cell = std::cell::RefCell::new(&mut net);
    let result = runner.run(&strategy, |(index, damage, known)| {
        let net = &mut **cell.borrow_mut();
        let datagram = damaged(&datagrams[index.index(datagrams.len())], &damage);
        prop_assert!(walk(&datagram) <= datagram.len());
        let before = own(net, peers[0]);
        let from = if known { friend } else { stranger };
        let sent = net.hand(peers[0], from, &datagram);
        prop_assert_eq!(own(net, peers[0]), before);
        if !known {
            let drawn: usize = sent.iter().filter(|(to, _)| *to == from).map(|(_, bytes)| bytes.len()).sum();
            prop_assert!(drawn <= 3 * datagram.len(), "{} bytes for {}", drawn, datagram.len());
        }
        prop_assert!(sent.iter().all(|(_, bytes)| bytes.len() <= 1_400));
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    net.run_for(secs(30));
    assert!(peers.iter().all(|peer| net.node(*peer).stats().rounds >= 30));
    assert!(net.node(peers[0]).ring().len() <= net.node(peers[0]).config().limits.peers);
}

proptest! {
    #![proptest_config(cases(500))]

    /// An address that has not proved itself gets no more than three times what it sent, in whatever message, whatever it
    /// claims of itself.
    #[test]
    fn who_is_not_proved_gets_three_times_its_bytes_at_most(
        claims: bool, asks in 0..20usize, padding in 0..900usize, kind in 0..4u8, generation in 0..3u64, max in 0..50u64,
    ) {
        let mut net = three_times_net();
        let at = net.running()[0];
        let forger = Forger::new();
        let mut rows: Vec<Row> = net.running().iter().map(|peer| row(*peer, START_MS + generation * 500, 0, max)).collect();
        if claims {
            rows.push(row(forger.sender, START_MS, 1, max));
        }
        rows.truncate(asks + 1);
        let progress = Progress { generation: START_MS + generation * 500, max, floor: 0 };
        let wants: Vec<Want> = rows.iter().map(|row| Want { owner: row.peer, progress, unfinished: (0, 0) }).collect();
        let datagram = match kind {
            0 => forger.digest_of(Some((rows[0].peer, rows[0].peer)), &rows, padding),
            1 => forger.digest_of(None, &rows, padding),
            2 => forger.answer(&rows, &[]),
            _ => forger.want(64, &wants),
        };
        let sent = net.hand(at, forger.addr(), &datagram);
        let drawn: usize = sent.iter().filter(|(to, _)| *to == forger.addr()).map(|(_, bytes)| bytes.len()).sum();
        prop_assert!(drawn <= 3 * datagram.len(), "{} bytes for {}", drawn, datagram.len());
    }
}

fn three_times_net() -> Net {
    let mut net = Net::new(5);
    let peers = net.cluster(2, config());
    net.run_for(secs(3));
    for n in 0..40 {
        net.set(peers[n % 2], &format!("key{n}"), "something to tell");
    }
    net.run_for(secs(1));
    net
}

// Round trips.

fn any_peer() -> impl Strategy<Value = Peer> {
    let v4 = (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| Peer::from(SocketAddr::from((ip, port))));
    let v6 = (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| Peer::from(SocketAddr::from((ip, port))));
    prop_oneof![v4, v6]
}

fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![0..200u64, any::<u32>().prop_map(u64::from), any::<u64>(), Just(u64::MAX)]
}

fn any_window() -> impl Strategy<Value = (Peer, Peer)> {
    (any_peer(), any_peer())
}

fn any_progress() -> impl Strategy<Value = Progress> {
    (any_number(), any_number(), any_number()).prop_map(|(generation, max, floor)| Progress { generation, max, floor })
}

proptest! {
    #![proptest_config(cases(300))]

    /// What is encoded is decoded as it was.
    #[test]
    fn messages_survive_the_trip(
        (cluster, sender, generation, speaks) in (".{0,20}", any_peer(), any_number(), any::<u8>()),
        (echo, token) in (proptest::option::of(any_number()), proptest::option::of(any_number())),
        (id, want_id, credit, sequence) in any::<(u32, u32, u8, u8)>(),
        (window, rest, windowed) in (any_window(), proptest::option::of(any_window()), any::<bool>()),
        (wanted, permitted, roster, base, tick) in (any_number(), any_number(), any_number(), any_number(), any_number()),
        (one, two, three) in (vec(any::<u8>(), 0..400), vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..300)),
        (rate_change, padding) in (any::<i64>(), 0..400usize),
    ) {
        let header = Header { cluster: &cluster, speaks, sender, generation, echo, token };
        let rates = Rates { wanted, permitted };
        let columns = Columns { window, roster, base, tick, heartbeats: &two };
        let messages = [
            Message::Digest(Digest { id, window: windowed.then_some(window), rates, records: &one, padding }),
            Message::CompactDigest(CompactDigest { id, rates, columns, maxima: &three }),
            Message::Answer(Answer {
                id,
                rest,
                rate_change,
                columns: windowed.then_some(columns),
                records: &one,
                want_id,
                credit,
                wants: &two,
                deltas: &three,
            }),
            Message::Delta(DeltaMessage { want_id, sequence, end: End::CreditUsed, deltas: &one }),
            Message::Want(WantMessage { want_id, credit, wants: &one }),
        ];
        for message in messages {
            let mut bytes = vec![1, 2, 3];
            message.encode(&header, &mut bytes);
            prop_assert_eq!(Message::decode(&bytes[3..]), Ok((header, message)));
        }
    }

    /// So are the sequences in them.
    #[test]
    fn records_survive_the_trip(
        base in any_number(),
        rows in vec((any_peer(), any_number(), any_progress(), 0..3usize), 0..10),
        wants in vec((any_peer(), any_progress(), any_number(), any_number()), 0..10),
        parts in vec((any_peer(), any_number(), any::<[u16; 3]>(), any_number(),
            vec((".{0,10}", 1..1_000u64, 0..3u8, proptest::option::of(0..1_000_000u64), vec(any::<u8>(), 0..20)), 0..6)), 0..4),
    ) {
        let marks = [Mark::None, Mark::Left, Mark::Forgotten];
        let rows: Vec<Row> = rows.into_iter()
            .map(|(peer, heartbeat, progress, mark)| Row { peer, heartbeat, progress, mark: marks[mark] }).collect();
        let wants: Vec<Want> = wants.into_iter()
            .map(|(owner, progress, version, bytes)| Want { owner, progress, unfinished: (version, bytes) }).collect();
        let (mut records, mut asked, mut deltas) = (Vec::new(), Vec::new(), Vec::new());
        rows.iter().for_each(|row| put_row(&mut records, row, base));
        wants.iter().for_each(|want| put_want(&mut asked, want, base));
        let now = grapevine::instant::Instant::from_micros(77_000);
        let mut expected = Vec::new();
        for (owner, generation, [from, more, beyond], floor, entries) in parts {
            let (from, more, beyond) = (u64::from(from), u64::from(more), u64::from(beyond));
            let delta = Delta { generation, from, to: from + more, floor, max: from + more + beyond };
            let (mut bytes, mut previous, mut told) = (Vec::new(), from, Vec::new());
            for (key, step, content, life, value) in entries {
                let content = match content {
                    0 => Content::Value(Value::from_bytes(value.clone())),
                    1 => Content::Deleted,
                    _ => Content::Expired,
                };
                let deadline = life.map(|life| now + ms(life + 1));
                let entry = Entry::new(previous + step, content.clone(), deadline);
                put_entry(&mut bytes, &Key::from(key.as_str()), &entry, previous, now);
                previous = entry.version;
                told.push((key, previous, life.map(|life| ms(life + 1)), content));
            }
            put_delta(&mut deltas, owner, &delta, &bytes, base);
            expected.push((owner, delta, told));
        }
        let answer = Answer { records: &records, wants: &asked, deltas: &deltas, ..Answer::default() };
        prop_assert_eq!(answer.rows(base).collect::<Result<Vec<_>, _>>(), Ok(rows));
        prop_assert_eq!(answer.wants(base).collect::<Result<Vec<_>, _>>(), Ok(wants));
        let got: Vec<_> = answer.deltas(base).map(|part| {
            let part = part.unwrap();
            let told: Vec<_> = part.entries.map(|entry| {
                let entry = entry.unwrap();
                let content = match entry.content {
                    WireContent::Value(bytes) => Content::Value(Value::from_bytes(bytes)),
                    WireContent::Deleted => Content::Deleted,
                    WireContent::Expired => Content::Expired,
                    WireContent::Piece { .. } => unreachable!("no piece was put"),
                };
                (entry.key.to_owned(), entry.version, entry.life, content)
            }).collect();
            (part.owner, part.delta, told)
        }).collect();
        prop_assert_eq!(got, expected);
    }
}
