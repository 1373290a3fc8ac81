//! How the originals failed: anyone writes anything, one line ends the process, clusters merge.

use std::net::SocketAddr;

use grapevine::state::{Delta, Mark, Progress, Row};
use grapevine::stats::Refusal;
use grapevine::wire::{Columns, Want};
use grapevine::{Config, Event, Peer, PeerState};

use crate::common::forge::{Forger, delta, delta_body, digest_body, peer, raw, row, rows, told};
use crate::common::keyed::is_keyed;
use crate::common::net::START_MS;
use crate::common::{Net, config, ms, secs};

const TWO_53: u64 = 1 << 53;

/// Three nodes that know each other; the second has set `mine`.
fn three() -> (Net, [Peer; 3]) {
    let mut net = Net::new(40);
    let peers = net.cluster(3, config());
    net.set(peers[1], "mine", "true");
    net.settle();
    net.run_for(secs(10));
    (net, [peers[0], peers[1], peers[2]])
}

/// Nothing that was forged may last: after two minutes (a node that is lied about answers once a minute) everyone sees of the
/// second what itself says, and also what it has set since.
fn heals(mut net: Net, [a, b, c]: [Peer; 3], lie: &str) {
    net.run_for(secs(2));
    net.set(b, "after", lie);
    net.run_for(secs(120));
    assert!(net.agrees(), "{lie}: {}", net.disagreement().unwrap());
    for at in [a, b, c] {
        assert_eq!(net.get(at, b, "mine").as_deref(), Some("\"true\""), "{lie}");
        assert_eq!(net.get(at, b, "after"), Some(format!("\"{lie}\"")));
        assert_eq!(net.get(at, b, "forged"), None, "{lie}");
    }
}

fn own_keys(net: &Net, at: Peer) -> Vec<(String, String)> {
    let map = net.node(at).map(at).unwrap();
    map.readable("", net.local(at)).map(|(key, _, value)| (key.to_string(), value.to_string())).collect()
}

/// "A message can write any peer's keys, the receiver's own included." The successor: "one `Ack` rewrites the receiver's
/// own keys … a 72-byte Ack … and a version of 2^64−1 makes its next `set` panic."
#[test]
fn no_message_writes_the_receivers_own_keys() {
    let (mut net, peers) = three();
    let [_, b, _] = peers;
    let forger = Forger::new();
    let before = own_keys(&net, b);
    for generation in [net.node(b).generation(), net.node(b).generation() + 1, START_MS + 80_000_000] {
        for (from, version) in [(0, 3), (0, TWO_53), (2, u64::MAX), (0, u64::MAX)] {
            let part = forger.part(b, delta(generation, from, version), &[("mine", version, "forged")]);
            let lies = [forger.answer(&[], &part), forger.delta(&part)];
            let records = [row(b, generation, version, version)];
            let told = [forger.answer(&records, &part), forger.digest(&records), forger.news(&records)];
            for lie in lies.iter().chain(&told) {
                net.hand(b, forger.addr(), lie);
                assert_eq!(own_keys(&net, b), before);
            }
        }
    }
    assert!(net.node(b).stats().refused.get(Refusal::OwnState) >= 24);
    let events = net.events(b);
    assert!(!events.iter().any(|(_, event)| event.peer() == Some(b) && event.key() != Some("mine")), "{events:?}");
    heals(net, peers, "written");
}

/// "A forged version of 2^53 froze a peer for good", and 2^64−1 with it.
#[test]
fn a_forged_version_is_overruled_by_the_owner() {
    for version in [TWO_53, u64::MAX] {
        let (mut net, peers) = three();
        let [a, b, _] = peers;
        let forger = Forger::new();
        let generation = net.node(b).generation();
        let part = forger.part(b, delta(generation, 2, version), &[("forged", version, "x")]);
        net.hand(a, forger.addr(), &forger.answer(&[], &part));
        assert_eq!(net.get(a, b, "forged").as_deref(), Some("\"x\""), "within a cluster hearsay is believed, for now");
        heals(net, peers, "version");
    }
}

/// The same with the version in a mere record, and with a maximum that nobody can ever deliver.
#[test]
fn a_forged_maximum_does_not_last() {
    for version in [TWO_53, u64::MAX] {
        let (mut net, peers) = three();
        let [a, b, _] = peers;
        let forger = Forger::new();
        let generation = net.node(b).generation();
        net.hand(a, forger.addr(), &forger.news(&[row(b, generation, 1, version)]));
        let endless = Delta { max: version, ..delta(generation, 2, 2) };
        net.hand(a, forger.addr(), &forger.delta(&forger.part(b, endless, &[])));
        heals(net, peers, "maximum");
    }
}

/// The same with a version that is just the owner's next one, and no entry with it, so that it is no news: the owner has to
/// notice it in the digests of a quiet time, which come in columns, before it gives that version itself.
#[test]
fn a_forged_completeness_is_overruled_by_the_owner() {
    let (mut net, peers) = three();
    let [a, b, _] = peers;
    let forger = Forger::new();
    let generation = net.node(b).generation();
    net.hand(a, forger.addr(), &forger.delta(&forger.part(b, delta(generation, 2, 3), &[])));
    net.run_for(secs(60));
    heals(net, peers, "completeness");
}

/// The same with a floor, which says that everything below it was deleted: it puts a copy into a transfer that only
/// somebody above the floor could end.
#[test]
fn a_forged_floor_is_overruled_by_the_owner() {
    for floor in [10, TWO_53, u64::MAX] {
        let (mut net, peers) = three();
        let [a, b, _] = peers;
        let forger = Forger::new();
        let generation = net.node(b).generation();
        let below = Delta { floor, ..delta(generation, 0, 2) };
        net.hand(a, forger.addr(), &forger.delta(&forger.part(b, below, &[])));
        let record = Row { progress: Progress { generation, max: 2, floor }, ..row(b, generation, 1, 2) };
        net.hand(a, forger.addr(), &forger.news(&[record]));
        heals(net, peers, &format!("floor {floor}"));
    }
}

/// The same with heartbeats: a peer whose last heartbeat is 2^64−1 could never show another one.
#[test]
fn a_forged_heartbeat_is_overruled_by_the_owner() {
    for heartbeat in [TWO_53, u64::MAX] {
        let (mut net, peers) = three();
        let [a, b, _] = peers;
        let forger = Forger::new();
        let generation = net.node(b).generation();
        net.hand(a, forger.addr(), &forger.news(&[row(b, generation, heartbeat, 2)]));
        heals(net, peers, "heartbeat");
    }
}

/// The same with generations: a plausible one is overruled by the owner, one that is not is refused.
#[test]
fn a_forged_generation_is_overruled_or_refused() {
    for ahead in [1, 3_600_000, 86_300_000, 86_500_000, TWO_53, u64::MAX - START_MS - 2_000] {
        let (mut net, peers) = three();
        let [a, b, _] = peers;
        let forger = Forger::new();
        let generation = net.node(b).generation() + ahead;
        net.hand(a, forger.addr(), &forger.news(&[row(b, generation, 5, 9)]));
        let part = forger.part(b, delta(generation, 0, 9), &[("forged", 9, "x")]);
        net.hand(a, forger.addr(), &forger.delta(&part));
        let refused = net.node(a).stats().refused.get(Refusal::FutureGeneration);
        assert_eq!(refused > 0, ahead > 86_400_000, "{ahead} ms ahead");
        heals(net, peers, "generation");
    }
}

/// The same where the owner may not answer at once, having taken a new generation within the minute already: when the minute is
/// over it has still to hear of it, also from those who keep what they believe to themselves by then, or remember it of one
/// whom they have forgotten.
#[test]
fn a_forged_generation_is_overruled_after_the_minute() {
    for grace in [3_600, 15] {
        let mut net = Net::new(45);
        let peers = net.cluster(3, Config { grace: secs(grace), ..config() });
        // The first has no seeds, which are tried with full digests again and again.
        let [b, a, c] = peers[..] else { unreachable!() };
        net.set(b, "mine", "true");
        net.settle();
        net.run_for(secs(10));
        let forger = Forger::new();
        let generation = net.node(b).generation();
        net.hand(b, forger.addr(), &forger.news(&[row(b, generation + 1, 1, 1)]));
        assert!(net.node(b).generation() > generation);
        for at in [a, c] {
            net.hand(at, forger.addr(), &forger.news(&[row(b, generation + 3_600_000, 5, 9)]));
        }
        heals(net, [a, b, c], &format!("with a grace of {grace} s"));
    }
}

/// The same with what is said of a peer's life.
#[test]
fn who_is_said_to_have_left_or_to_be_forgotten_overrules_it() {
    for mark in [Mark::Left, Mark::Forgotten] {
        for ahead in [0, 1, 1_000, u64::MAX / 2] {
            let (mut net, peers) = three();
            let [a, b, _] = peers;
            let forger = Forger::new();
            let own = net.node(b).ring().own_row();
            for at in [a, b] {
                let record = Row { heartbeat: own.heartbeat + ahead, mark, ..own };
                net.hand(at, forger.addr(), &forger.news(&[record]));
            }
            heals(net, peers, "mark");
        }
    }
}

/// A liar who does not stop keeps nobody from anything but its own victim's rest: the victim takes a new generation once a
/// minute at most, and reports the conflict.
#[test]
fn a_liar_who_goes_on_is_reported_and_not_fought() {
    let (mut net, peers) = three();
    let [a, b, _] = peers;
    let forger = Forger::new();
    let mut generations = vec![net.node(b).generation()];
    for n in 0..240 {
        let generation = net.node(b).generation();
        net.hand(a, forger.addr(), &forger.news(&[row(b, generation, 1_000_000 + n, 2)]));
        net.run_for(ms(500));
        generations.push(net.node(b).generation());
    }
    generations.dedup();
    assert!((2..=4).contains(&generations.len()), "{generations:?} in two minutes");
    let conflicts = net.count(b, |event| matches!(event, Event::AddressConflict { .. }));
    assert!((1..=3).contains(&conflicts), "{conflicts} in two minutes");
    heals(net, peers, "conflict");
}

/// "12 of 21 one-line inputs end the process: an unknown peer in updates, `null`, port 0 or 99999 in a digest, an alias of
/// one's own name, `__proto__` and `constructor` as names."
#[test]
fn no_one_line_input_does_any_harm() {
    let (mut net, peers) = three();
    let [a, b, _] = peers;
    let forger = Forger::new();
    let (sender, generation) = (&[10, 9, 9, 9, 0, 9][..], net.node(b).generation());
    let record = |name: &[u8]| {
        let mut bytes = Vec::new();
        rmp::encode::write_bin(&mut bytes, name).unwrap();
        bytes.extend_from_slice(&[0, 5, 2, 0, 0]);
        raw(sender, 1, &digest_body(&bytes))
    };
    let head = |name: &[u8], entries: &[u8]| {
        let mut bytes = Vec::new();
        rmp::encode::write_bin(&mut bytes, name).unwrap();
        bytes.extend_from_slice(&[0, 0, 3, 0, 0]);
        rmp::encode::write_bin(&mut bytes, entries).unwrap();
        raw(sender, 4, &delta_body(&bytes))
    };
    let own = |entry: &[u8]| head(&[10, 0, 0, 1, 0x23, 0x28], entry);
    let mapped: Vec<u8> = [vec![0; 10], vec![0xff, 0xff, 10, 0, 0, 1, 0x23, 0x28]].concat();
    let unknown = forger.part(peer("10.1.1.1:1"), delta(generation, 0, 9), &[("a", 9, "x")]);
    let both = [row(a, generation, 1, 1), row(b, generation, 1, 1)];
    let lines: Vec<(&str, Vec<u8>, Option<Refusal>)> = vec![
        ("nothing", b"".to_vec(), Some(Refusal::Foreign)),
        ("null", b"null\n".to_vec(), Some(Refusal::Foreign)),
        ("an object", b"{}\n".to_vec(), Some(Refusal::Foreign)),
        (
            "the originals' own request",
            b"{\"type\":\"request\",\"digest\":{\"127.0.0.1:99999\":0}}\n".to_vec(),
            Some(Refusal::Foreign),
        ),
        ("our first two bytes", b"GV".to_vec(), Some(Refusal::Foreign)),
        ("nil for a message", raw(sender, 1, &[0xc0]), Some(Refusal::Malformed)),
        ("no message", raw(sender, 1, &[]), Some(Refusal::Malformed)),
        ("a kind that there is not", raw(sender, 99, &[]), Some(Refusal::UnknownKind)),
        ("port 0 in a digest", record(&[10, 1, 1, 1, 0, 0]), Some(Refusal::BadAddress)),
        ("0.0.0.0 in a digest", record(&[0, 0, 0, 0, 0, 9]), Some(Refusal::BadAddress)),
        ("multicast in a digest", record(&[224, 0, 0, 1, 0, 9]), Some(Refusal::BadAddress)),
        ("port 99999 in a digest", record(&[10, 1, 1, 1, 0x01, 0x86, 0x9f]), Some(Refusal::Malformed)),
        ("the name __proto__ in a digest", record(b"__proto__"), Some(Refusal::Malformed)),
        ("the name constructor in a digest", record(b"constructor"), Some(Refusal::Malformed)),
        ("the name __proto__ in a delta", head(b"__proto__", &[]), Some(Refusal::Malformed)),
        ("the empty name as sender", raw(b"", 1, &digest_body(&[])), Some(Refusal::Malformed)),
        ("an alias of one's own name as sender", raw(&mapped, 1, &digest_body(&[])), Some(Refusal::Malformed)),
        ("one's own name as sender", raw(&mapped[12..], 1, &digest_body(&[])), Some(Refusal::OwnMessage)),
        ("an alias of one's own name in a delta", head(&mapped, &[]), Some(Refusal::Malformed)),
        ("an unknown peer in updates", forger.delta(&unknown), None),
        ("an unknown peer in an answer's updates", forger.answer(&[], &unknown), None),
        ("one's own name in updates", own(&[0xa1, b'k', 1, 0xc0, 0xc0]), Some(Refusal::OwnState)),
        ("a key that is no text", own(&[0xa1, 0xff, 1, 0xc0, 0xc0]), Some(Refusal::Malformed)),
        ("a version that does not grow", own(&[0xa1, b'k', 0, 0xc0, 0xc0]), Some(Refusal::Malformed)),
        ("a version that is text", own(&[0xa1, b'k', 0xa1, b'1', 0xc0, 0xc0]), Some(Refusal::Malformed)),
        ("a key of four gigabytes", own(&[0xdb, 0xff, 0xff, 0xff, 0xff]), Some(Refusal::Malformed)),
        (
            "a value of four gigabytes",
            own(&[0xa1, b'k', 1, 0xc0, 0xc6, 0xff, 0xff, 0xff, 0xff]),
            Some(Refusal::Malformed),
        ),
        (
            "a mark that there is not",
            raw(sender, 1, &digest_body(&[0xc4, 6, 10, 1, 1, 1, 0, 9, 0, 5, 2, 0, 9])),
            Some(Refusal::Malformed),
        ),
        ("an array for a digest", raw(sender, 1, &[0xdd, 0xff, 0xff, 0xff, 0xff]), Some(Refusal::Malformed)),
        (
            "padding that is not there",
            raw(sender, 1, &[7, 0xc0, 0, 0, 0xc4, 0, 0xcf, 255, 255, 255, 255, 255, 255, 255, 255]),
            Some(Refusal::Malformed),
        ),
        ("bytes after the message", raw(sender, 1, &[digest_body(&[]), vec![0]].concat()), Some(Refusal::Malformed)),
        ("two of the ring in the wrong order", forger.digest_of(Some((b, b)), &both, 0), Some(Refusal::Malformed)),
        ("the same twice", forger.digest_of(Some((a, a)), &[both[0], both[0]], 0), Some(Refusal::Malformed)),
        ("one outside the window", forger.digest_of(Some((a, b)), &[both[1]], 0), Some(Refusal::Malformed)),
    ];
    let before = (own_keys(&net, b), net.node(b).ring().own().progress());
    for (name, line, reason) in lines {
        let refused = |net: &Net| reason.map(|reason| net.node(b).stats().refused.get(reason));
        let count = refused(&net);
        net.hand(b, forger.addr(), &line);
        assert_eq!(refused(&net), count.map(|count| count + 1), "{name}");
        assert_eq!((own_keys(&net, b), net.node(b).ring().own().progress()), before, "{name}");
        assert_eq!(net.node(b).peers().count(), 2, "{name} makes nobody a peer");
    }
    heals(net, peers, "lines");
}

/// "No cluster name: one stray request merges two clusters." The successor: "only the first of three messages is checked
/// for the cluster name". Here all of them are.
#[test]
fn no_message_of_another_cluster_is_used() {
    let (mut net, peers) = three();
    let [a, b, c] = peers;
    let forger = Forger { cluster: "grapevines", ..Forger::new() };
    let stranger = peer("10.1.1.1:80");
    let (generation, own) = (net.node(a).generation(), net.node(b).ring().own_row());
    let part = forger.part(a, delta(generation, 0, TWO_53), &[("forged", 2, "x")]);
    let want = Want { owner: b, progress: Progress::default(), unfinished: (0, 0) };
    let columns = Columns { window: (b, b), roster: 0, base: 1, tick: 1, heartbeats: &[] };
    let messages = [
        forger.digest(&[row(stranger, START_MS, 5, 5)]),
        forger.news(&[row(stranger, START_MS, 5, 5), Row { heartbeat: own.heartbeat + 9, ..own }]),
        forger.compact(columns, &[]),
        forger.answer(&[row(stranger, START_MS, 5, 5)], &part),
        forger.delta(&part),
        forger.want(64, &[want]),
    ];
    let before = (net.node(b).ring().own().progress(), net.events(b).len());
    for (n, message) in messages.iter().enumerate() {
        for (_, answer) in net.hand(b, forger.addr(), message) {
            assert!(told(&answer, b).is_empty() && rows(&answer).is_empty(), "nothing is told");
        }
        let reason = if is_keyed() { Refusal::Unauthentic } else { Refusal::WrongCluster };
        assert_eq!(net.node(b).stats().refused.get(reason), n as u64 + 1);
    }
    assert_eq!(net.node(b).ring().own().progress(), before.0);
    match &net.events(b)[before.1..] {
        [] => assert!(is_keyed()),
        told => assert!(matches!(told, [(_, Event::WrongCluster { cluster, .. })] if cluster == "grapevines")),
    }
    assert_eq!(net.state(b, stranger), None);
    heals(net, [a, b, c], "stray");
}

/// The same with whole clusters, one of which has the other's node among its seeds.
#[test]
fn two_clusters_with_different_names_never_merge() {
    let mut net = Net::new(41);
    let ours = net.cluster(3, config());
    let other = Config { cluster: "other".to_owned(), ..config() };
    let first = net.join(other.clone(), &[ours[1]]);
    let theirs: Vec<Peer> = (0..3).map(|n| net.join(other.clone(), &[first, ours[n]])).chain([first]).collect();
    net.run_for(secs(600));
    for (mine, foreign) in [(&ours, &theirs), (&theirs, &ours)] {
        for at in mine {
            assert_eq!(net.listed(*at, PeerState::Alive).len(), mine.len() - 1);
            assert!(foreign.iter().all(|peer| net.state(*at, *peer).is_none()));
            let warnings = net.count(*at, |event| matches!(event, Event::WrongCluster { .. }));
            assert!(warnings <= 11, "{warnings} warnings in ten minutes");
        }
    }
    let warned = |peers: &[Peer]| {
        peers.iter().filter(|at| net.count(**at, |event| matches!(event, Event::WrongCluster { .. })) > 0).count()
    };
    match is_keyed() {
        false => assert!(warned(&ours) >= 1 && warned(&theirs) >= 3, "both sides notice"),
        true => assert_eq!((warned(&ours), warned(&theirs)), (0, 0), "who has no key for it learns nothing"),
    }
}

/// The successor: "a crafted delta panics the process (an assertion on what the network said)."
#[test]
fn no_crafted_delta_panics() {
    let versions = [0, 1, 2, 3, 4, TWO_53, u64::MAX - 1, u64::MAX];
    let (mut net, peers) = three();
    let [a, b, c] = peers;
    let forger = Forger::new();
    let generation = net.node(b).generation();
    for from in versions {
        for to in versions.into_iter().filter(|to| *to >= from) {
            for (floor, max) in versions.into_iter().flat_map(|floor| [(floor, to), (floor, u64::MAX)]) {
                let head = Delta { generation, from, to, floor, max };
                for entries in [&[][..], &[("forged", to.max(from.saturating_add(1)), "x")]] {
                    // A version cannot be above the highest number.
                    if from < u64::MAX || entries.is_empty() {
                        net.hand(a, forger.addr(), &forger.delta(&forger.part(b, head, entries)));
                    }
                }
            }
        }
    }
    net.run_for(secs(5));
    assert!(net.running().contains(&a) && net.state(c, a) == Some(PeerState::Alive));
}

/// The successor: "each unknown name in a digest allocates a node, without limit … one 65 kB datagram of invented ids ends
/// the gossip task while the API goes on answering stale data."
#[test]
fn invented_names_are_bounded_and_displace_nobody_who_is_alive() {
    let mut net = Net::new(42);
    let limits = grapevine::config::Limits { peers: 50, ..Default::default() };
    let peers = net.cluster(3, Config { limits, ..config() });
    net.settle();
    let forger = Forger::new();
    let name = |n: u32| Peer::from(SocketAddr::from(([172, 16, (n >> 8) as u8, n as u8], 1)));
    let large = forger.news(&(0..1_500).map(|n| row(name(n), START_MS, 1, 1)).collect::<Vec<_>>());
    net.hand(peers[0], forger.addr(), &large);
    assert_eq!(net.node(peers[0]).stats().refused.get(Refusal::TooLarge), 1);
    for lie in 0..100 {
        let invented: Vec<Row> = (0..40).map(|n| row(name(lie * 40 + n), START_MS, 1, 1)).collect();
        net.hand(peers[0], forger.addr(), &forger.news(&invented));
        assert!(net.node(peers[0]).ring().len() <= 50);
        assert!(net.node(peers[0]).ring().all_forgotten().count() <= 50);
    }
    net.run_for(secs(30));
    for at in &peers {
        assert_eq!(net.listed(*at, PeerState::Alive).len(), 2);
        assert!(net.node(*at).ring().len() <= 50);
    }
    let newcomer = net.join(config(), &[peers[0]]);
    let seen = |net: &Net| net.state(peers[0], newcomer) == Some(PeerState::Alive);
    assert!(net.run_until(secs(30), seen).is_some(), "there is room for one who is real");
}

/// The successor: "a 13-byte spoofed request draws a 62 kB answer (×4,788)."
#[test]
fn a_spoofed_request_draws_no_large_answer() {
    let mut net = Net::new(43);
    let peers = net.cluster(3, config());
    for n in 0..500 {
        net.set(peers[1], &format!("key{n}"), "something to send");
    }
    net.settle();
    let forger = Forger::new();
    let want = Want { owner: peers[1], progress: Progress::default(), unfinished: (0, 0) };
    let requests = [
        forger.news(&[row(peers[1], START_MS, 0, 0)]),
        forger.digest_of(Some((peers[0], peers[0])), &[], 0),
        forger.want(64, &[want]),
        forger.want(255, &[want; 40]),
    ];
    for request in requests {
        let answered: usize = net.hand(peers[1], forger.addr(), &request).iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(answered <= 3 * request.len(), "{answered} bytes for {}", request.len());
    }
}
