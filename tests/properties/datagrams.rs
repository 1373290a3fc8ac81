//! Whatever arrives: nothing lasting comes of damage, nothing panics, no datagram and no answer is too large.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};

use grapevine::state::{Content, Entry, Progress, Row};
use grapevine::value::Key;
use grapevine::wire::{Deltas, Message, Want};
use grapevine::{Config, Peer, Value};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases;
use crate::common::forge::{Forger, mend, row};
use crate::common::net::START_MS;
use crate::common::{Net, config, ms, secs};

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
        net.tap();
        let addr = |n: u16| match ipv6 {
            true => Peer::from(SocketAddr::from((Ipv6Addr::new(0xfd00, 1, 2, 3, 4, 5, 6, n), 9_000))),
            false => Peer::from(SocketAddr::from(([10, 3, 0, n as u8], 9_000))),
        };
        let config = Config { max_datagram, cluster, seeds: vec![addr(0).to_string()], ..config() };
        for n in 0..nodes {
            net.start_at(addr(n), config.clone(), 0);
        }
        net.faults().loss = 0.02;
        for (n, (key_len, value_len)) in entries.iter().enumerate() {
            let key = format!("{n:k<key_len$}");
            let key = &key[..*key_len.max(&1)];
            net.act(addr(n as u16 % nodes), |node, now, out| {
                node.set(now, key, Value::from_bytes(vec![n as u8; *value_len]), None, out).map(drop)
            }).unwrap();
        }
        net.run_for(secs(8));
        net.settle();
        let largest = net.tapped().into_iter().map(|(_, _, datagram)| datagram.len()).max();
        prop_assert!(largest.unwrap() <= max_datagram, "{largest:?} of {max_datagram}");
    }
}

/// Datagrams of every kind as they are really sent: digests, answers, pieces, wants.
fn real_datagrams() -> Vec<Vec<u8>> {
    let mut net = busy_net(3);
    net.tap();
    let newcomer = net.join(config(), &[net.running()[0]]);
    net.run_for(ms(1_500));
    net.set(newcomer, "late", "x");
    net.faults().loss = 0.2;
    net.run_for(secs(4));
    let mut kinds: BTreeMap<_, Vec<Vec<u8>>> = BTreeMap::new();
    for (_, _, datagram) in net.tapped() {
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
