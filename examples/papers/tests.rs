//! The experiments at small size, with bands that an algorithm which is broken falls out of. Seeds are fixed.

use fastrand::Rng;
use grapevine::detector::DetectorConfig;

use crate::gossip::Order;
use crate::single::{self, Draw};
use crate::staleness::{self, Run};
use crate::{rates, trace, wan};

/// A quarter of the paper's participants and room: the load is the same.
fn staleness(order: Order) -> Run {
    let setup = staleness::Setup { participants: 32, entries: 25, ..staleness::Setup::default() };
    staleness::run(&setup, order, 1).unwrap()
}

#[test]
fn depth_first_leaves_less_stale_than_breadth_first_and_both_converge() {
    let (depth, breadth) = (staleness(Order::Depth), staleness(Order::Breadth));
    let stale = |run: &Run| run.samples.iter().map(|sample| sample.stale).fold(0.0, f64::max);
    let staleness = |run: &Run| run.samples.iter().map(|sample| sample.staleness).fold(0.0, f64::max);
    assert!((380.0..465.0).contains(&stale(&depth)), "{}", stale(&depth));
    assert!(stale(&breadth) > 1.2 * stale(&depth), "{}", stale(&breadth));
    assert!(staleness(&breadth) > 1.5 * staleness(&depth), "{} {}", staleness(&depth), staleness(&breadth));
    assert!(depth.converged <= 126.0 && breadth.converged <= 130.0, "{} {}", depth.converged, breadth.converged);
}

#[test]
fn the_permitted_rate_follows_what_messages_hold() {
    let setup = rates::Setup { entries: 50, ..rates::Setup::default() };
    let samples = rates::run(&setup, 64, 1).unwrap();
    let mean = |from: f64, to: f64| {
        let within = || samples.iter().filter(|(time, _)| (from..to).contains(time)).map(|(_, rate)| *rate);
        within().sum::<f64>() / within().count() as f64
    };
    let (before, after) = (mean(60.0, 90.0), mean(140.0, 180.0));
    assert!((0.9..1.1).contains(&before), "{before}");
    assert!((0.45..0.6).contains(&after), "{after}");
}

#[test]
fn detectors_make_the_mistakes_of_the_trace() {
    let arrivals = trace::arrivals(600_000, 1);
    let plain = DetectorConfig { window: 1_000, ..DetectorConfig::plain_normal() };
    let [low, high] = wan::run(&plain, &[1.0, 8.0], &arrivals)[..] else { panic!("two thresholds") };
    assert!((0.045..0.075).contains(&low.mistake_rate), "{low:?}");
    assert!((0.016..0.028).contains(&high.mistake_rate), "{high:?}");
    // Of the long outages the longest are in this tenth of the trace.
    assert!((0.26..0.30).contains(&low.detection_time), "{low:?}");
    assert!((0.38..0.43).contains(&high.detection_time), "{high:?}");
    let hardened = DetectorConfig { min_std_dev_ratio: 0.05, pause: 1.0, ..plain };
    let hardened = wan::run(&hardened, &[8.0], &arrivals)[0];
    assert!(hardened.mistake_rate < 0.1 * high.mistake_rate, "{hardened:?}");
}

#[test]
fn one_owners_update_spreads_as_fast_as_it_can() {
    for (nodes, partners, expected) in [(10, 1, 2.12), (10, 3, 0.86), (100, 1, 4.37), (100, 3, 1.54)] {
        let mut dice = Rng::with_seed(1);
        let times = 200_000 / nodes;
        let rounds = (0..times).map(|_| single::rounds(nodes, partners, Draw::Independent, &mut dice).unwrap());
        let mean = rounds.sum::<f64>() / times as f64;
        assert!((mean / expected - 1.0).abs() < 0.05, "{nodes} nodes, {partners} partners: {mean}");
    }
}
