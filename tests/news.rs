//! How fast early news spreads, on virtual time.

mod common;

use common::{Net, config, ms, secs};

/// The first key of a newcomer is news, whenever it is set: others may know it as alive by then or only by name, and hold
/// its empty map or not even that. (When its version was taken for 1, one set 300 ms after joining took up to 0.8 s.)
#[test]
fn the_first_key_of_a_newcomer_does_not_wait_for_rounds() {
    for delay in [0, 100, 200, 300, 500, 1_000, 2_000] {
        let mut times: Vec<_> = (0..20).map(|seed| first_key(seed, delay)).collect();
        times.sort_unstable();
        assert!(times[10] <= ms(300) && times[19] <= ms(600), "set after {delay} ms: {times:?}");
    }
}

/// The time until all of 50 nodes with an interval of 1 s have a key that a newcomer sets so long after it started.
fn first_key(seed: u64, delay_ms: u64) -> std::time::Duration {
    let mut net = Net::new(seed);
    let peers = net.cluster(50, config());
    net.run_for(secs(20));
    let newcomer = net.join(config(), &peers[..1]);
    net.run_for(ms(delay_ms));
    net.set(newcomer, "k", "v");
    let everyone_has_it = |net: &Net| peers.iter().all(|peer| net.get(*peer, newcomer, "k").is_some());
    net.run_until(secs(30), everyone_has_it).expect("everyone has it within 30 s")
}
