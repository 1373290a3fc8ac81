//! How the originals failed: restarts, the dead, seeds, halves, detection.

use std::time::Duration;

use grapevine::wire::Message;
use grapevine::{Config, Event, Peer, PeerState};

use crate::common::forge::{Forger, delta, peer, row, rows};
use crate::common::net::START_MS;
use crate::common::{Net, config, ms, secs};

fn failures(net: &Net, at: Peer) -> usize {
    net.count(at, |event| matches!(event, Event::PeerFailed { .. }))
}

/// Until everyone who runs has `peer` in this state.
fn until_all_see(net: &mut Net, peer: Peer, state: PeerState, limit: Duration) -> Option<Duration> {
    net.run_until(limit, |net| {
        net.running().iter().filter(|at| **at != peer).all(|at| net.state(*at, peer) == Some(state))
    })
}

/// "A peer that restarts with lower versions is overruled by its own past: the others keep and return its old state, even
/// overwrite its new values with no event."
#[test]
fn a_restart_with_lower_versions_replaces_the_past() {
    let mut net = Net::new(20);
    let peers = net.cluster(4, config());
    for n in 0..20 {
        net.set(peers[1], "n", &n);
    }
    net.set(peers[1], "gone", "old");
    net.settle();
    net.crash(peers[1]);
    net.run_for(secs(30));
    for at in [0, 2, 3] {
        net.take_events(peers[at]);
    }
    net.restart(peers[1]);
    assert!(net.set(peers[1], "n", "new") < 20, "a lower version than before");
    net.settle();
    net.run_for(secs(60));
    assert_eq!(net.get(peers[1], peers[1], "n").as_deref(), Some("\"new\""));
    for at in [peers[0], peers[2], peers[3]] {
        assert_eq!(net.get(at, peers[1], "n").as_deref(), Some("\"new\""));
        assert_eq!(net.get(at, peers[1], "gone"), None);
        let keys: Vec<_> = net.take_events(at).into_iter().filter(|event| event.key().is_some()).collect();
        assert!(
            matches!(&keys[..], [Event::Update { key, .. }, Event::Delete { key: gone, .. }]
            if (&**key, &**gone) == ("n", "gone")),
            "{keys:?}"
        );
    }
}

/// The same, for a peer that restarts before anyone noticed, and whose wall clock was set back meanwhile, or was lost.
#[test]
fn a_quick_restart_with_the_clock_set_back_replaces_the_past() {
    for back_ms in [0, -3_600_000, -80_000_000, -(START_MS as i64)] {
        let mut net = Net::new(21);
        let peers = net.cluster(4, config());
        net.set(peers[1], "n", "old");
        net.settle();
        net.restart_with_clock(peers[1], back_ms);
        net.set(peers[1], "m", "new");
        net.settle();
        for at in [peers[0], peers[2], peers[3]] {
            assert_eq!(net.get(at, peers[1], "m").as_deref(), Some("\"new\""));
            assert_eq!(net.get(at, peers[1], "n"), None, "clock off by {back_ms} ms");
        }
    }
}

/// A run that meets its past takes a higher generation. If it then restarts again, with its clock still behind, and meets
/// another witness of the same past, it must not take the generation that its own last run had: those who saw that run would
/// take the new one for it, and what they hold of it for current.
#[test]
fn two_restarts_with_the_clock_set_back_are_two_runs() {
    let mut net = Net::new(32);
    let peers = net.cluster(3, config());
    let [a, b, p] = peers[..] else { unreachable!() };
    net.settle();
    net.cut(&[b], &[a, p]);
    net.restart_with_clock(p, -3_600_000);
    net.run_until(secs(60), |net| net.node(p).generation() > START_MS).expect("it meets its past");
    net.set(p, "first", "run");
    net.run_until(secs(60), |net| net.get(a, p, "first").is_some()).unwrap();

    net.heal();
    net.cut(&[a], &[b, p]);
    net.restart_with_clock(p, -3_600_000);
    net.run_until(secs(60), |net| net.node(p).generation() > START_MS).expect("it meets its past");
    net.set(p, "second", "run");
    net.set(p, "third", "run");
    net.run_until(secs(60), |net| net.get(b, p, "third").is_some()).unwrap();

    net.heal();
    net.run_for(secs(120));
    for at in [a, b] {
        assert_eq!(net.get(at, p, "first"), None, "{at}");
        assert_eq!(net.get(at, p, "second").as_deref(), Some("\"run\""), "{at}");
    }
    assert!(net.agrees(), "{}", net.disagreement().unwrap());
}

/// The same where the witnesses disagree: whom the restarted peer meets first remembers the older of two runs, and those who
/// remember the later one have forgotten the peer before it may take another generation.
#[test]
fn a_restart_that_met_the_older_past_first_is_not_lost() {
    for seed in 0..20 {
        let mut net = Net::new(seed);
        let peers = net.cluster(4, Config { grace: secs(15), ..config() });
        // The first has no seeds, which are tried with full digests again and again.
        let [p, a, b, witness] = peers[..] else { unreachable!() };
        net.settle();
        net.pause(witness);
        net.restart_with_clock(p, -3_600_000);
        net.run_until(secs(60), |net| net.node(p).generation() > START_MS).expect("it meets its past");
        net.run_for(secs(30));
        net.resume(witness);
        net.cut(&[p], &[a, b]);
        net.restart_with_clock(p, -3_600_000);
        net.run_for(secs(2));
        net.set(p, "still", "here");
        net.heal();
        net.run_for(secs(200));
        for at in [a, b, witness] {
            assert_eq!(net.get(at, p, "still").as_deref(), Some("\"here\""), "{at}, seed {seed}");
        }
        assert!(net.agrees(), "{}", net.disagreement().unwrap());
    }
}

/// "Dead peers are never forgotten: a newcomer thought 21 peers live when 1 was, then announced 20 failures."
#[test]
fn a_newcomer_neither_takes_the_dead_for_live_nor_announces_their_failure() {
    let mut net = Net::new(22);
    let config = Config { grace: secs(120), ..config() };
    let peers = net.cluster(21, config.clone());
    net.settle();
    for dead in &peers[1..] {
        net.crash(*dead);
    }
    net.run_for(secs(30));
    assert_eq!(net.listed(peers[0], PeerState::Failed).len(), 20);
    let newcomer = net.join(config, &[peers[0]]);
    let mut most_alive = 0;
    net.run_until(secs(60), |net| {
        most_alive = most_alive.max(net.listed(newcomer, PeerState::Alive).len());
        false
    });
    assert_eq!((most_alive, failures(&net, newcomer)), (1, 0));
    // Everyone forgets: the one who saw them fail, and the one who only heard of them, a grace period later.
    net.run_for(secs(300));
    for at in [peers[0], newcomer] {
        assert_eq!(net.node(at).peers().count(), 1);
        assert_eq!(net.node(at).ring().len(), 1);
    }
    assert_eq!(net.count(peers[0], |event| matches!(event, Event::PeerForgotten { .. })), 20);
}

/// "A seed never heard from counts as live for ever (phi is NaN)."
#[test]
fn a_seed_never_heard_from_is_no_peer() {
    let mut net = Net::new(23);
    let me = net.join(config(), &[peer("10.5.5.5:5")]);
    net.run_for(secs(600));
    assert_eq!(net.node(me).peers().count(), 0);
    assert!(net.events(me).is_empty());
}

/// "A peer never alive never fails", and φ is a number for everyone at any time.
#[test]
fn suspicion_is_always_a_number() {
    let mut net = Net::new(24);
    let peers = net.cluster(3, config());
    let forger = Forger::new();
    net.hand(peers[0], forger.addr(), &forger.news(&[row(peer("10.1.1.1:1"), START_MS, 3, 0)]));
    net.run_until(secs(200), |net| {
        for (other, _) in net.node(peers[0]).peers() {
            let info = net.node(peers[0]).peer(net.local(peers[0]), other).unwrap();
            assert!(info.phi.is_finite() && info.phi >= 0.0, "{info:?}");
        }
        false
    });
    assert_eq!(failures(&net, peers[0]), 0);
}

/// "Seeds are never chosen in 10,000 rounds (NaN again)." With nine live peers and one seed: every ninth round.
#[test]
fn seeds_are_tried_again_and_again() {
    let mut net = Net::new(25);
    let peers = net.cluster(9, config());
    let absent = peer("10.5.5.5:5");
    let me = net.join(config(), &[peers[0], absent]);
    net.settle();
    net.tap();
    net.run_for(secs(900));
    let tries = net.tapped().iter().filter(|(from, to, _)| (*from, *to) == (me, absent.addr())).count();
    assert!((50..200).contains(&tries), "{tries} tries in 900 rounds");
}

/// "…so two halves of a cluster never find each other again", not even after each has forgotten the other.
#[test]
fn two_halves_find_each_other_again() {
    let mut net = Net::new(26);
    let peers = net.cluster(8, Config { grace: secs(60), ..config() });
    net.settle();
    net.cut(&peers[..4], &peers[4..]);
    net.set(peers[0], "side", "left");
    net.set(peers[5], "side", "right");
    net.run_for(secs(300));
    for at in &peers {
        assert_eq!(net.node(*at).peers().count(), 3, "the other half is forgotten");
    }
    let took = net.settle();
    assert!(took < secs(60), "{took:?}");
    assert_eq!(net.get(peers[1], peers[5], "side").as_deref(), Some("\"right\""));
    assert_eq!(net.get(peers[6], peers[0], "side").as_deref(), Some("\"left\""));
}

/// "Discovery is one-way: the caller never learns of peers that only the answerer knows."
#[test]
fn the_caller_learns_of_peers_that_only_the_answerer_knows() {
    let mut net = Net::new(27);
    let peers = net.cluster(6, config());
    net.settle();
    let mut caller = Forger::new();
    let knock = caller.digest(&[row(caller.sender, START_MS, 1, 1)]);
    let answers = net.hand(peers[3], caller.addr(), &knock);
    let token = Message::decode(&answers[0].1).unwrap().0.token;
    caller.echo = token;
    let knock = caller.digest(&[row(caller.sender, START_MS, 2, 1)]);
    let answers = net.hand(peers[3], caller.addr(), &knock);
    let (_, answer) =
        answers.iter().find(|(_, bytes)| matches!(Message::decode(bytes), Ok((_, Message::Answer(_))))).unwrap();
    let mut told: Vec<Peer> = rows(answer).iter().map(|row| row.peer).collect();
    told.sort_unstable();
    assert_eq!(told, peers);
}

/// "Gaps poison the mean: detection takes 18 s normally, 53 s after a 60 s outage, 397 s after a 10 min one."
#[test]
fn detection_is_as_quick_after_an_outage_as_before() {
    let detection = |outage: Duration| {
        let mut net = Net::new(28);
        let peers = net.cluster(5, config());
        net.settle();
        net.run_for(secs(120));
        if !outage.is_zero() {
            net.cut(&peers[..4], &peers[4..]);
            net.run_for(outage);
            net.settle();
            net.run_for(secs(20));
        }
        net.crash(peers[4]);
        until_all_see(&mut net, peers[4], PeerState::Failed, secs(600)).unwrap()
    };
    let normal = detection(Duration::ZERO);
    assert!(normal < secs(10), "{normal:?}");
    for outage in [secs(60), secs(600)] {
        let after = detection(outage);
        assert!(after < normal + secs(3), "{after:?} after {outage:?}, {normal:?} before");
    }
}

/// "After an own restart a peer declares every other failed (19 of 19, 49 of 49, 99 of 99)."
#[test]
fn who_restarts_declares_nobody_failed() {
    let mut net = Net::new(29);
    let peers = net.cluster(50, config());
    net.run_for(secs(20));
    for (at, down) in [(peers[7], secs(0)), (peers[8], secs(20)), (peers[0], secs(5))] {
        net.crash(at);
        net.run_for(down);
        net.take_events(at);
        net.restart(at);
        net.run_for(secs(20));
        assert_eq!((failures(&net, at), net.listed(at, PeerState::Alive).len()), (0, 49));
    }
}

/// Its sibling: a process that was stopped for a while and goes on (SIGSTOP, a laptop's lid) convicts nobody for it, although
/// its detector wakes before the heartbeats in its socket are read.
#[test]
fn who_was_paused_declares_nobody_failed() {
    convicts_nobody_after(&[secs(5), secs(60)]);
}

/// After ten minutes some hundred datagrams wait, each with newer heartbeats than the one before. All are read in one
/// breath: if each advance were a sample, the window would be full of intervals of nothing.
#[test]
fn who_was_paused_for_long_declares_nobody_failed() {
    convicts_nobody_after(&[secs(600)]);
}

/// Nor does one that slept while its network was away, so that nothing waits in its socket: a lid that was closed.
#[test]
fn who_slept_without_a_network_declares_nobody_failed() {
    let mut net = Net::new(33);
    let peers = net.cluster(20, config());
    net.settle();
    net.run_for(secs(30));
    for pause in [secs(5), secs(60), secs(600)] {
        net.cut(&peers[..1], &peers[1..]);
        net.pause(peers[0]);
        net.run_for(pause);
        net.heal();
        net.resume(peers[0]);
        net.run_for(secs(60));
        assert_eq!(failures(&net, peers[0]), 0, "{pause:?}");
    }
}

fn convicts_nobody_after(pauses: &[Duration]) {
    let mut net = Net::new(30);
    let peers = net.cluster(20, config());
    net.settle();
    net.run_for(secs(30));
    for pause in pauses.iter().copied() {
        net.pause(peers[3]);
        net.run_for(pause);
        let rounds = net.node(peers[3]).stats().rounds;
        net.resume(peers[3]);
        net.run_for(ms(100));
        // "Its ticker bursts after a stall": the successor's.
        assert!(net.node(peers[3]).stats().rounds - rounds <= 1, "rounds are not made up for");
        net.run_for(secs(60));
        assert_eq!(failures(&net, peers[3]), 0, "{pause:?}");
    }
}

/// "A node restarting 1,394 times with new generations kills the stable nodes (an old generation is never replaced)": the
/// successor's. Nothing is left behind here.
#[test]
fn restarts_leave_nothing_behind() {
    let mut net = Net::new(31);
    let me = net.start(config());
    let (forger, other) = (Forger::new(), peer("10.1.1.1:80"));
    for n in 0..1_394 {
        let generation = START_MS + n;
        net.hand(me, forger.addr(), &forger.news(&[row(other, generation, 1, 3)]));
        let part = forger.part(other, delta(generation, 0, 3), &[("a", 2, "x"), (&format!("k{n}"), 3, "y")]);
        net.hand(me, forger.addr(), &forger.delta(&part));
        net.hand(me, forger.addr(), &forger.news(&[row(other, generation, 2, 3)]));
    }
    let ring = net.node(me).ring();
    assert_eq!((ring.len(), ring.all_forgotten().count()), (1, 0));
    assert_eq!(ring.peers_in(PeerState::Alive), [other]);
    let keys: Vec<_> = net.node(me).map(other).unwrap().iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(keys, ["a", "k1393"]);
    // And it still talks to others.
    let friend = net.join(config(), &[me]);
    assert!(net.run_until(secs(20), |net| net.state(friend, me) == Some(PeerState::Alive)).is_some());
}
