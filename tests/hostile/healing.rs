//! Lies about third parties are believed until these speak: then everyone agrees again.

use std::time::Duration;

use grapevine::wire::Message;
use grapevine::{Config, Peer, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::harness::states::Scene;
use crate::harness::subject::Act;
use crate::harness::world::{World, peer};
use crate::mutated::{cases, mutate, mutation};

/// A lie may be a day ahead of the clock, and a generation above it is refused until the clock has moved on, by 33 s at most.
/// Who has overruled one lie and then meets a greater one waits for a minute.
const MOST_ROUNDS: u64 = 180;

fn cluster() -> (World, Vec<Peer>) {
    let mut world = World::default();
    let config = Config::default();
    let peers: Vec<Peer> = (1..=4).map(|at| world.start(at, &config)).collect();
    world.run_for(Duration::from_secs(2));
    for at in &peers {
        for (n, key) in ["text", "list", "gone", "short"].into_iter().enumerate() {
            world.set(*at, key, Value::encode(&n).unwrap());
        }
        world.act(*at, Act::Delete("gone".to_owned()));
    }
    world.run_for(Duration::from_secs(4));
    assert_eq!(world.disagreement(), None);
    (world, peers)
}

#[test]
fn a_cluster_that_was_lied_to_agrees_again() {
    let recorded = Scene::structures(&Scene::all());
    let lie = (any::<u64>(), vec(mutation(), 1..4), 0..4usize);
    let longest = std::cell::Cell::new(Duration::ZERO);
    let result = TestRunner::new(cases(60)).run(&vec(lie, 1..60), |lies| {
        let (mut world, peers) = cluster();
        for (which, mutations, at) in lies {
            let datagram = mutate(&recorded, which, &mutations);
            let from = Message::decode(&datagram).map_or(peer(9), |(header, _)| header.sender);
            let datagram = world.subject(peers[at]).made_for_it(datagram);
            world.act(peers[at], Act::Datagram(from.addr(), datagram));
            world.run_for(Duration::from_millis(50));
        }
        let took = world.run_until_agreed(Duration::from_secs(MOST_ROUNDS));
        prop_assert!(took.is_some(), "after {MOST_ROUNDS} rounds {}", world.disagreement().unwrap_or_default());
        longest.set(longest.get().max(took.unwrap_or_default()));
        Ok(())
    });
    println!("the longest took {:?}", longest.get());
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
