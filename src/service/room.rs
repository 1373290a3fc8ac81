//! The memory that long lines may take, all together.

use std::sync::Arc;
use std::time::Duration;

use crate::service::lock::{Condvar, Mutex};
use crate::sync;

/// Lines up to this length, in bytes, are not counted: their number is limited.
pub(super) const SMALL: usize = 64 << 10;

pub(super) struct Room {
    /// In bytes.
    left: Mutex<usize>,
    given_back: Condvar,
}

/// A part of it, given back when dropped.
pub(super) struct Share {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Arc<Room> {
        Arc::new(Room { left: Mutex::new(bytes), given_back: Condvar::new() })
    }
}

impl Share {
    pub(super) fn none(room: &Arc<Room>) -> Share {
        Share { room: room.clone(), bytes: 0 }
    }

    /// For a line of so many bytes; `None` if there is no room for it.
    pub(super) fn take(room: &Arc<Room>, bytes: usize) -> Option<Share> {
        let mut share = Share::none(room);
        share.become_room_for(bytes, Duration::ZERO).then_some(share)
    }

    /// Makes it larger or smaller. False, and as it was, if there is no room for that, not even after so long.
    pub(super) fn become_room_for(&mut self, bytes: usize, patience: Duration) -> bool {
        let bytes = if bytes <= SMALL { 0 } else { bytes };
        if bytes == self.bytes {
            return true;
        }
        let mut left = self.room.left.lock();
        let (mut deadline, mut timed_out) = (None, patience.is_zero());
        loop {
            if let Some(rest) = (*left + self.bytes).checked_sub(bytes) {
                let is_less = bytes < self.bytes;
                (*left, self.bytes) = (rest, bytes);
                if is_less {
                    self.room.given_back.notify_all();
                }
                return true;
            }
            if timed_out {
                return false;
            }
            let deadline = *deadline.get_or_insert_with(|| sync::now() + patience);
            (left, timed_out) = self.room.given_back.wait_until(left, deadline);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // To less there is always room for it.
        self.become_room_for(0, Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let room = Room::new(4 * SMALL);
        let first = Share::take(&room, 3 * SMALL);
        assert!(first.is_some());
        assert!(Share::take(&room, 2 * SMALL).is_none());
        let mut small = Share::take(&room, SMALL).unwrap();
        let mut fits = |bytes| small.become_room_for(bytes, Duration::ZERO);
        assert!(!fits(2 * SMALL));
        drop(first);
        assert!(fits(2 * SMALL) && fits(4 * SMALL));
        assert!(!fits(4 * SMALL + 1));
        drop(small);
        assert!(Share::take(&room, 4 * SMALL).is_some());
    }

    #[test]
    fn who_waits_has_what_comes_back() {
        let room = Room::new(4 * SMALL);
        let mut shares = [(); 2].map(|()| Share::take(&room, 2 * SMALL).unwrap());
        // For nothing, and no longer than that.
        let mut more = Share::none(&room);
        assert!(!more.become_room_for(2 * SMALL, Duration::from_millis(1)));
        for less in [0, 1] {
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| more.become_room_for(2 * SMALL, Duration::from_secs(60)));
                assert!(shares[less].become_room_for(0, Duration::ZERO));
                assert!(waiting.join().unwrap());
            });
            more = Share::none(&room);
        }
    }
}
