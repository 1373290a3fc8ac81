use std::f64::consts::{LN_10, LOG10_E};

use proptest::prelude::*;

use super::gauss::phi_of;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn judge(config: &DetectorConfig) -> Judge {
    Judge::new(config, SECOND, SECOND)
}

fn every_form() -> [DetectorConfig; 3] {
    [DetectorConfig::hardened(), DetectorConfig::plain_normal(), DetectorConfig::exponential()]
}

/// The hardening as the papers' experiments have it, for heartbeats that are sent directly.
fn direct() -> DetectorConfig {
    DetectorConfig { min_std_dev_ratio: 0.05, pause: 1.0, ..DetectorConfig::hardened() }
}

/// Hands `count` intervals to the detector and returns the time of the last.
fn beat(
    detector: &mut Detector,
    judge: &Judge,
    mut now: Instant,
    count: usize,
    mut interval: impl FnMut() -> Duration,
) -> Instant {
    for _ in 0..count {
        now = now + interval();
        detector.heartbeat(now, judge);
    }
    now
}

/// A detector that has seen an hour of regular heartbeats, and the time of the last.
fn steady(judge: &Judge, interval: Duration) -> (Detector, Instant) {
    let mut detector = Detector::new();
    let now = beat(&mut detector, judge, Instant::ZERO, 3600, || interval);
    (detector, now)
}

/// Intervals as one observer sees them with three partners a round: 1.0 ± 0.4 s.
fn gossiped(dice: &mut fastrand::Rng) -> Duration {
    let sum: f64 = (0..12).map(|_| dice.f64()).sum();
    Duration::from_secs_f64((1.0 + 0.4 * (sum - 6.0)).max(0.0))
}

fn assert_sums_match(detector: &Detector) {
    let units = || detector.ring.iter().map(|&sample| decode(sample));
    assert_eq!(detector.sum, units().sum::<u64>());
    assert_eq!(detector.sum_of_squares, units().map(|u| u * u).sum::<u64>());
}

#[test]
fn phi_does_not_saturate() {
    // 1 - F(z) is 0 from z = 8.3 on, and erfc from z = 38.
    assert!((phi_of(40.0) - 349.4).abs() < 0.1);
    let plain = judge(&DetectorConfig::plain_normal());
    let mut dice = fastrand::Rng::with_seed(1);
    let mut detector = Detector::new();
    let now = beat(&mut detector, &plain, Instant::ZERO, 1000, || gossiped(&mut dice));
    let at_z_40 = detector.mean(&plain) + 40 * detector.std_dev(&plain);
    assert!((detector.phi(now + at_z_40, &plain) - 349.4).abs() < 0.1);
}

#[test]
fn regular_heartbeats_judge_as_the_originals_did() {
    // Behaviour 7 of the originals.
    for form in every_form() {
        let judge = judge(&DetectorConfig { window: 1000, ..form.clone() });
        let mut detector = Detector::new();
        let now = beat(&mut detector, &judge, Instant::ZERO, 100, || SECOND);
        assert!(detector.phi(now + SECOND, &judge) < 0.5, "{form:?}");
        assert!(detector.phi(now + 10 * SECOND, &judge) > 4.0, "{form:?}");
        beat(&mut detector, &judge, now, 1900, || SECOND);
        assert_eq!(detector.samples(), 1000);
    }
}

#[test]
fn exponential_form_is_proportional_to_the_silence() {
    let judge = judge(&DetectorConfig::exponential());
    let (detector, now) = steady(&judge, SECOND);
    for seconds in [1, 5, 60] {
        let phi = detector.phi(now + Duration::from_secs(seconds), &judge);
        assert!((phi / (LOG10_E * seconds as f64) - 1.0).abs() < 1e-3);
    }
    let timeout = detector.timeout(&judge).as_secs_f64();
    assert!((timeout - 8.0 * LN_10).abs() < 0.02, "{timeout}");
}

#[test]
fn phi_is_the_threshold_at_the_timeout() {
    let mut dice = fastrand::Rng::with_seed(2);
    for round in 0..600 {
        let config = DetectorConfig {
            threshold: 0.5 + 15.5 * dice.f64(),
            window: dice.usize(2..400),
            ..every_form()[round % 3].clone()
        };
        let judge = judge(&config);
        let mut detector = Detector::new();
        let count = dice.usize(1..500);
        let now = beat(&mut detector, &judge, Instant::ZERO, count, || gossiped(&mut dice));
        let timeout = detector.timeout(&judge);
        let just_before = now + timeout - Duration::from_micros(1);
        assert!(detector.phi(now + timeout, &judge) > config.threshold - 1e-9, "{config:?}");
        assert!(detector.phi(just_before, &judge) < config.threshold + 1e-9, "{config:?}");
        assert!(detector.suspect(now + timeout, &judge));
        assert!(!detector.suspect(just_before, &judge));
    }
}

#[test]
fn phi_rises_with_the_silence() {
    let mut dice = fastrand::Rng::with_seed(3);
    for form in every_form() {
        let judge = judge(&form);
        let mut detector = Detector::new();
        let now = beat(&mut detector, &judge, Instant::ZERO, 300, || gossiped(&mut dice));
        let mut before = 0.0;
        for step in 0..200_000 {
            let phi = detector.phi(now + millis(step), &judge);
            assert!(phi >= before, "{form:?} after {step} ms: {phi} < {before}");
            before = phi;
        }
    }
}

#[test]
fn nothing_seen_is_no_evidence() {
    for form in every_form() {
        let judge = judge(&form);
        let mut detector = Detector::new();
        detector.shift(SECOND, Instant::MAX);
        assert_eq!(detector.phi(Instant::MAX, &judge), 0.0);
        assert!(!detector.suspect(Instant::MAX, &judge));
        assert_eq!(detector.last_advance(), None);
        assert_eq!(detector.samples(), 0);
        assert_eq!(detector.memory_bytes(), size_of::<Detector>());
        let before = detector.timeout(&judge);
        detector.heartbeat(Instant::ZERO, &judge);
        assert!(before.abs_diff(detector.timeout(&judge)) < millis(10));
    }
}

#[test]
fn a_peer_seen_once_is_suspected_in_the_end() {
    for form in every_form() {
        let judge = judge(&form);
        let mut detector = Detector::new();
        detector.heartbeat(Instant::ZERO, &judge);
        assert_eq!(detector.samples(), 2);
        assert!(!detector.suspect(Instant::ZERO + 2 * SECOND, &judge));
        assert!(detector.suspect(Instant::ZERO + 60 * SECOND, &judge));
    }
}

#[test]
fn default_time_out_on_gossiped_heartbeats() {
    // 1 + 0.1 + 5.612 · 0.45 = 3.63 with the deviation at its floor; at first 2 + 0.1 + 5.612 · 0.9 = 7.15.
    let judge = judge(&DetectorConfig::default());
    let (detector, _) = steady(&judge, SECOND);
    assert!(detector.timeout(&judge).abs_diff(millis(3625)) < millis(10));
    let newcomer = Detector::new().timeout(&judge);
    assert!(newcomer.abs_diff(millis(7150)) < millis(10), "{newcomer:?}");
}

#[test]
fn an_outage_does_not_poison_the_window() {
    let mut dice = fastrand::Rng::with_seed(4);
    for config in [DetectorConfig::hardened(), DetectorConfig::exponential()] {
        let judge = judge(&config);
        for outage in [60, 600, 86_400].map(Duration::from_secs) {
            for told in [false, true] {
                let mut detector = Detector::new();
                let now = beat(&mut detector, &judge, Instant::ZERO, 100, || gossiped(&mut dice));
                let normal = detector.timeout(&judge);
                let back = now + outage;
                if told {
                    detector.restart(back, &judge);
                } else {
                    detector.heartbeat(back, &judge);
                }
                assert_eq!(detector.last_advance(), Some(back));
                assert_eq!(detector.timeout(&judge), normal);
                beat(&mut detector, &judge, back, 20, || gossiped(&mut dice));
                let ratio = detector.timeout(&judge).as_secs_f64() / normal.as_secs_f64();
                assert!((ratio - 1.0).abs() < 0.1, "{ratio}");
            }
        }
    }
}

#[test]
fn the_longest_sample_does_not_blind() {
    // 9.9 s is the worst single silence that still counts.
    for (config, worst) in [(DetectorConfig::hardened(), 1.6), (direct(), 2.9)] {
        let judge = judge(&config);
        let (mut detector, now) = steady(&judge, SECOND);
        let normal = detector.timeout(&judge).as_secs_f64();
        detector.heartbeat(now + millis(9_900), &judge);
        let ratio = detector.timeout(&judge).as_secs_f64() / normal;
        assert!(ratio > 1.05 && ratio < worst, "{ratio}");
    }
}

#[test]
fn a_run_of_bad_intervals_is_bounded() {
    // Whatever the window holds, the deviation counts for three expected intervals at most.
    let judge = judge(&DetectorConfig::hardened());
    let (mut detector, mut now) = steady(&judge, SECOND);
    for round in 0..128 {
        now = now + if round % 3 == 0 { 9 * SECOND } else { SECOND };
        detector.heartbeat(now, &judge);
    }
    assert!(detector.std_dev(&judge) > 3 * SECOND);
    let most = detector.mean(&judge) + millis(100) + millis(16_837);
    assert!(detector.timeout(&judge) <= most);
}

#[test]
fn a_slow_peer_does_not_flap_for_ever() {
    // Beats every 8 or 15 s where 1 s was seen and is expected; the node calls `restart` when a failed peer is back.
    for interval in [8, 15].map(Duration::from_secs) {
        let judge = judge(&DetectorConfig::hardened());
        let (mut detector, mut now) = steady(&judge, SECOND);
        let mut failures = 0;
        for _ in 0..1000 {
            now = now + interval;
            if detector.suspect(now, &judge) {
                failures += 1;
                detector.restart(now, &judge);
            } else {
                detector.heartbeat(now, &judge);
            }
        }
        assert!(failures <= 2, "{failures} failures at {interval:?}");
    }
}

#[test]
fn outages_with_beats_between_keep_the_window() {
    let judge = judge(&DetectorConfig::hardened());
    let (mut detector, mut now) = steady(&judge, SECOND);
    let normal = detector.timeout(&judge);
    for _ in 0..50 {
        now = now + 600 * SECOND;
        detector.restart(now, &judge);
        now = beat(&mut detector, &judge, now, 2, || SECOND);
    }
    assert!(detector.timeout(&judge).abs_diff(normal) < millis(20));
    assert_eq!(detector.samples(), 128);
}

#[test]
fn own_pause_is_nobody_elses_silence() {
    let judge = judge(&DetectorConfig::hardened());
    let (mut detector, now) = steady(&judge, SECOND);
    let normal = detector.timeout(&judge);
    let woke = now + millis(30_400);
    assert!(detector.suspect(woke, &judge));
    detector.shift(30 * SECOND, woke);
    assert!(!detector.suspect(woke, &judge));
    detector.heartbeat(woke + millis(600), &judge);
    assert!(detector.timeout(&judge).abs_diff(normal) < millis(20));

    let mut detector = Detector::new();
    detector.heartbeat(now, &judge);
    detector.shift(Duration::MAX, now + SECOND);
    assert_eq!(detector.last_advance(), Some(now + SECOND));
}

#[test]
fn a_new_expected_interval_holds_for_old_detectors() {
    // The cluster grew: heartbeats advance every 4 to 8 s instead of every second.
    let config = DetectorConfig::hardened();
    let (mut detector, now) = steady(&judge(&config), SECOND);
    let grown = Judge::new(&config, SECOND, 6 * SECOND);
    assert_eq!(detector.mean(&grown), detector.mean(&judge(&config)));
    assert!(detector.timeout(&grown) > detector.timeout(&judge(&config)));
    let now = now + 30 * SECOND;
    detector.heartbeat(now, &grown);
    assert!(detector.mean(&grown) > millis(1100), "30 s are an interval now, and no outage");
    let mut dice = fastrand::Rng::with_seed(5);
    beat(&mut detector, &grown, now, 300, || millis(dice.u64(4000..8000)));
    assert!(detector.mean(&grown).abs_diff(6 * SECOND) < millis(200));
    assert!(detector.timeout(&grown) > 12 * SECOND);
}

#[test]
fn only_the_expected_interval_in_excess_of_the_nominal_is_paused_for_four_times() {
    let config = DetectorConfig::default();
    let (detector, _) = steady(&judge(&config), SECOND);
    let timeout = |expected| detector.timeout(&Judge::new(&config, SECOND, millis(expected)));
    assert!((timeout(1500) - timeout(1000)).abs_diff(millis(50 + 2000)) < millis(1));
    assert!((timeout(1000) - timeout(500)).abs_diff(millis(50)) < millis(1));
}

#[test]
fn intervals_of_large_clusters_are_told_apart() {
    // A digest that takes 500 rounds: beyond the fine samples, whose range ends at 32 s.
    let config = DetectorConfig::hardened();
    let judge = Judge::new(&config, SECOND, 500 * SECOND);
    let mut dice = fastrand::Rng::with_seed(6);
    let mut detector = Detector::new();
    beat(&mut detector, &judge, Instant::ZERO, 400, || millis(dice.u64(300_000..700_000)));
    assert!(detector.mean(&judge).abs_diff(500 * SECOND) < 25 * SECOND);
    assert!(detector.std_dev(&judge).abs_diff(millis(115_470)) < 15 * SECOND);
    assert_sums_match(&detector);
}

#[test]
fn rounding_does_not_add_up() {
    // 333,333 µs is 341.5 units of 976 µs: rounding each alone would be off by half a unit every time.
    for interval in [333_333, 1_000, 487, 40_000_777].map(Duration::from_micros) {
        let judge = judge(&DetectorConfig { window: 1000, ..DetectorConfig::plain_normal() });
        let mut detector = Detector::new();
        beat(&mut detector, &judge, Instant::ZERO, 5000, || interval);
        let step = judge.unit * COARSE_STEP;
        let off = detector.mean(&judge).abs_diff(interval);
        assert!(off <= Duration::from_micros(step / 1000 + 1), "{off:?}");
    }
}

#[test]
fn encoding_is_exact_then_coarse_then_saturates() {
    for units in 0..FINE {
        assert_eq!(decode(encode(units)), units);
    }
    for units in (FINE..2_200_000).step_by(17) {
        let kept = decode(encode(units));
        assert!(kept <= units);
        assert!(units - kept < COARSE_STEP || encode(units) == u16::MAX);
    }
    for sample in 0..=u16::MAX {
        assert_eq!(encode(decode(sample)), sample);
    }
    assert_eq!(encode(u64::MAX), u16::MAX);
}

#[test]
fn a_detector_is_small() {
    assert!(size_of::<Detector>() <= 64);
    for (window, most) in [(2, 60), (100, 256), (128, 312), (1000, 2056)] {
        let judge = judge(&DetectorConfig { window, ..DetectorConfig::hardened() });
        let mut detector = Detector::new();
        detector.heartbeat(Instant::ZERO, &judge);
        assert!(detector.memory_bytes() <= size_of::<Detector>() + 16);
        let mut now = Instant::ZERO;
        for _ in 0..5000 {
            now = beat(&mut detector, &judge, now, 1, || SECOND);
            let most = if detector.samples() <= FIRST_ROOM { FIRST_ROOM } else { 2 * detector.samples().max(64) };
            assert!(detector.ring.capacity() <= most.min(window));
        }
        assert_eq!(detector.samples(), window);
        assert!(detector.memory_bytes() <= most);
    }
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(0.0), Just(f64::MAX), -10.0..100.0,]
}

fn any_time() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), Just(u64::MAX), Just(u64::MAX - 1), any::<u64>(), 0..100_000_000_u64,]
}

prop_compose! {
    fn any_config()(
        exponential in any::<bool>(),
        numbers in prop::array::uniform7(any_number()),
        window in prop_oneof![Just(0), Just(usize::MAX), 1..20_usize],
        min_std_dev in any_time(),
    ) -> DetectorConfig {
        let [threshold, min_std_dev_ratio, max_std_dev, pause, extra_pause, max_sample, start_up] = numbers;
        DetectorConfig {
            distribution: if exponential { Distribution::Exponential } else { Distribution::Normal },
            threshold,
            window,
            min_std_dev_ratio,
            min_std_dev: Duration::from_micros(min_std_dev),
            max_std_dev,
            pause,
            extra_pause,
            max_sample,
            start_up,
        }
    }
}

proptest! {
    #[test]
    fn no_input_makes_nonsense(
        config in any_config(),
        nominal in any_time(),
        expected in any_time(),
        steps in prop::collection::vec((0..4_u8, any_time()), 0..60),
    ) {
        let judge = Judge::new(&config, Duration::from_micros(nominal), Duration::from_micros(expected));
        let other = Judge::new(&DetectorConfig::default(), Duration::MAX, Duration::ZERO);
        let mut detector = Detector::new();
        for (kind, time) in steps {
            let now = Instant::from_micros(time);
            match kind {
                0 => detector.restart(now, &judge),
                1 => detector.shift(Duration::from_micros(time.rotate_left(7)), now),
                2 => detector.heartbeat(now, &other),
                _ => detector.heartbeat(now, &judge),
            }
            for judge in [&judge, &other] {
                for at in [time, time.wrapping_add(1_000_000), 0, u64::MAX] {
                    let at = Instant::from_micros(at);
                    let phi = detector.phi(at, judge);
                    prop_assert!(phi.is_finite() && phi >= 0.0, "{}", phi);
                    detector.suspect(at, judge);
                }
                detector.mean(judge);
                detector.std_dev(judge);
            }
            assert_sums_match(&detector);
        }
    }

    #[test]
    fn sums_equal_their_ring_after_many_evictions(
        window in 2..50_usize,
        intervals in prop::collection::vec(prop_oneof![0..3_000_000_u64, 0..5_000_000_000_u64], 1..500),
    ) {
        let judge = judge(&DetectorConfig { window, ..DetectorConfig::plain_normal() });
        let mut detector = Detector::new();
        let mut now = Instant::ZERO;
        for interval in intervals {
            now = now + Duration::from_micros(interval);
            detector.heartbeat(now, &judge);
            assert_sums_match(&detector);
            prop_assert!(detector.samples() <= window);
        }
    }

    #[test]
    fn suspect_is_silence_at_or_beyond_the_timeout(
        config in any_config(),
        intervals in prop::collection::vec(0..5_000_000_u64, 1..50),
        silence in any_time(),
    ) {
        let judge = judge(&config);
        let mut detector = Detector::new();
        let mut now = Instant::ZERO;
        for interval in intervals {
            now = now + Duration::from_micros(interval);
            detector.heartbeat(now, &judge);
        }
        let at = now + Duration::from_micros(silence);
        prop_assert_eq!(detector.suspect(at, &judge), at - now >= detector.timeout(&judge));
    }
}
