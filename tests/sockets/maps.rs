//! Maps and lives, over real sockets.

use std::net::UdpSocket;
use std::time::Instant;

use grapevine::config::Limits;
use grapevine::state::Delta;
use grapevine::wire::run_hash;
use grapevine::{Error, Event, EventFilter, EventKind, Gossiper, Value};

use crate::common::forge::{Forger, asked, in_answer_to, row, wants};
use crate::common::keyed::{opened, sealed};
use crate::common::secs;
use crate::{LONG, all_alive, arrives, join, quick, with_others};

#[test]
fn a_value_as_large_as_the_limit_arrives_whole() {
    let _others = with_others();
    let first = quick().start().unwrap();
    let second = join(&first);
    all_alive(&[&first, &second]);
    let limit = Limits::default().value_bytes;
    let bytes: Vec<u8> = (0..limit).map(|n| (n * 7 + n / 251) as u8).collect();
    let value = Value::from_bytes(bytes);
    first.set_value("large", value.clone(), None).unwrap();
    assert!(second.wait_until(LONG, |node| node.get_from(first.peer(), "large").is_some()));
    assert_eq!(second.get_from(first.peer(), "large"), Some(value));
    let larger = Value::from_bytes(vec![0; limit + 1]);
    let told = first.set_value("larger", larger, None);
    assert!(matches!(told, Err(Error::ValueTooLarge { len, limit: most }) if len == limit + 1 && most == limit));
    assert!(matches!(first.set(&"k".repeat(300), &1), Err(Error::KeyTooLong { len: 300, limit: 256 })));
}

#[test]
fn a_late_joiner_gets_everything() {
    let _others = with_others();
    let first = quick().start().unwrap();
    let second = join(&first);
    for n in 0..300 {
        first.set(&format!("key{n}"), &n).unwrap();
        second.set(&format!("key{n}"), &vec![n; 20]).unwrap();
    }
    for n in 0..100 {
        first.delete(&format!("key{n}")).unwrap();
    }
    let late = join(&first);
    let keys = |node: &Gossiper| (node.keys(first.peer()).len(), node.keys(second.peer()).len());
    for node in [&late, &second] {
        assert!(node.wait_until(LONG, |node| keys(node) == (200, 300)), "{:?}", keys(node));
    }
    assert_eq!(late.get_from(first.peer(), "key299").unwrap().decode::<u32>().unwrap(), 299);
    assert_eq!(late.get_from(second.peer(), "key299").unwrap().decode::<Vec<u32>>().unwrap(), vec![299; 20]);
    assert_eq!(late.entries("key29").len(), 21, "key290 to key299 of two peers, and key29 of one");
    let snapshot = late.snapshot();
    assert_eq!(snapshot.peers.len(), 3);
    assert_eq!(snapshot.get(second.peer(), "key7"), late.get_from(second.peer(), "key7").as_ref());
}

#[test]
fn a_life_ends_at_its_owner_and_elsewhere() {
    let _others = with_others();
    let first = quick().start().unwrap();
    let second = join(&first);
    all_alive(&[&first, &second]);
    let expired = || EventFilter::all().kinds([EventKind::Expire]);
    let (here, there) = (first.subscribe_to(expired()), second.subscribe_to(expired()));
    let set = Instant::now();
    // Long enough to arrive on a machine that is busy.
    first.set_for("brief", "x", secs(3)).unwrap();
    arrives(&second, &first, "brief", "\"x\"");
    for (node, events) in [(&first, here), (&second, there)] {
        let event = events.recv_timeout(LONG).unwrap();
        assert!(set.elapsed() >= secs(3));
        assert!(
            matches!(&event, Event::Expire { peer, key, value, deadline: Some(_), .. }
            if *peer == first.peer() && &**key == "brief" && value.to_string() == "\"x\""),
            "{event:?}"
        );
        assert_eq!(node.get_from(first.peer(), "brief"), None);
    }
}

/// A program can tell a value that the peer's present run confirmed from one that is only not yet contradicted.
#[test]
fn what_a_restarted_peer_had_before_is_marked_until_its_map_is_here() {
    let _others = with_others();
    let node = quick().start().unwrap();
    let receiver = run_hash(node.peer(), node.generation());
    let (forger, stranger) = (Forger { receiver, ..Forger::new() }, UdpSocket::bind("127.0.0.1:0").unwrap());
    let send = |datagram: Vec<u8>| {
        stranger.send_to(&sealed(&datagram), node.local_addr()).unwrap();
    };
    // Says that there is something of this run, and waits until the node asks for it.
    stranger.set_read_timeout(Some(LONG)).unwrap();
    let draw_want = |forger: &Forger<'_>| {
        send(forger.news(&[row(forger.sender, forger.generation, 1, 2)]));
        let mut buffer = [0; 1_500];
        loop {
            let len = stranger.recv(&mut buffer).expect("the node asks");
            let said = opened(&buffer[..len], "grapevine");
            if !wants(&said).is_empty() {
                return asked(&said).expect("the id of a want");
            }
        }
    };
    let of_run = |generation| Delta { generation, from: 0, to: 2, max: 2, floor: 0 };
    let entry = || node.entry(forger.sender, "k");

    let old = forger.delta(&forger.part(forger.sender, of_run(forger.generation), &[("k", 2, "old")]));
    send(in_answer_to(draw_want(&forger), &old));
    assert!(node.wait_until(LONG, |_| entry().is_some_and(|entry| !entry.held_over && entry.version == 2)));

    let later = Forger { generation: forger.generation + 1, ..forger };
    let wanted = draw_want(&later);
    assert!(node.wait_until(LONG, |_| entry().is_some_and(|entry| entry.held_over && entry.version == 0)));
    assert_eq!(entry().unwrap().value.to_string(), "\"old\"");

    let new = later.delta(&later.part(later.sender, of_run(later.generation), &[("k", 2, "new")]));
    send(in_answer_to(wanted, &new));
    assert!(node.wait_until(LONG, |_| entry().is_some_and(|entry| !entry.held_over && entry.version == 2)));
    assert_eq!(entry().unwrap().value.to_string(), "\"new\"");
}
