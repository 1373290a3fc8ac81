//! The program in a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, unbounded};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, test_kill_process, waitpid};

use super::{is_keyed, until};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_grapevine");

/// The program with these arguments, in an environment without settings. Its input, output and errors are the test's, unless that
/// says otherwise.
pub fn program(args: &[&str]) -> Command {
    program_within(&[], args)
}

/// The same, by a command that runs what follows it.
pub fn program_within(outer: &[&str], args: &[&str]) -> Command {
    let words = [outer, &[PROGRAM], args].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for kept in ["PATH", "TMPDIR"] {
        command.envs(std::env::var_os(kept).map(|value| (kept, value)));
    }
    command.envs(is_keyed().then(|| ("GRAPEVINE_KEY_FILE", key_file())));
    command
}

/// What every agent is given where it has no other keys.
fn key_file() -> &'static Path {
    static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("key");
        fs::write(&file, "Q".repeat(43) + "=\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file
    });
    &FILE
}

/// Runs the program to its end, with nothing to read.
pub fn run(args: &[&str]) -> Ended {
    Process::start(&mut program(args)).end()
}

/// A process of the program; it ends with this value.
pub struct Process {
    child: Child,
    /// Its standard input, until somebody takes it.
    pub input: Option<ChildStdin>,
    /// The lines of its standard output, with their ends.
    pub lines: Receiver<Vec<u8>>,
    errors: Arc<Mutex<Vec<u8>>>,
    reader_of_errors: Option<JoinHandle<()>>,
}

impl Process {
    pub fn start(command: &mut Command) -> Process {
        let mut child = command.spawn().unwrap();
        let (sender, lines) = unbounded();
        if let Some(output) = child.stdout.take() {
            let mut output = BufReader::new(output);
            thread::spawn(move || {
                let mut line = Vec::new();
                while output.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
                    let _ = sender.send(std::mem::take(&mut line));
                }
            });
        }
        let errors: Arc<Mutex<Vec<u8>>> = Arc::default();
        let reader_of_errors = child.stderr.take().map(|stderr| {
            let errors = errors.clone();
            thread::spawn(move || {
                let mut stderr = BufReader::new(stderr);
                let mut line = Vec::new();
                while stderr.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
                    errors.lock().append(&mut line);
                }
            })
        });
        Process { input: child.stdin.take(), child, lines, errors, reader_of_errors }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        signal_to(self.id(), signal);
    }

    /// Stops it, and waits until it has.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        let stopped = waitpid(Some(Pid::from_child(&self.child)), WaitOptions::UNTRACED).unwrap();
        assert!(stopped.is_some_and(|(_, status)| status.stopped()));
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Everything that it has said on standard error so far.
    pub fn errors(&self) -> String {
        String::from_utf8(self.errors.lock().clone()).unwrap()
    }

    /// Closes its input, waits for its end, and takes what it said.
    pub fn end(mut self) -> Ended {
        self.input = None;
        until("the program ends", || !self.runs());
        until("its errors are read", || self.reader_of_errors.as_ref().is_none_or(JoinHandle::is_finished));
        let status = self.child.wait().unwrap();
        let out = self.lines.iter().flatten().collect();
        Ended { status: status.code(), signal: status.signal(), out, err: self.errors() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{} said:\n{}", self.id(), self.errors());
        }
    }
}

/// Sends a signal to any process.
pub fn signal_to(process: u32, signal: Signal) {
    kill_process(Pid::from_raw(process as i32).unwrap(), signal).unwrap();
}

/// Whether a process runs; one that has ended may be left for its parent to notice.
pub fn is_running(id: &str) -> bool {
    let id = id.trim();
    let ended = fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    !ended && test_kill_process(Pid::from_raw(id.parse().unwrap()).unwrap()).is_ok()
}

/// What became of a process.
#[derive(Debug)]
pub struct Ended {
    pub status: Option<i32>,
    pub signal: Option<i32>,
    pub out: Vec<u8>,
    pub err: String,
}

impl Ended {
    /// It did what it was asked to: its output.
    pub fn done(self) -> String {
        assert_eq!((self.status, &*self.err), (Some(0), ""), "{self:?}");
        String::from_utf8(self.out).unwrap()
    }

    /// It could not do that: the one line that says why.
    pub fn failed(self) -> String {
        self.one_line(1)
    }

    /// It was not asked rightly: the one line that says why.
    pub fn misused(self) -> String {
        self.one_line(2)
    }

    /// Its arguments were refused, which takes a few lines.
    pub fn refused(self) -> String {
        assert_eq!((self.status, self.out.len()), (Some(2), 0), "{self:?}");
        assert!(self.err.starts_with("error: ") || self.err.contains("Usage: "), "{self:?}");
        self.err
    }

    fn one_line(self, status: i32) -> String {
        assert_eq!((self.status, self.out.len()), (Some(status), 0), "{self:?}");
        // An agent with keys may have logged which they are.
        let told = if is_keyed() && self.err.starts_with('[') { self.err.split_once('\n') } else { None };
        let err = told.map_or(&*self.err, |(_, rest)| rest);
        let line = err.strip_prefix("grapevine: ").and_then(|err| err.strip_suffix('\n'));
        let line = line.unwrap_or_else(|| panic!("no line of the program's: {self:?}"));
        assert!(!line.contains('\n'), "more than one line: {self:?}");
        line.to_owned()
    }
}
