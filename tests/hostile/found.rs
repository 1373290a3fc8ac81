//! What mutated datagrams and the questions that they raised have found, each at its root.

use std::net::SocketAddr;
use std::time::Duration;

use grapevine::config::Limits;
use grapevine::instant::Instant;
use grapevine::state::{Change, Content, Delta, DeltaEntry, Mark, Progress, Replica, Row};
use grapevine::wire::{Answer, Header, Message, Want, put_row, put_want};
use grapevine::{Peer, Value, value::Key};

use crate::harness::states::{Scene, State};
use crate::harness::subject::START_MS;
use crate::harness::world::peer;

/// One who lies about a third party tells another value under a version that is held already. It is believed in a transfer, which
/// takes every entry anew; then those who listen to the events have to be told.
#[test]
fn another_value_under_the_same_version_is_an_update() {
    let mut replica = Replica::default();
    replica.begin_generation(1);
    let mut changes = Vec::new();
    // Each floor is above what was held: a transfer each time.
    for (value, floor) in [("truth", 0), ("lie", 10), ("lie", 20)] {
        let delta = Delta { generation: 1, from: 0, to: floor + 5, floor, max: floor + 5 };
        let content = Content::Value(Value::encode(value).unwrap());
        let entry = DeltaEntry { key: Key::from("key"), version: 2, content, life: Some(Duration::from_secs(9)) };
        replica.apply(Instant::ZERO, &delta, [entry].into_iter(), &Limits::default(), |c| changes.push(c), |_| ());
    }
    let told = changes.iter().map(|change| match change {
        Change::Update { value, .. } => value.to_string(),
        other => format!("{other:?}"),
    });
    let told: Vec<String> = told.collect();
    assert_eq!(told, ["\"truth\"", "\"lie\""]);
}

/// An answer is followed by what it wants, by a want, and by the rest of a window: three times its bytes for all of these together, if
/// its address is not proved. Each alone kept to that.
#[test]
fn all_that_an_answer_draws_is_three_times_its_bytes_at_most() {
    let stranger = SocketAddr::from(([192, 0, 2, 1], 9));
    let progress = |max| Progress { generation: START_MS, max, floor: 0 };
    let owners = [peer(1), peer(3), peer(4)];
    let (mut wanted, mut asked) = (0, 0);
    for (n, m) in (0..=3).flat_map(|n| (0..=3).map(move |m| (n, m))) {
        let (mut wants, mut records) = (Vec::new(), Vec::new());
        for owner in &owners[..n] {
            put_want(&mut wants, &Want { owner: *owner, progress: progress(0), unfinished: (0, 0) }, START_MS);
        }
        for peer in &owners[..m] {
            put_row(
                &mut records,
                &Row { peer: *peer, heartbeat: 0, progress: progress(1_000), mark: Mark::None },
                START_MS,
            );
        }
        let mut subject = Scene::new(State::Busy).subject();
        let header = Header {
            key_id: 0,
            cluster: "grapevine",
            speaks: 1,
            sender: Peer::from(stranger),
            generation: START_MS,
            receiver: subject.run_hash(),
            echo: None,
            token: None,
        };
        let answer = Answer { want_id: 5, credit: 8, wants: &wants, records: &records, ..Answer::default() };
        let mut datagram = Vec::new();
        Message::Answer(answer).encode(&header, &mut datagram);
        let datagram = subject.made_for_it(datagram);
        subject.sent.clear();
        subject.receive(stranger, &datagram);
        let drawn: Vec<_> = subject.sent.iter().map(|sent| Message::decode(&sent.bytes).unwrap().1).collect();
        wanted += drawn.iter().filter(|message| matches!(message, Message::Delta(_))).count();
        asked += drawn.iter().filter(|message| matches!(message, Message::Want(_))).count();
    }
    assert!(wanted > 0 && asked > 0, "{wanted} deltas and {asked} wants were drawn");
}
