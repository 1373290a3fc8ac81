//! Faults begin and end as the plan says, and no fault ends another.

use super::*;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn happened(faults: Vec<(u64, u64, Fault)>) -> Happened {
    let planned = |(from, until, fault)| Planned { from: secs(from), until: secs(until), fault };
    let faults = faults.into_iter().map(planned).collect();
    let outcome = torture(&Torture::new(Plan { seed: 1, nodes: 4, duration: secs(80), faults })).unwrap();
    assert_eq!(outcome.violation, None);
    outcome.happened
}

#[test]
fn a_fault_that_is_put_off_ends() {
    let (early, later) = (happened(vec![(1, 3, Fault::Cut(vec![0]))]), happened(vec![(20, 22, Fault::Cut(vec![0]))]));
    assert!(early.cut > 3 && early.cut < 2 * later.cut, "{} and {}", early.cut, later.cut);
    assert_eq!(happened(vec![(90, 95, Fault::Crash(1, Comeback::Same))]).crashes, 0, "after the end");
}

#[test]
fn the_end_of_a_fault_ends_no_other() {
    let long = (10, 60, Fault::Cut(vec![0]));
    let alone = happened(vec![long.clone()]).cut;
    let both = happened(vec![long, (20, 21, Fault::CutOneWay(vec![0]))]).cut;
    assert!(both > alone * 3 / 4, "{both} of {alone}");
    let outcome = happened(vec![(10, 60, Fault::Crash(1, Comeback::Same)), (20, 21, Fault::Leave(1))]);
    assert_eq!((outcome.crashes, outcome.restarts, outcome.leaves), (1, 1, 0), "who is dead does not leave");
}

#[test]
fn a_plan_for_nodes_that_there_are_not_is_refused() {
    let planned = Planned { from: secs(5), until: secs(6), fault: Fault::Pause(4) };
    let plan = Plan { seed: 1, nodes: 4, duration: secs(10), faults: vec![planned] };
    assert!(matches!(torture(&Torture::new(plan)), Err(Error::Config { setting: "plan", .. })));
    assert!(torture(&Torture::new(Plan::random(1, 0, secs(10)))).is_err());
}
