//! How the originals failed: expiry, deletion, bounds, order, addresses.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use grapevine::state::Row;
use grapevine::stats::Refusal;
use grapevine::wire::Message;
use grapevine::{Config, Error, Event, Gossiper, Peer, PeerState, Value};

use crate::common::forge::{Forger, delta, peer, row, told};
use crate::common::net::{Faults, START_MS};
use crate::common::{Net, config, ms, secs};

fn with_key<'a>(net: &'a Net, at: Peer, name: &'a str) -> impl Iterator<Item = &'a Event> {
    net.events(at).iter().map(|(_, event)| event).filter(move |event| event.key() == Some(name))
}

/// "Expiry depends on the two clocks agreeing." Here the wall clocks are up to 22 hours apart, and the monotonic ones never
/// showed the same.
#[test]
fn expiry_does_not_depend_on_clocks() {
    let mut net = Net::new(60);
    let first = net.start(config());
    let mut peers = vec![first];
    for (n, clock_ms) in [-40_000_000, 3_600_000, 40_000_000].into_iter().enumerate() {
        net.run_for(secs(100));
        let seeds = vec![first.to_string()];
        peers.push(net.start_at(peer(&format!("10.0.1.{n}:9000")), Config { seeds, ..config() }, clock_ms));
    }
    net.settle();
    for owner in &peers {
        net.set_for(*owner, "brief", "x", secs(4));
        net.run_for(ms(3900));
        assert!(peers.iter().all(|at| net.get(*at, *owner, "brief").is_some()));
        net.run_for(ms(150));
        assert!(peers.iter().all(|at| net.get(*at, *owner, "brief").is_none()));
        net.run_for(secs(3));
    }
    for at in &peers {
        assert_eq!(net.count(*at, |event| matches!(event, Event::Expire { .. })), peers.len());
    }
}

/// "An expired update does not advance the version, so it is asked for again in every exchange."
#[test]
fn what_expired_is_not_asked_for_again() {
    let mut net = Net::new(61);
    let peers = net.cluster(4, config());
    net.set(peers[1], "stays", "x");
    net.set_for(peers[1], "brief", "x", secs(2));
    net.settle();
    net.run_for(secs(10));
    let newcomer = net.join(config(), &[peers[0]]);
    net.settle();
    let version = net.node(peers[1]).ring().own().progress().max;
    assert_eq!(version, 4, "the end of a life is a write of its own");
    for at in [peers[0], peers[2], peers[3], newcomer] {
        assert_eq!(net.node(at).ring().row(peers[1]).unwrap().progress.max, version);
    }
    net.run_for(secs(3));
    net.tap();
    net.run_for(secs(20));
    for (_, _, datagram) in net.tapped() {
        let (header, message) = Message::decode(&datagram).unwrap();
        match message {
            Message::Answer(answer) => {
                assert_eq!((answer.wants(header.generation).count(), answer.deltas.len()), (0, 0));
            }
            Message::Digest(_) | Message::CompactDigest(_) => {}
            other => panic!("{other:?} in a quiet cluster"),
        }
    }
}

/// "A key that lives 1.5 s reached 6 of 49 peers."
#[test]
fn a_short_life_reaches_everyone() {
    let mut net = Net::new(62);
    let peers = net.cluster(50, config());
    net.settle();
    net.run_for(secs(5));
    net.set_for(peers[17], "brief", "x", ms(1500));
    net.run_for(secs(5));
    for at in &peers {
        let kinds: Vec<_> = with_key(&net, *at, "brief").map(Event::kind).collect();
        assert_eq!(kinds, [grapevine::EventKind::Update, grapevine::EventKind::Expire], "{at}");
    }
}

/// The successor: "a key's remaining life starts again at each hop." Here the key crosses a chain of four slow links, and
/// the last hop is made when most of its life is over and its owner, who could tell the end of it, is dead.
#[test]
fn a_life_does_not_start_again_at_each_hop() {
    let mut net = Net::new(63);
    let peers = net.cluster(5, config());
    net.settle();
    net.cut(&peers[..1], &peers[2..]);
    net.cut(&peers[..2], &peers[3..]);
    net.cut(&peers[..3], &peers[4..]);
    *net.faults() = Faults { delay: ms(200)..ms(300), ..Faults::NONE };
    net.cut(&[peers[3]], &[peers[4]]);
    let set = net.now();
    net.set_for(peers[0], "brief", "x", secs(20));
    net.run_for(secs(12));
    assert!(net.get(peers[3], peers[0], "brief").is_some());
    assert!(net.get(peers[4], peers[0], "brief").is_none());
    net.crash(peers[0]);
    net.heal();
    net.run_until(secs(5), |net| net.get(peers[4], peers[0], "brief").is_some()).unwrap();
    net.run_for(secs(60));
    for at in &peers[1..] {
        let expired = net.events(*at).iter().find(|(_, event)| matches!(event, Event::Expire { .. })).unwrap().0;
        // Each hop may add what the datagram took, and no more.
        assert!(expired - set >= secs(20) && expired - set <= secs(20) + 4 * ms(300), "{:?} at {at}", expired - set);
        assert_eq!(net.count(*at, |event| matches!(event, Event::Expire { .. })), 1);
        assert_eq!(net.get(*at, peers[0], "brief"), None);
    }
}

/// "No delete; a key named `__proto__` breaks the next delta." The successor: "a key that starts with a non-ASCII character
/// panics every *other* node", "its listeners see no deletes".
#[test]
fn every_key_can_be_set_and_deleted() {
    let names = ["__proto__", "constructor", "toString", "", "\u{0}", "ключ", "🍇", "é", "a/b\nc", " "];
    let mut net = Net::new(64);
    let peers = net.cluster(3, config());
    net.settle();
    for name in names {
        net.set(peers[1], name, name);
        net.run_for(secs(1));
        let shown = Value::encode(name).unwrap().to_string();
        for at in &peers {
            assert_eq!(net.get(*at, peers[1], name).as_ref(), Some(&shown), "{name:?}");
        }
        net.delete(peers[1], name).unwrap();
        assert_eq!(net.delete(peers[1], name), None, "deleted already");
        net.run_for(secs(1));
        for at in &peers {
            assert_eq!(net.get(*at, peers[1], name), None, "{name:?}");
            let kinds: Vec<_> = with_key(&net, *at, name).map(Event::kind).collect();
            assert_eq!(kinds, [grapevine::EventKind::Update, grapevine::EventKind::Delete], "{name:?} at {at}");
        }
    }
    net.settle();
}

/// "No delete": what was deleted does not come back, from no one who was away, and not after its tombstone was collected.
#[test]
fn what_was_deleted_does_not_come_back() {
    let mut net = Net::new(65);
    let config = Config { grace: secs(30), ..config() };
    let peers = net.cluster(4, config.clone());
    for n in 0..20 {
        net.set(peers[1], &format!("key{n}"), &n);
    }
    net.settle();
    for away in [secs(20), secs(100)] {
        net.cut(&peers[..3], &peers[3..]);
        let victim =
            net.node(peers[1]).map(peers[1]).unwrap().readable("", net.local(peers[1])).next().unwrap().0.clone();
        net.delete(peers[1], &victim);
        net.run_for(away);
        net.settle();
        net.run_for(away);
        assert!(net.running().iter().all(|at| net.get(*at, peers[1], &victim).is_none()), "{victim} after {away:?}");
    }
    assert!(net.node(peers[1]).ring().own().progress().floor > 0, "tombstones were collected");
    assert_eq!(net.node(peers[1]).map(peers[1]).unwrap().len(), 18, "and are gone");
    net.settle();
}

/// "No bounds: a 20 MB value is accepted." The successor: "a value above 65,441 bytes is accepted and then silently blocks
/// that node's later keys for ever." Here the limit is told at `set`, and what is within it arrives.
#[test]
fn a_value_above_the_limit_is_told_at_once() {
    let mut net = Net::new(66);
    let peers = net.cluster(3, config());
    net.settle();
    let limit = net.node(peers[0]).config().limits.value_bytes;
    for len in [limit + 1, 20_000_000] {
        let value = Value::from_bytes(vec![0; len]);
        let told = net.act(peers[0], |node, now, out| node.set(now, "large", value, None, out));
        assert!(matches!(told, Err(Error::ValueTooLarge { len: told, limit: most }) if (told, most) == (len, limit)));
    }
    assert_eq!(net.get(peers[0], peers[0], "large"), None);
    for len in [65_441, 65_442, limit] {
        let value = Value::from_bytes(vec![len as u8; len]);
        net.act(peers[0], |node, now, out| node.set(now, "large", value.clone(), None, out)).unwrap();
        net.set(peers[0], "after", &len);
        net.settle();
        for at in &peers[1..] {
            let map = net.node(*at).map(peers[0]).unwrap();
            assert_eq!(map.get("large").unwrap().readable(net.local(*at)), Some(&value));
            assert_eq!(net.get(*at, peers[0], "after"), Some(len.to_string()));
        }
    }
    let long = "k".repeat(257);
    let told = net.act(peers[0], |node, now, out| node.set(now, &long, Value::encode(&1).unwrap(), None, out));
    assert!(matches!(told, Err(Error::KeyTooLong { len: 257, limit: 256 })));
}

/// A value that only others cannot hold is refused there, and keeps nothing after it from arriving.
#[test]
fn a_value_above_anothers_limit_blocks_nothing() {
    let mut net = Net::new(67);
    let roomy = net.start(config());
    let limits = grapevine::config::Limits { value_bytes: 100, keys: 20, ..Default::default() };
    let narrow = net.join(Config { limits, ..config() }, &[roomy]);
    let other = net.join(config(), &[narrow]);
    net.settle();
    for n in 0..10 {
        net.set(roomy, &format!("large{n}"), &vec![7u8; 5_000]);
        net.set(roomy, &format!("small{n}"), &n);
    }
    net.run_for(secs(20));
    for n in 0..10 {
        assert_eq!(net.get(narrow, roomy, &format!("small{n}")), Some(n.to_string()));
        assert_eq!(net.get(narrow, roomy, &format!("large{n}")), None);
        assert!(net.get(other, roomy, &format!("large{n}")).is_some());
    }
    let refused = net.node(narrow).stats().refused.get(Refusal::ValueTooLarge);
    assert!((10..=40).contains(&refused), "{refused}: told once, and not sent for ever");
    net.run_for(secs(60));
    assert_eq!(net.node(narrow).stats().refused.get(Refusal::ValueTooLarge), refused);
}

/// "No bounds: a 300 MiB message costs 319 MB": what is longer than a datagram may be is dropped unread.
#[test]
fn a_message_that_is_too_long_is_dropped_unread() {
    let mut net = Net::new(68);
    let me = net.start(config());
    let forger = Forger::new();
    let long = forger.digest_of(None, &[row(peer("10.1.1.1:1"), START_MS, 1, 1)], 1_400);
    for datagram in [long, vec![0; 65_507], vec![b'G'; 1_401]] {
        net.hand(me, forger.addr(), &datagram);
    }
    assert_eq!(net.node(me).stats().refused.get(Refusal::TooLarge), 3);
    assert_eq!(net.node(me).peers().count(), 0);
}

/// "The digest grows without end": a round's digests keep to their budget, however many peers there are.
#[test]
fn digests_do_not_grow_without_end() {
    let mut net = Net::new(69);
    let config = Config { bytes_per_round: 10_000, ..config() };
    let me = net.start(config);
    let forger = Forger::new();
    let name = |n: u32| Peer::from(SocketAddr::from(([172, 16, (n >> 8) as u8, n as u8], 1)));
    for heartbeat in 1..3 {
        for part in 0..100 {
            let rows: Vec<Row> = (0..40).map(|n| row(name(part * 40 + n), START_MS, heartbeat, 1)).collect();
            net.hand(me, forger.addr(), &forger.news(&rows));
        }
    }
    assert_eq!(net.listed(me, PeerState::Alive).len(), 4_000);
    for _ in 0..3 {
        net.tap();
        net.run_for(secs(1));
        let sent = net.tapped();
        let digests = sent.iter().filter(|(_, _, datagram)| {
            matches!(Message::decode(datagram), Ok((_, Message::Digest(_) | Message::CompactDigest(_))))
        });
        let bytes: usize = digests.map(|(_, _, datagram)| datagram.len()).sum();
        // One known peer, one failed one and one seed are tried beside that.
        assert!(bytes <= 10_000 + 3 * 1_400, "{bytes} bytes in a round");
        assert!(sent.iter().all(|(_, _, datagram)| datagram.len() <= 1_400));
    }
}

/// "Out-of-order application of a delta loses the older keys."
#[test]
fn what_overtakes_does_not_lose_what_it_overtook() {
    let mut net = Net::new(70);
    let me = net.start(config());
    let (forger, other) = (Forger::new(), peer("10.1.1.1:80"));
    net.hand(me, forger.addr(), &forger.news(&[row(other, START_MS, 1, 6)]));
    let older = forger.part(other, delta(START_MS, 0, 3), &[("a", 2, "x"), ("b", 3, "x")]);
    let newer = forger.part(other, delta(START_MS, 3, 6), &[("c", 5, "x"), ("b", 6, "y")]);
    net.hand(me, forger.addr(), &forger.delta(&newer));
    assert!(net.node(me).map(other).unwrap().is_empty(), "what came before it has not come");
    assert_eq!(net.node(me).stats().gaps, 1);
    for part in [&older, &newer, &older, &newer] {
        net.hand(me, forger.addr(), &forger.delta(part));
    }
    for (key, value) in [("a", "\"x\""), ("b", "\"y\""), ("c", "\"x\"")] {
        assert_eq!(net.get(me, other, key).as_deref(), Some(value));
    }
    assert_eq!(net.count(me, |event| matches!(event, Event::Update { .. })), 4);
}

/// The paper's Fig. 1, on which the ordering rule hangs: with room for one entry both are sent only the oldest, and have
/// then nothing to tell each other.
#[test]
fn who_holds_a_gap_has_nothing_to_tell() {
    let mut net = Net::new(71);
    let (p, q) = (net.start(config()), net.start(config()));
    let (forger, r) = (Forger::new(), peer("10.1.1.1:80"));
    for (at, base) in [(p, 0), (q, 10)] {
        net.hand(at, forger.addr(), &forger.news(&[row(r, START_MS, 1, 23)]));
        let old = [("a", base + 1, "old"), ("b", base + 2, "old"), ("c", base + 3, "old")];
        net.hand(at, forger.addr(), &forger.delta(&forger.part(r, delta(START_MS, 0, base + 3), &old)));
        let cut = grapevine::state::Delta { max: 23, ..delta(START_MS, base + 3, 21) };
        net.hand(at, forger.addr(), &forger.delta(&forger.part(r, cut, &[("a", 21, "new")])));
    }
    for (at, with) in [(p, q), (q, p)] {
        let theirs = *net.node(with).ring().row(r).as_ref().unwrap();
        let answers = net.hand(at, forger.addr(), &forger.digest(&[theirs]));
        assert!(!answers.is_empty() && answers.iter().all(|(_, answer)| told(answer, r).is_empty()));
    }
}

/// "An address in use is swallowed and the peer gossips on."
#[test]
fn an_address_in_use_is_an_error_at_the_start() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let started = Gossiper::builder().bind(taken.local_addr().unwrap()).start();
    let error = started.unwrap_err();
    assert!(matches!(&error, Error::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse));
    assert!(error.to_string().contains("in use"), "{error}");
}

/// "`localhost` as a seed … becomes a ghost peer, live for ever": a seed's name is no peer, its addresses are tried, and one
/// that is this node itself does no harm.
#[test]
fn a_seeds_name_is_no_peer() {
    let mut net = Net::new(72);
    let first = net.start(config());
    let absent = peer("10.5.5.5:5").addr();
    net.name("localhost:9000", &[absent, first.addr()]);
    let seeds = vec!["localhost:9000".to_owned()];
    let second = net.start(Config { seeds: seeds.clone(), ..config() });
    assert!(net.run_until(secs(20), |net| net.listed(second, PeerState::Alive) == [first]).is_some());
    assert_eq!(net.node(second).peers().count(), 1);
    // The name moves on to another address: it is looked up whenever it is tried ("seeds resolved once").
    let third = net.start(Config { seeds, ..config() });
    net.settle();
    net.cut(&[first], &[second, third]);
    let fourth = net.start(config());
    net.name("localhost:9000", &[third.addr(), fourth.addr()]);
    let found = net.run_until(secs(60), |net| net.state(second, fourth) == Some(PeerState::Alive));
    assert!(found.is_some());
    assert_eq!(net.node(third).peers().filter(|(peer, _)| *peer == third).count(), 0);
}

/// "…and `0.0.0.0` as a bind address become ghost peers, live for ever": nobody gossips it, nobody believes it.
#[test]
fn a_wildcard_address_is_no_peer() {
    for wildcard in ["0.0.0.0:0", "[::]:0"] {
        let error = Gossiper::builder().bind(wildcard).start().unwrap_err();
        assert!(matches!(error, Error::Config { setting: "advertise", .. }), "{error}");
    }
    let mut net = Net::new(73);
    let me = net.start(config());
    let forger = Forger::new();
    for bad in ["0.0.0.0:9000", "[::]:9000", "10.1.1.1:0"] {
        net.hand(me, forger.addr(), &forger.news(&[row(peer(bad), START_MS, 5, 5)]));
        let sender = Forger { sender: peer(bad), ..forger };
        net.hand(me, forger.addr(), &sender.digest(&[row(peer(bad), START_MS, 5, 5)]));
    }
    assert_eq!(net.node(me).stats().refused.get(Refusal::BadAddress), 6);
    assert_eq!(net.node(me).peers().count(), 0);
}

/// A node that is its own seed, under its name or an alias, is no peer of itself.
#[test]
fn ones_own_address_among_the_seeds_does_no_harm() {
    let mut net = Net::new(74);
    let first = net.start(config());
    net.name("me.example:9000", &[peer("10.0.0.1:9000").addr()]);
    let seeds = vec!["me.example:9000".to_owned(), "10.0.0.1:9000".to_owned(), first.to_string()];
    let me = net.start(Config { seeds, ..config() });
    assert_eq!(me, peer("10.0.0.1:9000"));
    net.settle();
    net.run_for(Duration::from_secs(60));
    assert_eq!(net.node(me).peers().count(), 1);
    assert_eq!(net.count(me, |event| matches!(event, Event::AddressConflict { .. })), 0);
}
