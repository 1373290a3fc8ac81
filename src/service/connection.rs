//! A connection to a provider: many requests under way, each finds its answer.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::service::greeting;
use crate::service::keys::{Keys, Protection};
use crate::service::lines::{Ending, Line, Lines, NotTaken};
use crate::service::lock::Mutex;
use crate::service::oneshot::Oneshot;
use crate::service::outbox::{Outbox, Unsent};
use crate::service::room::Room;
use crate::service::stats::{Counters, count, read};
use crate::service::wire::{self, NoResponse, Response, WireError};
use crate::service::{sockets, threads};
use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// What may wait to be sent to a provider that does not read, in bytes, beside a single line of any length.
const OUTBOX_BYTES: usize = 4 << 20;
/// Why calls are not waited for any more where they may be made elsewhere.
const RETIRED: &str = "its node has failed or left";
/// Why it is not used any more where another one can be.
const OTHER_KEYS: &str = "the keys have changed";
/// Requests that may be under way on one connection.
const IN_FLIGHT: usize = 16_384;
/// In the number of a request to which no answer is waited for.
const TOLD: u64 = 1 << 56;

pub(super) struct Connection {
    outbox: Arc<Outbox>,
    /// The first half of every id.
    name: String,
    last_id: AtomicU64,
    calls: Mutex<Calls>,
    /// Becomes true with their `ended`.
    ends: AtomicBool,
    /// How many of them wait, to be read without the lock.
    in_flight: AtomicU64,
    answers: AtomicU64,
    protection: Protection,
    /// Of a provider in the cluster; the version of those for which it was seen last to be protected as it has to be.
    keys: Option<Keys>,
    version: AtomicU64,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Calls {
    waiting: HashMap<u64, Waiting>,
    /// Closed once no answer is waited for any more.
    retired: bool,
    /// The keys have changed: closed once no answer is waited for any more, and calls are made over another one.
    moved: bool,
    /// Why there will be no more answers.
    ended: Option<String>,
}

struct Waiting {
    reply: Arc<Oneshot<Reply>>,
    may_be_repeated: bool,
}

/// What comes of a request.
#[derive(Debug)]
pub(super) enum Reply {
    /// The text of a result.
    Result(String),
    Error(WireError),
    /// An answer came that was not taken, for this reason.
    TooLong(&'static str),
    /// Nothing comes any more; the action may have run.
    Lost(String),
    /// Nothing was sent.
    NotSent(String),
    /// Nothing was run because this connection is not protected as it has to be any more; another one will be.
    KeysChanged,
    /// Nothing came in time.
    TimedOut,
}

/// Limits of a connection.
#[derive(Clone)]
pub(super) struct Limits {
    pub(super) connect_timeout: Duration,
    pub(super) line_bytes: usize,
    pub(super) line_time: Duration,
    /// For what providers answer.
    pub(super) room: Arc<Room>,
}

impl Connection {
    /// Opens one, protected by these keys, or plain without any.
    pub(super) fn open(
        addr: SocketAddr,
        limits: &Limits,
        keys: Option<&Keys>,
        counters: &Arc<Counters>,
    ) -> io::Result<Arc<Connection>> {
        let stream = Arc::new(sockets::connect(addr, limits.connect_timeout)?);
        let greeted = greeting::greet(&stream, keys, limits.connect_timeout).inspect_err(|error| {
            if error.kind() == io::ErrorKind::InvalidData {
                counters.refuse("unauthentic_handshake", Some(addr), error);
            }
        })?;
        let connection = Arc::new(Connection {
            outbox: Outbox::new(&stream, OUTBOX_BYTES),
            name: wire::random_name(),
            last_id: AtomicU64::new(0),
            calls: Mutex::default(),
            ends: AtomicBool::new(false),
            in_flight: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            protection: greeted.protection,
            keys: keys.cloned(),
            version: AtomicU64::new(greeted.version),
            counters: counters.clone(),
        });
        if let Some(session) = greeted.session {
            connection.outbox.seal(session);
            // An empty line: by a frame the other side is shown that this is no recorded handshake.
            let _ = connection.outbox.send(b"\n");
        }
        let mut lines = Lines::new(greeted.incoming, limits.line_bytes, limits.line_time, &limits.room);
        let reader = connection.clone();
        threads::spawn("provider", move || reader.read(&mut lines, addr))?;
        Ok(connection)
    }

    /// Reads answers until there will be no more.
    fn read(&self, lines: &mut Lines, addr: SocketAddr) {
        let problem = loop {
            let line = lines.next();
            self.move_on();
            match line {
                Ok(Line::None) => {}
                Ok(Line::Whole(line)) => match Response::read(line) {
                    Ok(response) => self.take(response, addr),
                    Err(NoResponse::KeysChanged) => self.stop_using(),
                    // What it took before it still answers.
                    Err(NoResponse::Refusal(problem)) => {
                        self.counters.refuse("refused_by_provider", Some(addr), &problem);
                        self.expect_the_end(&problem);
                    }
                    Err(NoResponse::Junk(problem)) => {
                        self.counters.refuse("invalid_response", Some(addr), &problem);
                        break format!("what came is no answer: {problem}");
                    }
                },
                Ok(Line::Beginning(line, not_taken)) => {
                    let problem = match not_taken {
                        NotTaken::TooLong => "it is longer than `line_bytes`",
                        NotTaken::NoRoom => "answers take up what there is for them (`buffered_bytes`)",
                    };
                    self.counters.refuse("response_too_long", Some(addr), &problem);
                    let waiting = Response::id_of_beginning(line).and_then(|id| self.waiting_for(id));
                    let Some(waiting) = waiting else { continue };
                    waiting.reply.give(Reply::TooLong(problem));
                }
                Err(Ending::Closed) => break "it was closed".to_owned(),
                Err(Ending::TooSlow) => break "an answer took longer than `line_time`".to_owned(),
                Err(Ending::Unauthentic(error)) => {
                    self.counters.refuse(greeting::UNAUTHENTIC, Some(addr), &error);
                    break error.to_string();
                }
                Err(Ending::Broken(error)) => break error.to_string(),
            }
        };
        self.end(&problem);
    }

    fn take(&self, response: Response<'_>, addr: SocketAddr) {
        count(&self.answers);
        let Some(waiting) = self.waiting_for(response.id) else {
            if self.number(response.id).is_some_and(|number| number & TOLD != 0) {
                // Seneca 0.9 answers what nobody waits for, too.
                return;
            }
            // Most often the answer to a call that has ended by its time-out.
            return self.counters.refuse("late_response", Some(addr), &"nobody waits for it");
        };
        let reply = match response.outcome {
            Ok(result) => Reply::Result(result.to_owned()),
            Err(error) if error.says_keys_changed() => {
                self.stop_using();
                Reply::KeysChanged
            }
            Err(error) => Reply::Error(error),
        };
        waiting.reply.give(reply);
    }

    /// Takes out the call with this id.
    fn waiting_for(&self, id: &str) -> Option<Waiting> {
        self.finish(self.number(id)?)
    }

    /// Takes a call out that is answered, or not waited for any more.
    fn finish(&self, id: u64) -> Option<Waiting> {
        let mut calls = self.calls.lock();
        let waiting = calls.waiting.remove(&id);
        self.count_waiting(&calls);
        let is_over = calls.retired && calls.waiting.is_empty();
        drop(calls);
        if is_over {
            self.outbox.close();
        }
        waiting
    }

    /// No more calls are made over it; those under way may still be answered.
    fn expect_the_end(&self, problem: &str) {
        let mut calls = self.calls.lock();
        calls.ended.get_or_insert_with(|| problem.to_owned());
        self.ends.store(true, Ordering::SeqCst);
    }

    /// Looks whether it is protected as it has to be. If not, no more calls are made over it; those under way may still be answered.
    pub(super) fn is_current(&self) -> bool {
        let Some(keys) = &self.keys else { return true };
        // The keys are looked at after their version: what changes in between is noticed the next time.
        let version = keys.version();
        if version == read(&self.version) {
            return true;
        }
        if keys.for_calls() != self.protection {
            self.stop_using();
            return false;
        }
        self.version.store(version, Ordering::Relaxed);
        true
    }

    /// Whether it is not used any more because the keys have changed.
    pub(super) fn has_moved(&self) -> bool {
        self.calls.lock().moved
    }

    fn stop_using(&self) {
        self.calls.lock().moved = true;
        self.expect_the_end(OTHER_KEYS);
    }

    /// Closes it if it is not used any more and nothing is under way.
    fn move_on(&self) {
        if self.is_current() && !self.ends.load(Ordering::SeqCst) {
            return;
        }
        let calls = self.calls.lock();
        let is_over = calls.moved && calls.waiting.is_empty();
        drop(calls);
        if is_over && !self.outbox.is_sending() {
            self.outbox.close();
        }
    }

    fn end(&self, problem: &str) {
        let mut calls = self.calls.lock();
        let problem = calls.ended.get_or_insert_with(|| problem.to_owned()).clone();
        let waiting = std::mem::take(&mut calls.waiting);
        self.count_waiting(&calls);
        drop(calls);
        self.outbox.close();
        for waiting in waiting.into_values() {
            waiting.reply.give(Reply::Lost(problem.to_owned()));
        }
    }

    /// Sends a request, which `write` puts down with the id that it is given, and waits for the answer until `deadline`.
    pub(super) fn call(&self, deadline: Instant, may_be_repeated: bool, write: impl FnOnce(&str) -> Vec<u8>) -> Reply {
        let reply = Oneshot::new();
        let id = self.last_id.fetch_add(1, Ordering::Relaxed);
        {
            let mut calls = self.calls.lock();
            if calls.moved {
                return Reply::KeysChanged;
            }
            if let Some(problem) = &calls.ended {
                return Reply::NotSent(problem.clone());
            }
            if calls.retired {
                return Reply::NotSent(RETIRED.to_owned());
            }
            if calls.waiting.len() >= IN_FLIGHT {
                return Reply::NotSent(format!("{IN_FLIGHT} calls are under way to it"));
            }
            calls.waiting.insert(id, Waiting { reply: reply.clone(), may_be_repeated });
            self.count_waiting(&calls);
        }
        if let Err(unsent) = self.outbox.send(&write(&self.id(id))) {
            self.finish(id);
            return self.not_sent(unsent);
        }
        reply.wait_until(deadline).unwrap_or_else(|| {
            let waited = self.finish(id);
            // Or it came just now.
            if waited.is_some() { Reply::TimedOut } else { reply.take().unwrap_or(Reply::TimedOut) }
        })
    }

    /// Sends a request to which there will be no answer.
    pub(super) fn tell(&self, write: impl FnOnce(&str) -> Vec<u8>) -> Result<(), Reply> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) | TOLD;
        self.outbox.send(&write(&self.id(id))).map_err(|unsent| self.not_sent(unsent))
    }

    fn not_sent(&self, unsent: Unsent) -> Reply {
        match unsent {
            Unsent::Full => Reply::NotSent("it reads too slowly".to_owned()),
            Unsent::Closed if self.calls.lock().moved => Reply::KeysChanged,
            Unsent::Closed => Reply::NotSent("the connection was closed".to_owned()),
        }
    }

    /// The second half of an id of this connection's.
    fn number(&self, id: &str) -> Option<u64> {
        let number = id.strip_prefix(&*self.name)?.strip_prefix('/')?;
        u64::from_str_radix(number, 36).ok()
    }

    /// As Seneca writes ids: two halves of twelve characters.
    fn id(&self, number: u64) -> String {
        let mut digits = [b'0'; 12];
        let mut rest = number;
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize];
            rest /= 36;
        }
        let mut id = String::with_capacity(25);
        id.push_str(&self.name);
        id.push('/');
        id.extend(digits.iter().map(|digit| char::from(*digit)));
        id
    }

    /// Its provider is thought to be gone: calls that may be repeated go elsewhere, the others may still be answered.
    pub(super) fn retire(&self) {
        let mut calls = self.calls.lock();
        calls.retired = true;
        let released = calls.waiting.iter().filter(|(_, waiting)| waiting.may_be_repeated).map(|(id, _)| *id);
        let released: Vec<u64> = released.collect();
        let released: Vec<Waiting> = released.iter().filter_map(|id| calls.waiting.remove(id)).collect();
        self.count_waiting(&calls);
        let is_over = calls.waiting.is_empty();
        drop(calls);
        if is_over {
            self.outbox.close();
        }
        for waiting in released {
            waiting.reply.give(Reply::Lost(RETIRED.to_owned()));
        }
    }

    fn count_waiting(&self, calls: &Calls) {
        self.in_flight.store(calls.waiting.len() as u64, Ordering::Relaxed);
    }

    /// How many requests are under way.
    pub(super) fn in_flight(&self) -> u64 {
        read(&self.in_flight)
    }

    /// Whether no more calls can be made over it.
    pub(super) fn is_ending(&self) -> bool {
        self.outbox.is_closed() || self.ends.load(Ordering::SeqCst)
    }

    /// How many answers came, in time or not.
    pub(super) fn answers(&self) -> u64 {
        read(&self.answers)
    }

    pub(super) fn close(&self) {
        self.outbox.close();
    }
}
