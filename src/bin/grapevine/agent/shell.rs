//! Commands of the user's, run by the shell: each with something to read, in a process group of its own, for a limited time.

use std::io::{self, Seek, Write};
use std::ops::RangeInclusive;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use shared_child::SharedChild;

use crate::failure::Failure;

const JOBS: RangeInclusive<usize> = 1..=64;
const LIMIT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3_600);
/// How long commands may still run once the node has stopped.
pub const FINISH_TIME: Duration = Duration::from_secs(3);
/// Every pipe holds as much before anybody reads.
const PIPE_BYTES: usize = 4_096;

/// Whether so many commands may be allowed at once, for so long each.
pub fn check(jobs_option: &str, jobs: usize, limit_option: &str, limit: Duration) -> Result<(), Failure> {
    if !JOBS.contains(&jobs) {
        return Err(Failure::Usage(format!("{jobs_option} {jobs}: the range is 1 to 64")));
    }
    if !LIMIT.contains(&limit) {
        return Err(Failure::Usage(format!("{limit_option} {limit:?}: the range is 1 ms to 1 h")));
    }
    Ok(())
}

/// `/bin/sh -c COMMAND`, which may ask the agent at this control socket.
pub fn command(command: &str, control: Option<&Path>) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command);
    if let Some(control) = control {
        shell.env("GRAPEVINE_CONTROL", control);
    }
    shell
}

/// The process groups of the commands that run.
#[derive(Clone, Default)]
pub struct Groups(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    groups: Vec<Pid>,
    /// No more are started.
    closed: bool,
}

impl Groups {
    /// Starts a command that has this to read.
    pub fn start(&self, mut command: Command, input: &str) -> io::Result<Started> {
        command.stdin(stdin(input)?).process_group(0);
        // Whoever kills all waits until this one is among them.
        let mut inner = self.lock();
        if inner.closed {
            return Err(io::Error::other("the agent is ending"));
        }
        let child = SharedChild::spawn(&mut command)?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        inner.groups.extend(group);
        drop(inner);
        Ok(Started { child, group, groups: self.clone() })
    }

    /// Kills what runs, with everything that it started, and lets nothing start any more: how many that were, but for those that were
    /// told before.
    pub fn kill_all(&self) -> usize {
        let mut inner = self.lock();
        let told = std::mem::replace(&mut inner.closed, true);
        inner.groups.iter().copied().for_each(kill);
        if told { 0 } else { inner.groups.len() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A command that runs. One that is not waited for is killed.
pub struct Started {
    child: SharedChild,
    group: Option<Pid>,
    groups: Groups,
}

impl Started {
    /// What it writes, where that was piped.
    pub fn take_outputs(&self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.take_stdout(), self.child.take_stderr())
    }

    /// How it ended, if it has. What it left behind goes on: it may have done so on purpose.
    pub fn ended(&self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits for its end; `None` if that did not come in time.
    pub fn wait(&self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        self.child.wait_timeout(limit)
    }

    /// Kills it with everything that it started, also what it left behind.
    pub fn kill(&self) {
        self.group.into_iter().for_each(kill);
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.kill();
            let _ = self.child.wait();
        }
        self.groups.lock().groups.retain(|other| Some(*other) != self.group);
    }
}

fn kill(group: Pid) {
    let _ = kill_process_group(group, Signal::KILL);
}

/// Standard input with this to read: nobody has to write while the command reads, or does not.
fn stdin(text: &str) -> io::Result<Stdio> {
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
