//! Clusters of real nodes on virtual time, with everything going wrong, each run drawn from a seed; every promise checked at
//! every step.
//!
//! `cargo run --release --features sim --example torture -- --seeds 64`

mod options;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use grapevine::sim::{FaultKind, Happened, Outcome, narrow, torture};
use options::Options;

/// What the runs add up to.
#[derive(Default)]
struct Sum {
    runs: u64,
    steps: u64,
    simulated: Duration,
    slowest: (Duration, u64),
    happened: Happened,
    failed: Vec<u64>,
}

/// So many failures are enough to look at.
const MAX_FAILURES: usize = 8;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{problem}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    if options.list {
        for (index, planned) in options.torture(options.first_seed).plan.faults.iter().enumerate() {
            let (from, until) = (planned.from.as_secs_f64(), planned.until.as_secs_f64());
            println!("{index:3} {from:8.2} to {until:8.2} s  {:?}", planned.fault);
        }
        return ExitCode::SUCCESS;
    }
    let started = Instant::now();
    let sum = run_all(&options, started);
    report(&options, &sum, started.elapsed())
}

fn run_all(options: &Options, started: Instant) -> Sum {
    let next = AtomicU64::new(0);
    let enough = AtomicBool::new(false);
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= options.seeds {
                        break;
                    }
                    let seed = options.first_seed.wrapping_add(number);
                    let mut run = options.torture(seed);
                    run.record = options.record.is_some() && number == 0;
                    let outcome = match torture(&run) {
                        Ok(outcome) => outcome,
                        Err(error) => {
                            eprintln!("{error}");
                            break;
                        }
                    };
                    if let (Some(file), 0) = (&options.record, number) {
                        if let Err(error) = std::fs::write(file, &outcome.record) {
                            eprintln!("cannot write {file}: {error}");
                        }
                    }
                    let mut sum = sum.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    if let Some(violation) = &outcome.violation {
                        // At once: the others may take an hour.
                        println!("\nFAILED seed {seed}: {violation}\n  {}", options.replay(seed));
                    }
                    add(&mut sum, seed, &outcome);
                    progress(options, &sum, started.elapsed());
                    enough.fetch_or(sum.failed.len() >= MAX_FAILURES, Ordering::Relaxed);
                }
            });
        }
    });
    sum.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn add(sum: &mut Sum, seed: u64, outcome: &Outcome) {
    sum.runs += 1;
    sum.steps += outcome.steps;
    sum.simulated += outcome.simulated;
    sum.slowest = sum.slowest.max((outcome.settled, seed));
    sum.happened.add(&outcome.happened);
    if outcome.violation.is_some() {
        sum.failed.push(seed);
    }
}

fn progress(options: &Options, sum: &Sum, elapsed: Duration) {
    let (done, of) = (sum.runs, options.seeds);
    let line = format!(
        "{done} of {of} runs, {:.1} h simulated, {:.1} million steps, {} failed, {:.0} s",
        sum.simulated.as_secs_f64() / 3_600.0,
        sum.steps as f64 / 1e6,
        sum.failed.len(),
        elapsed.as_secs_f64()
    );
    let mut stdout = std::io::stdout();
    if stdout.is_terminal() {
        let _ = write!(stdout, "\r{line}").and_then(|()| stdout.flush());
    } else if done % (of / 64).max(1) == 0 || done == of {
        let _ = writeln!(stdout, "{line}");
    }
}

fn report(options: &Options, sum: &Sum, elapsed: Duration) -> ExitCode {
    println!("\nwhat went wrong, on purpose:");
    for (name, count) in sum.happened.fields() {
        println!("  {name:16} {count}");
    }
    let (slowest, seed) = sum.slowest;
    println!("everyone agreed at the latest {:.1} s after the faults had ended (seed {seed})", slowest.as_secs_f64());
    println!(
        "{} runs of {} nodes, {:.1} h of virtual time, {} steps, each checked, in {:.0} s",
        sum.runs,
        options.nodes,
        sum.simulated.as_secs_f64() / 3_600.0,
        sum.steps,
        elapsed.as_secs_f64()
    );
    if !sum.failed.is_empty() {
        println!("\nFAILED seeds: {:?}", sum.failed);
    }
    if options.narrow {
        sum.failed.iter().for_each(|seed| narrow_down(options, *seed));
    }
    let idle: Vec<&str> =
        options.kinds.iter().filter(|kind| !struck(**kind, &sum.happened)).map(|kind| kind.as_str()).collect();
    // A few runs may miss a kind by chance; many do not.
    if !idle.is_empty() && sum.runs >= 16 && options.faults.is_none() {
        println!("\nFAILED: these faults were asked for and never struck: {}", idle.join(", "));
        return ExitCode::FAILURE;
    }
    if sum.failed.is_empty() && sum.runs == options.seeds {
        println!("every promise was kept");
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

/// Whether a fault that was asked for really happened.
fn struck(kind: FaultKind, happened: &Happened) -> bool {
    let count = match kind {
        FaultKind::Loss => happened.lost,
        FaultKind::Duplication => happened.duplicated,
        FaultKind::Delay => happened.delayed,
        FaultKind::Reordering => happened.reordered,
        FaultKind::Corruption => happened.corrupted,
        FaultKind::Truncation => happened.truncated,
        FaultKind::Replay => happened.replayed,
        FaultKind::SlowLink => happened.slowed,
        FaultKind::Cut => happened.cut,
        FaultKind::OneWayCut => happened.cut_one_way,
        FaultKind::Crash => happened.crashes.min(happened.restarts),
        FaultKind::ClockSetBack => happened.clocks_set_back,
        FaultKind::Replacement => happened.replacements,
        FaultKind::Leave => happened.leaves,
        FaultKind::Pause => happened.pauses,
        FaultKind::Sleep => happened.sleeps,
        FaultKind::Drift => happened.drifts,
        FaultKind::DeafSubscriber => happened.events_missed,
        FaultKind::Recorder => happened.recorded,
        FaultKind::Lies => happened.lies,
    };
    count > 0
}

fn narrow_down(options: &Options, seed: u64) {
    let failing = options.torture(seed);
    let all = failing.plan.faults.clone();
    let narrowed = narrow(&failing, |left| {
        print!("\r  narrowing: {left} of {} faults are left ", all.len());
        let _ = std::io::stdout().flush();
    });
    let Ok(narrowed) = narrowed else { return };
    let needed: Vec<usize> = (0..all.len()).filter(|index| narrowed.plan.faults.contains(&all[*index])).collect();
    println!("\n  it takes:");
    for index in &needed {
        let planned = &all[*index];
        println!(
            "  {index:3} {:8.2} to {:8.2} s  {:?}",
            planned.from.as_secs_f64(),
            planned.until.as_secs_f64(),
            planned.fault
        );
    }
    let only = Options { faults: Some(needed), ..options.clone() };
    println!("  {}", only.replay(seed));
}
