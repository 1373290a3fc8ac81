//! An exhaustive check of reconciliation at small size, over the very functions that ship.
//!
//! One owner and one to three holders of its map, two keys. The owner sets, deletes, lets expire, collects
//! tombstones, starts anew (empty, or with some of its keys) or takes a new generation, in every order that a
//! scenario's budget allows; holders' clocks run on by themselves, and holders start anew. In
//! between everyone may exchange with everyone at any moment, and messages - digests, which thereby grow old, and
//! answers, cut after no entry, after one, or not at all - wait in a network that loses, duplicates and reorders
//! them. [`explore`] visits every state that can be reached.
//!
//! In every state, or at every step:
//!
//! 1. the paper's invariant holds between the owner and each holder of its present run ([`properties::invariant`]);
//! 2. all can still become equal: if the network is reliable from here on, two rounds suffice in which each exchanges
//!    with each, with one entry in an answer as well as with all; also much later, when every life has ended, and
//!    when the tombstones of that have been collected; and without the owner, if some holder has everything;
//! 3. nothing that was overwritten, deleted or has expired becomes readable again at the same node, no life gets
//!    longer, and no reader loses a key that the owner has had all the time ([`properties::flicker`]);
//! 4. (generation, maximum) as told never goes back within a generation but where the floor rises, and events are
//!    exactly the difference between what was shown before and what is shown after;
//! 5. nothing is refused by a holder with the limits of its owner.
//!
//! [`planted_faults_are_found`] takes out one rule at a time, by falsifying what passes between the shipped
//! functions, and expects the explorer to find what comes of it: the check is worth something only while it does.
//!
//! `cargo test` runs small budgets, about ten seconds in all. The long form takes ten minutes and a few gigabytes, and
//! says how far it got:
//!
//! ```text
//! cargo test --release --test model -- --ignored --nocapture --test-threads 1 long_form
//! ```

mod converge;
mod exchange;
mod explore;
mod holder;
mod look_up;
mod numbers;
mod owner;
mod properties;
mod rules;
mod trace;

use std::time::{Duration, Instant as Clock};

use explore::{Explorer, Report};
use grapevine::config::Limits;
use grapevine::instant::Instant;
use grapevine::state::{Content, Delta, DeltaEntry, OwnMap, Replica};
use grapevine::value::{Key, Value};
use owner::Op;
use rules::{Budget, Fault, Rules, Scenario};

const NOTHING: Budget = Budget { ops: 0, sets: 0, lives: 0, deletes: 0, ticks: 0, collects: 0, restarts: 0 };
const RULES: Rules = Rules { script: &[], big: None, pieces: 2, one_refuses: false, keys: 2, fault: Fault::None };
const TWO_HOLDERS: Scenario =
    Scenario { name: "", holders: 2, slots: 1, budget: NOTHING, ticks: 0, restarts: 0, rules: RULES };

// Each looks at one thing closely; all things at once would be too many states.

/// Deletions, and copies that fall below the floor.
const FLOORS: Scenario =
    Scenario { name: "floors", budget: Budget { ops: 4, sets: 2, deletes: 1, collects: 1, ..NOTHING }, ..TWO_HOLDERS };
/// Longer stories: a transfer of more than one message, of holders that are behind with one another; a transfer in the
/// middle of which the floor rises again; floors that a new run inherits.
const STORIES: [&[Op]; 5] = [
    &[Op::Set(0), Op::Set(1), Op::Delete(0), Op::Set(0), Op::CollectAll],
    &[Op::Set(0), Op::Set(1), Op::Delete(0), Op::Set(1), Op::CollectAll],
    &[Op::Set(0), Op::Set(1), Op::Set(0), Op::Delete(1), Op::Set(0), Op::CollectAll],
    &[Op::Set(0), Op::Delete(0), Op::CollectAll, Op::Set(0), Op::Delete(0), Op::CollectAll],
    &[Op::Set(0), Op::Set(1), Op::Renew, Op::Set(0), Op::Delete(1), Op::CollectAll],
];
const fn story(script: &'static [Op]) -> Scenario {
    Scenario { name: "story", rules: Rules { script, ..RULES }, ..TWO_HOLDERS }
}
/// New runs of the owner.
const RUNS: Scenario = Scenario {
    name: "runs",
    budget: Budget { ops: 3, sets: 2, deletes: 1, collects: 1, restarts: 1, ..NOTHING },
    ..TWO_HOLDERS
};
/// Values with a life, on clocks that do not agree.
const LIVES: Scenario = Scenario {
    name: "lives",
    budget: Budget { ops: 3, sets: 1, lives: 1, ticks: 1, ..NOTHING },
    ticks: 1,
    ..TWO_HOLDERS
};
/// The same with deletions and floors.
const LIVES_AND_FLOORS: Scenario = Scenario {
    name: "lives, floors",
    budget: Budget { ops: 4, lives: 1, deletes: 1, ticks: 1, collects: 1, ..NOTHING },
    ..LIVES
};
/// The same with one holder, but longer, and with new runs.
const LONGER_LIVES: Scenario = Scenario {
    name: "longer lives",
    holders: 1,
    budget: Budget { ops: 4, sets: 1, lives: 1, deletes: 1, ticks: 1, collects: 1, restarts: 1 },
    ticks: 1,
    ..TWO_HOLDERS
};
/// Values in pieces, overwritten midway.
const PIECES: Scenario = Scenario {
    name: "pieces",
    budget: Budget { ops: 3, sets: 3, deletes: 1, collects: 1, ..NOTHING },
    rules: Rules { big: Some(0), ..RULES },
    ..TWO_HOLDERS
};
/// One holder refuses the large values, and must not mislead the other.
const REFUSING: Scenario = Scenario {
    name: "refusing",
    budget: Budget { ops: 3, sets: 2, deletes: 1, ..NOTHING },
    rules: Rules { big: Some(0), one_refuses: true, ..RULES },
    ..TWO_HOLDERS
};
/// Room for one key only: what the owner has room for the holders have room for.
const CROWDED: Scenario = Scenario {
    name: "crowded",
    budget: Budget { ops: 4, sets: 2, deletes: 1, collects: 1, restarts: 1, ..NOTHING },
    rules: Rules { keys: 1, ..RULES },
    ..TWO_HOLDERS
};
/// Holders that start anew while old messages are about.
const NEWCOMERS: Scenario = Scenario {
    name: "newcomers",
    budget: Budget { ops: 3, sets: 2, deletes: 1, collects: 1, restarts: 1, ..NOTHING },
    restarts: 1,
    ..TWO_HOLDERS
};
/// Four nodes.
const THREE_HOLDERS: Scenario = Scenario {
    name: "three holders",
    holders: 3,
    budget: Budget { ops: 3, sets: 1, deletes: 1, collects: 1, ..NOTHING },
    ..TWO_HOLDERS
};

fn explore(scenario: Scenario) -> Report {
    let start = Clock::now();
    let report = Explorer::new(scenario).explore();
    println!(
        "{:<14} {:>9} states, {:>7} positions, {:>6.1} s",
        scenario.name,
        report.states,
        report.positions,
        start.elapsed().as_secs_f64()
    );
    report
}

/// Explores all of it. `at_least` keeps the check from becoming empty unnoticed.
fn holds(scenario: Scenario, at_least: usize) {
    let report = explore(scenario);
    if let Some(trace) = report.violation {
        panic!("{trace}");
    }
    assert!(report.states >= at_least, "{}: only {} states", scenario.name, report.states);
}

#[test]
fn floors() {
    holds(FLOORS, 170_000);
}

#[test]
fn stories() {
    for script in STORIES {
        holds(story(script), 90_000);
    }
}

#[test]
fn runs() {
    holds(RUNS, 160_000);
}

#[test]
fn lives() {
    holds(LIVES, 250_000);
    holds(LIVES_AND_FLOORS, 180_000);
    holds(LONGER_LIVES, 230_000);
}

#[test]
fn pieces() {
    holds(PIECES, 360_000);
    // In the second run the same version is another value.
    let new_run = Rules { script: &[Op::Set(0), Op::RestartEmpty, Op::Set(0), Op::Set(0)], ..PIECES.rules };
    holds(Scenario { rules: new_run, ..PIECES }, 0);
}

#[test]
fn limits() {
    holds(REFUSING, 300_000);
    holds(CROWDED, 430_000);
}

#[test]
fn newcomers() {
    holds(NEWCOMERS, 900_000);
}

#[test]
fn three_holders() {
    holds(THREE_HOLDERS, 58_000);
}

#[test]
fn planted_faults_are_found() {
    for (fault, scenario) in [
        (Fault::FloorNotTold, story(STORIES[0])),
        (Fault::AnswererIgnoresAskersFloor, story(STORIES[0])),
        (Fault::FloorNotAdoptedAtOnce, FLOORS),
        (Fault::ServedFromBelowTheFloor, FLOORS),
        (Fault::TakesFromBelowTheFloor, FLOORS),
        (Fault::TellsOldMaximum, story(STORIES[0])),
        (Fault::TellsSendersMaximum, FLOORS),
        (Fault::TellsSendersMaximum, RUNS),
        (Fault::ServesHeldOver, FLOORS),
        (Fault::ServesHeldOver, RUNS),
        (Fault::LeavesOutTheFirst, FLOORS),
        (Fault::IgnoresFrom, FLOORS),
        (Fault::CollectsWithoutFloor, FLOORS),
        (Fault::HidesHorizon, story(STORIES[1])),
        (Fault::HidesHorizon, RUNS),
        (Fault::EmptyByHearsay, RUNS),
    ] {
        let report = explore(Scenario { rules: Rules { fault, ..scenario.rules }, ..scenario });
        match report.violation {
            Some(trace) => println!("{trace}"),
            None => panic!("{fault:?} was not noticed among {} states of {}", report.states, scenario.name),
        }
    }
}

/// Larger budgets, and more messages waiting.
#[test]
#[ignore = "takes minutes and gigabytes"]
fn long_form() {
    let floors = |ops, sets, slots| Scenario { slots, budget: Budget { ops, sets, ..FLOORS.budget }, ..FLOORS };
    let lives = Budget { ops: 4, deletes: 1, collects: 1, ..LIVES.budget };
    let longer_lives = Budget { ops: 6, lives: 2, ..LONGER_LIVES.budget };
    let three_pieces = Rules { pieces: 3, ..PIECES.rules };
    for scenario in [
        floors(5, 3, 1),
        floors(6, 4, 1),
        floors(3, 2, 2),
        Scenario { holders: 3, ..story(STORIES[0]) },
        Scenario { holders: 3, ..story(STORIES[1]) },
        Scenario { budget: Budget { ops: 4, ..RUNS.budget }, ..RUNS },
        Scenario { budget: Budget { ops: 5, ..RUNS.budget }, ..RUNS },
        Scenario { slots: 2, ..RUNS },
        Scenario { budget: lives, ..LIVES },
        Scenario { budget: longer_lives, ticks: 2, ..LONGER_LIVES },
        Scenario { budget: Budget { ops: 4, ..PIECES.budget }, ..PIECES },
        Scenario { rules: three_pieces, ..PIECES },
        Scenario { budget: Budget { ops: 4, sets: 3, collects: 1, ..REFUSING.budget }, ..REFUSING },
        Scenario { budget: Budget { ops: 6, ..CROWDED.budget }, ..CROWDED },
        Scenario { slots: 2, ..CROWDED },
        Scenario { budget: Budget { ops: 4, sets: 2, ..NEWCOMERS.budget }, ..NEWCOMERS },
        Scenario { budget: Budget { ops: 4, sets: 2, ..THREE_HOLDERS.budget }, ..THREE_HOLDERS },
        Scenario { slots: 2, ..THREE_HOLDERS },
    ] {
        holds(scenario, 100_000);
    }
}

/// Van Renesse et al. 2008, Fig. 1: of r's keys p holds versions 1 to 3 and q holds 11 to 13, r itself 21 to 23. With
/// room for one entry r sends both only `a`; then p and q have nothing to tell each other, although q's `b` is newer
/// than p's.
#[test]
fn the_papers_figure_1() {
    let value = |version: u64| Value::from_bytes(version.to_le_bytes());
    let mut r = OwnMap::new(1);
    while r.progress().max < 23 {
        let version = r.progress().max + 1;
        let key = if version < 21 { "c" } else { ["a", "b", "c"][(version - 21) as usize] };
        r.set(&Key::from(key), value(version), None);
    }
    let held = |map: &grapevine::state::Map| -> Vec<(String, u64)> {
        map.iter().map(|(key, entry)| (key.to_string(), entry.version)).collect()
    };
    let named = |versions: [u64; 3]| -> Vec<(String, u64)> {
        ["a", "b", "c"].iter().map(|key| (*key).to_owned()).zip(versions).collect()
    };
    assert_eq!(held(r.map()), named([21, 22, 23]));
    let now = Instant::ZERO + Duration::from_secs(1);
    let take = |copy: &mut Replica, delta: Delta, entries: Vec<DeltaEntry>| {
        copy.apply(now, &delta, entries.into_iter(), &Limits::default(), |_| (), |reason| panic!("{reason:?}"));
    };
    let entry = |key: &str, version: u64| DeltaEntry {
        key: Key::from(key),
        version,
        content: Content::Value(value(version)),
        life: None,
    };
    let mut copies = [1, 11].map(|first| {
        let mut copy = Replica::default();
        let entries = ["a", "b", "c"].into_iter().zip(first..).map(|(key, version)| entry(key, version));
        take(&mut copy, Delta { generation: 1, from: 0, to: first + 2, floor: 0, max: first + 2 }, entries.collect());
        copy
    });
    for copy in &mut copies {
        let mut sent = Vec::new();
        let offer = r.progress().offer(r.map(), r.progress().max, &copy.progress(), |key, _| {
            let fits = sent.is_empty();
            if fits {
                sent.push(entry(key, 21));
            }
            fits
        });
        let delta = offer.unwrap().delta;
        assert_eq!((delta.to, delta.max), (21, 23));
        take(copy, delta, sent);
    }
    let [p, q] = copies;
    assert_eq!((held(p.map()), held(q.map())), (named([21, 2, 3]), named([21, 12, 13])));
    for (asked, asker) in [(&p, &q), (&q, &p)] {
        let offer = asked.progress().offer(asked.map(), asked.last_servable(), &asker.progress(), |_, _| true);
        assert!(offer.is_none(), "{offer:?}");
        assert!(!asker.progress().is_behind(&asked.progress()));
    }
}
