//! One conversation in the line protocol: over a connection, or over standard input and output.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use grapevine::EventFilter;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::value::RawValue;

use crate::agent::answer::{self, Asked};
use crate::agent::calls::{self, InFlight};
use crate::agent::events::Events;
use crate::agent::offers::Offers;
use crate::agent::{Agent, End};
use crate::lines::{Line, Lines, MAX_REQUEST_BYTES};
use crate::protocol::{Problem, Reply, line};

/// Where replies and events go, a line at a time.
pub type Writer = Arc<Mutex<Box<dyn Write + Send>>>;

/// How often is looked whether a client that has said everything still waits for replies.
const LOOK: Duration = Duration::from_millis(100);
/// Why an agent ends that speaks the line protocol over standard output.
const NOBODY_READS: &str = "nobody reads the output";

/// A conversation.
struct Session {
    agent: Arc<Agent>,
    writer: Writer,
    is_stdio: bool,
    following: Option<Following>,
    calls: InFlight,
    /// Held by whoever replies later.
    replying: Sender<()>,
    replied: Receiver<()>,
    offers: Offers,
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
    let mut session = Session::new(agent, writer, false);
    let result = session.run(&*stream);
    if result.is_ok() {
        session.wait_for_replies(|| has_gone(&stream));
    }
    // What writes events may be waiting for a reader who has gone.
    let _ = stream.shutdown(Shutdown::Both);
    result
}

/// Whether a client has closed both sides of its connection.
fn has_gone(stream: &UnixStream) -> bool {
    let mut polled = [PollFd::new(stream, PollFlags::empty())];
    let looked = rustix::io::retry_on_intr(|| poll(&mut polled, Some(&Timespec::default())));
    looked.is_err() || !polled[0].revents().is_empty()
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
pub fn over_stdio(agent: &Arc<Agent>, events: Events) -> io::Result<()> {
    let agent = agent.clone();
    let mut session = Session::new(&agent, Arc::new(Mutex::new(Box::new(io::stdout()))), true);
    if session.write(&line(&agent.ready())).is_err() {
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
    fn new(agent: &Arc<Agent>, writer: Writer, is_stdio: bool) -> Session {
        let offers = Offers::new(agent, &writer);
        let (replying, replied) = bounded(0);
        let (agent, calls) = (agent.clone(), InFlight::default());
        Session { agent, writer, is_stdio, following: None, calls, replying, replied, offers }
    }

    /// Answers one request after the other until the input ends. Those that are calls are answered when they are done.
    fn run(&mut self, input: impl Read) -> io::Result<()> {
        let mut lines = Lines::new(input, MAX_REQUEST_BYTES);
        let mut end = lines.next();
        while let Ok(Some(request)) = end {
            if let Err(error) = self.answer(&request) {
                end = Err(error);
                break;
            }
            end = lines.next();
        }
        self.offers.withdraw();
        end.map(drop)
    }

    /// Waits until every request was answered, which calls are when they are done, or until the client has gone.
    fn wait_for_replies(self, has_gone: impl Fn() -> bool) {
        drop(self.replying);
        while !has_gone() && self.replied.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {}
    }

    fn answer(&mut self, request: &Line<'_>) -> io::Result<()> {
        // The end of the agent waits for the reply, and for whoever is to write events.
        let writing = self.agent.writing();
        let (id, asked) = answer::answer(&self.agent, request);
        match asked {
            Ok(Asked::Done(reply)) => self.reply(id, Ok(*reply)),
            Ok(Asked::Events(filter)) => {
                // What happens from here on is told after the reply. What happens before the earlier subscription has ended may be
                // told by both, but by one at least.
                let events = Events::new(&self.agent.node, filter, Some(&self.agent.service));
                self.stop_following();
                self.reply(id, Ok(Reply::default()))?;
                self.follow(events, writing)
            }
            Ok(Asked::Act(act)) => {
                match calls::start(&self.agent, &self.calls, &self.writer, self.replying.clone(), &id, act) {
                    Ok(()) => Ok(()),
                    Err(problem) => self.reply(id, Err(problem)),
                }
            }
            Ok(Asked::Serve(serve)) => {
                let offered = self.offers.serve(serve);
                self.reply(id, offered)
            }
            Ok(Asked::Reply(reply)) => self.reply(id, self.offers.reply(reply)),
            Ok(Asked::Leave) => self.leave(id, writing),
            Err(problem) => self.reply(id, Err(problem)),
        }
    }

    /// Meanwhile the client may have calls to answer.
    fn leave(&self, id: Box<RawValue>, writing: Option<Sender<()>>) -> io::Result<()> {
        let (agent, writer, replying) = (self.agent.clone(), self.writer.clone(), self.replying.clone());
        let leave = move || {
            let _writing = (writing, replying);
            log::info!("leaving, as asked");
            let left = agent.leave().map(|()| Reply::default());
            let _ = write(&writer, &line(&Reply::to(id, left.map_err(Problem::from))));
        };
        thread::Builder::new().name("leave".to_owned()).spawn(leave).map(drop)
    }

    fn reply(&self, id: Box<RawValue>, carried_out: Result<Reply, Problem>) -> io::Result<()> {
        self.write(&line(&Reply::to(id, carried_out)))
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
    fn follow(&mut self, events: Events, writing: Option<Sender<()>>) -> io::Result<()> {
        let (agent, writer, is_stdio) = (self.agent.clone(), self.writer.clone(), self.is_stdio);
        let (stop, stopped) = bounded(0);
        let thread = thread::Builder::new().name("events".to_owned()).spawn(move || {
            let _writing = writing;
            if write_events(&events, &stopped, &writer).is_err() && is_stdio {
                let _ = agent.end.try_send(End::Gone(NOBODY_READS));
            }
        })?;
        self.following = Some(Following { stop, thread });
        Ok(())
    }
}

/// Writes a line, with its end.
pub fn write(writer: &Writer, text: &str) -> io::Result<()> {
    let mut out = writer.lock().unwrap_or_else(PoisonError::into_inner);
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Until there are no more, or nobody wants them any more, but for those that wait.
fn write_events(events: &Events, stopped: &Receiver<()>, writer: &Writer) -> io::Result<()> {
    while let Some(event) = events.next(stopped) {
        write(writer, &line(&event))?;
    }
    events.waiting().iter().try_for_each(|event| write(writer, &line(event)))
}

/// The events that a request for them means.
pub fn filter(prefix: Option<String>) -> EventFilter {
    match prefix {
        Some(prefix) => EventFilter::all().key_prefix(prefix),
        None => EventFilter::all(),
    }
}
