//! Locks, channels, threads, clocks and chance: the system's, or the model's, under which schedules are explored.
//!
//! Whatever is above takes them from here, so that the same code runs under both. Tests built with `--cfg shuttle` get the
//! model; nothing else ever does.

#[cfg(all(test, shuttle))]
pub(crate) mod model;

#[cfg(not(all(test, shuttle)))]
mod system {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub(crate) use std::thread;

    pub(crate) use crossbeam_channel::{Receiver, Sender, unbounded};
    #[cfg(feature = "service")]
    pub(crate) use crossbeam_channel::{bounded, select};
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

    use std::hash::{BuildHasher, Hasher, RandomState};
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    #[inline]
    pub(crate) fn now() -> Instant {
        Instant::now()
    }

    /// Milliseconds since 1970 as the system shows them; 1 if it shows a time before.
    pub(crate) fn wall_clock() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis());
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    /// Bytes that nobody can guess.
    #[cfg(feature = "encryption")]
    pub(crate) fn random<const N: usize>(bytes: &mut [u8; N]) -> std::io::Result<()> {
        getrandom::fill(bytes).map_err(std::io::Error::from)
    }

    /// A number that nobody can guess, by way of the keys that the standard library draws for its hash maps.
    pub(crate) fn unpredictable() -> u64 {
        RandomState::new().build_hasher().finish()
    }
}

#[cfg(all(test, shuttle, feature = "encryption"))]
pub(crate) use model::random;
#[cfg(all(test, shuttle))]
pub(crate) use model::{
    AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, Receiver, Sender, now, thread, unbounded,
    unpredictable, wall_clock,
};
#[cfg(not(all(test, shuttle)))]
pub(crate) use system::*;
