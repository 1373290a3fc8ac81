//! What this process costs: CPU time, resident memory, allocations. It reads Linux's `/proc`.

use std::fs;
use std::time::{Duration, Instant};

use crate::{ALLOCATOR, Outcome};

/// Linux gives processes' times in hundredths of a second, whatever its own tick is.
const TICK: Duration = Duration::from_millis(10);

/// The resident set of this process in bytes.
///
/// # Errors
/// Without `/proc`.
pub fn resident_bytes() -> Outcome<u64> {
    let status = read("/proc/self/status")?;
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kilobytes.ok_or("/proc/self/status tells no VmRSS")? * 1_024)
}

/// User and system time of all threads of this process, also of those that have ended.
fn cpu_time() -> Outcome<Duration> {
    let stat = read("/proc/self/stat")?;
    // The name, in parentheses, may contain spaces; utime and stime are the 12th and 13th fields after it.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: Vec<u32> = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    match ticks[..] {
        [user, system] => Ok(TICK * (user + system)),
        _ => Err("/proc/self/stat tells no CPU time".into()),
    }
}

fn read(path: &str) -> Outcome<String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {path}, which needs Linux: {error}").into())
}

/// A reading of all counters that only ever grow.
pub struct Reading {
    at: Instant,
    cpu: Duration,
    allocations: usize,
    allocated_bytes: usize,
}

impl Reading {
    /// Reads them now.
    ///
    /// # Errors
    /// Without `/proc`.
    pub fn take() -> Outcome<Reading> {
        let heap = ALLOCATOR.stats();
        Ok(Reading {
            at: Instant::now(),
            cpu: cpu_time()?,
            // A reallocation asks the allocator for memory as an allocation does; its bytes count as far as it grows.
            allocations: heap.allocations + heap.reallocations,
            allocated_bytes: heap.bytes_allocated,
        })
    }

    /// What was used since this one.
    ///
    /// # Errors
    /// Without `/proc`.
    pub fn used(&self) -> Outcome<Used> {
        let now = Reading::take()?;
        Ok(Used {
            wall: now.at - self.at,
            cpu: now.cpu.saturating_sub(self.cpu),
            allocations: now.allocations.wrapping_sub(self.allocations),
            allocated_bytes: now.allocated_bytes.wrapping_sub(self.allocated_bytes),
        })
    }
}

/// What was used between two readings.
pub struct Used {
    pub wall: Duration,
    pub cpu: Duration,
    pub allocations: usize,
    pub allocated_bytes: usize,
}
