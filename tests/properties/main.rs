//! What holds whatever happens: drawn schedules of writes and faults, drawn and damaged datagrams.

#[path = "../common/mod.rs"]
mod common;

mod datagrams;
mod round_trips;
mod schedules;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// So many cases, the same ones each time: what fails once fails always. `PROPTEST_CASES` and `PROPTEST_RNG_SEED` make it a
/// search for others.
fn cases(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, max_shrink_iters: 2_000, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(1);
    }
    config
}
