//! What the process holds: memory, threads, descriptors.

use std::fs;

use crate::ALLOCATOR;

/// What the process holds at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// The bytes of keys and values in all maps of all nodes, as they happen to be filled.
    pub maps: u64,
    /// Bytes beside these that were allocated and not yet freed: what the library holds, whatever the allocator makes
    /// of it.
    pub heap: u64,
    /// The resident set in bytes: what the allocator and the system make of it.
    pub resident: u64,
    pub threads: u64,
    pub descriptors: u64,
}

impl Usage {
    /// Reads it now, with that much in the maps.
    ///
    /// # Errors
    /// Without `/proc`.
    pub fn read(maps: u64) -> Result<Usage, String> {
        let heap = ALLOCATOR.stats();
        let heap = (heap.bytes_allocated.saturating_sub(heap.bytes_deallocated) as u64).saturating_sub(maps);
        let status = fs::read_to_string("/proc/self/status").map_err(needs_proc)?;
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
            line.ok_or_else(|| format!("/proc/self/status tells no {name}"))
        };
        let resident = line("VmRSS:")? * 1_024;
        let threads = line("Threads:")?;
        // The folder itself is open while it is read.
        let descriptors = (fs::read_dir("/proc/self/fd").map_err(needs_proc)?.count() as u64).saturating_sub(1);
        Ok(Usage { maps, heap, resident, threads, descriptors })
    }
}

/// Bytes for a reader.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

fn needs_proc(error: std::io::Error) -> String {
    format!("cannot read /proc, which needs Linux: {error}")
}
