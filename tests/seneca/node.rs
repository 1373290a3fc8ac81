//! Processes of Node.js: `server.js` and `client.js` with one of the two versions of the real Seneca.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The versions, as the scripts call them.
pub const VERSIONS: [&str; 2] = ["0.9", "3"];

/// A machine that does other work starts two Node processes in seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the packages are there; says so where they are not.
pub fn installed() -> bool {
    let found = folder().join("node_modules").is_dir();
    if !found {
        let _ = writeln!(io::stderr(), "SKIPPED: there is no real Seneca here: `npm ci` in tests/seneca installs it");
    }
    found
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seneca")
}

/// A real Seneca that serves.
pub struct Server {
    pub port: u16,
    process: Process,
}

impl Server {
    pub fn start(version: &str) -> Self {
        Self::start_at(version, 0, &json!({}))
    }

    /// With the script's options, on a port of one's choice: that of a server before it, say.
    pub fn start_at(version: &str, port: u16, options: &Value) -> Self {
        let mut process = Process::start("server.js", version, port, options);
        let ready = process.line();
        let port = ready.strip_prefix("ready ").and_then(|port| port.parse().ok());
        Self { port: port.unwrap_or_else(|| panic!("the server did not start: {ready}")), process }
    }

    /// Its connections break as a crash breaks them.
    pub fn kill(mut self) {
        self.process.kill();
    }
}

/// A real Seneca that calls.
pub struct Client {
    process: Process,
    last_id: u64,
    /// Answers that came before they were asked for.
    answers: HashMap<u64, Value>,
    /// Calls that were answered once more.
    again: Vec<u64>,
}

impl Client {
    pub fn start(version: &str, port: u16, options: &Value) -> Self {
        let mut process = Process::start("client.js", version, port, options);
        assert_eq!(process.line(), r#"{"ready":true}"#);
        Self { process, last_id: 0, answers: HashMap::new(), again: Vec::new() }
    }

    /// `{"ok":…}` or `{"error":…}`, without the id.
    pub fn call(&mut self, act: &str, message: Value) -> Value {
        let id = self.send(json!({ "act": act, "message": message }));
        self.answer(id)
    }

    /// As many calls at once; each has its number in the message's field `count`.
    pub fn call_many(&mut self, act: &str, message: Value, many: usize, count: &str) -> Value {
        let id = self.send(json!({ "act": act, "message": message, "many": many, "count": count }));
        self.answer(id)
    }

    /// A call whose answer nobody waits for.
    pub fn tell(&mut self, act: &str, message: Value) {
        let id = self.send(json!({ "act": act, "message": message, "reply": false }));
        assert_eq!(self.answer(id), json!({ "sent": true }));
    }

    /// The time-out of the calls from now on. The first one opens the connection, which takes a busy machine a while.
    pub fn set_timeout(&mut self, milliseconds: u64) {
        let id = self.send(json!({ "timeout": milliseconds }));
        assert_eq!(self.answer(id), json!({ "timeout": milliseconds }));
    }

    /// Hands the script a line and gives it an id.
    pub fn send(&mut self, mut line: Value) -> u64 {
        self.last_id += 1;
        line["id"] = json!(self.last_id);
        self.process.write(&line);
        self.last_id
    }

    pub fn answer(&mut self, id: u64) -> Value {
        loop {
            if let Some(answer) = self.answers.remove(&id) {
                return answer;
            }
            let line = self.process.line();
            let mut answer: Value = serde_json::from_str(&line).expect("a line of JSON");
            let fields = answer.as_object_mut().expect("an object");
            let id = fields.remove("id").and_then(|id| id.as_u64()).unwrap_or_else(|| panic!("the client said {line}"));
            if fields.contains_key("again") {
                self.again.push(id);
            } else {
                self.answers.insert(id, answer);
            }
        }
    }

    /// The calls that were answered once more since the last time.
    pub fn answered_again(&mut self) -> Vec<u64> {
        mem::take(&mut self.again)
    }

    /// Ends it, which has to go well: nothing uncaught, nothing left over, nothing answered twice.
    pub fn end(mut self) {
        assert_eq!(self.again, Vec::<u64>::new(), "calls were answered again");
        self.process.close_input();
        let left = self.process.rest();
        assert_eq!(left, Vec::<String>::new(), "the client said more");
        assert!(self.process.child.wait().expect("its status").success());
    }
}

/// It ends when its input closes, so that nothing outlives a test, however that ends.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    fn start(script: &str, version: &str, port: u16, options: &Value) -> Self {
        let mut child = Command::new("node")
            .arg(folder().join(script))
            .args([version, &port.to_string(), &options.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Node.js");
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().expect("its output"));
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { input: child.stdin.take(), child, lines }
    }

    fn write(&mut self, line: &Value) {
        let input = self.input.as_mut().expect("its input");
        writeln!(input, "{line}").expect("a process that reads");
    }

    fn line(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("no line in {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the process ended: {:?}", self.child.wait()),
        }
    }

    /// What it says until it ends.
    fn rest(&mut self) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut rest = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => rest.push(line),
                Err(RecvTimeoutError::Disconnected) => return rest,
                Err(RecvTimeoutError::Timeout) => panic!("it did not end in {PATIENCE:?}"),
            }
        }
    }

    fn close_input(&mut self) {
        self.input = None;
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
