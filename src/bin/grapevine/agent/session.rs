//! One conversation in the line protocol: over a connection, or over standard input and output.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use grapevine::{Event, EventFilter, Subscription};

use crate::agent::answer;
use crate::agent::{Agent, End};
use crate::lines::{Lines, MAX_REQUEST_BYTES};
use crate::protocol::{EventLine, line};

/// Where replies and events go, a line at a time.
type Writer = Arc<Mutex<Box<dyn Write + Send>>>;

/// Why an agent ends that speaks the line protocol over standard output.
const NOBODY_READS: &str = "nobody reads the output";

/// A conversation.
struct Session {
    agent: Arc<Agent>,
    writer: Writer,
    is_stdio: bool,
    following: Option<Following>,
}

/// A thread that writes events.
struct Following {
    /// Dropped, it ends the thread.
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// Talks to a client of the control socket until it goes.
pub fn over_socket(agent: &Arc<Agent>, stream: UnixStream) -> io::Result<()> {
    let stream = Arc::new(stream);
    let writer: Writer = Arc::new(Mutex::new(Box::new(SharedStream(stream.clone()))));
    let mut session = Session { agent: agent.clone(), writer, is_stdio: false, following: None };
    let result = session.run(&*stream);
    // What writes events may be waiting for a reader who has gone.
    let _ = stream.shutdown(Shutdown::Both);
    result
}

/// One descriptor for reading and writing, for there may be few.
struct SharedStream(Arc<UnixStream>);

impl Write for SharedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}

/// Talks over standard input and output, with all events from the first one on.
pub fn over_stdio(agent: &Arc<Agent>, events: Subscription) -> io::Result<()> {
    let (agent, writer): (_, Writer) = (agent.clone(), Arc::new(Mutex::new(Box::new(io::stdout()))));
    let mut session = Session { agent: agent.clone(), writer, is_stdio: true, following: None };
    let ready = EventLine::ready(&agent.node, &agent.cluster, agent.control.as_deref());
    if session.write(&line(&ready)).is_err() {
        let _ = agent.end.try_send(End::Gone(NOBODY_READS));
    }
    session.follow(events, agent.writing())?;
    thread::Builder::new().name("stdio".to_owned()).spawn(move || {
        if let Err(error) = session.run(io::stdin()) {
            log::warn!("cannot talk over standard input and output: {error}");
        }
        let _ = agent.end.try_send(End::Gone("the input has ended"));
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
            // The end of the agent waits for the reply, and for whoever is to write events.
            let writing = self.agent.writing();
            let (reply, events) = answer::answer(&self.agent, &request);
            // What happens from here on is told after the reply. What happens before the earlier subscription has ended may be told
            // by both, but by one at least.
            let events = events.map(|filter| self.agent.node.subscribe_to(filter));
            if events.is_some() {
                self.stop_following();
            }
            self.write(&line(&reply))?;
            events.map_or(Ok(()), |events| self.follow(events, writing))?;
        }
        Ok(())
    }

    fn write(&self, text: &str) -> io::Result<()> {
        write(&self.writer, text)
    }

    /// Writes what waits of an earlier subscription, and ends it.
    fn stop_following(&mut self) {
        if let Some(Following { stop, thread }) = self.following.take() {
            drop(stop);
            let _ = thread.join();
        }
    }

    /// Writes events from here on.
    fn follow(&mut self, events: Subscription, writing: Option<Sender<()>>) -> io::Result<()> {
        let (agent, writer, is_stdio) = (self.agent.clone(), self.writer.clone(), self.is_stdio);
        let (stop, stopped) = bounded(0);
        let thread = thread::Builder::new().name("events".to_owned()).spawn(move || {
            let _writing = writing;
            if write_events(&agent, &events, &stopped, &writer).is_err() && is_stdio {
                let _ = agent.end.try_send(End::Gone(NOBODY_READS));
            }
        })?;
        self.following = Some(Following { stop, thread });
        Ok(())
    }
}

fn write(writer: &Writer, text: &str) -> io::Result<()> {
    let mut out = writer.lock().unwrap_or_else(PoisonError::into_inner);
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn write_events(agent: &Agent, events: &Subscription, stopped: &Receiver<()>, writer: &Writer) -> io::Result<()> {
    let tell = |event: &Event| {
        let text = EventLine::new(event, agent.node.now()).map(|event| line(&event));
        text.map_or(Ok(()), |text| write(writer, &text))
    };
    loop {
        let missed = events.missed();
        if missed > 0 {
            tell(&Event::Missed { count: missed })?;
        }
        select! {
            recv(events.receiver()) -> event => {
                let Ok(event) = event else { return Ok(()) };
                tell(&event)?;
            }
            recv(stopped) -> _ => {
                let waiting = events.receiver().len();
                return events.receiver().try_iter().take(waiting).try_for_each(|event| tell(&event));
            }
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
