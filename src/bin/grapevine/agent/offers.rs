//! `serve`: calls that a client of the agent answers, a program in any language.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};
use grapevine::service::{Failure, Message, Pattern, ServiceConfig};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::agent::Agent;
use crate::agent::session::{Writer, write};
use crate::json::Json;
use crate::protocol::{Code, EventLine, Problem, Reply, line, milliseconds};

/// Calls that one program may have under way.
const CALLS: usize = 128;
/// Of calls that it has not read yet, in bytes, beside a single one of any length.
const UNREAD_BYTES: usize = 8 << 20;
const TIMEOUT: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(86_400);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serve {
    pattern: Pattern,
    timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallReply {
    call: u64,
    #[serde(default)]
    result: Option<Box<RawValue>>,
    error: Option<ErrorFields>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorFields {
    code: Option<String>,
    message: String,
    details: Option<Json>,
}

/// What a program at the other end of a connection has offered to answer.
pub struct Offers {
    agent: Arc<Agent>,
    writer: Writer,
    /// Once it has offered anything.
    program: Option<Arc<Program>>,
    patterns: Vec<Pattern>,
}

/// The program, as handlers see it.
struct Program {
    calls: Mutex<Calls>,
    /// To the thread that writes to it.
    lines: Sender<String>,
    unread_bytes: AtomicUsize,
    /// Closed when the agent has left.
    left: Receiver<()>,
}

#[derive(Default)]
struct Calls {
    last: u64,
    waiting: HashMap<u64, Sender<Answer>>,
    /// The connection has ended, or cannot be written to.
    closed: bool,
}

type Answer = Result<Box<RawValue>, Failure>;

impl Offers {
    pub fn new(agent: &Arc<Agent>, writer: &Writer) -> Offers {
        Offers { agent: agent.clone(), writer: writer.clone(), program: None, patterns: Vec::new() }
    }

    /// Has the program called for messages that match a pattern.
    pub fn serve(&mut self, Serve { pattern, timeout_ms }: Serve) -> Result<Reply, Problem> {
        let timeout = timeout_ms.map_or(ServiceConfig::default().timeout, Duration::from_millis);
        if !TIMEOUT.contains(&timeout) {
            let text = format!("serve: timeout_ms is {}; the range is 1 to 86400000", milliseconds(timeout));
            return Err(Problem::new(Code::BadRequest, text));
        }
        let is_new = !self.patterns.contains(&pattern);
        if is_new && !self.agent.served().insert(pattern.clone()) {
            let text = format!("{pattern} is served already, by a command or over another connection");
            return Err(Problem::new(Code::AlreadyServed, text));
        }
        let offered = self.offer(&pattern, timeout);
        if offered.is_ok() && is_new {
            self.patterns.push(pattern);
        } else if is_new {
            self.agent.served().remove(&pattern);
        }
        offered.map(|()| Reply::default())
    }

    fn offer(&mut self, pattern: &Pattern, timeout: Duration) -> Result<(), Problem> {
        let program = match &self.program {
            Some(program) => program.clone(),
            None => {
                let not_started = |error| Problem::new(Code::Overloaded, format!("cannot start a thread: {error}"));
                let program = Program::start(&self.writer, self.agent.left.clone()).map_err(not_started)?;
                self.program.insert(program).clone()
            }
        };
        let own_pattern = pattern.clone();
        let handler = move |message: Message| program.call(&own_pattern, message, timeout);
        self.agent.service.add(pattern, handler).map_err(Problem::of_serving)
    }

    /// Takes what the program has to say about a call.
    pub fn reply(&self, CallReply { call, result, error }: CallReply) -> Result<Reply, Problem> {
        let bad = |text: &str| Problem::new(Code::BadRequest, format!("reply: {text}"));
        let answer = match (result, error) {
            (Some(_), Some(_)) => return Err(bad("there is both a `result` and an `error`")),
            (None, Some(ErrorFields { code, message, details })) => {
                let failure = Failure::new(code.unwrap_or_else(|| "act_execute".to_owned()), message);
                Err(match details {
                    Some(Json(details)) => failure.with_details(details),
                    None => failure,
                })
            }
            (result, None) => {
                let result = result.unwrap_or_else(|| RawValue::NULL.to_owned());
                if !matches!(result.get().as_bytes().first(), Some(b'{' | b'[' | b'n')) {
                    return Err(bad("`result` is neither an object, an array nor null"));
                }
                Ok(result)
            }
        };
        let waiting = self.program.as_ref().and_then(|program| program.lock().waiting.remove(&call));
        match waiting.map(|waiting| waiting.try_send(answer)) {
            Some(Ok(())) => Ok(Reply::default()),
            _ => {
                let text = format!("nobody waits for the reply to call {call}: it was replied to, or took too long");
                Err(Problem::new(Code::UnknownCall, text))
            }
        }
    }

    /// Offers nothing any more; calls that wait for the program end in an error.
    pub fn withdraw(&mut self) {
        for pattern in self.patterns.drain(..) {
            // One that was stopped offers nothing anyway.
            let _ = self.agent.service.remove(&pattern);
            self.agent.served().remove(&pattern);
        }
        if let Some(program) = self.program.take() {
            program.close();
        }
    }
}

impl Drop for Offers {
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl Program {
    fn start(writer: &Writer, left: Receiver<()>) -> io::Result<Arc<Program>> {
        let (lines, to_write) = bounded(CALLS);
        let program = Arc::new(Program { calls: Mutex::default(), lines, unread_bytes: AtomicUsize::new(0), left });
        // It ends with the program, which therefore is not its own.
        let (writer, weak) = (writer.clone(), Arc::downgrade(&program));
        thread::Builder::new().name("calls".to_owned()).spawn(move || write_all(&to_write, &writer, &weak))?;
        Ok(program)
    }

    /// No more calls; those that wait end in an error.
    fn close(&self) {
        let mut calls = self.lock();
        calls.closed = true;
        calls.waiting.clear();
    }

    /// Has it answer a call.
    fn call(&self, pattern: &Pattern, message: Message, timeout: Duration) -> Answer {
        let (answer, answered) = bounded(1);
        let number = self.begin(answer)?;
        let _ends = Ends { program: self, number };
        self.send(line(&EventLine::call(number, pattern, message)))?;
        select! {
            recv(answered) -> answer => answer.unwrap_or_else(|_| Err(gone())),
            recv(self.left) -> _ => {
                let text = "the agent ends and does not wait for the program that serves this; whether it ran is not known";
                answered.try_recv().unwrap_or_else(|_| Err(Failure::new("connection_lost", text)))
            }
            default(timeout) => {
                let text = format!("the program that serves {pattern} did not answer within {timeout:?}");
                Err(Failure::new("action_timeout", text))
            }
        }
    }

    fn begin(&self, answer: Sender<Answer>) -> Result<u64, Failure> {
        let mut calls = self.lock();
        if calls.closed {
            return Err(gone_before());
        }
        if calls.waiting.len() >= CALLS {
            return Err(Failure::new("overloaded", format!("{CALLS} calls wait for the program already")).not_run());
        }
        calls.last += 1;
        let number = calls.last;
        calls.waiting.insert(number, answer);
        Ok(number)
    }

    fn send(&self, line: String) -> Result<(), Failure> {
        let bytes = line.len();
        let unread = self.unread_bytes.fetch_add(bytes, Ordering::SeqCst);
        let sent = if unread > 0 && unread + bytes > UNREAD_BYTES {
            Err(TrySendError::Full(line))
        } else {
            self.lines.try_send(line)
        };
        sent.map_err(|error| {
            self.unread_bytes.fetch_sub(bytes, Ordering::SeqCst);
            match error {
                TrySendError::Full(_) => Failure::new("overloaded", "the program reads its calls too slowly").not_run(),
                TrySendError::Disconnected(_) => gone_before(),
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody waits for an answer any more once this is dropped.
struct Ends<'a> {
    program: &'a Program,
    number: u64,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.program.lock().waiting.remove(&self.number);
    }
}

fn gone() -> Failure {
    Failure::new("connection_lost", "the program that serves this has gone; whether it ran is not known")
}

fn gone_before() -> Failure {
    Failure::new("connection_lost", "the program that serves this has gone; it was not called").not_run()
}

fn write_all(lines: &Receiver<String>, writer: &Writer, program: &Weak<Program>) {
    for line in lines {
        let written = write(writer, &line);
        let Some(program) = program.upgrade() else { return };
        if written.is_err() {
            return program.close();
        }
        program.unread_bytes.fetch_sub(line.len(), Ordering::SeqCst);
    }
}
