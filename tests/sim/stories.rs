//! The words of the simulator, each doing what it says.

use std::cell::Cell;
use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use grapevine::sim::{Faults, Scope, Sim};
use grapevine::{Config, Event, EventFilter, Limits, Peer, PeerState};

type Story = Result<(), Box<dyn Error>>;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn cluster(seed: u64, nodes: usize) -> Result<(Sim, Vec<Peer>), Box<dyn Error>> {
    let mut sim = Sim::new(seed).watched();
    let nodes = sim.cluster(nodes, Config::default())?;
    sim.settle(secs(30))?;
    sim.run_for(secs(20))?;
    Ok((sim, nodes))
}

#[test]
fn one_who_is_isolated_fails_and_comes_back() -> Story {
    let (mut sim, nodes) = cluster(1, 5)?;
    sim.isolate(nodes[2]);
    sim.set(nodes[2], "said", "alone")?;
    sim.run_for(secs(20))?;
    assert_eq!(sim.listed(nodes[0], PeerState::Failed), [nodes[2]]);
    assert_eq!(sim.listed(nodes[2], PeerState::Failed).len(), 4);
    assert_eq!(sim.get(nodes[0], nodes[2], "said"), None);
    let time = sim.settle(secs(20))?;
    assert!(time < secs(5), "{time:?}");
    assert_eq!(sim.get(nodes[0], nodes[2], "said").as_deref(), Some("\"alone\""));
    assert!(sim.happened().cut > 50);
    Ok(())
}

/// Heartbeats come around: nobody fails for a link that is cut, one way or both.
#[test]
fn a_cut_link_fails_nobody() -> Story {
    let (mut sim, nodes) = cluster(2, 5)?;
    sim.cut_one_way(&nodes[..1], &nodes[1..2]);
    sim.cut(&nodes[2..3], &nodes[3..4]);
    sim.run_for(secs(120))?;
    assert!(sim.happened().cut > 50 && sim.happened().cut_one_way > 50, "{:?}", sim.happened());
    assert!(sim.disagreement().is_none(), "{:?}", sim.disagreement());
    sim.heal_between(&nodes[..1], &nodes[1..2]);
    let cut = sim.happened().cut;
    sim.cut(&nodes[..1], &nodes[1..2]);
    sim.heal();
    sim.run_for(secs(10))?;
    assert_eq!(sim.happened().cut, cut);
    Ok(())
}

#[test]
fn a_process_that_stood_still_is_missed_and_convicts_nobody() -> Story {
    let (mut sim, nodes) = cluster(3, 5)?;
    sim.pause(nodes[1]);
    assert!(sim.set(nodes[1], "key", "value").is_err(), "it does not run");
    sim.run_for(secs(20))?;
    assert_eq!(sim.state(nodes[0], nodes[1]), Some(PeerState::Failed));
    sim.take_events(nodes[1]);
    sim.resume(nodes[1]);
    sim.run_for(secs(10))?;
    let failed = sim.events(nodes[1]).iter().filter(|(_, event)| matches!(event, Event::PeerFailed { .. })).count();
    assert_eq!((failed, sim.happened().pauses), (0, 1));
    assert!(sim.disagreement().is_none());
    Ok(())
}

/// A life goes on where the clock stands still, and is mended by the ordinary exchange.
#[test]
fn a_machine_that_slept_is_mended() -> Story {
    let (mut sim, nodes) = cluster(4, 4)?;
    sim.set_for(nodes[0], "brief", "life", secs(10))?;
    sim.run_for(secs(2))?;
    sim.sleep(nodes[1]);
    let before = sim.local(nodes[1]);
    sim.run_for(secs(30))?;
    assert_eq!(sim.local(nodes[1]), before);
    assert_eq!(sim.get(nodes[2], nodes[0], "brief"), None);
    assert!(sim.get(nodes[1], nodes[0], "brief").is_some());
    sim.resume(nodes[1]);
    sim.run_for(secs(3))?;
    assert_eq!(sim.get(nodes[1], nodes[0], "brief"), None);
    Ok(())
}

#[test]
fn clocks_drift_and_lives_end_within_it() -> Story {
    let (mut sim, nodes) = cluster(5, 3)?;
    sim.drift(nodes[0], 50_000);
    sim.drift(nodes[1], -50_000);
    let start = [sim.local(nodes[0]), sim.local(nodes[1])];
    sim.set_for(nodes[0], "brief", &1, secs(100))?;
    sim.run_for(secs(94))?;
    assert!(sim.get(nodes[1], nodes[0], "brief").is_some());
    sim.run_for(secs(2))?;
    assert_eq!(sim.get(nodes[1], nodes[0], "brief"), None, "the owner's clock is the fast one");
    let passed = |n: usize| Some((sim.local(nodes[n])? - start[n]?).as_millis());
    assert_eq!((passed(0), passed(1)), (Some(100_800), Some(91_200)));
    sim.run_for(secs(600))?;
    assert!(sim.disagreement().is_none());
    Ok(())
}

#[test]
fn addresses_are_used_again() -> Story {
    let (mut sim, nodes) = cluster(6, 4)?;
    sim.set(nodes[1], "old", &1)?;
    sim.run_for(secs(1))?;
    sim.crash(nodes[1]);
    let initial = vec![("new".to_owned(), grapevine::Value::encode(&2)?)];
    sim.replace(nodes[1], Config { initial, seeds: vec![nodes[0].to_string()], ..Config::default() })?;
    sim.settle(secs(30))?;
    assert_eq!((sim.get(nodes[2], nodes[1], "old"), sim.get(nodes[2], nodes[1], "new").as_deref()), (None, Some("2")));
    // A node of another cluster at the address of one that is gone: its words are not listened to.
    sim.replace(
        nodes[1],
        Config { cluster: "another".into(), seeds: vec![nodes[0].to_string()], ..Config::default() },
    )?;
    sim.run_for(secs(30))?;
    assert_eq!(sim.state(nodes[2], nodes[1]), Some(PeerState::Failed));
    sim.restart_with_clock(nodes[2], -3_600_000)?;
    sim.settle(secs(90))?;
    let happened = sim.happened();
    assert_eq!((happened.restarts, happened.replacements, happened.clocks_set_back), (3, 2, 1));
    Ok(())
}

/// Copies of a map of two runs come to what the owner wrote in the later one: nobody who tells the truth is taken for a liar.
#[test]
fn a_restart_is_followed_by_no_further_run() -> Story {
    let (mut sim, nodes) = cluster(12, 3)?;
    sim.set(nodes[1], "key", &1)?;
    sim.set_for(nodes[1], "lease", &1, secs(600))?;
    sim.run_for(secs(5))?;
    sim.restart(nodes[1])?;
    sim.set(nodes[1], "key", &2)?;
    sim.settle(secs(30))?;
    let generation = |sim: &Sim| sim.node(nodes[1]).map(|node| node.generation());
    let restarted = generation(&sim);
    sim.run_for(secs(180))?;
    assert_eq!(generation(&sim), restarted);
    Ok(())
}

#[test]
fn links_are_slow_and_names_are_looked_up() -> Story {
    let mut sim = Sim::new(7).watched();
    let first = sim.start(Config::default())?;
    sim.name("seed.example:9000", &[first.addr()]);
    let second = sim.start(Config { seeds: vec!["seed.example:9000".into()], ..Config::default() })?;
    sim.faults_in(1, Scope::Link(first, second), Faults { bytes_per_second: Some(10_000), ..Faults::NONE });
    sim.set(first, "large", &vec![7u8; 50_000])?;
    let arrived = sim.run_until(secs(60), |sim| sim.get(second, first, "large").is_some())?;
    assert!(arrived.is_some_and(|time| time > secs(5)), "{arrived:?}");
    assert!(sim.happened().slowed > 30);
    sim.faults_in(1, Scope::Everywhere, Faults::NONE);
    sim.set(first, "large", &vec![8u8; 50_000])?;
    let arrived = sim.run_until(secs(60), |sim| sim.disagreement().is_none())?;
    assert!(arrived.is_some_and(|time| time < secs(1)), "{arrived:?}");
    Ok(())
}

/// A program that reacts to events, and a subscriber that never reads.
#[test]
fn programs_react_and_subscribers_are_bounded() -> Story {
    let mut sim = Sim::new(8).watched();
    let limits = Limits { events: 10, ..Limits::default() };
    let nodes = sim.cluster(3, Config { limits, ..Config::default() })?;
    let seen = Rc::new(Cell::new(0));
    let count = seen.clone();
    sim.program(nodes[0], move |node, event| {
        if let Event::Update { peer, key, .. } = event {
            if *peer != node.peer() {
                count.set(count.get() + 1);
                node.set("last", &**key).ok();
            }
        }
    });
    let deaf = sim.subscribe(nodes[1], EventFilter::all()).ok_or("it runs")?;
    for n in 0..20 {
        sim.set(nodes[2], &format!("key{n}"), &n)?;
        sim.run_for(secs(1))?;
    }
    assert_eq!((seen.get(), sim.get(nodes[1], nodes[0], "last").as_deref()), (20, Some("\"key19\"")));
    assert_eq!(deaf.receiver().len(), 10);
    assert_eq!(deaf.missed(), sim.happened().events_missed);
    let snapshot = sim.snapshot(nodes[1]).ok_or("it runs")?;
    assert_eq!(snapshot.peers[&nodes[2]].entries.len(), 20);
    Ok(())
}

/// Two programs that advertise one address: each is told, and when one of them ends everyone agrees again.
#[test]
fn a_twin_is_reported() -> Story {
    let (mut sim, nodes) = cluster(9, 4)?;
    sim.expect_lies();
    let advertise = Some(nodes[1].addr());
    let elsewhere = SocketAddr::from(([10, 1, 0, 1], 9_000));
    let seeds = vec![nodes[0].to_string()];
    let twin = sim.start_at(elsewhere, Config { advertise, seeds, ..Config::default() }, 0)?;
    sim.run_for(secs(90))?;
    let told = |at: Peer| sim.events(at).iter().any(|(_, event)| matches!(event, Event::AddressConflict { .. }));
    assert!(told(nodes[1]) || told(twin));
    sim.crash(twin);
    sim.settle(secs(90))?;
    Ok(())
}

/// Both start in the same millisecond, so that they have the same generation, and neither ever writes: where each starts to
/// count its rounds tells them apart, but for a few that draw the same.
#[test]
fn twins_that_start_at_once_notice_each_other() -> Story {
    const SEEDS: u64 = 200;
    let mut unnoticed = 0;
    for seed in 0..SEEDS {
        let mut sim = Sim::new(seed).watched();
        sim.expect_lies();
        let seeds = vec![sim.start(Config::default())?.to_string()];
        let twins = ["10.1.0.1:9000", "10.1.0.2:9000"].map(|addr| addr.parse::<SocketAddr>().unwrap());
        let config = Config { advertise: Some(twins[0]), seeds, ..Config::default() };
        for twin in twins {
            sim.start_at(twin, config.clone(), 0)?;
        }
        sim.run_for(secs(20))?;
        let told =
            |at| sim.events(Peer::from(at)).iter().any(|(_, event)| matches!(event, Event::AddressConflict { .. }));
        unnoticed += u64::from(!twins.into_iter().any(told));
    }
    assert!(unnoticed <= SEEDS / 20, "{unnoticed} of {SEEDS}");
    Ok(())
}

#[test]
fn a_node_that_leaves_has_left_and_not_failed() -> Story {
    let (mut sim, nodes) = cluster(10, 6)?;
    sim.leave(nodes[3])?;
    sim.run_for(secs(2))?;
    sim.crash(nodes[3]);
    sim.run_for(secs(30))?;
    for at in sim.running() {
        assert_eq!(sim.state(at, nodes[3]), Some(PeerState::Left), "{at}");
    }
    assert!(sim.disagreement().is_none());
    Ok(())
}

/// Whoever comes, or comes back, has everyone's map within a few exchanges, however much more it is than an answer holds.
#[test]
fn newcomers_do_not_wait_for_the_maps() -> Story {
    for nodes in [1, 8] {
        let (mut sim, nodes) = cluster(41, nodes)?;
        *sim.faults() = Faults { delay: Duration::from_millis(1)..Duration::from_micros(1_001), ..Faults::NONE };
        for n in 0..20 {
            sim.set(nodes[0], &format!("key{n}"), &"v".repeat(700))?;
        }
        sim.run_for(secs(5))?;
        let newcomer = sim.join(Config::default(), &nodes[..1])?;
        let has_all = |sim: &Sim| (0..20).all(|n| sim.get(newcomer, nodes[0], &format!("key{n}")).is_some());
        let took = sim.run_until(secs(5), has_all)?;
        assert!(took.is_some_and(|took| took < Duration::from_millis(20)), "of {}: {took:?}", nodes.len());
        sim.run_for(secs(5))?;
        sim.restart(newcomer)?;
        let took = sim.run_until(secs(5), has_all)?;
        assert!(took.is_some_and(|took| took < Duration::from_millis(20)), "restarted, of {}: {took:?}", nodes.len());
    }
    Ok(())
}
