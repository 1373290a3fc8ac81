//! `--serve`: calls that are answered by commands.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use grapevine::Error;
use grapevine::service::{self, Message, Pattern, Service, time_left};
use serde_json::json;
use serde_json::value::RawValue;

use crate::agent::output::{self, Output, Stopped};
use crate::agent::shell::{self, Groups};
use crate::args::AgentArgs;
use crate::failure::Failure;
use crate::plain::printable;
use crate::protocol::line;

/// What is offered.
pub struct Commands {
    commands: Vec<(Pattern, String)>,
    runner: Arc<Runner>,
}

/// What all of them share.
struct Runner {
    control: Option<PathBuf>,
    limit: Duration,
    /// A message for each command that runs; as many have room as may run.
    places: (Sender<()>, Receiver<()>),
    groups: Groups,
}

/// The right to run a command, until it is dropped.
struct Place<'a>(&'a Receiver<()>);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let _ = self.0.try_recv();
    }
}

impl Commands {
    pub fn new(args: &AgentArgs, control: Option<PathBuf>, groups: Groups) -> Result<Commands, Failure> {
        shell::check("--serve-jobs", args.serve_jobs, "--serve-limit", args.serve_limit)?;
        let mut commands: Vec<(Pattern, String)> = Vec::new();
        for text in args.serve.iter().filter(|text| !text.trim().is_empty()) {
            let (pattern, command) = split(text)?;
            if commands.iter().any(|(other, _)| *other == pattern) {
                return Err(Failure::Usage(format!("--serve {pattern}=…: there are two of them; leave one out")));
            }
            commands.push((pattern, command.to_owned()));
        }
        let (limit, places) = (args.serve_limit, bounded(args.serve_jobs));
        let runner = Runner { control, limit, places, groups };
        Ok(Commands { commands, runner: Arc::new(runner) })
    }

    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// The patterns that nobody else may serve here.
    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.commands.iter().map(|(pattern, _)| pattern)
    }

    pub fn offer(&self, service: &Service) -> Result<(), Error> {
        for (pattern, command) in &self.commands {
            let (runner, own_pattern, command) = (self.runner.clone(), pattern.clone(), command.clone());
            service.add(pattern, move |message: Message| runner.answer(&own_pattern, &command, message))?;
        }
        Ok(())
    }

    /// Kills those that run, and lets none start any more: how many that were.
    pub fn kill(&self) -> usize {
        self.runner.groups.kill_all()
    }
}

/// The pattern, which ends at the first `=` before which there is one, and the command.
fn split(text: &str) -> Result<(Pattern, &str), Failure> {
    let mut problem = None;
    for (at, _) in text.match_indices('=') {
        match text[..at].parse() {
            Ok(pattern) if !text[at + 1..].trim().is_empty() => return Ok((pattern, &text[at + 1..])),
            Ok(_) => return Err(Failure::Usage(format!("--serve {text}: there is no command after the `=`"))),
            Err(error) => drop(problem.get_or_insert(error)),
        }
    }
    Err(Failure::Usage(match problem {
        Some(problem) => format!("--serve {text}: {problem}"),
        None => format!("--serve {text}: it has no `=`; write PATTERN=COMMAND, like --serve 'role:api,cmd:add=./add'"),
    }))
}

impl Runner {
    /// Runs a command for a call: its result is what that printed.
    fn answer(&self, pattern: &Pattern, command: &str, message: Message) -> Result<Box<RawValue>, service::Failure> {
        let _place = self.place()?;
        self.run(pattern, command, &message)
    }

    /// Waits until a command may be run, for half of the time that the call has: the other half is for the next provider, or for
    /// the command.
    fn place(&self) -> Result<Place<'_>, service::Failure> {
        let (taken, given_back) = &self.places;
        let patience = time_left().unwrap_or_default() / 2;
        if taken.send_timeout((), patience).is_err() {
            let most = taken.capacity().unwrap_or_default();
            let text = format!(
                "{most} commands run here already, and none has ended within {patience:.0?}, half of the time for the call"
            );
            return Err(service::Failure::new("overloaded", text).not_run());
        }
        let place = Place(given_back);
        match time_left() {
            Some(Duration::ZERO) => {
                let text = "its time was over before a command could be run";
                Err(service::Failure::new("action_timeout", text).not_run())
            }
            _ => Ok(place),
        }
    }

    fn run(&self, pattern: &Pattern, command: &str, message: &Message) -> Result<Box<RawValue>, service::Failure> {
        let mut command = shell::command(command, self.control.as_deref());
        command.env("GRAPEVINE_PATTERN", pattern.to_string()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let not_run = |error| {
            let text = format!("the command for {pattern} was not run: {error}");
            service::Failure::new("command_not_run", text).not_run()
        };
        let started = self.groups.start(command, &line(message)).map_err(not_run)?;
        let begun = Instant::now();
        let mut output = Output::default();
        let stopped = output.collect(&started, begun + self.limit);
        if !matches!(stopped, Ok(Stopped::Ended(_))) {
            started.kill();
        }
        let said = output.said();
        log::debug!("the command for {pattern} ran for {:?}{}", begun.elapsed(), printable(&said));
        let failure =
            |code, what: String| service::Failure::new(code, format!("the command for {pattern} {what}{said}"));
        let stopped = stopped.map_err(|error| {
            let what = format!("was killed, for its output could not be read: {error}");
            failure("result_not_read", what)
        });
        match stopped? {
            Stopped::Ended(status) if status.success() => {
                output.result().map_err(|problem| failure("bad_result", format!("did not print a result: {problem}")))
            }
            Stopped::Ended(status) => {
                Err(failure("command_failed", format!("ended with {status}")).with_details(details(status)))
            }
            Stopped::TooLate => {
                Err(failure("command_timed_out", format!("took longer than {:?} and was killed", self.limit)))
            }
            Stopped::TooMuch => {
                let what = format!("printed more than {} bytes and was killed", output::MAX_RESULT_BYTES);
                Err(failure("result_too_large", what))
            }
        }
    }
}

fn details(status: ExitStatus) -> serde_json::Value {
    match status.signal() {
        Some(signal) => json!({"signal": signal}),
        None => json!({"status": status.code()}),
    }
}
