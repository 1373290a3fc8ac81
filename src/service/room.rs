//! The memory that long lines may take, all together.

use std::sync::Arc;

use crate::service::lock::Mutex;

/// Lines up to this length, in bytes, are not counted: their number is limited.
pub(super) const SMALL: usize = 64 << 10;

/// What is left of it, in bytes.
pub(super) struct Room(Mutex<usize>);

/// A part of it, given back when dropped.
pub(super) struct Share {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Arc<Room> {
        Arc::new(Room(Mutex::new(bytes)))
    }
}

impl Share {
    pub(super) fn none(room: &Arc<Room>) -> Share {
        Share { room: room.clone(), bytes: 0 }
    }

    /// For a line of so many bytes; `None` if there is no room for it.
    pub(super) fn take(room: &Arc<Room>, bytes: usize) -> Option<Share> {
        let mut share = Share::none(room);
        share.become_room_for(bytes).then_some(share)
    }

    /// Makes it larger or smaller. False, and as it was, if there is no room for that.
    pub(super) fn become_room_for(&mut self, bytes: usize) -> bool {
        let bytes = if bytes <= SMALL { 0 } else { bytes };
        let mut left = self.room.0.lock();
        let Some(rest) = (*left + self.bytes).checked_sub(bytes) else { return false };
        *left = rest;
        self.bytes = bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.room.0.lock() += self.bytes;
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
        assert!(!small.become_room_for(2 * SMALL));
        drop(first);
        assert!(small.become_room_for(2 * SMALL) && small.become_room_for(4 * SMALL));
        assert!(!small.become_room_for(4 * SMALL + 1));
        drop(small);
        assert!(Share::take(&room, 4 * SMALL).is_some());
    }
}
