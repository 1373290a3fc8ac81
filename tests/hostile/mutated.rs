//! Datagrams changed field by field, for nodes in every state: each promise is checked after each of them.

use std::collections::BTreeSet;

use grapevine::wire::Message;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

use crate::harness::input;
use crate::harness::mutation::Mutation;
use crate::harness::states::{STATES, Scene};
use crate::harness::structure::{Collection, Structure, Table};
use crate::harness::subject::Act;

pub fn mutation() -> impl Strategy<Value = Mutation> {
    let numbers = prop_oneof![0..200u64, any::<u64>()];
    (any::<u8>(), any::<u16>(), numbers, any::<u16>()).prop_map(|(what, place, number, other)| Mutation {
        what,
        place,
        number,
        other,
    })
}

pub fn mutate(recorded: &Collection, which: u64, mutations: &[Mutation]) -> Vec<u8> {
    let mut structure = recorded.draw(which).clone();
    for mutation in mutations {
        mutation.apply(&mut structure, recorded.draw(mutation.number));
    }
    structure.datagram()
}

/// How a datagram arrives: mostly from where it says, after nothing, a moment, or a long time.
fn head() -> impl Strategy<Value = [u8; 3]> {
    let ticks = prop_oneof![4 => Just(0), 4 => 1..2_000u16, 2 => 2_000..30_000u16, 1 => 0xfff0..=u16::MAX];
    let from = prop_oneof![8 => Just(0u8), 2 => 1..8u8, 1 => 8..16u8];
    (from, ticks).prop_map(|(from, ticks)| [from, ticks.to_le_bytes()[0], ticks.to_le_bytes()[1]])
}

/// The same cases each time, unless `PROPTEST_CASES` or `PROPTEST_RNG_SEED` make it a search.
pub fn cases(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, max_shrink_iters: 5_000, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(1);
    }
    config
}

#[test]
fn what_is_put_together_again_is_what_was_taken_apart() {
    let scenes = Scene::all();
    let (mut kinds, mut tables, mut seen) = (BTreeSet::new(), BTreeSet::new(), 0);
    for (_, act) in scenes.iter().flat_map(|scene| &scene.sequel) {
        let Act::Datagram(_, bytes) = act else { continue };
        let mut structure = Structure::of(bytes).unwrap();
        assert_eq!(&structure.datagram(), bytes);
        kinds.insert(match Message::decode(bytes).unwrap().1 {
            Message::Digest(digest) if digest.window.is_none() => "news",
            Message::Digest(_) => "digest",
            Message::CompactDigest(_) => "compact digest",
            Message::Answer(answer) if answer.deltas.is_empty() => "answer",
            Message::Answer(_) => "answer with deltas",
            Message::Delta(_)
                if structure
                    .tables(|table| table == Table::Entries)
                    .iter()
                    .any(|rows| rows.iter().any(|row| row.len() == 6)) =>
            {
                "piece"
            }
            Message::Delta(_) => "delta",
            Message::Want(_) => "want",
        });
        tables.extend(structure.kinds_of_tables().into_iter().map(|table| format!("{table:?}")));
        seen += 1;
    }
    let all = ["answer", "answer with deltas", "compact digest", "delta", "digest", "news", "piece", "want"];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), all, "every kind was recorded, in {seen} datagrams");
    assert_eq!(tables.len(), 6, "{tables:?}");
}

#[test]
fn no_mutated_datagram_breaks_a_promise() {
    let scenes = Scene::all();
    let recorded = Scene::structures(&scenes);
    let datagram = (any::<u64>(), vec(mutation(), 0..5), head());
    let strategy = (0..STATES.len(), vec(datagram, 1..8));
    let result = TestRunner::new(cases(10_000)).run(&strategy, |(state, datagrams)| {
        let datagrams: Vec<_> = datagrams
            .into_iter()
            .map(|(which, mutations, head)| (head, mutate(&recorded, which, &mutations)))
            .collect();
        input::run(&scenes, &input::compose(STATES[state], &datagrams));
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
