//! What comes from who is not of the cluster.

use std::net::UdpSocket;

use grapevine::stats::Refusal;
use grapevine::{Event, Gossiper};

use crate::common::forge::{Forger, peer, row};
use crate::common::keyed::is_keyed;
use crate::{quick, until, with_others};

#[test]
fn junk_is_counted_by_reason_and_changes_nothing() {
    let _others = with_others();
    let node = quick().initial("mine", &1).start().unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |bytes: &[u8]| {
        stranger.send_to(bytes, node.local_addr()).unwrap();
    };
    let mut damaged = Forger::new().news(&[row(peer("127.0.0.1:1"), 1, 1, 1)]);
    *damaged.last_mut().unwrap() ^= 1;
    let mut newer = Forger::new().news(&[]);
    newer[2] = 9;
    let foreign = Forger { cluster: "another", ..Forger::new() };
    send(b"hello\n");
    send(&[b'G'; 1_401]);
    send(&vec![0; 65_507]);
    send(&damaged);
    send(&newer);
    send(&crate::common::forge::raw(&[127, 0, 0, 1, 0, 1], 77, &[]));
    send(&crate::common::forge::raw(&[127, 0, 0, 1, 0, 1], 1, &[0xc1]));
    send(&foreign.news(&[]));
    let expected = match is_keyed() {
        // Whatever is not encrypted is refused before anybody looks into it.
        true => {
            [(Refusal::Foreign, 1), (Refusal::TooLarge, 2), (Refusal::UnknownVersion, 1), (Refusal::Unencrypted, 4)]
                .to_vec()
        }
        false => [
            (Refusal::Foreign, 1),
            (Refusal::TooLarge, 2),
            (Refusal::Checksum, 1),
            (Refusal::UnknownVersion, 1),
            (Refusal::UnknownKind, 1),
            (Refusal::Malformed, 1),
            (Refusal::WrongCluster, 1),
        ]
        .to_vec(),
    };
    for (reason, count) in expected {
        until(reason.as_str(), || node.stats().refused.get(reason) == count);
    }
    assert_eq!(node.stats().refused.total(), 8);
    assert_eq!((node.peers().len(), node.keys(node.peer()).len()), (0, 1));
    node.check().unwrap();
}

/// An empty datagram wakes the receiver when a node sends it to itself; from a stranger it is junk like any other.
#[test]
fn empty_datagrams_of_strangers_are_counted() {
    let _others = with_others();
    let node = quick().start().unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..3 {
        stranger.send_to(&[], node.local_addr()).unwrap();
    }
    stranger.send_to(b"GV\x09 of another version", node.local_addr()).unwrap();
    // Datagrams on the loopback keep their order: when the last was counted the others were read.
    until("the last one is counted", || node.stats().refused.get(Refusal::UnknownVersion) == 1);
    assert_eq!(node.stats().refused.get(Refusal::Foreign), 3);
}

#[test]
fn clusters_with_different_names_stay_apart_and_say_so_once() {
    let _others = with_others();
    let (ours, told_us) = quick().cluster("ours").start_subscribed().unwrap();
    let (theirs, told_them) = quick().cluster("theirs").seed(ours.peer().to_string()).start_subscribed().unwrap();
    if is_keyed() {
        // In silence: no answer, no event.
        until("they meet ten times", || ours.stats().refused.get(Refusal::Unauthentic) >= 10);
        assert_eq!((theirs.stats().datagrams_received, told_us.try_recv(), told_them.try_recv()), (0, None, None));
        return;
    }
    let met = |node: &Gossiper, times| node.stats().refused.get(Refusal::WrongCluster) >= times;
    until("they meet ten times", || met(&ours, 10) && met(&theirs, 1));
    for (events, addr, name) in [(told_us, theirs.local_addr(), "theirs"), (told_them, ours.local_addr(), "ours")] {
        let told: Vec<Event> = std::iter::from_fn(|| events.try_recv()).collect();
        assert_eq!(told, [Event::WrongCluster { addr, cluster: name.to_owned() }], "both notice, once a minute");
    }
    assert_eq!((ours.peers().len(), theirs.peers().len()), (0, 0));
}
