//! `--on-event`: a command of the user's for each event.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use grapevine::{EventFilter, EventKind, Subscription};
use rustix::process::{Pid, Signal, kill_process_group};
use shared_child::SharedChild;

use crate::agent::Agent;
use crate::args::AgentArgs;
use crate::failure::Failure;
use crate::protocol::{EVENT_NAMES, EventLine, line};

const JOBS: std::ops::RangeInclusive<usize> = 1..=64;
const LIMIT: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3_600);
/// How long commands may still run once the node has stopped.
const FINISH_TIME: Duration = Duration::from_secs(5);

/// The kinds in the order of [`EVENT_NAMES`].
const KINDS: [EventKind; EVENT_NAMES.len()] = [
    EventKind::NewPeer,
    EventKind::PeerAlive,
    EventKind::PeerFailed,
    EventKind::PeerLeft,
    EventKind::PeerForgotten,
    EventKind::Update,
    EventKind::Delete,
    EventKind::Expire,
    EventKind::AddressConflict,
    EventKind::WrongCluster,
    EventKind::Missed,
    EventKind::Stopped,
];

/// What is to be run, and when.
#[derive(Clone)]
pub struct Hook {
    command: String,
    kinds: Vec<EventKind>,
    jobs: usize,
    limit: Duration,
}

/// The threads that run commands.
pub struct Running(Vec<JoinHandle<()>>);

impl Hook {
    pub fn new(command: &str, args: &AgentArgs) -> Result<Hook, Failure> {
        if !JOBS.contains(&args.on_event_jobs) {
            let text = format!("--on-event-jobs {}: the range is 1 to 64", args.on_event_jobs);
            return Err(Failure::Usage(text));
        }
        if !LIMIT.contains(&args.on_event_limit) {
            let text = format!("--on-event-limit {:?}: the range is 1 ms to 1 h", args.on_event_limit);
            return Err(Failure::Usage(text));
        }
        let mut kinds = Vec::new();
        for name in &args.on_event_names {
            match EVENT_NAMES.iter().position(|known| known == name) {
                Some(index) => kinds.push(KINDS[index]),
                None if name == "all" => kinds.extend(KINDS),
                None => {
                    let text = format!("--on-event-names {name}: there are all, {}", EVENT_NAMES.join(", "));
                    return Err(Failure::Usage(text));
                }
            }
        }
        Ok(Hook { command: command.to_owned(), kinds, jobs: args.on_event_jobs, limit: args.on_event_limit })
    }

    /// The events for which it is to be run.
    pub fn filter(&self) -> EventFilter {
        EventFilter::all().kinds(self.kinds.iter().copied())
    }

    /// Runs the command for these events, on as many threads as commands may run at once: those that wait are in the subscription,
    /// where the oldest gives way.
    pub fn start(self, agent: &Arc<Agent>, events: Subscription) -> io::Result<Running> {
        let events = Arc::new(events);
        let worker = |_| {
            let (hook, events, agent) = (self.clone(), events.clone(), agent.clone());
            thread::Builder::new().name("on-event".to_owned()).spawn(move || hook.work(&events, &agent))
        };
        (0..self.jobs).map(worker).collect::<io::Result<Vec<_>>>().map(Running)
    }

    fn work(&self, events: &Subscription, agent: &Agent) {
        for event in events.iter() {
            // That the node stops comes to every subscription, wanted or not.
            if !self.kinds.contains(&event.kind()) && event.kind() != EventKind::Missed {
                continue;
            }
            let Some(told) = EventLine::new(&event, agent.node.now()) else { continue };
            let started = Instant::now();
            let problem = match self.run(&told, agent) {
                Ok(Some(status)) if status.success() => continue,
                Ok(Some(status)) => format!("it ended with {status}"),
                Ok(None) => format!("it took longer than {:?} and was killed", self.limit),
                Err(error) => format!("it could not be run: {error}"),
            };
            let event = told.event;
            log::warn!("the command for {event}, after {:?}: {problem}", started.elapsed());
        }
    }

    /// Runs the command for one event; `None` if it took too long.
    fn run(&self, event: &EventLine, agent: &Agent) -> io::Result<Option<ExitStatus>> {
        let mut command = Command::new("/bin/sh");
        // Standard output may be a program's that reads the line protocol.
        let output = Stdio::from(io::stderr().as_fd().try_clone_to_owned()?);
        command.arg("-c").arg(&self.command).stdin(Stdio::piped()).stdout(output).process_group(0);
        command.env("GRAPEVINE_EVENT", event.event);
        if let Some(peer) = &event.peer {
            command.env("GRAPEVINE_EVENT_PEER", peer);
        }
        if let Some(control) = &agent.control {
            command.env("GRAPEVINE_CONTROL", control);
        }
        let child = SharedChild::spawn(&mut command)?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let input = child.take_stdin();
        thread::scope(|scope| {
            scope.spawn(move || {
                // Who does not read it does not want it.
                let _ = input.map(|mut input| input.write_all(line(event).as_bytes()));
            });
            let status = child.wait_timeout(self.limit)?;
            // With those that it started itself. One that is done may have left some behind, on purpose.
            if let (None, Some(group)) = (status, group) {
                let _ = kill_process_group(group, Signal::KILL);
                child.wait()?;
            }
            Ok(status)
        })
    }
}

impl Running {
    /// Waits for the commands that run, though not for ever.
    pub fn finish(self) {
        let deadline = Instant::now() + FINISH_TIME;
        while self.0.iter().any(|worker| !worker.is_finished()) {
            if Instant::now() >= deadline {
                log::warn!("commands for events still run; they are left alone");
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
