//! Whether a run was flat: its last quarter beside the second one.

use std::time::Duration;

use crate::usage::{Usage, megabytes};

/// What the heap beside the maps may grow by, as a fraction: subscribers that do not read hold other values each time.
const HEAP_TOLERANCE: f64 = 0.05;
/// The resident set may grow by more, for it tells of the allocator too: under 150 threads glibc's grew by 12 % while
/// the heap did by −0.2 %, and with jemalloc in its place by 4 %.
const RESIDENT_TOLERANCE: f64 = 0.20;
/// Shorter runs say nothing of memory: detectors' windows, tables and the allocator's caches fill for minutes.
const LEAST_TIME: Duration = Duration::from_secs(600);
/// Fewer readings than this make no quarters.
const LEAST_READINGS: usize = 4;

/// What was read at a halt.
pub struct Reading {
    pub usage: Usage,
    pub agreed_after: Duration,
}

/// Prints both quarters.
///
/// # Errors
/// What has grown.
pub fn judge(readings: &[Reading], time: Duration) -> Result<(), String> {
    let quarter = readings.len() / 4;
    if readings.len() < LEAST_READINGS {
        return Err(format!("{} readings are too few for a verdict; take more minutes", readings.len()));
    }
    let second = Quarter::of(&readings[quarter..2 * quarter]);
    let last = Quarter::of(&readings[readings.len() - quarter..]);
    println!("second quarter: {second}\nlast quarter:   {last}");
    let mut grown = Vec::new();
    let mut compare = |what: &str, before: f64, after: f64, tolerance: f64| {
        let growth = after / before - 1.0;
        println!("{what}: {:+.1} %", growth * 100.0);
        if growth > tolerance {
            grown.push(format!("{what} grew by {:.1} %, more than {:.0} %", growth * 100.0, tolerance * 100.0));
        }
    };
    if time >= LEAST_TIME {
        compare("heap", second.heap, last.heap, HEAP_TOLERANCE);
        compare("resident set", second.resident, last.resident, RESIDENT_TOLERANCE);
    } else {
        println!("no verdict on memory: that takes {} minutes", LEAST_TIME.as_secs() / 60);
    }
    compare("threads", second.threads as f64, last.threads as f64, 0.0);
    compare("descriptors", second.descriptors as f64, last.descriptors as f64, 0.0);
    if grown.is_empty() { Ok(()) } else { Err(grown.join("; ")) }
}

/// Means of what varies, the most of what should not.
struct Quarter {
    heap: f64,
    maps: f64,
    resident: f64,
    threads: u64,
    descriptors: u64,
    agreed_after: Duration,
}

impl Quarter {
    fn of(readings: &[Reading]) -> Quarter {
        let mean = |of: fn(&Usage) -> u64| {
            readings.iter().map(|reading| of(&reading.usage) as f64).sum::<f64>() / readings.len() as f64
        };
        let most = |of: fn(&Usage) -> u64| readings.iter().map(|reading| of(&reading.usage)).max().unwrap_or(0);
        Quarter {
            heap: mean(|usage| usage.heap),
            maps: mean(|usage| usage.maps),
            resident: mean(|usage| usage.resident),
            threads: most(|usage| usage.threads),
            descriptors: most(|usage| usage.descriptors),
            agreed_after: readings.iter().map(|reading| reading.agreed_after).max().unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Quarter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "heap {} beside {} of maps, resident set {} in the mean; {} threads and {} descriptors, \
             equal after {} ms at most",
            megabytes(self.heap as u64),
            megabytes(self.maps as u64),
            megabytes(self.resident as u64),
            self.threads,
            self.descriptors,
            self.agreed_after.as_millis()
        )
    }
}
