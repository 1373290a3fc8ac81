//! Locks and condition variables as `parking_lot` has them: no poison, no wake-up without a reason, waits with deadlines.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use shuttle::sync::mpsc::Sender;

use crate::sync::model::time::{Alarm, now};

#[derive(Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

pub(crate) struct MutexGuard<'a, T> {
    lock: &'a Mutex<T>,
    /// `None` only inside [`Condvar::wait`].
    guard: Option<shuttle::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { lock: self, guard: Some(self.take()) }
    }

    fn take(&self) -> shuttle::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_deref().expect("it is held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_deref_mut().expect("it is held")
    }
}

/// Wakes who waited longest, like `parking_lot`'s.
#[derive(Default)]
pub(crate) struct Condvar {
    waiters: std::sync::Mutex<Waiters>,
}

#[derive(Default)]
struct Waiters {
    next_id: u64,
    queue: VecDeque<(u64, Sender<()>)>,
}

pub(crate) struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub(crate) fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Condvar::default()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.wait_for_alarm(guard, None);
    }

    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, timeout: Duration) -> WaitTimeoutResult {
        self.wait_for_alarm(guard, now().checked_add(timeout))
    }

    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: Instant) -> WaitTimeoutResult {
        self.wait_for_alarm(guard, Some(deadline))
    }

    fn wait_for_alarm<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: Option<Instant>) -> WaitTimeoutResult {
        let alarm = Alarm::new(deadline);
        let id = {
            let mut waiters = self.waiters();
            waiters.next_id += 1;
            let id = waiters.next_id;
            waiters.queue.push_back((id, alarm.waker()));
            id
        };
        guard.guard = None;
        alarm.wait();
        // Who notified took it out of the queue; that counts, even if the time was up as well.
        let timed_out = {
            let mut waiters = self.waiters();
            let place = waiters.queue.iter().position(|(other, _)| *other == id);
            place.and_then(|place| waiters.queue.remove(place))
        };
        guard.guard = Some(guard.lock.take());
        WaitTimeoutResult(timed_out.is_some())
    }

    pub(crate) fn notify_one(&self) {
        // A step of its own, for others to come in between.
        shuttle::thread::sleep(Duration::ZERO);
        let first = self.waiters().queue.pop_front();
        if let Some((_, wake)) = first {
            let _ = wake.send(());
        }
    }

    pub(crate) fn notify_all(&self) {
        shuttle::thread::sleep(Duration::ZERO);
        let all = std::mem::take(&mut self.waiters().queue);
        for (_, wake) in all {
            let _ = wake.send(());
        }
    }

    /// Held for no longer than a step, so it is never waited for.
    fn waiters(&self) -> std::sync::MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
