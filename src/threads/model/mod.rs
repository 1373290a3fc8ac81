//! The threads under schedules that shuttle chooses, on a clock that stands still while anybody can run.
//!
//! Each test's body runs again and again, each time under another schedule. What it asserts about the clock is exact: a
//! wake-up that comes late by a microsecond was lost, and time itself had to wake the sleeper.

mod ending;
mod events;
mod net;
mod pieces;
mod time;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use shuttle::scheduler::{
    DfsScheduler, PctScheduler, RandomScheduler, ReplayScheduler, Schedule, Scheduler, Task, TaskId,
};
use shuttle::{MaxSteps, Runner};

use crate::sync::model as sync;

/// Random schedules of each test at each pace, and as many with few but well-placed preemptions; `SCHEDULES` asks for another
/// number.
const SCHEDULES: usize = 400;
/// No execution takes so many steps: who does waits for something in a loop.
const MAX_STEPS: usize = 300_000;

std::thread_local! {
    /// Whether nobody but the clock can run.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body` under very many schedules; time passes when nobody can run.
fn explore(body: impl Fn() + Send + Sync + 'static) {
    run(Pace::Patient, body);
}

/// The same, and then again with time that passes at any moment, so that every time-out may come before what was waited for.
fn explore_at_any_pace(body: impl Fn(Pace) + Send + Sync + 'static) {
    let body = Arc::new(body);
    for pace in [Pace::Patient, Pace::Hasty] {
        let body = body.clone();
        run(pace, move || body(pace));
    }
}

/// Runs `body` under every schedule there is: for a few threads with a few steps each.
fn exhaust(body: impl Fn() + Send + Sync + 'static) {
    let schedules = runner(DfsScheduler::new(None, false), Pace::Patient).run(execution(body));
    println!("every one of {schedules} schedules");
    assert!(schedules > 1);
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Pace {
    Patient,
    Hasty,
}

fn run(pace: Pace, body: impl Fn() + Send + Sync + 'static) {
    if std::env::var("PACE").is_ok_and(|only| only != format!("{pace:?}")) {
        return;
    }
    let body = execution(body);
    if let Ok(path) = std::env::var("REPLAY") {
        let schedule = std::fs::read_to_string(path).unwrap();
        Runner::new(ReplayScheduler::new_from_encoded(schedule.trim()), config()).run(body);
        return;
    }
    let asked = std::env::var("SCHEDULES").ok().map(|number| number.parse::<usize>().unwrap());
    // A bounded run is the same every time; a long one looks for what nobody has seen.
    let seed =
        if asked.is_some() { SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 } else { 1 };
    let schedules = asked.unwrap_or(SCHEDULES);
    let started = Instant::now();
    let mut run = runner(RandomScheduler::new_from_seed(seed, schedules), pace).run(body.clone());
    if pace == Pace::Patient {
        // In haste there is always something to do for a node's threads, and whoever has the least priority never runs.
        for depth in [2, 3, 5] {
            run += runner(PctScheduler::new_from_seed(seed, depth, schedules / 3 + 2), pace).run(body.clone());
        }
    }
    println!("{pace:?}: {run} schedules in {:.1?}", started.elapsed());
}

fn runner<S: Scheduler + 'static>(scheduler: S, pace: Pace) -> Runner<Paced<S>> {
    Runner::new(Paced { scheduler, pace, dice: Rng::with_seed(1) }, config())
}

fn config() -> shuttle::Config {
    let mut config = shuttle::Config::new();
    config.stack_size = 256 << 10;
    config.max_steps = MaxSteps::FailAfter(MAX_STEPS);
    config.silence_warnings = true;
    config
}

/// The first thread of an execution is its clock, the second one runs the body.
fn execution(body: impl Fn() + Send + Sync + 'static) -> impl Fn() + Clone + Send + Sync + 'static {
    let body = Arc::new(body);
    move || {
        sync::reset();
        let over = Arc::new(AtomicBool::new(false));
        let (body, ends) = (body.clone(), over.clone());
        let thread = sync::thread::spawn(move || {
            body();
            ends.store(true, Ordering::Relaxed);
        });
        loop {
            shuttle::thread::yield_now();
            // Nobody can run, and nobody waits for the time either: joining tells who waits for whom.
            if over.load(Ordering::Relaxed) || !sync::pass() && ALONE.get() {
                break;
            }
        }
        thread.join().unwrap();
        assert_eq!(node_threads(), [""; 0]);
    }
}

/// The threads of nodes that run. Those that resolve a name are nobody's.
fn node_threads() -> Vec<String> {
    let mut names = sync::thread::running();
    names.retain(|name| name != "grapevine-resolver");
    names
}

/// Runs the clock, which is the first thread, only when no other can run, or in haste now and then before.
struct Paced<S> {
    scheduler: S,
    pace: Pace,
    dice: Rng,
}

impl<S: Scheduler> Scheduler for Paced<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.scheduler.new_execution()
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, is_yielding: bool) -> Option<TaskId> {
        let clock = TaskId::from(0);
        let others: Vec<&Task> = runnable.iter().copied().filter(|task| task.id() != clock).collect();
        let has_clock = others.len() < runnable.len();
        ALONE.set(others.is_empty());
        if has_clock && (others.is_empty() || sync::is_passing() || self.pace == Pace::Hasty && self.dice.u8(..) < 8) {
            return Some(clock);
        }
        self.scheduler.next_task(&others, current, is_yielding && current != Some(clock))
    }

    fn next_u64(&mut self) -> u64 {
        self.scheduler.next_u64()
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
