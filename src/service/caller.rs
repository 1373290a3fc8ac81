//! A connection that somebody opened here, to call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::service::lock::{Condvar, Mutex, MutexGuard};
use crate::service::outbox::Outbox;
use crate::service::shared::Shared;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// Requests of one connection that may be under way; its reader waits before it takes in more.
const IN_FLIGHT: usize = 1_024;
/// How often a reader that waits looks whether its connection was closed.
const PATIENCE: Duration = Duration::from_millis(100);

/// Where requests come from and answers go.
pub(super) struct Caller {
    pub(super) id: u64,
    pub(super) addr: SocketAddr,
    pub(super) outbox: Arc<Outbox>,
    in_flight: Mutex<InFlight>,
    finished: Condvar,
    /// When a line came last, or it was taken in, in milliseconds since 1970.
    used: AtomicU64,
    /// Whether it may call, as far as that has to be shown.
    is_proven: AtomicBool,
}

#[derive(Default)]
struct InFlight {
    requests: usize,
    /// Whether its reader waits for some of them to end.
    is_awaited: bool,
}

impl Caller {
    /// `now` is in milliseconds since 1970.
    pub(super) fn new(id: u64, addr: SocketAddr, outbox: Arc<Outbox>, now: u64, is_proven: bool) -> Caller {
        let (used, is_proven) = (AtomicU64::new(now), AtomicBool::new(is_proven));
        Caller { id, addr, outbox, in_flight: Mutex::default(), finished: Condvar::new(), used, is_proven }
    }

    /// It has shown that it may call.
    pub(super) fn prove(&self, now: u64) {
        self.use_at(now);
        self.is_proven.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_proven(&self) -> bool {
        self.is_proven.load(Ordering::Relaxed)
    }

    /// A line came.
    pub(super) fn use_at(&self, now: u64) {
        self.used.store(now, Ordering::Relaxed);
    }

    /// Since when nothing came, if no request is under way.
    pub(super) fn idle_since(&self) -> Option<u64> {
        (self.in_flight.lock().requests == 0).then(|| self.used.load(Ordering::Relaxed))
    }

    /// One request more is under way; waits until there may be.
    pub(super) fn begin(&self, shared: &Shared) {
        self.wait_for(IN_FLIGHT - 1, shared).requests += 1;
    }

    /// One request less is under way.
    pub(super) fn finish(&self) {
        let mut in_flight = self.in_flight.lock();
        in_flight.requests -= 1;
        // To wake nobody costs a call of the system as well.
        if in_flight.is_awaited {
            self.finished.notify_all();
        }
    }

    /// Waits until everything is answered and sent, or the connection is closed.
    pub(super) fn wait_until_done(&self, shared: &Shared) {
        let mut in_flight = self.wait_for(0, shared);
        while self.outbox.is_sending() && !shared.is_closed() {
            in_flight = self.finished.wait_for(in_flight, PATIENCE).0;
        }
    }

    /// Waits until no more than so many requests are under way, or the connection is closed.
    fn wait_for(&self, most: usize, shared: &Shared) -> MutexGuard<'_, InFlight> {
        let mut in_flight = self.in_flight.lock();
        while in_flight.requests > most && !self.outbox.is_closed() && !shared.is_closed() {
            in_flight.is_awaited = true;
            in_flight = self.finished.wait_for(in_flight, PATIENCE).0;
        }
        in_flight.is_awaited = false;
        in_flight
    }
}
