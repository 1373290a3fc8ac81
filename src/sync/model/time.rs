//! A clock that stands still while anybody can run.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use shuttle::sync::mpsc::{Receiver, Sender, channel};

/// Where every execution's clock begins, on the system's.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

// Shuttle runs all threads of an execution on one of the system's, so this is one execution's.
std::thread_local! {
    static TIMERS: RefCell<Timers> = const { RefCell::new(Timers::new()) };
    static PASSING: Cell<bool> = const { Cell::new(false) };
}

struct Timers {
    elapsed: Duration,
    next_id: u64,
    sleepers: BTreeMap<(Duration, u64), Sender<()>>,
}

impl Timers {
    const fn new() -> Self {
        Timers { elapsed: Duration::ZERO, next_id: 0, sleepers: BTreeMap::new() }
    }
}

pub(super) fn reset() {
    PASSING.set(false);
    // What is left belongs to an execution that is over, and cannot be dropped outside of it.
    let old = TIMERS.replace(Timers::new());
    std::mem::forget(old);
}

/// Lets time pass up to the next deadline, if anybody waits for one.
pub(crate) fn pass() -> bool {
    let due = TIMERS.with_borrow_mut(|timers| {
        let (deadline, _) = *timers.sleepers.first_key_value()?.0;
        timers.elapsed = timers.elapsed.max(deadline);
        let later = timers.sleepers.split_off(&(timers.elapsed + Duration::from_nanos(1), 0));
        Some(std::mem::replace(&mut timers.sleepers, later))
    });
    let Some(due) = due else { return false };
    PASSING.set(true);
    for sleeper in due.into_values() {
        // Who was woken meanwhile does not listen any more.
        let _ = sleeper.send(());
    }
    PASSING.set(false);
    true
}

/// Whether the clock is waking those whose deadlines have come. None of them may run before all are awake.
pub(crate) fn is_passing() -> bool {
    PASSING.get()
}

/// How much time has passed in this execution.
pub(crate) fn elapsed() -> Duration {
    TIMERS.with_borrow(|timers| timers.elapsed)
}

pub(crate) fn now() -> Instant {
    *ORIGIN + elapsed()
}

/// Milliseconds since 1970: some time in 2020.
pub(crate) fn wall_clock() -> u64 {
    1_600_000_000_000 + elapsed().as_millis() as u64
}

pub(super) fn sleep(duration: Duration) {
    Alarm::new(now().checked_add(duration)).wait();
}

/// What one thread waits for, once: to be woken, or for its deadline.
pub(super) struct Alarm {
    wake: Sender<()>,
    woken: Receiver<()>,
    timer: Option<(Duration, u64)>,
}

impl Alarm {
    pub(super) fn new(deadline: Option<Instant>) -> Self {
        let (wake, woken) = channel();
        let timer = deadline.map(|deadline| {
            let deadline = deadline.saturating_duration_since(*ORIGIN);
            TIMERS.with_borrow_mut(|timers| {
                timers.next_id += 1;
                timers.sleepers.insert((deadline, timers.next_id), wake.clone());
                (deadline, timers.next_id)
            })
        });
        Alarm { wake, woken, timer }
    }

    pub(super) fn waker(&self) -> Sender<()> {
        self.wake.clone()
    }

    pub(super) fn wait(self) {
        // A sender is in here: it cannot be disconnected.
        let _ = self.woken.recv();
        let timer = self.timer.and_then(|timer| TIMERS.with_borrow_mut(|timers| timers.sleepers.remove(&timer)));
        drop(timer);
    }
}
