//! Failure detection by whole nodes, on virtual time.

mod common;

use common::net::Faults;
use common::{Net, config, ms, secs};
use grapevine::{Event, PeerState};

fn is_failure(event: &Event) -> bool {
    matches!(event, Event::PeerFailed { .. })
}

/// Where one datagram in twenty is lost, nobody is found to have failed. (When a partner that did not answer held up the
/// others until the next round, 50 nodes made 25 such mistakes in 12,000 s.)
#[test]
fn nobody_fails_for_one_lost_datagram_in_twenty() {
    let mut net = Net::new(500);
    *net.faults() = Faults { loss: 0.05, ..Faults::NONE };
    net.cluster(50, config());
    net.run_for(secs(3_000));
    let mistakes: usize = net.running().iter().map(|node| net.count(*node, is_failure)).sum();
    assert_eq!(mistakes, 0);
}

/// A node that stops is found to have failed by all of 50 within six seconds, and not before three.
#[test]
fn a_stopped_node_fails_everywhere_within_six_intervals() {
    let mut net = Net::new(900);
    let nodes = net.cluster(50, config());
    net.run_for(secs(150));
    for n in 0..20 {
        let victim = nodes[1 + n * 7 % 49];
        net.run_for(ms(137 * n as u64 % 1_000));
        net.crash(victim);
        let others = net.running();
        let nobody_lists_it = |net: &Net| others.iter().all(|at| net.state(*at, victim) != Some(PeerState::Alive));
        let time = net.run_until(secs(60), nobody_lists_it).expect("it is noticed");
        assert!(time > secs(3) && time < secs(6), "{time:?}");
        net.restart(victim);
        net.run_for(secs(20));
    }
}
