//! Who calls.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use grapevine::service::ServiceConfig;

use crate::Outcome;
use crate::echo::writer::Writer;
use crate::echo::{number, put_number};

/// A connection with so many calls under way is busy, as in Grapevine: another one is opened if there may be one.
const BUSY: usize = 32;
const PATIENCE: Duration = Duration::from_secs(20);

/// Calls over as many connections as Grapevine has to one provider.
pub struct Client {
    addr: SocketAddr,
    request: Vec<u8>,
    connections: Mutex<Vec<Arc<Connection>>>,
}

struct Connection {
    writer: Writer,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    last_number: u64,
    waiting: HashMap<u64, Arc<Answer>>,
}

/// Where a caller finds its answer.
#[derive(Default)]
struct Answer {
    line: Mutex<Option<Vec<u8>>>,
    given: Condvar,
}

impl Client {
    /// `request` is the line that every call sends.
    pub fn new(addr: SocketAddr, request: String) -> Client {
        Client { addr, request: request.into_bytes(), connections: Mutex::default() }
    }

    /// Sends a line and waits for the answer.
    pub fn call(&self) -> Outcome<()> {
        let answer = Arc::new(Answer::default());
        let connection = self.connection()?;
        let mut line = self.request.clone();
        let called = connection.begin(answer.clone());
        put_number(called, &mut line);
        connection.writer.send(&line)?;
        let line = answer.line.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = answer.given.wait_timeout_while(line, PATIENCE, |line| line.is_none());
        let answer = waited.unwrap_or_else(PoisonError::into_inner).0.take().ok_or("no answer came")?;
        if number(&answer) == Some(called) { Ok(()) } else { Err("the answer is another call's".into()) }
    }

    /// The one with the fewest calls under way.
    fn connection(&self) -> Outcome<Arc<Connection>> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let best = connections.iter().map(|connection| (connection.in_flight(), connection)).min_by_key(|best| best.0);
        let most = ServiceConfig::default().connections_per_provider;
        match best {
            Some((in_flight, connection)) if in_flight < BUSY || connections.len() == most => Ok(connection.clone()),
            _ => {
                let connection = Connection::open(self.addr)?;
                connections.push(connection.clone());
                Ok(connection)
            }
        }
    }
}

impl Connection {
    fn open(addr: SocketAddr) -> Outcome<Arc<Connection>> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        let lines = BufReader::new(stream.try_clone()?);
        let connection = Arc::new(Connection { writer: Writer::new(stream), calls: Mutex::default() });
        let reader = connection.clone();
        thread::spawn(move || reader.read_answers(lines));
        Ok(connection)
    }

    fn read_answers(&self, mut lines: BufReader<TcpStream>) {
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            let line = std::mem::take(&mut line);
            let waiting = number(&line).and_then(|number| self.lock().waiting.remove(&number));
            if let Some(waiting) = waiting {
                *waiting.line.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
                waiting.given.notify_one();
            }
        }
    }

    fn begin(&self, answer: Arc<Answer>) -> u64 {
        let mut calls = self.lock();
        calls.last_number += 1;
        let number = calls.last_number;
        calls.waiting.insert(number, answer);
        number
    }

    fn in_flight(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
