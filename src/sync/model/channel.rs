//! An unbounded channel as `crossbeam_channel` has it, as far as it is used.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::model::lock::{Condvar, Mutex};
use crate::sync::model::time::now;

pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    let state = State { queue: VecDeque::new(), has_sender: true, receivers: 1 };
    let channel = Arc::new(Channel { state: Mutex::new(state), arrived: Condvar::new() });
    (Sender(channel.clone()), Receiver(channel))
}

struct Channel<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

struct State<T> {
    queue: VecDeque<T>,
    has_sender: bool,
    receivers: usize,
}

pub(crate) struct Sender<T>(Arc<Channel<T>>);

/// `pub` because a public method hands it out.
pub struct Receiver<T>(Arc<Channel<T>>);

/// Nobody receives.
pub(crate) struct NotSent;

/// Nothing is there, or nothing came in time.
pub(crate) struct Nothing;

impl<T> Sender<T> {
    pub(crate) fn len(&self) -> usize {
        self.0.state.lock().queue.len()
    }

    pub(crate) fn try_send(&self, value: T) -> Result<(), NotSent> {
        let mut state = self.0.state.lock();
        if state.receivers == 0 {
            return Err(NotSent);
        }
        state.queue.push_back(value);
        drop(state);
        self.0.arrived.notify_one();
        Ok(())
    }
}

impl<T> Receiver<T> {
    pub(crate) fn len(&self) -> usize {
        self.0.state.lock().queue.len()
    }

    pub(crate) fn try_recv(&self) -> Result<T, Nothing> {
        self.0.state.lock().queue.pop_front().ok_or(Nothing)
    }

    pub(crate) fn recv(&self) -> Result<T, Nothing> {
        self.recv_until(None)
    }

    pub(crate) fn recv_timeout(&self, timeout: Duration) -> Result<T, Nothing> {
        self.recv_until(now().checked_add(timeout))
    }

    fn recv_until(&self, deadline: Option<Instant>) -> Result<T, Nothing> {
        let mut state = self.0.state.lock();
        loop {
            if let Some(value) = state.queue.pop_front() {
                return Ok(value);
            }
            if !state.has_sender || deadline.is_some_and(|deadline| deadline <= now()) {
                return Err(Nothing);
            }
            match deadline {
                Some(deadline) => drop(self.0.arrived.wait_until(&mut state, deadline)),
                None => self.0.arrived.wait(&mut state),
            }
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.0.state.lock().receivers += 1;
        Receiver(self.0.clone())
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.state.lock().receivers -= 1;
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.state.lock().has_sender = false;
        self.0.arrived.notify_all();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}
