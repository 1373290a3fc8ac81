//! A cluster in one process that is kept busy for as long as asked: nodes write, overwrite, delete and let keys expire,
//! some of the values large; subscriptions come and go, some of them never read; nodes leave, crash, and come back
//! under the same or another address.
//!
//! Every few seconds writes and restarts halt until every node holds exactly the same maps; then memory, threads and
//! descriptors are read. In the end the last quarter of the readings is compared with the second one, for the first
//! warms up: the exit status is 0 only if memory, threads and descriptors are flat and no halt went by without
//! agreement.
//!
//! ```sh
//! cargo run --release --example soak
//! cargo run --release --example soak -- --nodes 20 --minutes 2
//! ```
//!
//! It reads Linux's `/proc`.

mod cluster;
mod load;
mod maps;
mod options;
mod restarts;
mod usage;
mod verdict;

use std::alloc::System;
use std::env;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use cluster::Cluster;
use load::Load;
use options::Options;
use restarts::Restarts;
use usage::{Usage, megabytes};
use verdict::Reading;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Between two halts.
const PERIOD: Duration = Duration::from_secs(12);
/// How long the nodes have to agree once nobody writes; it takes a few intervals.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    env_logger::init();
    let options = match Options::parse(env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("error: {problem}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match soak(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn soak(options: &Options) -> Result<(), String> {
    let start = Instant::now();
    let cluster = Cluster::start(options.nodes, options.interval)?;
    println!(
        "{} nodes for {:?}, gossip every {:?}, grace period {:?}, a halt every {PERIOD:?}\n",
        options.nodes,
        options.time,
        options.interval,
        cluster::GRACE
    );
    let over = AtomicBool::new(false);
    let (load, restarts) = (Load::default(), Restarts::default());
    let readings = thread::scope(|scope| {
        scope.spawn(|| load.run(&cluster, &over));
        scope.spawn(|| restarts.run(&cluster, &over));
        let readings = read_until(start + options.time, start, &cluster, &load, &restarts);
        over.store(true, Ordering::Relaxed);
        readings
    })?;
    println!("\n{load}\n{restarts}");
    cluster.print_counters();
    verdict::judge(&readings, options.time)
}

/// Halts and reads until `end`. A disagreement ends it.
fn read_until(
    end: Instant,
    start: Instant,
    cluster: &Cluster,
    load: &Load,
    restarts: &Restarts,
) -> Result<Vec<Reading>, String> {
    let mut readings = Vec::new();
    while Instant::now() < end {
        thread::sleep(PERIOD.min(end.saturating_duration_since(Instant::now())));
        restarts.check()?;
        let no_restarts = cluster.restarts.lock();
        let no_writes = cluster.writes.write();
        let agreement = maps::wait_until_equal(&cluster.nodes(), PATIENCE)?;
        let usage = Usage::read(agreement.map_bytes)?;
        drop((no_restarts, no_writes));
        println!(
            "{:>6.0} s  heap {} and maps {}  rss {}  threads {}  descriptors {}  keys {}  \
             equal after {} ms  writes {}  restarts {}  false alarms {}  woken late by {} ms at most",
            start.elapsed().as_secs_f64(),
            megabytes(usage.heap),
            megabytes(usage.maps),
            megabytes(usage.resident),
            usage.threads,
            usage.descriptors,
            agreement.keys,
            agreement.lasting.as_millis(),
            load.writes(),
            restarts.count(),
            restarts.false_alarms(),
            restarts.late_ms(),
        );
        readings.push(Reading { usage, agreed_after: agreement.lasting });
    }
    Ok(readings)
}
