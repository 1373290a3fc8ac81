//! One conversation in the line protocol: over a connection, or over standard input and output.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use grapevine::{Event, EventFilter, Subscription};

use crate::agent::answer::{self, Then};
use crate::agent::{Agent, End};
use crate::lines::{Lines, MAX_REQUEST_BYTES};
use crate::protocol::{EventLine, line};

/// Where replies and events go, a line at a time.
type Writer = Arc<Mutex<Box<dyn Write + Send>>>;

/// A conversation.
struct Session {
    agent: Arc<Agent>,
    writer: Writer,
    /// Dropped, it ends the thread that writes events.
    events: Option<Sender<()>>,
}

/// Talks to a client of the control socket until it goes.
pub fn over_socket(agent: &Arc<Agent>, stream: UnixStream) -> io::Result<()> {
    let writer: Writer = Arc::new(Mutex::new(Box::new(stream.try_clone()?)));
    let mut session = Session { agent: agent.clone(), writer, events: None };
    let result = session.run(&stream);
    // What writes events may be waiting for a reader who has gone.
    let _ = stream.shutdown(Shutdown::Both);
    result
}

/// Talks over standard input and output, with all events from the first one on.
pub fn over_stdio(agent: &Arc<Agent>, events: Subscription) -> io::Result<()> {
    let (agent, writer): (_, Writer) = (agent.clone(), Arc::new(Mutex::new(Box::new(io::stdout()))));
    let mut session = Session { agent: agent.clone(), writer, events: None };
    let ready = EventLine::ready(&agent.node, &agent.cluster, agent.control.as_deref());
    if let Err(error) = session.write(&line(&ready)) {
        log::warn!("nobody reads standard output: {error}");
    }
    session.follow(events)?;
    thread::Builder::new().name("stdio".to_owned()).spawn(move || {
        if let Err(error) = session.run(io::stdin()) {
            log::warn!("cannot talk over standard input and output: {error}");
        }
        let _ = agent.end.try_send(End::InputEnded);
        // Without the session the last events, which are still to come, would not be written.
        loop {
            thread::park();
        }
    })?;
    Ok(())
}

impl Session {
    /// Answers one request after the other until the input ends.
    fn run(&mut self, input: impl Read) -> io::Result<()> {
        let mut lines = Lines::new(input, MAX_REQUEST_BYTES);
        while let Some(request) = lines.next()? {
            let (reply, then) = answer::answer(&self.agent, &request);
            if let Then::Follow(filter) = then {
                // First the reply, then events.
                self.write(&line(&reply))?;
                self.follow(self.agent.node.subscribe_to(filter))?;
                continue;
            }
            let written = self.write(&line(&reply));
            if matches!(then, Then::End) {
                self.agent.left();
            }
            written?;
        }
        Ok(())
    }

    fn write(&self, text: &str) -> io::Result<()> {
        write(&self.writer, text)
    }

    /// Writes events from here on, instead of those of an earlier subscription.
    fn follow(&mut self, events: Subscription) -> io::Result<()> {
        let (agent, writer) = (self.agent.clone(), self.writer.clone());
        let (stop, stopped) = bounded(0);
        self.events = Some(stop);
        thread::Builder::new().name("events".to_owned()).spawn(move || {
            let _writing = agent.writing();
            write_events(&agent, &events, &stopped, &writer);
        })?;
        Ok(())
    }
}

fn write(writer: &Writer, text: &str) -> io::Result<()> {
    let mut out = writer.lock().unwrap_or_else(PoisonError::into_inner);
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn write_events(agent: &Agent, events: &Subscription, stopped: &Receiver<()>, writer: &Writer) {
    let write = |event: &Event| {
        let text = EventLine::new(event, agent.node.now()).map(|event| line(&event));
        text.is_none_or(|text| write(writer, &text).is_ok())
    };
    loop {
        let missed = events.missed();
        if missed > 0 && !write(&Event::Missed { count: missed }) {
            return;
        }
        select! {
            recv(events.receiver()) -> event => {
                let Ok(event) = event else { return };
                let written = write(&event);
                agent.note_end(&event);
                if !written {
                    return;
                }
            }
            recv(stopped) -> _ => return,
        }
    }
}

/// The events that a request for them means.
pub fn filter(prefix: Option<String>) -> EventFilter {
    match prefix {
        Some(prefix) => EventFilter::all().key_prefix(prefix),
        None => EventFilter::all(),
    }
}
