//! `grapevine agent`: one node in the foreground, and everybody who talks to it.

mod answer;
mod control;
mod hook;
mod remember;
mod session;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use grapevine::{Builder, DetectorConfig, Error, Event, Gossiper, Limits, Subscription};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::agent::control::Control;
use crate::args::AgentArgs;
use crate::failure::Failure;
use crate::place;
use crate::plain;
use crate::protocol::{EventLine, line, value_of};

/// How long the others are told that this node leaves.
const LEAVE_TIME: Duration = Duration::from_secs(5);
/// How long what is still being written is waited for at the end.
const FLUSH_TIME: Duration = Duration::from_secs(1);
/// Events that wait for a reader. A slower one is told how many it missed.
const EVENTS_WAITING: usize = 1_024;

/// What the parts of a running agent share.
pub struct Agent {
    pub node: Gossiper,
    pub cluster: String,
    pub control: Option<PathBuf>,
    end: Sender<End>,
    /// Every thread that writes events has a clone, until the end is near: when all are gone everything is written.
    writing: Mutex<Option<Sender<()>>>,
}

/// Why an agent ends.
#[derive(Debug)]
enum End {
    /// A signal, of this name.
    Signal(&'static str),
    /// Nobody speaks to it any more.
    InputEnded,
    /// Somebody had it leave, and was told so.
    Left,
    /// The node stopped by itself.
    Stopped,
}

/// Runs a node until something ends it.
pub fn run(args: AgentArgs) -> Result<(), Failure> {
    let (end, ends) = bounded(8);
    watch_signals(end.clone()).map_err(|error| Failure::Failed(format!("cannot take signals: {error}")))?;
    let command = args.on_event.as_ref().filter(|command| !command.is_empty());
    let hook = command.map(|command| hook::Hook::new(command, &args)).transpose()?;
    let control = bind_control(&args)?;
    let file = args.remember.clone().filter(|file| !file.as_os_str().is_empty());
    let remembered = file.map(|file| remember::Remembered::load(file, &args.cluster));
    // Both have every event from the first one on: a seed on the same network answers within a millisecond.
    let subscribe = |node: &Gossiper| (node.subscribe(), hook.as_ref().map(|hook| node.subscribe_to(hook.filter())));
    let (node, (events, hook_events)) = builder(&args)?.start_after(subscribe)?;
    let path = control.as_ref().map(|control| control.path.clone());
    let (writing, written) = bounded(0);
    let writing = Mutex::new(Some(writing));
    let agent = Arc::new(Agent { node, cluster: args.cluster.clone(), control: path, end, writing });
    let running = match hook.zip(hook_events) {
        Some((hook, events)) => Some(hook.start(&agent, events).map_err(thread_failed)?),
        None => None,
    };
    if let Some(remembered) = remembered {
        remembered.start(&agent).map_err(thread_failed)?;
    }
    let control = control.map(|control| control.serve(&agent)).transpose().map_err(thread_failed)?;
    let told = if args.stdio { session::over_stdio(&agent, events) } else { print_events(&agent, events, args.json) };
    told.map_err(thread_failed)?;
    tell_system(&[NotifyState::Ready]);
    let ended = wait(&agent, &ends);
    tell_system(&[NotifyState::Stopping]);
    // Nobody else finds this agent from here on.
    drop(control);
    let ended = ended.and_then(|end| leave(&agent, &end));
    drop(agent.writing.lock().unwrap_or_else(PoisonError::into_inner).take());
    // It ends when the last writer is gone; one may have a reader who does not read.
    let _ = written.recv_timeout(FLUSH_TIME);
    if let Some(running) = running {
        running.finish();
    }
    ended
}

fn thread_failed(error: io::Error) -> Failure {
    Failure::Failed(format!("cannot start a thread: {error}"))
}

fn builder(args: &AgentArgs) -> Result<Builder, Failure> {
    let mut builder = Gossiper::builder()
        .bind(args.bind.as_str())
        .seeds(args.seed.iter().map(|seed| seed.trim()).filter(|seed| !seed.is_empty()))
        .cluster(args.cluster.as_str())
        .interval(args.interval)
        .fanout(args.fanout)
        .grace(args.grace)
        .limits(Limits { events: EVENTS_WAITING, ..Limits::default() })
        .detector(DetectorConfig { threshold: args.phi, pause: args.pause, ..DetectorConfig::default() });
    if let Some(advertise) = args.advertise.as_deref().filter(|advertise| !advertise.is_empty()) {
        builder = builder.advertise(advertise);
    }
    for setting in &args.set {
        let (key, value) = setting.split_once('=').ok_or_else(|| {
            Failure::Usage(format!("--set {setting}: it has no `=`; write KEY=VALUE, like --set colour=red"))
        })?;
        builder = builder.initial(key, &value_of(value));
    }
    Ok(builder)
}

/// Binds the control socket that was asked for, or the default one if there is a place for it.
fn bind_control(args: &AgentArgs) -> Result<Option<Control>, Failure> {
    if let Some(path) = args.control.clone().filter(|path| !path.as_os_str().is_empty()) {
        return Control::bind(path).map(Some).map_err(Failure::failed);
    }
    if args.stdio || args.bind.ends_with(":0") {
        return Ok(None);
    }
    let path = place::default_control(Some(&args.bind));
    let prepared = place::prepare_default(&path).map_err(control::Refusal::NoPlace);
    match prepared.and_then(|()| Control::bind(path)) {
        Ok(control) => Ok(Some(control)),
        // Whoever then asked the agent at the default socket would ask another one.
        Err(problem @ control::Refusal::Taken(_)) => Err(Failure::failed(problem)),
        Err(problem) => {
            // Nobody asked for it, and in a container there may be no place for one.
            log::warn!("there is no control socket: {problem}");
            Ok(None)
        }
    }
}

/// The first signal has the node leave; the second one ends the process.
fn watch_signals(end: Sender<End>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for (n, signal) in signals.forever().enumerate() {
            if n > 0 {
                std::process::exit(128 + signal);
            }
            let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
            let _ = end.try_send(End::Signal(name));
        }
    })?;
    Ok(())
}

/// Prints events on a thread of its own, for standard output may block.
fn print_events(agent: &Arc<Agent>, events: Subscription, json: bool) -> io::Result<()> {
    let agent = agent.clone();
    thread::Builder::new().name("printer".to_owned()).spawn(move || {
        let _writing = agent.writing();
        let ready = EventLine::ready(&agent.node, &agent.cluster, agent.control.as_deref());
        let mut readable = print(&ready, json);
        for event in events.iter() {
            if let (true, Some(event_line)) = (readable, EventLine::new(&event, agent.node.now())) {
                readable = print(&event_line, json);
            }
            agent.note_end(&event);
        }
    })?;
    Ok(())
}

/// False if nobody reads any more: no reason for a node to end.
fn print(event: &EventLine, json: bool) -> bool {
    let mut text = line(event);
    if !json {
        text = plain::event(&serde_json::from_str(&text).unwrap_or_default()) + "\n";
    }
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.inspect_err(|error| log::warn!("events are not printed any more: {error}")).is_ok()
}

impl Agent {
    /// Held by whoever writes events: the end waits for that.
    fn writing(&self) -> Option<Sender<()>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the agent end when the node did.
    fn note_end(&self, event: &Event) {
        if matches!(event, Event::Stopped { .. }) {
            let _ = self.end.try_send(End::Stopped);
        }
    }

    /// Leaves for somebody who asked; [`Agent::left`] then ends the agent.
    pub fn leave(&self) -> Result<(), Error> {
        log::info!("leaving, as asked");
        self.node.leave(LEAVE_TIME)
    }

    /// Whoever asked has been told.
    pub fn left(&self) {
        let _ = self.end.try_send(End::Left);
    }
}

fn wait(agent: &Agent, ends: &Receiver<End>) -> Result<End, Failure> {
    match ends.recv() {
        Ok(End::Stopped) => {
            if let Err(error @ Error::ThreadPanicked(_)) = agent.node.check() {
                return Err(Failure::failed(error));
            }
            // Whoever had it leave is told first.
            Ok(ends.recv_timeout(FLUSH_TIME).unwrap_or(End::Stopped))
        }
        Ok(end) => Ok(end),
        Err(_) => Ok(End::Stopped),
    }
}

fn leave(agent: &Agent, end: &End) -> Result<(), Failure> {
    match end {
        End::Signal(name) => log::info!("{name}: leaving"),
        End::InputEnded => log::info!("the input has ended: leaving"),
        End::Left | End::Stopped => return Ok(()),
    }
    match agent.node.leave(LEAVE_TIME) {
        Ok(()) | Err(Error::Stopped) => Ok(()),
        Err(error @ Error::TimedOut(_)) => {
            log::warn!("{error}");
            Ok(())
        }
        Err(error) => Err(Failure::failed(error)),
    }
}

/// Tells systemd, if it started this agent and wants to know.
fn tell_system(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("cannot tell systemd: {error}");
    }
}
