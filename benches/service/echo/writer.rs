//! Lines of many threads, on their way out over one connection.

use std::io::{self, Write};
use std::mem;
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};

/// Whoever finds nobody writing writes, and then also what others have left meanwhile.
pub struct Writer {
    stream: TcpStream,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    writing: bool,
}

impl Writer {
    pub fn new(stream: TcpStream) -> Writer {
        Writer { stream, state: Mutex::default() }
    }

    pub fn send(&self, line: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.writing {
            state.waiting.extend_from_slice(line);
            return Ok(());
        }
        state.writing = true;
        drop(state);
        (&self.stream).write_all(line)?;
        let mut lines = Vec::new();
        loop {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            lines.clear();
            mem::swap(&mut lines, &mut state.waiting);
            if lines.is_empty() {
                state.writing = false;
                return Ok(());
            }
            drop(state);
            (&self.stream).write_all(&lines)?;
        }
    }
}
