//! `--on-event`: a command of the user's for each event.

use std::io;
use std::os::fd::AsFd;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, never};
use grapevine::service::Service;
use grapevine::{EventFilter, Gossiper};

use crate::agent::Agent;
use crate::agent::events::Events;
use crate::agent::shell::{self, FINISH_TIME, Groups};
use crate::args::AgentArgs;
use crate::failure::Failure;
use crate::protocol::services::SERVICE_EVENTS;
use crate::protocol::{EVENTS, EventLine, line};

/// What is to be run, and when.
#[derive(Clone)]
pub struct Hook {
    command: String,
    /// Of the events.
    names: Vec<&'static str>,
    jobs: usize,
    limit: Duration,
}

/// The threads that run commands.
pub struct Running {
    /// Closed by the last of them.
    ended: Receiver<()>,
    groups: Groups,
}

impl Hook {
    pub fn new(command: &str, args: &AgentArgs) -> Result<Hook, Failure> {
        let (jobs, limit) = (args.on_event_jobs, args.on_event_limit);
        shell::check("--on-event-jobs", jobs, "--on-event-limit", limit)?;
        let known: Vec<&str> = EVENTS.iter().map(|(_, name)| *name).chain(SERVICE_EVENTS).collect();
        let mut names = Vec::new();
        for name in &args.on_event_names {
            let before = names.len();
            names.extend(known.iter().filter(|known| *known == name || name == "all"));
            if names.len() == before {
                let text = format!("--on-event-names {name}: there are all, {}", known.join(", "));
                return Err(Failure::Usage(text));
            }
        }
        Ok(Hook { command: command.to_owned(), names, jobs, limit })
    }

    /// The events for which it is to be run, from now on.
    pub fn subscribe(&self, node: &Gossiper, service: &Service) -> Events {
        let kinds = EVENTS.iter().filter(|(_, name)| self.names.contains(name)).map(|(kind, _)| *kind);
        let of_services = SERVICE_EVENTS.iter().any(|name| self.names.contains(name));
        Events::new(node, EventFilter::all().kinds(kinds), of_services.then_some(service))
    }

    /// Runs the command for these events, on as many threads as commands may run at once: those that wait are in the subscription,
    /// where the oldest gives way.
    pub fn start(self, agent: &Arc<Agent>, events: Events, groups: Groups) -> io::Result<Running> {
        let events = Arc::new(events);
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

    fn work(&self, events: &Events, agent: &Agent, groups: &Groups) {
        while let Some(told) = events.next(&never()) {
            if let (EventLine::MISSED, Some(count)) = (told.event, told.count) {
                log::warn!("{count} events were missed: the commands for those before take too long");
            }
            // That some were missed, and that the node stops, comes to every subscription, wanted or not.
            if !self.names.contains(&told.event) {
                continue;
            }
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
        let mut command = shell::command(&self.command, agent.control.as_deref());
        // Standard output may be a program's that reads the line protocol.
        command.stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?));
        command.env("GRAPEVINE_EVENT", event.event);
        if let Some(peer) = &event.peer {
            command.env("GRAPEVINE_EVENT_PEER", peer);
        }
        groups.start(command, &line(event))?.wait(self.limit)
    }
}

impl Running {
    /// Waits for the commands that run, though not for ever.
    pub fn finish(self) {
        if self.ended.recv_timeout(FINISH_TIME) == Err(RecvTimeoutError::Timeout) {
            let killed = self.groups.kill_all();
            log::warn!("the node has stopped; {killed} commands for events that still run are killed");
        }
    }
}
