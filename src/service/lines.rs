//! Lines from a connection, as long as they may be and in the time that they may take.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::service::frames::Incoming;
use crate::service::room::{Room, SMALL, Share};
use crate::sync;

/// What is read at once. An idle connection holds between this and [`SMALL`].
const CHUNK: usize = 4 << 10;
/// Of a line that is not taken so much is shown: more than what surrounds a message takes.
const BEGINNING: usize = 16 << 10;
/// How long a line waits for room among the long ones before it is not taken.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);

/// The next line.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    Whole(&'a [u8]),
    /// The beginning of one that is not taken. The rest of it is passed over.
    Beginning(&'a [u8], NotTaken),
    /// There was none for a while: a moment to look whether the connection may go on.
    None,
}

/// Why a line is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// It is longer than allowed.
    TooLong,
    /// It is long, and all the others together take up what there is for such lines.
    NoRoom,
}

/// Why there are no more lines.
#[derive(Debug)]
pub(super) enum Ending {
    /// The other side closed. What came of a last line, without its end, is dropped.
    Closed,
    /// A line took longer than allowed.
    TooSlow,
    /// What came is not what the other side sent.
    Unauthentic(io::Error),
    Broken(io::Error),
}

/// The lines of a connection.
pub(super) struct Lines {
    incoming: Incoming,
    limit: usize,
    time: Duration,
    buffer: Vec<u8>,
    share: Share,
    /// What was read and not yet given out is `buffer[start..end]`; up to `searched` there is no end of a line in it.
    start: usize,
    searched: usize,
    end: usize,
    /// When the first byte of the line that is not yet whole came.
    begun: Option<Instant>,
    /// Whether that line is passed over.
    passes: bool,
}

impl Lines {
    /// Of what comes in by reads that end after a while, so that a line that takes too long is noticed.
    pub(super) fn new(incoming: Incoming, limit: usize, time: Duration, room: &Arc<Room>) -> Lines {
        let (buffer, share) = (Vec::new(), Share::none(room));
        Lines { incoming, limit, time, buffer, share, start: 0, searched: 0, end: 0, begun: None, passes: false }
    }

    /// The next line that is not empty, without its end.
    pub(super) fn next(&mut self) -> Result<Line<'_>, Ending> {
        loop {
            match memchr::memchr(b'\n', &self.buffer[self.searched..self.end]) {
                Some(at) => {
                    let (from, mut to) = (self.start, self.searched + at);
                    (self.start, self.searched) = (to + 1, to + 1);
                    self.begun = None;
                    if std::mem::take(&mut self.passes) {
                        continue;
                    }
                    if self.buffer[from..to].ends_with(b"\r") {
                        to -= 1;
                    }
                    match to - from {
                        0 => continue,
                        len if len > self.limit => return Ok(self.beginning(from, to, NotTaken::TooLong)),
                        _ => return Ok(Line::Whole(&self.buffer[from..to])),
                    }
                }
                None => self.searched = self.end,
            }
            if self.passes {
                (self.start, self.searched) = (self.end, self.end);
            }
            if let Err(not_taken) = self.make_room() {
                let (from, to) = (self.start, self.end);
                (self.start, self.passes) = (self.end, true);
                return Ok(self.beginning(from, to, not_taken));
            }
            if !self.read()? {
                return Ok(Line::None);
            }
        }
    }

    fn beginning(&self, from: usize, to: usize, not_taken: NotTaken) -> Line<'_> {
        Line::Beginning(&self.buffer[from..to.min(from + BEGINNING)], not_taken)
    }

    /// Makes room for more of the line that is not yet whole.
    fn make_room(&mut self) -> Result<(), NotTaken> {
        let len = self.end - self.start;
        if len == 0 {
            (self.start, self.searched, self.end) = (0, 0, 0);
            if self.buffer.len() > SMALL {
                self.buffer = Vec::new();
                self.share.become_room_for(0, Duration::ZERO);
            }
        } else if len > self.limit + 1 {
            // The end of a line may take two bytes.
            return Err(NotTaken::TooLong);
        } else if self.end == self.buffer.len() && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.searched, self.end, self.start) = (self.searched - self.start, len, 0);
        }
        if self.end == self.buffer.len() {
            let size = (self.buffer.len() * 2).max(CHUNK).min(self.limit + CHUNK);
            if !self.share.become_room_for(size, ROOM_PATIENCE.min(self.time)) {
                return Err(NotTaken::NoRoom);
            }
            self.buffer.resize(size, 0);
        }
        Ok(())
    }

    /// False if nothing came for a while, nor is waited for.
    fn read(&mut self) -> Result<bool, Ending> {
        loop {
            if self.start < self.end || self.incoming.is_within_a_frame() {
                self.begun.get_or_insert_with(sync::now);
            }
            let read = self.incoming.read(&mut self.buffer[self.end..]);
            let now = sync::now();
            let came = match read {
                Ok(0) => return Err(Ending::Closed),
                Ok(read) => {
                    self.end += read;
                    self.begun.get_or_insert(now);
                    true
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => false,
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut if self.begun.is_none() => return Ok(false),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => false,
                    io::ErrorKind::InvalidData => return Err(Ending::Unauthentic(error)),
                    _ => return Err(Ending::Broken(error)),
                },
            };
            if self.begun.is_some_and(|begun| now - begun > self.time) {
                return Err(Ending::TooSlow);
            }
            if came {
                return Ok(true);
            }
        }
    }
}
