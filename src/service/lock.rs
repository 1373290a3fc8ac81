//! The locks of services, without poison: who panics is told of otherwise.
//!
//! Whoever finds one taken sleeps until it is free. Those of the node yield a few times first, and where there are more threads than
//! cores each time costs a turn: with 16 callers on two cores the slowest hundredth of all calls took three times as long.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::sync;

pub(super) use std::sync::MutexGuard;

#[derive(Default)]
pub(super) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(super) fn new(value: T) -> Mutex<T> {
        Mutex(std::sync::Mutex::new(value))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits may end without a reason.
#[derive(Default)]
pub(super) struct Condvar(std::sync::Condvar);

impl Condvar {
    pub(super) fn new() -> Condvar {
        Condvar::default()
    }

    /// Also says whether the time was up.
    pub(super) fn wait_for<'l, T>(&self, guard: MutexGuard<'l, T>, timeout: Duration) -> (MutexGuard<'l, T>, bool) {
        let (guard, waited) = self.0.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner);
        (guard, waited.timed_out())
    }

    /// Also says whether the time was up.
    pub(super) fn wait_until<'l, T>(&self, guard: MutexGuard<'l, T>, deadline: Instant) -> (MutexGuard<'l, T>, bool) {
        self.wait_for(guard, deadline.saturating_duration_since(sync::now()))
    }

    pub(super) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(super) fn notify_all(&self) {
        self.0.notify_all();
    }
}
