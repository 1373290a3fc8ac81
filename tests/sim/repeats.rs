//! The same seed gives the same run, byte for byte, and a fault that is left out leaves the others as they are.

use std::time::Duration;

use grapevine::Config;
use grapevine::sim::{FaultKind, Faults, Plan, Sim, Torture, narrow, torture};

const SHORT: Duration = Duration::from_secs(60);

fn recorded(seed: u64) -> (String, u64) {
    let mut run = Torture::new(Plan::of_kinds(seed, 6, SHORT, FaultKind::ALL));
    run.record = true;
    let outcome = torture(&run).unwrap();
    assert!(outcome.violation.is_none(), "{:?}", outcome.violation);
    (outcome.record, outcome.trace_hash)
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let (text, hash) = recorded(5);
    assert!(text.lines().count() > 10_000);
    let (again, same) = recorded(5);
    assert!(text == again && hash == same);
    let (other, differs) = recorded(6);
    assert!(text != other && hash != differs);
}

#[test]
fn whatever_is_masked_the_other_faults_stay_as_they_are() {
    for seed in 0..20 {
        let all = Plan::random(seed, 8, SHORT);
        for kind in FaultKind::ALL {
            let others = FaultKind::ALL.into_iter().filter(|other| *other != kind && *other != FaultKind::Lies);
            let fewer = Plan::of_kinds(seed, 8, SHORT, others);
            assert!(fewer.faults.iter().all(|planned| all.faults.contains(planned)), "{seed} without {kind}");
        }
    }
}

/// Which datagrams are lost does not depend on what else happens to them.
#[test]
fn the_fate_of_a_datagram_is_its_own() {
    let lost = |faults: Faults| {
        let mut sim = Sim::new(3);
        let nodes = sim.cluster(2, Config::default()).unwrap();
        sim.run_for(Duration::from_secs(3)).unwrap();
        *sim.faults() = Faults { loss: 0.3, ..faults };
        sim.cut_one_way(&nodes[1..], &nodes[..1]);
        // The first hears nothing and goes on trying: what it does depends on nothing that is drawn.
        sim.run_for(Duration::from_secs(30)).unwrap();
        sim.happened().lost
    };
    let alone = lost(Faults::NONE);
    assert!(alone > 3, "{alone}");
    assert_eq!(lost(Faults { duplication: 0.5, corruption: 0.0, ..Faults::NONE }), alone);
}

/// A run that fails is narrowed down to the faults that it takes. Here everyone is to agree at once, so that it takes one at most.
#[test]
fn a_failure_is_narrowed_down() {
    let mut failing = Torture::new(Plan::random(3, 4, SHORT));
    failing.settle_within = 0;
    failing.plan = failing.plan.without(|planned| planned.until > SHORT / 2);
    let all = failing.plan.faults.len();
    assert!(torture(&failing).unwrap().violation.is_some());
    let mut tries = 0;
    let narrowed = narrow(&failing, |_| tries += 1).unwrap();
    assert!(narrowed.plan.faults.len() <= 1 && all > 3 && tries > 1, "{} of {all}", narrowed.plan.faults.len());
}
