//! Each rule is broken on purpose, by a record of a sound run that was spoilt in one place, or by a node that was lied to, and has to
//! be noticed as just that.

use std::time::Duration;

use super::*;
use crate::config::Config;
use crate::event::Event;
use crate::peer::PeerState;
use crate::sim::{Intruder, Outbox, Sim};
use crate::state::{Content, Entry};
use crate::value::{Key, Value};

const LONG: Duration = Duration::from_secs(3_600);

/// What the witness saw of a sound run in which nodes write, delete, expire, crash and restart.
fn sound() -> Vec<View> {
    let mut sim = Sim::new(11).watched();
    let nodes = sim.cluster(4, Config { grace: Duration::from_secs(12), ..Config::default() }).unwrap();
    for round in 0..12 {
        for (n, node) in nodes.iter().enumerate() {
            sim.set(*node, "count", &(round * 10 + n)).unwrap();
            sim.set(*node, &format!("key{}", round % 4), &n).unwrap();
            sim.set_for(*node, "brief", &round, Duration::from_millis(700)).unwrap();
            sim.delete(*node, &format!("key{}", (round + 2) % 4)).unwrap();
        }
        sim.run_for(Duration::from_secs(2)).unwrap();
    }
    sim.crash(nodes[3]);
    sim.run_for(Duration::from_secs(8)).unwrap();
    sim.restart(nodes[3]).unwrap();
    sim.set(nodes[3], "count", "anew").unwrap();
    sim.run_for(Duration::from_secs(6)).unwrap();
    sim.witness.unwrap().views
}

/// The first rule that a record breaks.
fn broken_by(views: &[View]) -> Option<Rule> {
    let mut witness = Witness::new();
    views.iter().find_map(|view| witness.check(view).err()).map(|violation| violation.rule)
}

/// Spoils the first view that `spoil` finds fit for it, after the cluster has found itself.
fn spoilt(mut spoil: impl FnMut(&mut View) -> bool) -> Option<Rule> {
    let mut views = sound();
    let later = views.len() / 4;
    let spoiled = views[later..].iter_mut().position(&mut spoil).expect("a view to spoil");
    // The end of the record is not needed: the first look has to tell.
    broken_by(&views[..=later + spoiled])
}

/// An entry of another's map that has been looked at, with its place among the members.
fn entry_of_another(view: &mut View, fits: impl Fn(&Entry) -> bool) -> Option<(usize, Key, &mut Entry)> {
    let entries = view.members.iter_mut().enumerate().filter_map(|(n, seen)| Some((n, seen.held.entries.as_mut()?)));
    let mut found = entries.flat_map(|(n, entries)| entries.iter_mut().map(move |entry| (n, entry)));
    found.find(|(_, (_, entry))| fits(entry)).map(|(n, (key, entry))| (n, key.clone(), entry))
}

fn is_value(entry: &Entry) -> bool {
    matches!(entry.content, Content::Value(_))
}

#[test]
fn a_sound_run_breaks_nothing() {
    let views = sound();
    assert!(views.len() > 1_000, "{}", views.len());
    assert_eq!(broken_by(&views), None);
    let events = views.iter().flat_map(|view| &view.events);
    let kinds: std::collections::BTreeSet<String> = events.map(|event| format!("{:?}", event.kind())).collect();
    for kind in ["NewPeer", "PeerAlive", "PeerFailed", "Update", "Delete", "Expire"] {
        assert!(kinds.contains(kind), "{kind} happened, so that it is checked: {kinds:?}");
    }
}

#[test]
fn what_nobody_wrote_is_noticed() {
    let rule = spoilt(|view| {
        let me = view.me;
        let update = view.events.iter_mut().find_map(|event| match event {
            Event::Update { peer, value, .. } if *peer != me => Some(value),
            _ => None,
        });
        update.map(|value| *value = Value::encode("forged").unwrap()).is_some()
    });
    assert_eq!(rule, Some(Rule::OnlyTheOwnerWrites), "a value");
    let rule = spoilt(|view| {
        let tombstone = entry_of_another(view, |entry| entry.content == Content::Deleted);
        tombstone.map(|(_, _, entry)| entry.content = Content::Expired).is_some()
    });
    assert_eq!(rule, Some(Rule::OnlyTheOwnerWrites), "a tombstone");
    let rule = spoilt(|view| view.members.first_mut().map(|seen| seen.heartbeat += 1_000).is_some());
    assert_eq!(rule, Some(Rule::OnlyTheOwnerWrites), "a heartbeat");
    let rule = spoilt(|view| {
        let Some(seen) = view.members.iter_mut().find(|seen| seen.state == PeerState::Alive) else { return false };
        seen.state = PeerState::Left;
        let (peer, generation) = (seen.peer, seen.held.progress.generation);
        view.events.push(Event::PeerLeft { peer, generation });
        true
    });
    assert_eq!(rule, Some(Rule::OnlyTheOwnerWrites), "a farewell");
    let rule = spoilt(|view| {
        view.members
            .iter_mut()
            .find(|seen| seen.held.entries.is_some())
            .map(|seen| seen.held.progress.max += 9)
            .is_some()
    });
    assert_eq!(rule, Some(Rule::OnlyTheOwnerWrites), "a version");
}

#[test]
fn a_map_that_others_write_is_noticed() {
    let by_datagram = |view: &View| matches!(view.cause, Cause::Datagram(_));
    let rule = spoilt(|view| {
        by_datagram(view) && {
            view.own.progress.max += 1;
            true
        }
    });
    assert_eq!(rule, Some(Rule::OwnMapIsOwn), "moved by a datagram");
    let rule = spoilt(|view| {
        by_datagram(view) && {
            view.own.progress.floor += 1;
            true
        }
    });
    assert_eq!(rule, Some(Rule::OwnMapIsOwn), "collected by a datagram");
    let rule = spoilt(|view| {
        let entry = view.own.entries.as_mut().and_then(|entries| entries.iter_mut().find(|(_, entry)| is_value(entry)));
        entry.map(|(_, entry)| entry.content = Content::Value(Value::encode("other").unwrap())).is_some()
    });
    assert_eq!(rule, Some(Rule::OwnMapIsOwn), "a version written twice");
    let rule = spoilt(|view| {
        view.own.entries.as_mut().filter(|entries| !entries.is_empty()).map(|entries| entries.pop()).is_some()
    });
    assert_eq!(rule, Some(Rule::OwnMapIsOwn), "a key lost");
    let rule = spoilt(|view| {
        let beyond = view.own.progress.max + 5;
        let Some(entries) = &mut view.own.entries else { return false };
        entries.push((Key::from("zzz"), Entry::new(beyond, Content::Deleted, None)));
        true
    });
    assert_eq!(rule, Some(Rule::OwnMapIsOwn), "a version beyond its own");
}

#[test]
fn what_is_skipped_is_noticed() {
    // A copy that says it is as far as its owner, one write too early.
    let mut owners = BTreeMap::new();
    let rule = spoilt(|view| {
        owners.insert(view.me, view.own.progress);
        let behind = view.members.iter_mut().find(|seen| {
            let owner = owners.get(&seen.peer).filter(|owner| owner.generation == seen.held.progress.generation);
            seen.held.entries.is_some() && owner.is_some_and(|owner| owner.max > seen.held.progress.max)
        });
        behind.map(|seen| seen.held.progress = owners[&seen.peer]).is_some()
    });
    assert_eq!(rule, Some(Rule::NothingIsSkipped));
}

#[test]
fn what_returns_or_vanishes_is_noticed() {
    let mut deleted = None;
    let rule = spoilt(|view| {
        let (at, me) = (view.at, view.me);
        let old = view.events.iter().find_map(|event| match event {
            Event::Update { peer, .. } if *peer != me => Some(event.clone()),
            _ => None,
        });
        match &deleted {
            // Told once more, a little later.
            Some((other, event)) if *other == at => {
                view.events.push(Event::clone(event));
                true
            }
            _ => {
                deleted = deleted.take().or(old.map(|event| (at, event)));
                false
            }
        }
    });
    assert_eq!(rule, Some(Rule::NothingReturns));
    let rule = spoilt(|view| {
        let Some((n, key, entry)) = entry_of_another(view, is_value) else { return false };
        let version = entry.version;
        let seen = &view.members[n];
        let (peer, generation) = (seen.peer, seen.held.progress.generation);
        view.events.push(Event::Delete { peer, generation, key, version });
        true
    });
    assert_eq!(rule, Some(Rule::NothingVanishes));
}

#[test]
fn lives_that_end_too_late_or_too_early_are_noticed() {
    let rule = spoilt(|view| {
        let local = view.local;
        let lives = |entry: &Entry| is_value(entry) && entry.deadline.is_some_and(|deadline| deadline > local);
        entry_of_another(view, lives).map(|(_, _, entry)| entry.deadline = Some(local + LONG)).is_some()
    });
    assert_eq!(rule, Some(Rule::LivesEndInTime), "too late");
    let rule = spoilt(|view| {
        let stays = |entry: &Entry| is_value(entry) && entry.deadline.is_none();
        let Some((n, key, entry)) = entry_of_another(view, stays) else { return false };
        let (version, Content::Value(value)) = (entry.version, entry.content.clone()) else { return false };
        let seen = &view.members[n];
        let (peer, generation) = (seen.peer, seen.held.progress.generation);
        view.events.push(Event::Expire { peer, generation, key, value, version, deadline: None });
        true
    });
    assert_eq!(rule, Some(Rule::LivesEndInTime), "what was to stay");
}

/// After a datagram that was long under way, too: what others were late by excuses nobody.
#[test]
fn a_life_that_is_late_is_noticed_after_long_delays() {
    let mut views = sound();
    let later = views.len() / 4;
    let (mut versions, mut spoiled) = (BTreeMap::new(), None);
    for (n, view) in views.iter_mut().enumerate() {
        let (at, local) = (view.at, view.local);
        let found = entry_of_another(view, |entry| entry.deadline.is_some_and(|deadline| deadline > local));
        let Some((_, _, entry)) = found else { continue };
        let is_new = versions.insert(at, entry.version) != Some(entry.version);
        if n > later && is_new {
            entry.deadline = entry.deadline.map(|deadline| deadline + Duration::from_millis(400));
            spoiled = Some(n);
            break;
        }
    }
    let spoiled = spoiled.expect("a view to spoil");
    let mut witness = Witness::new();
    witness.flight(Duration::from_secs(90));
    let broken = views[..=spoiled].iter().find_map(|view| witness.check(view).err());
    assert_eq!(broken.map(|violation| violation.rule), Some(Rule::LivesEndInTime));
}

#[test]
fn clocks_may_run_at_half_their_rate() {
    let mut sim = Sim::new(1).watched();
    let nodes = sim.cluster(2, Config::default()).unwrap();
    sim.drift(nodes[0], -500_000);
    sim.set_for(nodes[0], "brief", &1, Duration::from_secs(5)).unwrap();
    sim.run_for(Duration::from_secs(30)).unwrap();
    assert_eq!(sim.get(nodes[1], nodes[0], "brief"), None);
}

#[test]
fn what_goes_back_is_noticed() {
    let rule = spoilt(|view| {
        let seen = view.members.iter_mut().find(|seen| seen.held.progress.max > 5);
        seen.map(|seen| seen.held.progress.max -= 1).is_some()
    });
    assert_eq!(rule, Some(Rule::ProgressOnlyForward), "a version");
    let rule = spoilt(|view| {
        let seen = view.members.iter_mut().find(|seen| seen.heartbeat > 5);
        seen.map(|seen| seen.heartbeat -= 3).is_some()
    });
    assert_eq!(rule, Some(Rule::ProgressOnlyForward), "a heartbeat");
    let rule = spoilt(|view| {
        let Some(seen) = view.members.iter_mut().find(|seen| seen.state == PeerState::Alive) else { return false };
        seen.held.progress.generation -= 1;
        let (peer, generation) = (seen.peer, seen.held.progress.generation);
        view.events.push(Event::NewPeer { peer, generation });
        true
    });
    assert_eq!(rule, Some(Rule::OldRunsStayDead));
}

#[test]
fn who_judges_itself_or_after_a_pause_is_noticed() {
    let rule = spoilt(|view| {
        view.events.push(Event::PeerFailed { peer: view.me, generation: view.own.progress.generation, phi: 9.0 });
        true
    });
    assert_eq!(rule, Some(Rule::NobodyFailsItself));
    // Somebody who was alive a moment ago.
    let rule = spoilt(|view| {
        let Some(seen) = view.members.iter_mut().find(|seen| seen.state == PeerState::Alive) else { return false };
        seen.state = PeerState::Failed;
        let (peer, generation) = (seen.peer, seen.held.progress.generation);
        view.events.push(Event::PeerFailed { peer, generation, phi: 9.0 });
        true
    });
    assert_eq!(rule, Some(Rule::PausesConvictNobody));
}

#[test]
fn events_that_do_not_tell_the_state_are_noticed() {
    let is_told = |event: &Event| matches!(event, Event::Update { .. });
    let rule = spoilt(|view| view.events.iter().position(is_told).map(|n| view.events.remove(n)).is_some());
    assert_eq!(rule, Some(Rule::EventsTellTheState), "an update is not told");
    let is_told = |event: &Event| matches!(event, Event::PeerFailed { .. } | Event::PeerAlive { .. });
    let rule = spoilt(|view| view.events.iter().position(is_told).map(|n| view.events.remove(n)).is_some());
    assert_eq!(rule, Some(Rule::EventsTellTheState), "a failure is not told");
    let rule = spoilt(|view| {
        let twice = view.events.iter().find(|event| matches!(event, Event::Delete { .. })).cloned();
        twice.map(|event| view.events.push(event)).is_some()
    });
    assert_eq!(rule, Some(Rule::EventsTellTheState), "a deletion is told twice");
}

#[test]
fn what_grows_too_large_is_noticed() {
    assert_eq!(
        spoilt(|view| {
            view.largest_datagram = 1_401;
            true
        }),
        Some(Rule::DatagramsAreBounded)
    );
    assert_eq!(
        spoilt(|view| {
            view.limits.peers = 2;
            true
        }),
        Some(Rule::TablesAreBounded),
        "peers"
    );
    assert_eq!(
        spoilt(|view| {
            view.limits.keys = 1;
            true
        }),
        Some(Rule::TablesAreBounded),
        "keys"
    );
    assert_eq!(
        spoilt(|view| {
            view.limits.map_bytes = 100;
            true
        }),
        Some(Rule::TablesAreBounded),
        "bytes"
    );
    assert_eq!(
        spoilt(|view| {
            view.own.unfinished = 65_537;
            true
        }),
        Some(Rule::TablesAreBounded),
        "an unfinished value"
    );
}

/// Somebody who is never done.
struct Restless;

impl Intruder for Restless {
    fn receive(&mut self, _: Instant, _: SocketAddr, _: &[u8], _: &mut Outbox) {}

    fn act(&mut self, _: Instant, _: &mut Outbox) {}

    fn next(&self) -> Instant {
        Instant::ZERO
    }
}

#[test]
fn time_that_stands_still_and_nodes_that_never_agree_are_noticed() {
    let mut sim = Sim::new(1).watched();
    sim.intrude(SocketAddr::from(([10, 9, 9, 9], 9)), Restless);
    assert_eq!(sim.run_for(LONG).unwrap_err().rule, Rule::TimePasses);

    let mut sim = Sim::new(1).watched();
    let strangers = [sim.start(Config::default()).unwrap(), sim.start(Config::default()).unwrap()];
    let violation = sim.settle(Duration::from_secs(20)).unwrap_err();
    assert_eq!(violation.rule, Rule::Agreement);
    assert!(violation.text.contains(&strangers[1].to_string()), "{violation}");
}

/// A real node that was lied to, where nobody said that there are liars.
#[test]
fn a_node_that_believed_a_lie_is_noticed() {
    let rules: std::collections::BTreeSet<Rule> = (0..8)
        .filter_map(|seed| {
            let mut sim = Sim::new(seed).watched();
            let nodes = sim.cluster(4, Config::default()).unwrap();
            sim.run_for(Duration::from_secs(5)).unwrap();
            let addr = SocketAddr::from(([10, 6, 6, 6], 66));
            sim.intrude(
                addr,
                crate::sim::Liar::new(seed, addr, &Config::default(), &nodes, &[crate::sim::Lie::ThirdParties]),
            );
            sim.run_for(Duration::from_secs(20)).err()
        })
        .map(|violation| violation.rule)
        .collect();
    assert!(rules.contains(&Rule::OnlyTheOwnerWrites), "{rules:?}");
}
