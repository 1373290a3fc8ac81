//! A conversation in the line protocol, over the control socket or over a process's standard input and output.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use serde_json::{Value, json};

use super::{LONG, Process, has};

/// It reads all the time, so that nobody waits for it.
pub struct Conversation {
    lines: Receiver<Vec<u8>>,
    writer: Option<Box<dyn Write + Send>>,
    /// Events that came before a reply.
    waiting: VecDeque<Value>,
    stream: Option<UnixStream>,
    asked: u64,
}

impl Conversation {
    pub fn over_socket(path: &Path) -> Conversation {
        let stream = UnixStream::connect(path).unwrap();
        let (sender, lines) = unbounded();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        thread::spawn(move || {
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
                let _ = sender.send(std::mem::take(&mut line));
            }
        });
        let writer: Box<dyn Write + Send> = Box::new(stream.try_clone().unwrap());
        Conversation { lines, writer: Some(writer), waiting: VecDeque::new(), stream: Some(stream), asked: 0 }
    }

    pub fn over_stdio(process: &mut Process) -> Conversation {
        let writer = process.input.take().map(|input| Box::new(input) as Box<dyn Write + Send>);
        Conversation { lines: process.lines.clone(), writer, waiting: VecDeque::new(), stream: None, asked: 0 }
    }

    /// Sends these bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.writer.as_mut().unwrap().write_all(bytes.as_ref()).unwrap();
    }

    /// Says no more.
    pub fn close(&mut self) {
        self.writer = None;
        if let Some(stream) = &self.stream {
            stream.shutdown(Shutdown::Write).unwrap();
        }
    }

    /// Hears no more.
    pub fn read_no_more(&mut self) {
        self.stream.as_ref().unwrap().shutdown(Shutdown::Read).unwrap();
    }

    /// Sends a request and takes the reply to it, which repeats its id. One without an id is given one.
    pub fn ask(&mut self, mut request: Value) -> Value {
        self.asked += 1;
        let fields = request.as_object_mut().unwrap();
        let id = fields.entry("id").or_insert(self.asked.into()).clone();
        self.send(request.to_string() + "\n");
        let reply = self.reply();
        assert_eq!(reply["id"], id, "{reply}");
        reply
    }

    /// Asks for something that is done: the fields of the reply without its id.
    pub fn done(&mut self, request: Value) -> Value {
        let mut reply = self.ask(request);
        assert_eq!(reply["ok"], true, "{reply}");
        assert_eq!(reply.get("error"), None, "{reply}");
        let fields = reply.as_object_mut().unwrap();
        fields.remove("id");
        fields.remove("ok");
        reply
    }

    /// Asks for something that is refused with this code: the message.
    pub fn refused(&mut self, code: &str, request: Value) -> String {
        let reply = self.ask(request);
        refusal(code, &reply)
    }

    pub fn members(&mut self) -> Vec<Value> {
        self.done(json!({"do": "members"}))["members"].as_array().unwrap().clone()
    }

    /// The next line that is no event.
    pub fn reply(&mut self) -> Value {
        loop {
            let line = self.line().expect("a reply, not the end");
            if line.get("event").is_none() {
                return line;
            }
            self.waiting.push_back(line);
        }
    }

    /// The next event that has these fields; others are passed over.
    pub fn event(&mut self, wanted: Value) -> Value {
        let mut others = Vec::new();
        let deadline = Instant::now() + LONG;
        loop {
            match self.next_before(deadline) {
                Ok(event) if has(&event, &wanted) => return event,
                Ok(event) => others.push(event),
                Err(why) => panic!("no {wanted}: {why}; there were {others:#?}"),
            }
        }
    }

    /// The next event; `None` at the end.
    pub fn next_event(&mut self) -> Option<Value> {
        match self.next_before(Instant::now() + LONG) {
            Ok(event) => {
                assert!(event.get("event").is_some(), "no event: {event}");
                Some(event)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no event comes"),
        }
    }

    /// An event that is there already.
    pub fn waiting_event(&mut self) -> Option<Value> {
        self.waiting.pop_front().or_else(|| self.lines.try_recv().ok().map(|line| parse(&line)))
    }

    /// Passes over the events that came before the last reply.
    pub fn forget_waiting(&mut self) {
        self.waiting.clear();
    }

    /// All events that are left, until the end.
    pub fn rest(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.next_event()).collect()
    }

    /// The next line as it was written.
    pub fn raw_line(&mut self) -> String {
        String::from_utf8(self.lines.recv_timeout(LONG).unwrap()).unwrap()
    }

    fn next_before(&mut self, deadline: Instant) -> Result<Value, RecvTimeoutError> {
        match self.waiting.pop_front() {
            Some(event) => Ok(event),
            None => self.lines.recv_deadline(deadline).map(|line| parse(&line)),
        }
    }

    fn line(&mut self) -> Option<Value> {
        match self.lines.recv_timeout(LONG) {
            Ok(line) => Some(parse(&line)),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing comes"),
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// The message of a reply that refuses with this code.
pub fn refusal(code: &str, reply: &Value) -> String {
    assert_eq!(reply["error"]["code"], code, "{reply}");
    assert_eq!(reply.get("ok"), None, "{reply}");
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(!message.is_empty() && !message.contains('\n'), "{reply}");
    message.to_owned()
}

/// Whatever comes is a JSON object in a line of its own.
fn parse(line: &[u8]) -> Value {
    let shown = String::from_utf8_lossy(line);
    assert!(line.ends_with(b"\n"), "no whole line: {shown}");
    let value: Value = serde_json::from_slice(line).unwrap_or_else(|error| panic!("no JSON ({error}): {shown}"));
    assert!(value.is_object(), "no object: {shown}");
    value
}
