//! A node's process, as the test sees it: it gives orders and hears answers and events.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use crate::commands;
use crate::node::{ANSWER, ARGUMENT, EVENT, Order, Setup, Told};

/// No answer takes so long, on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// An event, and when the test heard of it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    pub told: Told,
}

/// It ends with this value, and its input ends with the test.
pub struct Process {
    child: Child,
    answers: Receiver<String>,
}

impl Process {
    /// Starts one in a namespace, which adds to these events.
    pub fn start(namespace: &str, setup: &Setup, events: Arc<Mutex<Vec<Seen>>>) -> Process {
        let this_program = env::current_exe().unwrap();
        let mut child = Command::new("ip")
            .args(["netns", "exec", namespace])
            .arg(this_program)
            .args([ARGUMENT, &serde_json::to_string(setup).unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, answers) = unbounded();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || hear(output, &sender, &events));
        Process { child, answers }
    }

    pub fn order<T: DeserializeOwned>(&mut self, order: &Order) -> T {
        let line = serde_json::to_string(order).unwrap() + "\n";
        let written = self.child.stdin.as_mut().unwrap().write_all(line.as_bytes());
        assert!(written.is_ok(), "the node has ended: {:?}", self.child.try_wait());
        let answer = self.answers.recv_timeout(PATIENCE);
        let answer = answer.unwrap_or_else(|_| panic!("no answer to {order:?}; ended: {:?}", self.child.try_wait()));
        serde_json::from_str(&answer).unwrap()
    }

    pub fn signal(&self, signal: &str) {
        commands::signal(self.child.id(), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hear(output: impl BufRead, answers: &Sender<String>, events: &Mutex<Vec<Seen>>) {
    for line in output.lines().map_while(Result::ok) {
        if let Some(answer) = line.strip_prefix(ANSWER) {
            let _ = answers.send(answer.to_owned());
        } else if let Some(told) = line.strip_prefix(EVENT).and_then(|event| serde_json::from_str(event).ok()) {
            events.lock().push(Seen { at: Instant::now(), told });
        }
    }
}
