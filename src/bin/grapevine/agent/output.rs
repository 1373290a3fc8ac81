//! What a command prints: its result, and what it has to say about a failure.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::value::RawValue;

use crate::agent::shell::Started;

/// The longest result, in bytes.
pub const MAX_RESULT_BYTES: usize = 8 << 20;
/// So many bytes of standard error are kept.
const MAX_SAID_BYTES: usize = 1_024;
/// How often is looked whether a command has ended: where something that it left behind holds its outputs, nothing else tells.
const LOOK: Duration = Duration::from_millis(20);

/// What a command has written so far.
#[derive(Default)]
pub struct Output {
    printed: Vec<u8>,
    said: Vec<u8>,
}

/// Why a command does not run any more.
pub enum Stopped {
    Ended(ExitStatus),
    /// Not within its time.
    TooLate,
    /// It has printed more than a result may have.
    TooMuch,
}

/// One of the two that a command writes to, until it is closed.
struct Pipe<R> {
    reader: Option<R>,
    most: usize,
}

impl Output {
    /// Reads until the command has ended. What it left behind may hold its outputs for as long as it likes: that is not waited for.
    pub fn collect(&mut self, started: &Started, deadline: Instant) -> io::Result<Stopped> {
        let (printed, said) = started.take_outputs();
        let mut printed = Pipe { reader: printed, most: MAX_RESULT_BYTES + 1 };
        let mut said = Pipe { reader: said, most: MAX_SAID_BYTES };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if printed.reader.is_none() && said.reader.is_none() {
                return Ok(started.wait(left)?.map_or(Stopped::TooLate, Stopped::Ended));
            }
            // Looked at first: whatever it wrote is there by then.
            let ended = started.ended()?;
            if left.is_zero() {
                return Ok(Stopped::TooLate);
            }
            let patience = if ended.is_some() { Duration::ZERO } else { left.min(LOOK) };
            let [more_printed, more_said] = readable([printed.fd(), said.fd()], patience)?;
            if let (Some(status), false, false) = (ended, more_printed, more_said) {
                return Ok(Stopped::Ended(status));
            }
            if more_printed {
                printed.read(&mut self.printed)?;
            }
            if more_said {
                said.read(&mut self.said)?;
            }
            if self.printed.len() > MAX_RESULT_BYTES {
                return Ok(Stopped::TooMuch);
            }
        }
    }

    /// What it printed as the text of an object, an array, or null if it printed nothing.
    pub fn result(self) -> Result<Box<RawValue>, String> {
        let text = String::from_utf8(self.printed).map_err(|error| error.to_string())?;
        if text.trim_ascii().is_empty() {
            return Ok(RawValue::NULL.to_owned());
        }
        let result = RawValue::from_string(text).map_err(|error| format!("it is no JSON: {error}"))?;
        match result.get().as_bytes().first() {
            Some(b'{' | b'[' | b'n') => Ok(result),
            _ => Err("it is neither an object nor an array".to_owned()),
        }
    }

    /// The first part of what it wrote to standard error, behind a colon.
    pub fn said(&self) -> String {
        match String::from_utf8_lossy(&self.said).trim() {
            "" => String::new(),
            said => format!(": {said}"),
        }
    }
}

impl<R: Read + AsFd> Pipe<R> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.reader.as_ref().map(AsFd::as_fd)
    }

    /// Takes in what there is; of more than there may be only so much.
    fn read(&mut self, into: &mut Vec<u8>) -> io::Result<()> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        let mut buffer = [0; 8 << 10];
        match reader.read(&mut buffer) {
            Ok(0) => self.reader = None,
            Ok(count) => {
                let room = self.most - into.len();
                into.extend_from_slice(&buffer[..count.min(room)]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Waits until there is something to be read from one of these, or its end; which of them that are.
fn readable(pipes: [Option<BorrowedFd<'_>>; 2], patience: Duration) -> io::Result<[bool; 2]> {
    let open = pipes.iter().flatten();
    let mut polled: Vec<PollFd<'_>> = open.map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let patience = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos().into() };
    rustix::io::retry_on_intr(|| poll(&mut polled, Some(&patience)))?;
    let mut polled = polled.iter();
    Ok(pipes.map(|pipe| pipe.is_some() && polled.next().is_some_and(|polled| !polled.revents().is_empty())))
}
