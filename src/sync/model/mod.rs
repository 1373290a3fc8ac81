//! What [`crate::sync`] has, on shuttle's scheduler and on a clock of its own: shuttle knows no time, so its waits never end
//! by time-out.
//!
//! Time stands still while any thread can run, and then jumps to the next deadline. A wake-up that is lost is thus one that
//! comes late by the clock, to the microsecond.

mod channel;
mod lock;
mod time;

pub(crate) use channel::{Receiver, Sender, unbounded};
pub(crate) use lock::{Condvar, Mutex, MutexGuard};
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(crate) use time::{elapsed, is_passing, now, pass, wall_clock};

/// Begins an execution.
pub(crate) fn reset() {
    time::reset();
    thread::reset();
}

/// The model's chance is in its schedules alone.
pub(crate) fn unpredictable() -> u64 {
    7
}

/// Nor is it secret.
#[cfg(feature = "encryption")]
pub(crate) fn random<const N: usize>(bytes: &mut [u8; N]) -> std::io::Result<()> {
    bytes.fill(7);
    Ok(())
}

/// Threads, of which a test can have one refused.
pub(crate) mod thread {
    use std::cell::{Cell, RefCell};
    use std::io;
    use std::time::Duration;

    use crate::sync::model::time;

    pub(crate) use shuttle::thread::{JoinHandle, ThreadId, current, spawn};

    std::thread_local! {
        static REFUSED: Cell<Option<usize>> = const { Cell::new(None) };
        static RUNNING: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    /// Begins an execution.
    pub(super) fn reset() {
        REFUSED.set(None);
        RUNNING.take();
    }

    /// The names of the threads that have not ended, of those that have one.
    pub(crate) fn running() -> Vec<String> {
        let mut names = RUNNING.with_borrow(Clone::clone);
        names.sort_unstable();
        names
    }

    /// So many threads from now on can be started, and then one cannot.
    pub(crate) fn refuse_after(threads: usize) {
        REFUSED.set(Some(threads));
    }

    pub(crate) struct Builder {
        name: String,
        stack_size: usize,
    }

    impl Builder {
        pub(crate) fn new() -> Self {
            Builder { name: String::new(), stack_size: 0 }
        }

        pub(crate) fn name(self, name: String) -> Self {
            Builder { name, ..self }
        }

        pub(crate) fn stack_size(self, stack_size: usize) -> Self {
            Builder { stack_size, ..self }
        }

        pub(crate) fn spawn(self, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
            match REFUSED.get() {
                Some(0) => {
                    REFUSED.set(None);
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                left => REFUSED.set(left.map(|left| left - 1)),
            }
            let name = self.name.clone();
            RUNNING.with_borrow_mut(|running| running.push(name.clone()));
            shuttle::thread::Builder::new().name(self.name).stack_size(self.stack_size).spawn(move || {
                body();
                RUNNING.with_borrow_mut(|running| {
                    let place = running.iter().position(|other| *other == name);
                    place.map(|place| running.swap_remove(place))
                });
            })
        }
    }

    pub(crate) fn sleep(duration: Duration) {
        time::sleep(duration);
    }
}
