//! The envelope of datagrams, with random input: what the fuzz target `envelope` does, in each run of the tests.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::harness::envelope;
use crate::mutated::cases;

#[test]
fn no_random_input_gets_through_the_envelope() {
    let bytes = (0..4u8, vec(any::<u8>(), 0..300)).prop_map(|(what, bytes)| [&[what], &bytes[..]].concat());
    // Behind a head that is right.
    let head = Just([b'G', b'V', 1]).prop_flat_map(|head| {
        (any::<u8>(), vec(any::<u8>(), 0..300)).prop_map(move |(key, bytes)| [&[0], &head[..], &[key], &bytes].concat())
    });
    let result = TestRunner::new(cases(4_000)).run(&prop_oneof![bytes, head], |input| {
        envelope::check(&input);
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

/// Each bit of a datagram, and each place to cut it.
#[test]
fn every_bit_counts() {
    for place in 0..400u16 {
        let [low, high] = place.to_le_bytes();
        for bit in 0..8 {
            envelope::check(&[2, low, high, 1 << bit]);
        }
        envelope::check(&[3, low, high]);
    }
}

#[test]
fn two_keys_may_have_the_same_byte_in_the_envelope() {
    let keyring = envelope::keyring();
    let ids: Vec<u8> = keyring
        .keys()
        .map(|key| grapevine::wire::Seal::new(&grapevine::keyring::Keyring::new(key.clone()), "x").key_id())
        .collect();
    assert_eq!(ids[0], ids[1], "the harness found such a pair");
}
