//! Guards: against judging others for one's own pause, and against a flood of log lines.

use std::time::Duration;

use crate::instant::Instant;
use crate::node::Node;
use crate::stats::Refusal;

/// Notices that the whole node was paused: stopped, swapped out, its machine asleep.
///
/// Some entry into the core happens at least once in an interval, because rounds do. A longer time without any means that this node
/// did not run, and that heartbeats may wait in its receive queue (restate #5156: a gap in local scheduling made five observers
/// convict healthy peers; Cassandra has a 5 s guard for the same).
#[derive(Debug)]
pub(super) struct PauseGuard {
    last_entry: Instant,
    last_pause: Option<Instant>,
    interval: Duration,
}

impl PauseGuard {
    pub(super) fn new(now: Instant, interval: Duration) -> Self {
        PauseGuard { last_entry: now, last_pause: None, interval }
    }

    /// The time of the present entry.
    pub(super) fn now(&self) -> Instant {
        self.last_entry
    }

    /// How much longer than explicable nothing entered the core.
    fn entered(&mut self, now: Instant) -> Option<Duration> {
        let gap = now - self.last_entry;
        self.last_entry = self.last_entry.max(now);
        let paused = gap > self.interval * 2;
        if paused {
            self.last_pause = Some(now);
        }
        paused.then(|| gap - self.interval)
    }

    /// Whether datagrams that arrived during a pause may still come out of the socket. Their heartbeats are evidence of life, but the time
    /// between them is not: hundreds of intervals of nothing would fill the window and convict everyone afterwards.
    pub(super) fn is_catching_up(&self, now: Instant) -> bool {
        self.last_pause.is_some_and(|pause| now - pause < self.interval)
    }
}

impl Node {
    /// To be called first at every entry into the core, before any sample is taken.
    pub(super) fn enter(&mut self, now: Instant) {
        let Some(gap) = self.guard.entered(now) else { return };
        self.stats.pauses += 1;
        for (_, member) in self.ring.members_mut() {
            member.detector.shift(gap, now);
        }
        self.catch_up.shift(gap);
    }
}

/// One line a minute for each reason to refuse something.
#[derive(Debug, Default)]
pub(super) struct LogLimit {
    last: [Option<Instant>; Refusal::ALL.len()],
}

impl LogLimit {
    pub(super) const PAUSE: Duration = Duration::from_secs(60);

    pub(super) fn allows(&mut self, now: Instant, reason: Refusal) -> bool {
        once_a_minute(&mut self.last[reason as usize], now)
    }
}

/// Whether a minute has passed since the last time that this was true.
pub(super) fn once_a_minute(last: &mut Option<Instant>, now: Instant) -> bool {
    if last.is_some_and(|last| now - last < LogLimit::PAUSE) {
        return false;
    }
    *last = Some(now);
    true
}
