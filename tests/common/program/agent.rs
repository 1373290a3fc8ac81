//! An agent that runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::program_within;
use super::{Conversation, Ended, Process, program, run, until};

/// What an agent is told unless a test says otherwise. Nobody fails for the load of the machine alone: every time-out is a second longer.
const DEFAULTS: [(&str, &str); 3] = [("--bind", "127.0.0.1:0"), ("--interval", "50ms"), ("--pause", "20")];

/// An agent's process, with a folder of its own for its control socket.
pub struct Agent {
    pub process: Process,
    /// Its standard input and output: a conversation with `--stdio`, else only events.
    pub stdio: Conversation,
    pub peer: String,
    pub ready: Value,
    pub control: PathBuf,
    /// Where its control socket is, unless it was told another place.
    pub folder: TempDir,
    _commands: Commands,
}

/// What an agent has run, and all that this has started in turn: it ends with this value, where the system tells what belongs to it.
struct Commands {
    mark: String,
}

impl Commands {
    const MARK: &str = "GRAPEVINE_TEST_MARK";

    /// Those of an agent that is started by this command.
    fn of(agent: &mut Command) -> Commands {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let mark = format!("{}-{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
        agent.env(Commands::MARK, &mark);
        Commands { mark: format!("{}={mark}", Commands::MARK) }
    }

    fn running(&self) -> Vec<Pid> {
        let is_marked = |process: &Path| {
            let environment = fs::read(process.join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == self.mark.as_bytes())
        };
        let all = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
        let marked = all.filter(|process| is_marked(process));
        let ids = marked.filter_map(|process| process.file_name()?.to_str()?.parse().ok());
        ids.filter_map(Pid::from_raw).collect()
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        // Some may be just starting others.
        loop {
            let running = self.running();
            if running.is_empty() {
                return;
            }
            for process in running {
                let _ = kill_process(process, Signal::KILL);
            }
        }
    }
}

impl Agent {
    /// Starts one, and waits until it is ready. It prints JSON.
    pub fn start(args: &[&str]) -> Agent {
        Agent::start_after(args, |_| ())
    }

    /// Starts one that has another for its seed.
    pub fn join(seed: &Agent, args: &[&str]) -> Agent {
        Agent::start(&[&["--seed", &*seed.peer], args].concat())
    }

    /// Starts one after its command was changed.
    pub fn start_after(args: &[&str], prepare: impl FnOnce(&mut Command)) -> Agent {
        Agent::start_within(&[], args, prepare)
    }

    /// Starts one by a command that runs what follows it.
    pub fn start_within(outer: &[&str], args: &[&str], prepare: impl FnOnce(&mut Command)) -> Agent {
        let folder = TempDir::new().unwrap();
        let mut control = folder.path().join("control");
        let mut command = agent_command_within(outer, args);
        match args.iter().position(|arg| *arg == "--control") {
            Some(at) => control = PathBuf::from(args[at + 1]),
            None => drop(command.arg("--control").arg(&control)),
        }
        if !args.contains(&"--stdio") {
            command.arg("--json");
        }
        prepare(&mut command);
        let commands = Commands::of(&mut command);
        let mut process = Process::start(&mut command);
        let mut stdio = Conversation::over_stdio(&mut process);
        let ready = stdio.next_event().unwrap_or_else(|| panic!("it does not start: {}", process.errors()));
        assert_eq!(ready["event"], "ready", "{ready}");
        let peer = ready["peer"].as_str().unwrap().to_owned();
        Agent { process, stdio, peer, ready, control, folder, _commands: commands }
    }

    pub fn connect(&self) -> Conversation {
        Conversation::over_socket(&self.control)
    }

    /// Runs a command that talks to this agent.
    pub fn run(&self, args: &[&str]) -> Ended {
        run(&[args, &self.control_option()].concat())
    }

    /// Starts a command that talks to this agent, and leaves it running.
    pub fn start_command(&self, args: &[&str]) -> Process {
        Process::start(&mut program(&[args, &self.control_option()].concat()))
    }

    fn control_option(&self) -> [&str; 2] {
        ["--control", self.control.to_str().unwrap()]
    }

    pub fn generation(&self) -> u64 {
        self.ready["generation"].as_u64().unwrap()
    }

    /// Waits until it has logged this.
    pub fn logs(&self, text: &str) {
        until(text, || self.process.errors().contains(text));
    }

    /// Has it leave; it says this before it ends.
    pub fn logs_after_leaving(self, text: &str) {
        let ended = self.terminate();
        assert!(ended.err.contains(text), "{ended:?}");
    }

    /// Ends it without a word, as a crash would.
    pub fn crash(self) {
        self.process.signal(Signal::KILL);
        assert_eq!(self.process.end().signal, Some(Signal::KILL.as_raw()));
    }

    /// Has it leave by a signal: what it did last.
    pub fn terminate(self) -> Ended {
        self.process.signal(Signal::TERM);
        self.process.end()
    }

    /// Waits until it sees another one so, and returns the other as a member.
    pub fn sees(&self, peer: &str, wanted: Value) -> Value {
        let mut talk = self.connect();
        let mut seen = Value::Null;
        until(&format!("{peer} is {wanted}"), || {
            let member = talk.members().into_iter().find(|member| member["peer"] == peer);
            seen = member.unwrap_or_default();
            super::has(&seen, &wanted)
        });
        seen
    }

    /// Waits until it has this value of another's key.
    pub fn reads(&self, peer: &str, key: &str, value: &Value) {
        let mut talk = self.connect();
        until(&format!("{key} of {peer} is read"), || {
            talk.ask(json!({"do": "get", "peer": peer, "key": key})).get("value") == Some(value)
        });
    }
}

/// `grapevine agent` with these arguments, and what tests want of every agent.
pub fn agent_command(args: &[&str]) -> Command {
    agent_command_within(&[], args)
}

fn agent_command_within(outer: &[&str], args: &[&str]) -> Command {
    let mut command = program_within(outer, &["agent"]);
    command.args(args);
    for (option, value) in DEFAULTS {
        if !args.contains(&option) {
            command.args([option, value]);
        }
    }
    command
}

/// An address that nobody has just now.
pub fn free_address() -> String {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The threads of a process, where the system tells.
pub fn threads(process: &Process) -> Option<usize> {
    let folder = Path::new("/proc").join(process.id().to_string()).join("task");
    Some(folder.read_dir().ok()?.count())
}
