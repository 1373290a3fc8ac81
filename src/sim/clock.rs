//! A machine's own clocks: the monotonic one, which may run fast or slow and stand still, and the one on the wall.

use std::time::Duration;

use crate::instant::Instant;

/// The wall clock when virtual time begins: some day in 2024, in milliseconds since 1970.
pub const START_MS: u64 = 1_720_000_000_000;

const MILLION: i128 = 1_000_000;

/// A monotonic clock that was at `shown` when the simulator's was at `since`, and has run at its own rate from there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    since: Instant,
    shown: Instant,
    /// By how many parts in a million it runs fast; negative if slow.
    drift_ppm: i32,
    stopped: bool,
}

impl Clock {
    /// One that shows zero at `now`.
    pub(super) fn started(now: Instant, drift_ppm: i32) -> Clock {
        Clock { since: now, shown: Instant::ZERO, drift_ppm, stopped: false }
    }

    /// What it shows when the simulator's clock shows `now`.
    pub(super) fn at(&self, now: Instant) -> Instant {
        let elapsed = if self.stopped { 0 } else { i128::from((now - self.since).as_micros() as u64) };
        let shown = elapsed * (MILLION + i128::from(self.drift_ppm)) / MILLION;
        self.shown + Duration::from_micros(u64::try_from(shown).unwrap_or(u64::MAX))
    }

    /// The first moment of the simulator's clock at which this one shows `local` or more.
    pub(super) fn when(&self, local: Instant) -> Instant {
        if local <= self.shown {
            return self.since;
        }
        if self.stopped || local == Instant::MAX {
            return Instant::MAX;
        }
        let rate = MILLION + i128::from(self.drift_ppm);
        let elapsed = (i128::from((local - self.shown).as_micros() as u64) * MILLION + rate - 1) / rate;
        self.since + Duration::from_micros(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// From `now` on it runs at another rate.
    pub(super) fn drift(&mut self, now: Instant, drift_ppm: i32) {
        *self = Clock { since: now, shown: self.at(now), drift_ppm, ..*self };
    }

    /// It stands still from `now` on, as a monotonic clock does while its machine sleeps.
    pub(super) fn stop(&mut self, now: Instant) {
        *self = Clock { since: now, shown: self.at(now), stopped: true, ..*self };
    }

    /// It goes on from where it stood.
    pub(super) fn go_on(&mut self, now: Instant) {
        *self = Clock { since: now, shown: self.at(now), stopped: false, ..*self };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    #[test]
    fn a_clock_wakes_at_the_first_moment_that_shows_the_time() {
        for drift_ppm in [-50_000, -333, 0, 7, 50_000] {
            let clock = Clock::started(at(1_000), drift_ppm);
            for local in (0..500).chain([1_000_000, 999_999_999]) {
                let when = clock.when(at(local));
                assert!(clock.at(when) >= at(local), "{drift_ppm}: {local}");
                assert!(
                    when == at(1_000) || clock.at(when - Duration::from_micros(1)) < at(local),
                    "{drift_ppm}: {local}"
                );
            }
        }
    }

    #[test]
    fn rates_change_without_a_jump_and_a_stopped_clock_stands_still() {
        let mut clock = Clock::started(at(0), 50_000);
        assert_eq!(clock.at(at(1_000_000)), at(1_050_000));
        clock.drift(at(1_000_000), -50_000);
        assert_eq!(clock.at(at(2_000_000)), at(2_000_000));
        clock.stop(at(2_000_000));
        assert_eq!(clock.at(at(9_000_000)), at(2_000_000));
        assert_eq!(clock.when(at(2_000_001)), Instant::MAX);
        clock.go_on(at(9_000_000));
        assert_eq!(clock.at(at(10_000_000)), at(2_950_000));
    }
}
