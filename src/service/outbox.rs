//! What is on its way out of a connection: in order, bounded, and nobody waits for a slow reader.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::service::frames::Sealer;
use crate::service::keys::Session;
use crate::service::lock::Mutex;
use crate::service::room::SMALL;
use crate::service::sockets::WRITE_PATIENCE;
use crate::service::threads;
use crate::sync::{self, AtomicBool, Ordering};

/// A reader that takes in less than [`PROGRESS`] bytes, though there are as many, in so long is given up.
const READER_PATIENCE: Duration = Duration::from_secs(10);
const PROGRESS: usize = 64 << 10;
/// How often a thread that does nothing else looks whether the reader is still there.
const WRITER_PATIENCE: Duration = Duration::from_millis(100);
/// Who sends a line writes those of others so often; then a thread of its own does, for a caller or a handler has something else to do.
const ROUNDS: usize = 64;

/// The sending half of a connection, shared by all who send over it.
///
/// Whoever finds nobody else sending writes its line itself. The others add theirs to what waits, and whoever writes takes that
/// along, all in one piece: the more there is to do, the fewer calls of the system it takes. A reader that does not read
/// is left to a thread of its own.
pub(super) struct Outbox {
    stream: Arc<TcpStream>,
    limit: usize,
    /// Of a connection that is not plain. Whoever writes has it alone; what waits is not sealed yet.
    sealer: OnceLock<Mutex<Sealer>>,
    state: Mutex<State>,
    /// Becomes true while the lock is held.
    closed: AtomicBool,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    writing: bool,
}

/// Why a line was not sent, nor any part of it that could be taken for a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// So much waits already that there is no room for it.
    Full,
    Closed,
}

impl Outbox {
    pub(super) fn new(stream: &Arc<TcpStream>, limit: usize) -> Arc<Outbox> {
        let (stream, sealer, closed) = (stream.clone(), OnceLock::new(), AtomicBool::new(false));
        Arc::new(Outbox { stream, limit, sealer, state: Mutex::default(), closed })
    }

    /// From here on what is sent is sealed. Nothing was sent before.
    pub(super) fn seal(&self, session: Session) {
        self.sealer.get_or_init(|| Mutex::new(Sealer::new(session)));
    }

    /// Sends a line, which ends in a line feed. What waits may grow to the limit, or to a single line of any length.
    pub(super) fn send(self: &Arc<Self>, line: &[u8]) -> Result<(), Unsent> {
        let mut state = self.state.lock();
        if self.is_closed() {
            return Err(Unsent::Closed);
        }
        if state.writing {
            if !state.waiting.is_empty() && state.waiting.len() + line.len() > self.limit {
                return Err(Unsent::Full);
            }
            state.waiting.extend_from_slice(line);
            return Ok(());
        }
        state.writing = true;
        drop(state);
        let mut written = 0;
        let sent = self.write(line, &mut written);
        match sent {
            Ok(()) => self.write_waiting(),
            Err(error) if is_full(&error) => self.hand_over(line[written..].to_vec()),
            Err(_) => {
                self.close();
                return Err(Unsent::Closed);
            }
        }
        Ok(())
    }

    /// Writes what others added meanwhile, until nothing is left.
    fn write_waiting(self: &Arc<Self>) {
        let mut lines = Vec::new();
        let mut rounds = 0;
        while self.take_waiting(&mut lines) {
            rounds += 1;
            if rounds > ROUNDS {
                return self.hand_over(lines);
            }
            let mut written = 0;
            match self.write(&lines, &mut written) {
                Ok(()) => {}
                Err(error) if is_full(&error) => {
                    lines.drain(..written);
                    return self.hand_over(lines);
                }
                Err(_) => return self.close(),
            }
        }
    }

    /// False if there is nothing: then nobody writes any more.
    fn take_waiting(&self, lines: &mut Vec<u8>) -> bool {
        // A long line's memory is not kept for short ones.
        if lines.capacity() > SMALL {
            *lines = Vec::new();
        }
        lines.clear();
        let mut state = self.state.lock();
        std::mem::swap(&mut state.waiting, lines);
        state.writing = !lines.is_empty();
        state.writing
    }

    /// Writes the rest of this. What was sealed counts as written: the sealer keeps it, and it goes before anything else.
    fn write(&self, bytes: &[u8], written: &mut usize) -> io::Result<()> {
        let Some(sealer) = self.sealer.get() else {
            while *written < bytes.len() {
                *written += self.write_some(&bytes[*written..])?;
            }
            return Ok(());
        };
        let mut sealer = sealer.lock();
        loop {
            while !sealer.rest().is_empty() {
                let sent = self.write_some(sealer.rest())?;
                sealer.sent(sent);
            }
            if *written == bytes.len() {
                sealer.rests();
                return Ok(());
            }
            *written += sealer.seal(&bytes[*written..])?;
        }
    }

    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match (&*self.stream).write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => return written,
            }
        }
    }

    /// Leaves the rest to a thread, which has the patience for it.
    fn hand_over(self: &Arc<Self>, rest: Vec<u8>) {
        let outbox = self.clone();
        let started = threads::spawn("writer", move || {
            let mut bytes = rest;
            // Nobody waits for this thread.
            let _ = outbox.stream.set_write_timeout(Some(WRITER_PATIENCE));
            loop {
                if !outbox.write_patiently(&bytes) {
                    return outbox.close();
                }
                if !outbox.take_waiting(&mut bytes) {
                    break;
                }
            }
            let _ = outbox.stream.set_write_timeout(Some(WRITE_PATIENCE));
        });
        if let Err(error) = started {
            log::warn!("a connection is closed because no thread could be started for it: {error}");
            self.close();
        }
    }

    fn write_patiently(&self, bytes: &[u8]) -> bool {
        let (mut written, mut progress, mut before) = (0, sync::now(), 0);
        loop {
            match self.write(bytes, &mut written) {
                Ok(()) => return true,
                Err(error) if is_full(&error) => {
                    let now = sync::now();
                    if written - before >= PROGRESS {
                        (progress, before) = (now, written);
                    } else if now - progress > READER_PATIENCE {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
    }

    /// Sends a line to whoever is there. Who reads nothing, or has gone, is let go.
    pub(super) fn send_or_close(self: &Arc<Self>, line: &[u8]) {
        if self.send(line).is_err() {
            self.close();
        }
    }

    /// Ends the connection, for whoever reads from it too.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        self.closed.store(true, Ordering::SeqCst);
        state.waiting = Vec::new();
        drop(state);
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Whether something that was sent is still on its way out.
    pub(super) fn is_sending(&self) -> bool {
        let state = self.state.lock();
        state.writing && !self.is_closed()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}

/// A write that found no room within its time.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_long_line_s_memory_is_not_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let outbox = Outbox::new(&stream, 1 << 20);
        let (mut lines, mut rest) = (vec![0; 8 << 20], Vec::new());
        assert!(!outbox.take_waiting(&mut lines));
        outbox.state.lock().waiting = vec![0; 8 << 20];
        assert!(outbox.take_waiting(&mut rest) && rest.len() == 8 << 20);
        assert!(!outbox.take_waiting(&mut rest) && rest.is_empty());
        let kept = outbox.state.lock().waiting.capacity() + lines.capacity() + rest.capacity();
        assert!(kept <= 3 * SMALL, "{kept}");
    }

    /// What could not be written at once goes on where it was, in the middle of a frame.
    #[test]
    #[cfg(feature = "encryption")]
    fn what_is_sealed_waits_for_a_slow_reader() {
        use crate::service::frames::Incoming;
        use crate::service::keys::sessions;

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        near.set_write_timeout(Some(WRITE_PATIENCE)).unwrap();
        let far = Arc::new(listener.accept().unwrap().0);
        let (ours, theirs) = sessions();
        let (outbox, mut incoming) = (Outbox::new(&near, 1 << 20), Incoming::sealed(&far, theirs));
        outbox.seal(ours);
        let text: Vec<u8> = (0..9_000_001).map(|n: u32| (n % 249) as u8).collect();
        let (long, short) = text.split_at(text.len() - 1_000);
        outbox.send(long).unwrap();
        assert!(outbox.is_sending(), "nobody reads");
        short.chunks(100).for_each(|line| outbox.send(line).unwrap());
        let (mut came, mut buffer) = (Vec::new(), vec![0; 10_000]);
        while came.len() < text.len() {
            match incoming.read(&mut buffer) {
                Ok(read) => came.extend_from_slice(&buffer[..read]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted, "{error}"),
            }
        }
        assert!(came == text);
    }
}
