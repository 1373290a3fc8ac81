//! `--on-event`: a command of the user's for each event.

use std::io::{self, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use grapevine::{Event, EventFilter, EventKind, Subscription};
use rustix::process::{Pid, Signal, kill_process_group};
use shared_child::SharedChild;

use crate::agent::Agent;
use crate::args::AgentArgs;
use crate::failure::Failure;
use crate::protocol::{EVENTS, EventLine, line};

const JOBS: std::ops::RangeInclusive<usize> = 1..=64;
const LIMIT: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3_600);
/// Every pipe holds as much before anybody reads.
const PIPE_BYTES: usize = 4_096;
/// How long commands may still run once the node has stopped.
const FINISH_TIME: Duration = Duration::from_secs(3);

/// What is to be run, and when.
#[derive(Clone)]
pub struct Hook {
    command: String,
    kinds: Vec<EventKind>,
    jobs: usize,
    limit: Duration,
}

/// The threads that run commands.
pub struct Running {
    /// Closed by the last of them.
    ended: Receiver<()>,
    groups: Groups,
}

/// The process groups of the commands that run.
type Groups = Arc<Mutex<Vec<Pid>>>;

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
            let named = EVENTS.iter().filter(|(_, known)| known == name || name == "all");
            let before = kinds.len();
            kinds.extend(named.map(|(kind, _)| *kind));
            if kinds.len() == before {
                let names: Vec<&str> = EVENTS.iter().map(|(_, name)| *name).collect();
                let text = format!("--on-event-names {name}: there are all, {}", names.join(", "));
                return Err(Failure::Usage(text));
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
        let (events, groups) = (Arc::new(events), Groups::default());
        let (working, ended) = bounded::<()>(0);
        for _ in 0..self.jobs {
            let (hook, events, agent, groups) = (self.clone(), events.clone(), agent.clone(), groups.clone());
            let working = working.clone();
            thread::Builder::new().name("on-event".to_owned()).spawn(move || {
                let _working = working;
                hook.work(&events, &agent, &groups);
            })?;
        }
        Ok(Running { ended, groups })
    }

    fn work(&self, events: &Subscription, agent: &Agent, groups: &Groups) {
        for event in events.iter() {
            if let Event::Missed { count } = event {
                log::warn!("{count} events were missed: the commands for those before take too long");
            }
            // That some were missed, and that the node stops, comes to every subscription, wanted or not.
            if !self.kinds.contains(&event.kind()) {
                continue;
            }
            let Some(told) = EventLine::new(&event, agent.node.now()) else { continue };
            let started = Instant::now();
            let problem = match self.run(&told, agent, groups) {
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
    fn run(&self, event: &EventLine, agent: &Agent, groups: &Groups) -> io::Result<Option<ExitStatus>> {
        let mut command = Command::new("/bin/sh");
        // Standard output may be a program's that reads the line protocol.
        let output = Stdio::from(io::stderr().as_fd().try_clone_to_owned()?);
        command.arg("-c").arg(&self.command).stdin(input(&line(event))?).stdout(output).process_group(0);
        command.env("GRAPEVINE_EVENT", event.event);
        if let Some(peer) = &event.peer {
            command.env("GRAPEVINE_EVENT_PEER", peer);
        }
        if let Some(control) = &agent.control {
            command.env("GRAPEVINE_CONTROL", control);
        }
        let child = SharedChild::spawn(&mut command)?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        lock(groups).extend(group);
        let waited = child.wait_timeout(self.limit);
        if !matches!(waited, Ok(Some(_))) {
            // With those that it started itself. One that is done may have left some behind, on purpose.
            group.into_iter().for_each(kill);
            child.wait()?;
        }
        lock(groups).retain(|other| Some(*other) != group);
        waited
    }
}

/// Standard input with this to read: nobody has to write while the command reads, or does not.
fn input(text: &str) -> io::Result<Stdio> {
    if text.len() <= PIPE_BYTES {
        let (reader, mut writer) = io::pipe()?;
        writer.write_all(text.as_bytes())?;
        return Ok(Stdio::from(reader));
    }
    let mut file = tempfile::tempfile()?;
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(Stdio::from(file))
}

fn kill(group: Pid) {
    let _ = kill_process_group(group, Signal::KILL);
}

fn lock(groups: &Groups) -> MutexGuard<'_, Vec<Pid>> {
    groups.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    /// Waits for the commands that run, though not for ever.
    pub fn finish(self) {
        if self.ended.recv_timeout(FINISH_TIME) == Err(RecvTimeoutError::Timeout) {
            let groups = lock(&self.groups);
            log::warn!("the node has stopped; {} commands for events that still run are killed", groups.len());
            groups.iter().copied().for_each(kill);
        }
    }
}
