//! The program itself, as child processes in a folder that goes with them.
#![allow(dead_code)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{self, Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_grapevine");
/// Nothing takes so long.
pub const LONG: Duration = Duration::from_secs(60);

/// Waits for something of which nothing else tells.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {LONG:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The system's, of this name.
pub fn signal(process: u32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), process.to_string()]).status().unwrap();
    assert!(status.success());
}

/// A folder of its own, gone with this.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("grapevine-test-{}-{number}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An agent that runs, bound to a port that the system gave, with a round every 100 ms.
pub struct Agent {
    pub peer: String,
    pub control: PathBuf,
    child: Child,
    events: Receiver<Value>,
    folder: Folder,
}

impl Agent {
    pub fn start(args: &[&str]) -> Agent {
        Agent::start_by(Command::new(PROGRAM), args)
    }

    pub fn join(seed: &Agent) -> Agent {
        Agent::start(&["--seed", &seed.peer])
    }

    /// By a command to which the agent's arguments are added.
    pub fn start_by(mut command: Command, args: &[&str]) -> Agent {
        let folder = Folder::new();
        let control = folder.path("control.sock");
        command.args(["agent", "--json", "--interval", "100ms", "--control"]).arg(&control).args(args);
        if !args.contains(&"--bind") {
            command.args(["--bind", "127.0.0.1:0"]);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, events) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        let mut agent = Agent { peer: String::new(), control, child, events, folder };
        agent.peer = agent.tells("ready", |_| true)["peer"].as_str().unwrap().to_owned();
        agent
    }

    /// Waits for an event.
    pub fn tells(&self, name: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LONG;
        let mut others = Vec::new();
        while let Ok(event) = self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if event["event"] == name && is_it(&event) {
                return event;
            }
            others.push(event.to_string());
        }
        panic!("{} did not tell {name}, but {}", self.peer, others.join("\n"));
    }

    /// Waits for an event of a peer.
    pub fn tells_of(&self, peer: &str, name: &str) {
        self.tells(name, |event| event["peer"] == peer);
    }

    /// A command for it.
    pub fn command(&self, args: &[&str]) -> Output {
        Command::new(PROGRAM).args(args).env("GRAPEVINE_CONTROL", &self.control).output().unwrap()
    }

    /// What a command of which it makes a success says in JSON.
    pub fn asked(&self, args: &[&str]) -> Value {
        let output = self.command(&[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What it thinks of a peer, if it knows it.
    pub fn state_of(&self, peer: &str) -> Option<String> {
        let members = self.asked(&["members"])["members"].take();
        let member = members.as_array().unwrap().iter().find(|member| member["peer"] == peer)?;
        member["state"].as_str().map(str::to_owned)
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits until it has ended by itself.
    pub fn ends(&mut self) -> ExitStatus {
        let mut status = None;
        until("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
