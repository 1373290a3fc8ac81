//! `grapevine agent`: one node in the foreground, and everybody who talks to it.

mod answer;
mod calls;
mod control;
mod events;
mod hook;
mod keys;
mod offers;
mod output;
mod remember;
mod serve;
mod services;
mod session;
mod shell;
mod system;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use grapevine::service::{Pattern, Service};
use grapevine::{Builder, DetectorConfig, Error, EventFilter, Gossiper, Limits, Value};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::agent::calls::InFlight;
use crate::agent::control::Control;
use crate::agent::events::Events;
use crate::agent::keys::Keys;
use crate::agent::serve::Commands;
use crate::agent::shell::{FINISH_TIME, Groups};
use crate::args::AgentArgs;
use crate::failure::Failure;
use crate::json;
use crate::place;
use crate::plain;
use crate::protocol::{EventLine, Problem, line, value_of};
use crate::secrets;

/// For how long the others are told that this node leaves, where nobody says: some intervals, for they are told again every tenth of
/// one, and no longer than what starts and stops programs usually waits.
const LEAVE_TIME: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(30);
const MAX_LEAVE_TIME: Duration = Duration::from_secs(3_600);
/// How long what is still being written is waited for at the end.
const FLUSH_TIME: Duration = Duration::from_secs(1);
/// Events that wait for a reader, about 100 bytes for each. A slower one is told how many it missed.
const EVENTS_WAITING: usize = 512;

/// What the parts of a running agent share.
pub struct Agent {
    pub node: Gossiper,
    pub service: Service,
    pub cluster: String,
    pub control: Option<PathBuf>,
    leave_time: Duration,
    end: Sender<End>,
    /// Whoever has something to write has a clone, until the end is near: when all are gone everything is written.
    writing: Mutex<Option<Sender<()>>>,
    /// Closed when the node has left.
    left: Receiver<()>,
    /// Calls of clients.
    calls: InFlight,
    commands: Commands,
    keys: Keys,
    /// What commands answer, and programs.
    served: Mutex<BTreeSet<Pattern>>,
}

/// Why an agent ends.
#[derive(Debug)]
enum End {
    /// A signal, of this name.
    Signal(&'static str),
    /// Whoever spoke the line protocol over standard input and output has gone, as this tells.
    Gone(&'static str),
    /// The node has stopped: somebody had it leave, or one of its threads panicked.
    Stopped,
}

/// Runs a node until something ends it.
pub fn run(args: AgentArgs) -> Result<(), Failure> {
    let (end, ends) = bounded(8);
    let (for_calls, for_events) = (Groups::default(), Groups::default());
    let all_commands = [for_calls.clone(), for_events.clone()];
    watch_signals(end.clone(), all_commands)
        .map_err(|error| Failure::Failed(format!("cannot take signals: {error}")))?;
    let hook = args.on_event.as_ref().map(|command| hook::Hook::new(command, &args)).transpose()?;
    let leave_time = leave_time(&args)?;
    let service_config = services::config(&args)?;
    let bind = services::bind(&args, &service_config)?;
    let key_file = args.key_file.as_deref().map(|path| secrets::file("--key-file", path)).transpose()?;
    let mut builder = builder(&args, &bind)?;
    if let Some(file) = &key_file {
        builder = builder.keyring(keys::load(file)?);
    }
    let control = bind_control(&args, &bind)?;
    let path = control.as_ref().map(|control| control.path.clone());
    let commands = Commands::new(&args, path.clone(), for_calls)?;
    let remembered = args.remember.clone().map(|file| remember::Remembered::load(file, &args.cluster));
    // All have every event from the first one on: a seed on the same network answers within a millisecond.
    let mut refused = None;
    let prepare = |node: &Gossiper| {
        let started = Keys::start(key_file.as_ref(), node)
            .and_then(|keys| Ok((services::start(service_config, &commands, node)?, keys)));
        // Nobody is to hear of a node without the service or the keys that were asked for.
        let (service, keys) = started.map_err(|failure| refused = Some(failure)).inspect_err(|()| node.stop()).ok()?;
        let hook_events = hook.as_ref().map(|hook| hook.subscribe(node, &service));
        let events = Events::new(node, EventFilter::all(), Some(&service));
        let stopped = node.subscribe_to(EventFilter::all().kinds([]));
        Some((service, keys, events, hook_events, stopped))
    };
    let started = builder.start_after(prepare);
    if let Some(failure) = refused {
        return Err(failure);
    }
    let (node, prepared) = started?;
    let (service, keys, events, hook_events, stopped) = prepared.ok_or(Error::Stopped)?;
    let (writing, written) = bounded(0);
    let (leaving, left) = bounded(0);
    let served = commands.patterns().cloned().collect();
    let agent = Arc::new(Agent {
        node,
        service,
        cluster: args.cluster.clone(),
        control: path,
        leave_time,
        end,
        writing: Mutex::new(Some(writing)),
        left,
        calls: InFlight::default(),
        commands,
        keys,
        served: Mutex::new(served),
    });
    let running = match hook.zip(hook_events) {
        Some((hook, events)) => Some(hook.start(&agent, events, for_events).map_err(thread_failed)?),
        None => None,
    };
    if let Some(remembered) = remembered {
        remembered.start(&agent).map_err(thread_failed)?;
    }
    let control = control.map(|control| control.serve(&agent)).transpose().map_err(thread_failed)?;
    let told = if args.stdio { session::over_stdio(&agent, events) } else { print_events(&agent, events, args.json) };
    told.map_err(thread_failed)?;
    system::tell(system::READY);
    // Not by way of those who write events: they may have a reader who does not read.
    let end = select! {
        recv(ends) -> end => end.unwrap_or(End::Stopped),
        recv(stopped.receiver()) -> _ => End::Stopped,
    };
    system::tell(system::STOPPING);
    // Nobody else finds this agent from here on.
    drop(control);
    let ended = leave(&agent, &end);
    // Calls that are still under way end in an error.
    drop(leaving);
    agent.service.close();
    agent.kill_commands();
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

fn builder(args: &AgentArgs, bind: &str) -> Result<Builder, Failure> {
    let mut builder = Gossiper::builder()
        .bind(bind)
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
        let value = value_of(value);
        check_size(key, &value).map_err(|problem| Failure::Usage(format!("--set {key}=…: {problem}")))?;
        builder = builder.initial(key, &value);
    }
    Ok(builder)
}

/// What the node would say too, but not of which key.
fn check_size(key: &str, value: &serde_json::Value) -> Result<(), String> {
    let limits = Limits::default();
    let bytes = Value::encode(value).map_err(|error| error.to_string())?.as_bytes().len();
    match (key.len(), bytes) {
        (len, _) if len > limits.key_bytes => {
            Err(format!("the key has {len} bytes; at most it may have {}", limits.key_bytes))
        }
        (_, len) if len > limits.value_bytes => {
            Err(format!("the value has {len} bytes; at most it may have {}", limits.value_bytes))
        }
        _ => Ok(()),
    }
}

fn leave_time(args: &AgentArgs) -> Result<Duration, Failure> {
    match args.leave_time {
        Some(time) if time > MAX_LEAVE_TIME => {
            Err(Failure::Usage(format!("--leave-time {time:?}: at most it may be 1 h")))
        }
        Some(time) => Ok(time),
        None => Ok(args.interval.clamp(*LEAVE_TIME.start(), *LEAVE_TIME.end())),
    }
}

/// Binds the control socket that was asked for, or the default one if there is a place for it.
fn bind_control(args: &AgentArgs, bind: &str) -> Result<Option<Control>, Failure> {
    if let Some(path) = args.control.clone() {
        return Control::bind(path).map(Some).map_err(Failure::failed);
    }
    let port = place::gossip_port(Some(bind), None);
    if args.stdio || port == Some(0) {
        return Ok(None);
    }
    let path = place::default_control(port);
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

/// The first signal has the node leave; the second one ends the process, with these commands.
fn watch_signals(end: Sender<End>, commands: [Groups; 2]) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    if !is_ignored(SIGHUP) {
        // The terminal was closed.
        signals.add_signal(SIGHUP)?;
    }
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for (n, signal) in signals.forever().enumerate() {
            if n > 0 {
                for commands in &commands {
                    commands.kill_all();
                }
                std::process::exit(128 + signal);
            }
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
            let _ = end.try_send(End::Signal(name));
        }
    })?;
    Ok(())
}

/// Whether whoever started this process had it ignore a signal, as `nohup` does; where the system does not tell, no.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

/// Prints events on a thread of its own, for standard output may block.
fn print_events(agent: &Arc<Agent>, events: Events, json: bool) -> io::Result<()> {
    let (ready, writing) = (agent.ready(), agent.writing());
    thread::Builder::new().name("printer".to_owned()).spawn(move || {
        let _writing = writing;
        let mut readable = print(&ready, json);
        while let Some(event) = events.next(&never()) {
            readable = readable && print(&event, json);
        }
    })?;
    Ok(())
}

/// False if nobody reads any more: no reason for a node to end.
fn print(event: &EventLine, json: bool) -> bool {
    let mut text = line(event);
    if !json {
        text = plain::event(&json::parse(text.as_bytes()).unwrap_or_default()) + "\n";
    }
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.inspect_err(|error| log::warn!("events are not printed any more: {error}")).is_ok()
}

impl Agent {
    /// What is told first.
    fn ready(&self) -> EventLine {
        EventLine::ready(&self.node, &self.cluster, self.control.as_deref(), self.listens())
    }

    /// Where calls are taken, and where plain ones are.
    fn listens(&self) -> [Option<SocketAddr>; 2] {
        [self.service.local_addr(), self.service.local_plain_addr()]
    }

    /// Held by whoever has something to write: the end waits for that.
    pub fn writing(&self) -> Option<Sender<()>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn served(&self) -> MutexGuard<'_, BTreeSet<Pattern>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves, for somebody who asked or at the end. Who has called is answered before, if that does not take too long.
    pub fn leave(&self) -> Result<(), Error> {
        let is_called = self.listens().iter().any(Option::is_some) && !self.served().is_empty();
        if is_called && self.node.check().is_ok() && !self.service.drain(FINISH_TIME) {
            self.kill_commands();
        }
        self.node.leave(self.leave_time)
    }

    fn kill_commands(&self) {
        let killed = self.commands.kill();
        if killed > 0 {
            log::warn!("{killed} commands for calls still ran and were killed");
        }
    }
}

fn leave(agent: &Agent, end: &End) -> Result<(), Failure> {
    match end {
        End::Signal(name) => log::info!("{name}: leaving"),
        End::Gone(why) => log::info!("{why}: leaving"),
        End::Stopped => {}
    }
    match agent.leave() {
        Ok(()) | Err(Error::Stopped) => Ok(()),
        Err(error @ Error::TimedOut(_)) => {
            log::warn!("{}", Problem::from(error).message);
            Ok(())
        }
        Err(error) => Err(Failure::failed(error)),
    }
}
