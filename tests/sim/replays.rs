//! Somebody who has no key records what is sent, and sends it again: to whom it was sent, to others, back to who sent it, after a
//! restart, after somebody was forgotten. It changes nothing, with keys and without.

use std::net::SocketAddr;
use std::time::Duration;

use grapevine::keyring::{Keyring, SecretKey};
use grapevine::sim::{Faults, Recorder, Sim};
use grapevine::{Config, Peer, PeerState};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// From whom, to whom, what.
type Recording = Vec<(Peer, SocketAddr, Vec<u8>)>;

fn configs() -> [Config; 2] {
    let keyring = Keyring::new(SecretKey::from_bytes(&[7; 32]));
    let config = Config { grace: secs(20), ..Config::default() };
    [config.clone(), Config { keyring: Some(keyring), ..config }]
}

/// Five nodes, of whose life everything was recorded: starting, writing, deleting, a large value, a farewell, a crash, a restart.
fn recorded(config: &Config) -> (Sim, Vec<Peer>, Recording) {
    let mut sim = Sim::new(11).watched();
    // Nothing is overtaken: what came before anything made its sender known has not counted yet, and would count once, as if it
    // had been delayed.
    let delay = Duration::from_micros(300);
    *sim.faults() = Faults { delay: delay..delay, ..Faults::NONE };
    sim.tap();
    let nodes = sim.cluster(5, config.clone()).unwrap();
    sim.run_for(secs(5)).unwrap();
    for round in 0..10 {
        for (n, node) in nodes.iter().enumerate() {
            sim.set(*node, "a", &(round * 10 + n)).unwrap();
            sim.set_for(*node, "brief", &round, secs(3)).unwrap();
        }
        sim.set(nodes[0], "large", &vec![round as u8 | 0x80; 6_000]).unwrap();
        sim.run_for(secs(1)).unwrap();
    }
    sim.delete(nodes[1], "a").unwrap();
    sim.leave(nodes[4]).unwrap();
    sim.crash(nodes[3]);
    sim.run_for(secs(3)).unwrap();
    sim.restart(nodes[2]).unwrap();
    sim.run_for(secs(8)).unwrap();
    assert_eq!(sim.state(nodes[0], nodes[3]), Some(PeerState::Failed));
    let recording = sim.tapped();
    assert!(recording.len() > 500, "{}", recording.len());
    // What is still under way arrives.
    sim.run_for(Duration::from_millis(5)).unwrap();
    (sim, nodes, recording)
}

/// All of a node that a datagram could change, but for what it counts.
fn state(sim: &Sim, at: Peer) -> String {
    let node = sim.node(at).unwrap();
    let members = node.ring().members().map(|(peer, member)| {
        let own = (peer, member.state, member.heartbeat, member.since, member.telling);
        let address = (member.token, member.proved_until, member.asked, &member.asked_elsewhere);
        format!("{own:?}\n{address:?}\n{:?}\n", member.replica)
    });
    let members: String = members.collect();
    let forgotten: Vec<_> = node.ring().all_forgotten().collect();
    format!("{}\n{:?}\n{:?}\n{forgotten:?}\n{members}", node.permitted_rate(), node.ring().own_row(), node.ring().own())
}

/// Hands a recorded datagram to a node, under this address, and wants nothing to have changed and little to be said.
fn changes_nothing(sim: &mut Sim, at: Peer, from: SocketAddr, datagram: &[u8]) {
    let (before, events) = (state(sim, at), sim.events(at).len());
    let said = sim.hand(at, from, datagram).unwrap();
    let after = state(sim, at);
    let changed = before.lines().zip(after.lines()).find(|(before, after)| before != after);
    assert!(before == after, "at {at}, from {from}: {changed:?}");
    assert_eq!(sim.events(at).len(), events);
    let bytes: usize = said.iter().filter(|(to, _)| *to == from).map(|(_, said)| said.len()).sum();
    assert!(bytes <= 3 * datagram.len(), "{bytes} bytes for {}", datagram.len());
    assert_eq!(said.len(), said.iter().filter(|(to, _)| *to == from).count(), "nothing to others");
}

#[test]
fn sent_again_to_anybody_it_changes_nothing() {
    for config in configs() {
        let (mut sim, nodes, recording) = recorded(&config);
        for at in &nodes[..3] {
            for (from, _, datagram) in &recording {
                // Of its own sender as well.
                changes_nothing(&mut sim, *at, from.addr(), datagram);
            }
        }
        // Nor under another address.
        for (from, to, datagram) in recording.iter().step_by(3) {
            changes_nothing(&mut sim, nodes[0], *to, datagram);
            changes_nothing(&mut sim, nodes[1], ([192, 0, 2, 7], from.addr().port()).into(), datagram);
        }
        let refused = sim.node(nodes[0]).unwrap().stats().refused;
        assert!(refused.get(grapevine::stats::Refusal::NotForThisRun) > 500, "{refused:?}");
    }
}

/// Who has restarted knows nothing, and cannot be told what was: neither at once nor once it knows the others.
#[test]
fn after_a_restart_it_changes_nothing() {
    for config in configs() {
        let (mut sim, nodes, recording) = recorded(&config);
        let others: Vec<Peer> = nodes[1..].to_vec();
        sim.cut(&nodes[..1], &others);
        sim.restart(nodes[0]).unwrap();
        for (from, to, datagram) in &recording {
            changes_nothing(&mut sim, nodes[0], from.addr(), datagram);
            changes_nothing(&mut sim, nodes[0], *to, datagram);
        }
        assert!(sim.node(nodes[0]).unwrap().ring().is_empty());
        sim.settle(secs(60)).unwrap();
        for (from, _, datagram) in &recording {
            changes_nothing(&mut sim, nodes[0], from.addr(), datagram);
        }
    }
}

/// Tokens are good for an hour or two, by the clock of who gave them. What was recorded when two nodes had not proved themselves to each
/// other lately holds one that is not good any more, and may prove its sender's address all the same: it takes nobody's place.
#[test]
fn hours_later_it_changes_nothing() {
    let minutes = |minutes: u64| secs(60 * minutes);
    for config in configs() {
        let config = Config { interval: secs(2), ..config };
        let mut sim = Sim::new(16).watched();
        let delay = Duration::from_micros(300);
        *sim.faults() = Faults { delay: delay..delay, ..Faults::NONE };
        let mut nodes = vec![sim.start(config.clone()).unwrap()];
        for _ in 0..2 {
            // Their hours begin at different times.
            sim.run_for(minutes(4)).unwrap();
            nodes.push(sim.join(config.clone(), &nodes[..1]).unwrap());
        }
        sim.run_for(minutes(45)).unwrap();
        sim.tap();
        for n in 0..60 {
            for node in &nodes {
                sim.set(*node, "large", &vec![n; 6_000]).unwrap();
            }
            sim.run_for(secs(15)).unwrap();
        }
        let recording = sim.tapped();
        for round in 0..4 {
            sim.run_for(minutes(20)).unwrap();
            // Some of them, each time others.
            for (from, to, datagram) in recording.iter().skip(round).step_by(11) {
                changes_nothing(&mut sim, Peer::from(*to), from.addr(), datagram);
            }
        }
        assert!(sim.disagreement().is_none(), "{:?}", sim.disagreement());
    }
}

/// Who has gone and was forgotten is not brought back, by nothing that it or others ever said of it.
#[test]
fn after_a_peer_was_forgotten_it_changes_nothing() {
    for config in configs() {
        let (mut sim, nodes, recording) = recorded(&config);
        sim.forget(nodes[0], nodes[3]).unwrap();
        sim.run_for(secs(2)).unwrap();
        for at in &nodes[..3] {
            assert!(sim.state(*at, nodes[3]).is_none_or(|state| state == PeerState::Forgotten));
            recording.iter().for_each(|(from, _, datagram)| changes_nothing(&mut sim, *at, from.addr(), datagram));
        }
        // For good, with nothing but a memory of it.
        sim.run_for(secs(90)).unwrap();
        for at in &nodes[..3] {
            assert!(sim.node(*at).unwrap().ring().member(nodes[3]).is_none());
            recording.iter().for_each(|(from, _, datagram)| changes_nothing(&mut sim, *at, from.addr(), datagram));
        }
    }
}

/// All that was said by and of one who has died, in the order and at the pace in which it was said, to others than those who heard
/// it: nobody takes it for alive, whether it knew of it or has just started.
#[test]
fn the_dead_are_not_brought_to_life() {
    for config in configs() {
        let mut sim = Sim::new(12).watched();
        let nodes = sim.cluster(4, config.clone()).unwrap();
        sim.settle(secs(30)).unwrap();
        sim.tap();
        sim.run_for(secs(30)).unwrap();
        let recording = sim.tapped();
        sim.crash(nodes[3]);
        sim.run_for(secs(60)).unwrap();
        sim.restart(nodes[2]).unwrap();
        let newcomer = sim.join(config.clone(), &nodes[..1]).unwrap();
        sim.run_for(secs(5)).unwrap();
        let events: Vec<usize> = [nodes[0], nodes[2], newcomer].iter().map(|at| sim.events(*at).len()).collect();
        let pause = secs(30) / recording.len() as u32;
        for (from, _, datagram) in &recording {
            for at in [nodes[0], nodes[1], nodes[2], newcomer] {
                sim.hand(at, from.addr(), datagram).unwrap();
            }
            sim.run_for(pause).unwrap();
        }
        for (at, events) in [nodes[0], nodes[2], newcomer].into_iter().zip(events) {
            assert_eq!(sim.state(at, nodes[3]).filter(|state| *state != PeerState::Forgotten), None, "at {at}");
            let told = &sim.events(at)[events..];
            assert!(told.iter().all(|(_, event)| event.peer() != Some(nodes[3])), "{told:?}");
        }
        assert!(sim.disagreement().is_none(), "{:?}", sim.disagreement());
    }
}

/// With somebody who does so all the time nobody fails, and what is written arrives as soon.
#[test]
fn a_recorder_disturbs_nobody() {
    for config in configs() {
        let mut sim = Sim::new(13).watched();
        let nodes = sim.cluster(6, config).unwrap();
        sim.settle(secs(30)).unwrap();
        sim.intrude(SocketAddr::from(([10, 66, 0, 2], 66)), Recorder::new(13));
        for n in 0..300 {
            sim.set(nodes[n % 6], "n", &n).unwrap();
            let reader = nodes[(n + 3) % 6];
            let took = sim.run_until(secs(3), |sim| {
                sim.get(reader, nodes[n % 6], "n").is_some_and(|value| value == n.to_string())
            });
            assert!(took.unwrap().is_some(), "{n}");
            sim.run_for(secs(1)).unwrap();
        }
        assert!(sim.happened().recorded > 2_000, "{:?}", sim.happened());
        let failed =
            |at: &Peer| sim.events(*at).iter().any(|(_, event)| matches!(event, grapevine::Event::PeerFailed { .. }));
        assert!(!nodes.iter().any(failed));
        assert!(sim.disagreement().is_none(), "{:?}", sim.disagreement());
    }
}

/// That a peer is forgotten counts up to the heartbeat that was known then: who has heard a later one keeps it, also when it is
/// out of reach once more.
#[test]
fn who_came_back_is_not_forgotten_by_what_was_said_before() {
    for config in configs() {
        let config = Config { grace: secs(600), ..config };
        let mut sim = Sim::new(14).watched();
        let nodes = sim.cluster(4, config).unwrap();
        sim.set(nodes[3], "a", &1).unwrap();
        sim.settle(secs(30)).unwrap();
        let failed = |sim: &Sim| nodes[..3].iter().all(|at| sim.state(*at, nodes[3]) == Some(PeerState::Failed));
        sim.isolate(nodes[3]);
        assert!(sim.run_until(secs(60), failed).unwrap().is_some());
        sim.tap();
        sim.forget(nodes[1], nodes[3]).unwrap();
        sim.run_for(secs(5)).unwrap();
        let recording = sim.tapped();
        assert_ne!(sim.state(nodes[0], nodes[3]), Some(PeerState::Failed), "it was told");
        sim.settle(secs(60)).unwrap();
        sim.run_for(secs(30)).unwrap();
        sim.isolate(nodes[3]);
        assert!(sim.run_until(secs(60), failed).unwrap().is_some());
        for (from, _, datagram) in &recording {
            sim.hand(nodes[0], from.addr(), datagram).unwrap();
        }
        assert_eq!(sim.state(nodes[0], nodes[3]), Some(PeerState::Failed));
        assert_eq!(sim.get(nodes[0], nodes[3], "a").as_deref(), Some("1"));
    }
}

/// Who was forgotten and comes back in the same run is empty until its map arrives. What was once told of that map, answers and deltas
/// that were made for this very run of the reader, does not fill it: what was deleted meanwhile would come back.
#[test]
fn who_came_back_has_nothing_that_was_told_before() {
    for config in configs() {
        let mut sim = Sim::new(15).watched();
        sim.tap();
        let nodes = sim.cluster(4, config).unwrap();
        sim.settle(secs(30)).unwrap();
        let (reader, owner) = (nodes[0], nodes[3]);
        for n in 0..20 {
            sim.set(owner, "small", &n).unwrap();
            sim.set(owner, "large", &vec![n; 4_000]).unwrap();
            sim.run_for(secs(1)).unwrap();
        }
        let recording = sim.tapped();
        assert!(sim.get(reader, owner, "large").is_some());
        sim.delete(owner, "small").unwrap();
        sim.delete(owner, "large").unwrap();
        sim.run_for(secs(5)).unwrap();
        assert_eq!(sim.get(reader, owner, "small"), None);
        sim.isolate(owner);
        let is_gone = |sim: &Sim| sim.node(reader).unwrap().ring().member(owner).is_none();
        assert!(sim.run_until(secs(120), is_gone).unwrap().is_some());
        sim.heal();
        assert!(sim.run_until(secs(30), |sim| !is_gone(sim)).unwrap().is_some());
        assert!(sim.node(reader).unwrap().map(owner).is_some_and(|map| map.is_empty()), "its map is still to come");
        let mut read = 0;
        for (from, to, datagram) in &recording {
            sim.hand(reader, from.addr(), datagram).unwrap();
            read += usize::from(*to == reader.addr());
            let back = ["small", "large"].map(|key| sim.get(reader, owner, key));
            assert_eq!(back, [None, None], "told by {from}");
        }
        assert!(read > 60, "{read} of them were for the reader");
        sim.settle(secs(30)).unwrap();
    }
}
