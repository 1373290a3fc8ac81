//! The threads on which handlers run: as many as are needed, at most so many.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::service::lock::{Condvar, Mutex, MutexGuard};
use crate::service::threads;

/// A thread without work ends after so long.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// Handlers that run on one thread within each other, where no other thread is free: beyond is a handler that calls itself.
const MOST_NESTED: usize = 32;

/// Something to be done by a thread of the pool, or to be told that it will not be.
pub(super) trait Work: Send + 'static {
    fn run(self);
    /// Too much waits already, or the pool was closed.
    fn refuse(self);
}

/// [`Work`] in a box.
trait Boxed: Send {
    fn run(self: Box<Self>);
    fn refuse(self: Box<Self>);
}

impl<W: Work> Boxed for W {
    fn run(self: Box<Self>) {
        Work::run(*self);
    }

    fn refuse(self: Box<Self>) {
        Work::refuse(*self);
    }
}

thread_local! {
    /// How many handlers run on this thread within each other.
    static NESTED: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Whether this thread runs a handler. Work that it waits for must not wait in a queue: were every thread of a pool to wait
/// for work in the same pool's queue, none would do it.
pub(super) fn is_worker() -> bool {
    NESTED.get().is_some()
}

/// Does something that a handler waits for on the handler's own thread; `None` if too much is within each other there.
pub(super) fn nested<R>(work: impl FnOnce() -> R) -> Option<R> {
    let depth = NESTED.get()?;
    if depth >= MOST_NESTED {
        return None;
    }
    NESTED.set(Some(depth + 1));
    let result = work();
    NESTED.set(Some(depth));
    Some(result)
}

pub(super) struct Pool {
    most: usize,
    queue: usize,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Box<dyn Boxed>>,
    threads: usize,
    idle: usize,
    /// Whether a thread was woken, or started, that has not come yet. Once it has it looks whether one more is needed: to wake one
    /// for each piece of work costs whoever brings it more than the work.
    one_comes: bool,
    closed: bool,
}

/// What has to be done to have one thread more.
enum Help {
    Wake,
    Start,
}

impl State {
    /// If there is work for one thread more, and none is on its way.
    fn call_help(&mut self, most: usize) -> Option<Help> {
        if self.waiting.is_empty() || self.one_comes {
            return None;
        }
        let help = if self.idle > 0 {
            Help::Wake
        } else if self.threads < most {
            self.threads += 1;
            Help::Start
        } else {
            return None;
        };
        self.one_comes = true;
        Some(help)
    }
}

impl Pool {
    pub(super) fn new(most: usize, queue: usize) -> Arc<Pool> {
        Arc::new(Pool { most, queue, state: Mutex::default(), wake: Condvar::new() })
    }

    /// Has this done by the next free thread, or refused.
    pub(super) fn run(self: &Arc<Self>, work: impl Work) {
        let state = self.state.lock();
        if state.closed || state.waiting.len() >= self.queue {
            drop(state);
            return work.refuse();
        }
        self.add(state, work);
    }

    /// Has this done if a thread is free for it now; otherwise it is given back.
    pub(super) fn run_if_free<W: Work>(self: &Arc<Self>, work: W) -> Result<(), W> {
        let state = self.state.lock();
        let is_free = state.waiting.len() < state.idle + (self.most - state.threads);
        if state.closed || !is_free {
            return Err(work);
        }
        self.add(state, work);
        Ok(())
    }

    fn add(self: &Arc<Self>, mut state: MutexGuard<'_, State>, work: impl Work) {
        state.waiting.push_back(Box::new(work));
        let help = state.call_help(self.most);
        drop(state);
        self.bring(help);
    }

    fn bring(self: &Arc<Self>, help: Option<Help>) {
        match help {
            None => {}
            Some(Help::Wake) => self.wake.notify_one(),
            Some(Help::Start) => self.start_thread(),
        }
    }

    fn start_thread(self: &Arc<Self>) {
        let pool = self.clone();
        if let Err(error) = threads::spawn_worker(move || pool.work()) {
            let mut state = self.state.lock();
            state.threads -= 1;
            state.one_comes = false;
            // Where there are others, they do it.
            let refused = if state.threads == 0 { std::mem::take(&mut state.waiting) } else { VecDeque::new() };
            drop(state);
            log::warn!("no thread for handlers could be started: {error}");
            refused.into_iter().for_each(Boxed::refuse);
        }
    }

    fn work(self: &Arc<Self>) {
        NESTED.set(Some(0));
        let mut state = self.state.lock();
        state.one_comes = false;
        loop {
            if let Some(work) = state.waiting.pop_front() {
                let help = state.call_help(self.most);
                drop(state);
                self.bring(help);
                // What a handler owns may panic as well, when it is dropped.
                if let Err(text) = threads::caught(|| work.run()) {
                    log::error!("a handler panicked when it was dropped: {text}");
                    NESTED.set(Some(0));
                }
                state = self.state.lock();
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let timed_out;
            (state, timed_out) = self.wake.wait_for(state, IDLE_TIME);
            state.idle -= 1;
            state.one_comes = false;
            if timed_out && state.waiting.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }

    /// How many calls wait for a thread.
    pub(super) fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Takes no more work; what waits is refused.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let refused = std::mem::take(&mut state.waiting);
        drop(state);
        self.wake.notify_all();
        refused.into_iter().for_each(Boxed::refuse);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{self, AtomicU64, Ordering, Receiver, Sender, bounded};

    const LONG: Duration = Duration::from_secs(60);

    struct Waits {
        begun: Sender<bool>,
        end: Receiver<()>,
        refused: Arc<AtomicU64>,
    }

    impl Work for Waits {
        fn run(self) {
            self.begun.send(is_worker()).unwrap();
            let _ = self.end.recv();
        }

        fn refuse(self) {
            self.refused.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn as_much_is_done_at_once_as_there_may_be_threads() {
        let pool = Pool::new(3, 2);
        let (begun, all_begun) = bounded(9);
        let (may_end, end) = bounded::<()>(0);
        let refused = Arc::new(AtomicU64::new(0));
        let run = || pool.run(Waits { begun: begun.clone(), end: end.clone(), refused: refused.clone() });
        for _ in 0..3 {
            run();
            assert_eq!(all_begun.recv_timeout(LONG), Ok(true));
        }
        // Two may wait, no more.
        (0..3).for_each(|_| run());
        assert_eq!((pool.waiting(), refused.load(Ordering::SeqCst)), (2, 1));
        drop(may_end);
        for _ in 0..2 {
            assert_eq!(all_begun.recv_timeout(LONG), Ok(true));
        }
        assert!(!is_worker());
        pool.close();
        run();
        assert_eq!(refused.load(Ordering::SeqCst), 2);
    }

    /// Whoever brings work wakes or starts one thread alone; that one sees to the next.
    #[test]
    fn work_that_comes_at_once_is_begun_at_once() {
        let pool = Pool::new(3, 9);
        for _ in 0..2 {
            let (begun, all_begun) = bounded(9);
            let (may_end, end) = bounded::<()>(0);
            for _ in 0..3 {
                pool.run(Waits { begun: begun.clone(), end: end.clone(), refused: Arc::default() });
            }
            for _ in 0..3 {
                assert_eq!(all_begun.recv_timeout(LONG), Ok(true));
            }
            drop(may_end);
            // The second time there are threads that sleep.
            let deadline = sync::now() + LONG;
            while pool.state.lock().idle < 3 {
                assert!(sync::now() < deadline);
                sync::thread::yield_now();
            }
        }
    }
}
