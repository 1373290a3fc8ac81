//! Real processes on hosts of their own: each node runs in a network namespace with addresses of its own, all of them
//! joined by a bridge in one more namespace, and nft rules bring the faults.
//!
//! It needs root on Linux, `ip` and `nft` (Debian: iproute2, nftables), and minutes:
//! ```sh
//! cargo test --release --test hosts -- --ignored            # all scenarios
//! cargo test --release --test hosts -- --ignored partition  # those whose name has this in it
//! cargo test --release --test hosts -- --ignored --keyed    # in clusters that require encryption
//! ```
//! Where something is missing it says so and succeeds; with `--must-run` it fails then. Everything that was made is
//! removed in the end, whatever happens, and what a killed run left behind by the next one.

mod commands;
mod host;
mod network;
mod node;
mod process;
mod scenarios;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use parking_lot::Mutex;

use scenarios::{SCENARIOS, Scenario};

/// Scenarios that run at once. The table of neighbours' addresses is the kernel's, not the namespace's, with room for
/// 1,024 of each family, and each network takes 132: with eight of one family hosts could not find each other for
/// seconds.
const AT_A_TIME: usize = 4;

/// Whether all nodes have a key and require encryption.
static KEYED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let has = |name: &str| args.iter().any(|arg| arg == name);
    if args.first().is_some_and(|arg| arg == node::ARGUMENT) {
        node::run(&args[1..]);
        return ExitCode::SUCCESS;
    }
    if has("--list") {
        return ExitCode::SUCCESS;
    }
    if !has("--ignored") && !has("--include-ignored") {
        println!("hosts: {} scenarios, ignored; they need root and minutes: `-- --ignored` runs them", SCENARIOS.len());
        return ExitCode::SUCCESS;
    }
    if let Err(problem) = network::prepare() {
        println!("SKIPPED: hosts needs root on Linux, `ip` and `nft` (iproute2, nftables): {problem}");
        return if has("--must-run") { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    KEYED.store(has("--keyed"), Ordering::Relaxed);
    let named: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let chosen = |name: &str| named.is_empty() || named.iter().any(|part| name.contains(part.as_str()));
    run(SCENARIOS.iter().filter(|(name, _)| chosen(name)).copied().collect())
}

/// Runs a few scenarios at a time, for what they take is mostly waiting.
fn run(scenarios: Vec<Scenario>) -> ExitCode {
    let start = Instant::now();
    let count = scenarios.len();
    let (waiting, failed) = (Mutex::new(scenarios.into_iter()), Mutex::new(Vec::new()));
    let work = || {
        // The lock is not held while a scenario runs.
        while let Some((name, scenario)) = { waiting.lock().next() } {
            let start = Instant::now();
            let ended = catch_unwind(AssertUnwindSafe(|| scenario(name)));
            let result = if ended.is_ok() { "ok" } else { "FAILED" };
            println!("[{name}] {result} after {:.1} s", start.elapsed().as_secs_f64());
            failed.lock().extend(ended.is_err().then_some(name));
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner();
    println!("hosts: {count} scenarios in {:.0} s; failed: {failed:?}", start.elapsed().as_secs_f64());
    if failed.is_empty() && count > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
