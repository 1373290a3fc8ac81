//! A process that is stopped for 20 s, with the system's own means.
#![cfg(unix)]

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use grapevine::{Builder, Event, Gossiper};

const NAME: &str = "a_process_that_was_stopped_for_20_s_convicts_nobody";
/// Set for the process that is stopped: the seed it joins.
const SEED: &str = "GRAPEVINE_TEST_SEED";
/// What the test is about, and no wait for anything.
const STOP: Duration = Duration::from_secs(20);
/// Nothing takes so long.
const LONG: Duration = Duration::from_secs(60);
/// Time-outs are some four of these, so that nobody fails for the load of the machine alone.
const INTERVAL: Duration = Duration::from_millis(500);
/// Longer than any verdict takes.
const AFTERMATH: Duration = Duration::from_secs(4);

fn node() -> Builder {
    Gossiper::builder().interval(INTERVAL)
}

/// Three peers run on while a fourth process is stopped. They see it fail and come back; it convicts none of them.
#[test]
fn a_process_that_was_stopped_for_20_s_convicts_nobody() {
    if let Ok(seed) = env::var(SEED) {
        return be_stopped(&seed);
    }
    let first = node().start().unwrap();
    let others: Vec<Gossiper> = (0..2).map(|_| node().seed(first.peer().to_string()).start().unwrap()).collect();
    let mut stopped = Stopped::start(&first);
    stopped.says("has 3 alive");
    let alive = |node: &Gossiper| node.live_peers().len();
    assert!(first.wait_until(LONG, |node| alive(node) == 3));

    stopped.signal("-STOP");
    let stopped_at = Instant::now();
    assert!(first.wait_until(STOP, |node| alive(node) == 2), "a silence of 20 s is noticed");
    std::thread::sleep(STOP.saturating_sub(stopped_at.elapsed()));
    stopped.signal("-CONT");
    stopped.tell_that_it_is_over();

    stopped.says("noticed a pause");
    stopped.says("failed: 0");
    for node in others.iter().chain([&first]) {
        assert!(node.wait_until(LONG, |node| alive(node) == 3), "it is not back: {:?}", node.peers());
    }
}

/// What the stopped process does: tells what its node sees, before and, once it is told that it is over, after.
fn be_stopped(seed: &str) {
    let (node, events) = node().seed(seed).start_subscribed().unwrap();
    assert!(node.wait_until(LONG, |node| node.live_peers().len() == 3));
    println!("has 3 alive");
    let before = node.stats().pauses;
    let mut lines = std::io::stdin().lines();
    let _ = lines.next();
    // Of a pause no event tells.
    let deadline = Instant::now() + LONG;
    while node.stats().pauses == before {
        assert!(Instant::now() < deadline, "no pause was noticed");
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("noticed a pause");
    let end = Instant::now() + AFTERMATH;
    let aftermath = std::iter::from_fn(|| events.recv_timeout(end.saturating_duration_since(Instant::now())));
    let failed = aftermath.filter(|event| matches!(event, Event::PeerFailed { .. })).count();
    println!("failed: {failed}");
    let _ = std::io::stdout().flush();
    // The others are to see it alive, until the test ends and the input with it.
    let _ = lines.next();
}

/// The process; it ends with the test.
struct Stopped {
    child: Child,
    lines: Receiver<String>,
}

impl Stopped {
    fn start(seed: &Gossiper) -> Stopped {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", NAME, "--nocapture"])
            .env(SEED, seed.peer().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = unbounded();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Stopped { child, lines }
    }

    fn says(&self, what: &str) {
        let deadline = Instant::now() + LONG;
        let mut said = Vec::new();
        while let Ok(line) = self.lines.recv_deadline(deadline) {
            // The first line also bears what the test harness says.
            if line.ends_with(what) {
                return;
            }
            said.push(line);
        }
        panic!("it did not say `{what}` but {said:?}");
    }

    fn tell_that_it_is_over(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"over\n").unwrap();
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
