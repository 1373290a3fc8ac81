//! What the test suites of the originals checked, numbered as in their record.

use std::collections::BTreeMap;

use grapevine::detector::{Detector, DetectorConfig, Judge};
use grapevine::instant::Instant;
use grapevine::state::{Change, OwnMap};
use grapevine::value::{Key, Value};
use grapevine::wire::Message;
use grapevine::{Event, PeerState};
use serde::{Deserialize, Serialize};

use crate::common::forge::{Forger, delta, peer, row, told, wants};
use crate::common::net::START_MS;
use crate::common::{Net, config, ms, secs};

fn is_update(event: &Event) -> bool {
    matches!(event, Event::Update { .. })
}

/// Behaviour 1: "Versions a=10, b=12, c=22: the digest says so."
#[test]
fn behaviour_1_the_digest_tells_the_highest_version_of_each_peer() {
    let mut net = Net::new(1);
    let peers = net.cluster(4, config());
    net.settle();
    for (peer, version) in [(peers[0], 10), (peers[1], 12), (peers[2], 22)] {
        // A map starts at version 1, and each new value takes the next one.
        let last = (2..=version).map(|n| net.set(peer, "n", &n)).last();
        assert_eq!(last, Some(version));
    }
    net.settle();
    net.tap();
    net.run_for(secs(3));
    let sent = net.tapped();
    let mut digests = 0;
    for (_, _, datagram) in sent.iter().filter(|(from, ..)| *from == peers[3]) {
        // Nothing has happened for a while, so that digests come in columns, in the order of the ring.
        if let Ok((_, Message::CompactDigest(digest))) = Message::decode(datagram) {
            let maxima: Vec<u64> = digest.maxima().map(Result::unwrap).collect();
            let mut expected = [10, 12, 22, 1];
            expected.rotate_left(peers.iter().position(|peer| *peer == digest.columns.window.0).unwrap());
            assert_eq!(maxima, expected);
            digests += 1;
        }
    }
    assert!(digests >= 3);
}

/// Behaviour 2: "A digest that names an unknown peer: that peer is new, and everything of it is requested (from version
/// 0)."
#[test]
fn behaviour_2_everything_is_asked_of_an_unknown_peer_in_a_digest() {
    let mut net = Net::new(2);
    let me = net.start(config());
    let stranger = peer("10.1.1.1:80");
    let forger = Forger::new();
    let answers = net.hand(me, forger.addr(), &forger.digest(&[row(stranger, START_MS, 5, 7)]));
    assert!(matches!(net.take_events(me)[..], [Event::NewPeer { peer, generation: START_MS }] if peer == stranger));
    assert_eq!(net.state(me, stranger), Some(PeerState::Known), "named is not alive");
    let asked: Vec<_> = answers.iter().flat_map(|(_, datagram)| wants(datagram)).collect();
    assert_eq!((asked.len(), asked[0].owner, asked[0].progress.max), (1, stranger, 0));
}

/// Behaviour 3: "`me` holds hi=hello (v1), meh=goodbye (v2); a digest with me=0 is answered with both, in version
/// order."
#[test]
fn behaviour_3_who_holds_nothing_is_answered_with_everything_in_version_order() {
    let mut net = Net::new(3);
    let me = net.start(config());
    net.set(me, "hi", "hello");
    net.set(me, "meh", "goodbye");
    let forger = Forger::new();
    let answers = net.hand(me, forger.addr(), &forger.digest(&[row(me, START_MS + 1000, 0, 0)]));
    let both = [("hi".to_owned(), 2, "\"hello\"".to_owned()), ("meh".to_owned(), 3, "\"goodbye\"".to_owned())];
    assert_eq!(told(&answers[0].1, me), both);
}

/// Behaviour 4: "A remote update at version 12 is readable; then 14 moves the highest version seen to 14; one update,
/// exactly one event."
#[test]
fn behaviour_4_an_update_is_readable_and_one_event() {
    let mut net = Net::new(4);
    let me = net.start(config());
    let (forger, other) = (Forger::new(), peer("10.1.1.1:80"));
    net.hand(me, forger.addr(), &forger.news(&[row(other, START_MS, 1, 14)]));
    net.take_events(me);

    let first = forger.delta(&forger.part(other, delta(START_MS, 0, 12), &[("a", 12, "twelve")]));
    net.hand(me, forger.addr(), &first);
    assert_eq!(net.get(me, other, "a").as_deref(), Some("\"twelve\""));
    assert!(matches!(&net.take_events(me)[..], [Event::Update { version: 12, .. }]));

    let second = forger.delta(&forger.part(other, delta(START_MS, 12, 14), &[("b", 14, "fourteen")]));
    for _ in 0..2 {
        net.hand(me, forger.addr(), &second);
    }
    assert_eq!(net.node(me).ring().row(other).unwrap().progress.max, 14);
    assert_eq!(net.count(me, is_update), 1, "the same again is no event");
}

/// Behaviour 5: "Local a=1, b='blah', a='super': the deltas after version 2 are exactly a='super' at 3." A map's start
/// is a version here, so all of them are one higher.
#[test]
fn behaviour_5_an_overwritten_entry_is_not_told() {
    let mut net = Net::new(5);
    let me = net.start(config());
    assert_eq!((net.set(me, "a", &1), net.set(me, "b", "blah"), net.set(me, "a", "super")), (2, 3, 4));
    let forger = Forger::new();
    let generation = net.node(me).generation();
    let answers = net.hand(me, forger.addr(), &forger.digest(&[row(me, generation, 0, 3)]));
    assert_eq!(told(&answers[0].1, me), [("a".to_owned(), 4, "\"super\"".to_owned())]);
}

/// Behaviour 6: "Next expiry: none, then now+1000, still so after a later one; at now+1000 (inclusive) it becomes
/// now+2000; then none. Expiring emits one `expire` with key, value and deadline."
#[test]
fn behaviour_6_the_next_expiry_is_the_earliest_deadline() {
    let now = Instant::from_micros(5_000_000);
    let (sooner, later) = (now + ms(1000), now + ms(2000));
    let mut own = OwnMap::new(1);
    let value = |text: &str| Value::encode(text).unwrap();
    assert_eq!(own.map().next_deadline(), None);
    own.set(&Key::from("a"), value("x"), Some(sooner));
    assert_eq!(own.map().next_deadline(), Some(sooner));
    own.set(&Key::from("b"), value("y"), Some(later));
    assert_eq!(own.map().next_deadline(), Some(sooner));
    assert_eq!(own.expire_next(sooner - ms(1)), None);
    let expired = Change::Expire { key: "a".into(), value: value("x"), version: 2, deadline: Some(sooner) };
    assert_eq!(own.expire_next(sooner), Some(expired));
    assert_eq!(own.expire_next(sooner), None);
    assert_eq!(own.map().next_deadline(), Some(later));
    assert!(own.expire_next(later).is_some());
    assert_eq!(own.map().next_deadline(), None);
}

/// Behaviour 7: "100 heartbeats 1,000 ms apart: phi is under 0.5 one second after the last and over 4 ten seconds
/// after; 2,000 keep 1,000." With the originals' window, and with every form of the detector.
#[test]
fn behaviour_7_suspicion_grows_with_silence_and_the_window_is_bounded() {
    let forms = [DetectorConfig::hardened(), DetectorConfig::plain_normal(), DetectorConfig::exponential()];
    for form in forms {
        let judge = Judge::new(&DetectorConfig { window: 1_000, ..form.clone() }, secs(1), secs(1));
        let mut detector = Detector::new();
        let mut now = Instant::ZERO;
        for _ in 0..100 {
            now = now + secs(1);
            detector.heartbeat(now, &judge);
        }
        assert!(detector.phi(now + secs(1), &judge) < 0.5, "{form:?}");
        assert!(detector.phi(now + secs(10), &judge) > 4.0, "{form:?}");
        for _ in 0..1_900 {
            now = now + secs(1);
            detector.heartbeat(now, &judge);
        }
        assert_eq!(detector.samples(), 1_000);
    }
}

/// Behaviour 8: "All peers excludes self; a peer's keys and values are readable by its name."
#[test]
fn behaviour_8_all_peers_are_the_others_and_readable_by_name() {
    let mut net = Net::new(8);
    let peers = net.cluster(3, config());
    net.set(peers[1], "a", &1);
    net.set(peers[1], "b", &2);
    net.settle();
    for me in &peers {
        let others: Vec<_> = peers.iter().filter(|peer| *peer != me).copied().collect();
        assert_eq!(net.node(*me).peers().map(|(peer, _)| peer).collect::<Vec<_>>(), others);
    }
    let map = net.node(peers[2]).map(peers[1].to_string().parse().unwrap()).unwrap();
    let read: BTreeMap<_, _> = map.readable("", net.local(peers[2])).map(|(k, _, v)| (&**k, v.to_string())).collect();
    assert_eq!(read, BTreeMap::from([("a", "1".to_owned()), ("b", "2".to_owned())]));
    assert!(net.node(peers[2]).map(peer("10.7.7.7:7")).is_none());
}

/// Behaviour 9: "Three real peers, one seed: each lists the other two; x=y set on one is readable on both within 3 s; a
/// key with a 4 s expiry is present at 2.5 s, gone at 4.5 s, exactly 3 `expire` events (the owner's included)."
#[test]
fn behaviour_9_three_peers_share_a_key_and_its_expiry() {
    let mut net = Net::new(9);
    let peers = net.cluster(3, config());
    net.run_until(secs(5), |net| peers.iter().all(|me| net.listed(*me, PeerState::Alive).len() == 2)).unwrap();
    net.set(peers[1], "x", "y");
    let everywhere = |net: &Net, key: &str| peers.iter().filter(|me| net.get(**me, peers[1], key).is_some()).count();
    net.run_until(secs(3), |net| everywhere(net, "x") == 3).unwrap();
    net.set_for(peers[1], "brief", "z", secs(4));
    net.run_for(ms(2500));
    assert_eq!(everywhere(&net, "brief"), 3);
    net.run_for(ms(2000));
    assert_eq!(everywhere(&net, "brief"), 0);
    net.run_for(secs(30));
    let expired = |event: &Event| matches!(event, Event::Expire { key, .. } if &**key == "brief");
    assert_eq!(peers.iter().map(|me| net.count(*me, expired)).collect::<Vec<_>>(), [1, 1, 1]);
}

/// Behaviour 10: "A stopped peer, and no other, is failed on both others within 35 s; started again, it is alive within
/// 35 s."
#[test]
fn behaviour_10_a_stopped_peer_fails_and_comes_back() {
    let mut net = Net::new(10);
    let peers = net.cluster(3, config());
    net.settle();
    net.run_for(secs(30));
    net.crash(peers[1]);
    let failed = |net: &Net, me| net.listed(me, PeerState::Failed);
    let took = net.run_until(secs(35), |net| [0, 2].iter().all(|me| failed(net, peers[*me]) == [peers[1]]));
    assert!(took.is_some());
    assert_eq!(net.state(peers[0], peers[2]), Some(PeerState::Alive));
    net.restart(peers[1]);
    let alive = |net: &Net, me| net.state(me, peers[1]) == Some(PeerState::Alive);
    assert!(net.run_until(secs(35), |net| alive(net, peers[0]) && alive(net, peers[2])).is_some());
    for me in [peers[0], peers[2]] {
        assert_eq!(net.count(me, |event| matches!(event, Event::PeerFailed { .. })), 1);
    }
}

/// Behaviour 11: "A structured value `{x: 1}` arrives whole; heartbeats never show up as updates."
#[test]
fn behaviour_11_structures_arrive_whole_and_heartbeats_are_no_updates() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Point {
        x: u32,
    }
    let mut net = Net::new(11);
    let peers = net.cluster(2, config());
    net.set(peers[0], "point", &Point { x: 1 });
    net.settle();
    net.run_for(secs(60));
    assert_eq!(net.get(peers[1], peers[0], "point").as_deref(), Some(r#"{"x":1}"#));
    let map = net.node(peers[1]).map(peers[0]).unwrap();
    let value = map.get("point").unwrap().readable(net.local(peers[1])).unwrap();
    assert_eq!(value.decode::<Point>().unwrap(), Point { x: 1 });
    assert!(net.node(peers[1]).peer(net.local(peers[1]), peers[0]).unwrap().heartbeat >= 60);
    assert_eq!((net.count(peers[1], is_update), map.len()), (1, 1));
}

/// Behaviour 12: "Values set right after start are visible everywhere; two peers with the same pre-shared key share
/// state." Here it is the cluster's name that they share.
#[test]
fn behaviour_12_what_is_set_right_after_the_start_is_seen_everywhere() {
    let mut net = Net::new(12);
    let config = grapevine::Config {
        cluster: "ours".to_owned(),
        initial: vec![("initial".to_owned(), Value::encode(&true).unwrap())],
        ..config()
    };
    let peers = net.cluster(5, config);
    for (n, peer) in peers.iter().enumerate() {
        net.set(*peer, "early", &n);
    }
    net.settle();
    for (me, (n, owner)) in peers.iter().flat_map(|me| peers.iter().enumerate().map(move |owner| (me, owner))) {
        assert_eq!(net.get(*me, *owner, "early"), Some(n.to_string()));
        assert_eq!(net.get(*me, *owner, "initial").as_deref(), Some("true"));
    }
}
