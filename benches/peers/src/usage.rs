//! What this process costs: CPU time, resident memory, allocations.

use std::alloc::System;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::time::{clock_gettime, ClockId};
use stats_alloc::{StatsAlloc, INSTRUMENTED_SYSTEM};

use crate::transport::{Sent, Traffic};

/// Counts every allocation of the process.
///
/// That costs two atomic additions per call, which the measured CPU time
/// includes; see the README for how much that is.
#[cfg_attr(feature = "count-allocations", global_allocator)]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The resident set of this process in bytes.
pub fn resident_bytes() -> anyhow::Result<u64> {
    let path = "/proc/self/statm";
    let statm = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .with_context(|| format!("{path} has no second field"))?
        .parse()
        .with_context(|| format!("{path} has a second field that is no number"))?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// User and system time of all threads of this process, also of those that
/// have ended. The clock counts nanoseconds; `/proc/self/stat` would count the
/// same time in ticks of 10 ms, too coarse for a small or slow cluster.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// A reading of all counters that only ever grow.
pub struct Meter {
    at: Instant,
    cpu: Duration,
    allocations: usize,
    allocated_bytes: usize,
    sent: Sent,
}

impl Meter {
    /// Reads the counters now.
    pub fn read(traffic: &Traffic) -> Self {
        let heap = ALLOCATOR.stats();
        Meter {
            at: Instant::now(),
            cpu: cpu_time(),
            // A reallocation asks the allocator for memory just as an
            // allocation does; its bytes are counted as far as it grows.
            allocations: heap.allocations + heap.reallocations,
            allocated_bytes: heap.bytes_allocated,
            sent: traffic.sent(),
        }
    }

    /// What has been used since this reading.
    pub fn used_until(&self, later: &Meter) -> Used {
        Used {
            wall: later.at - self.at,
            cpu: later.cpu.saturating_sub(self.cpu),
            heap: cfg!(feature = "count-allocations").then(|| HeapUse {
                allocations: later.allocations.wrapping_sub(self.allocations),
                bytes: later.allocated_bytes.wrapping_sub(self.allocated_bytes),
            }),
            datagrams: later.sent.datagrams - self.sent.datagrams,
            payload_bytes: later.sent.payload_bytes - self.sent.payload_bytes,
        }
    }
}

/// The difference between two readings.
pub struct Used {
    pub wall: Duration,
    pub cpu: Duration,
    /// Nothing if allocations are not counted.
    pub heap: Option<HeapUse>,
    pub datagrams: u64,
    pub payload_bytes: u64,
}

/// What was asked of the allocator.
pub struct HeapUse {
    pub allocations: usize,
    pub bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_sees_work() {
        let traffic = Traffic::default();
        let before = Meter::read(&traffic);
        let mut kept = Vec::new();
        while before.used_until(&Meter::read(&traffic)).cpu < Duration::from_millis(5) {
            kept.push(Box::new([0u8; 1000]));
        }
        let used = before.used_until(&Meter::read(&traffic));
        if let Some(heap) = used.heap {
            assert!(heap.allocations >= kept.len());
            assert!(heap.bytes >= kept.len() * 1000);
        }
        assert!(used.wall >= Duration::from_millis(1));
        assert!(resident_bytes().unwrap() > 100_000);
    }
}
