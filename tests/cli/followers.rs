//! Clients that follow events: which ones they are told, when they begin and change their minds, and what becomes of slow ones.

use std::io::{BufRead, BufReader, ErrorKind, Write, pipe};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::agent::{agent_command, threads};
use crate::harness::{Agent, Conversation, LONG, Process, has, until};

fn set(talk: &mut Conversation, key: &str, value: impl Into<Value>) {
    talk.done(json!({"do": "set", "key": key, "value": value.into()}));
}

/// The keys that events tell of, up to this one.
fn keys_until(talk: &mut Conversation, last: &str) -> Vec<String> {
    let mut keys = Vec::new();
    while keys.last().is_none_or(|key| key != last) {
        let event = talk.next_event().expect("an event, not the end");
        keys.push(event["key"].as_str().unwrap_or_else(|| panic!("{event}")).to_owned());
    }
    keys
}

/// A control connection starts without events, and one over standard output with all of them.
#[test]
fn events_come_once_they_are_asked_for() {
    let mut agent = Agent::start(&["--stdio"]);
    let mut talk = agent.connect();
    set(&mut talk, "a", 1);
    talk.done(json!({"do": "subscribe"}));
    set(&mut talk, "b", 2);
    assert_eq!(keys_until(&mut talk, "b"), ["b"]);
    assert_eq!(keys_until(&mut agent.stdio, "b"), ["a", "b"]);
}

/// Whatever happens after the reply is told: here it is asked for by somebody else as soon as the reply has come.
#[test]
fn nothing_is_missed_after_the_reply() {
    let agent = Agent::start(&[]);
    let mut other = agent.connect();
    for n in 0..200 {
        let mut talk = agent.connect();
        talk.done(json!({"do": "subscribe"}));
        set(&mut other, "k", n);
        assert_eq!(talk.next_event().unwrap()["value"], n);
    }
}

#[test]
fn events_about_keys_may_be_chosen_by_prefix() {
    let agent = Agent::start(&[]);
    let mut talk = agent.connect();
    talk.done(json!({"do": "subscribe", "prefix": "a/"}));
    for key in ["b", "a", "a/1", "", "ba/", "a/", "a/2"] {
        set(&mut talk, key, 1);
    }
    talk.done(json!({"do": "delete", "key": "b"}));
    talk.done(json!({"do": "delete", "key": "a/2"}));
    assert_eq!(keys_until(&mut talk, "a/2"), ["a/1", "a/", "a/2"]);
    assert!(has(&talk.next_event().unwrap(), &json!({"event": "delete", "key": "a/2"})));
    // Events about no key come all the same.
    let other = Agent::join(&agent, &["--set", "b=1", "--set", "a/3=1"]);
    let events: Vec<Value> = std::iter::from_fn(|| talk.next_event().filter(|event| event["key"] != "a/3")).collect();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names.iter().filter(|name| **name == "update").count(), 0, "{events:?}");
    assert!(names.contains(&"new_peer") && events.iter().any(|event| event["peer"] == other.peer), "{events:?}");
}

/// Another subscription takes the place of the one before: after its reply nothing comes that only the old one takes.
#[test]
fn who_subscribes_again_is_told_something_else() {
    let agent = Agent::start(&["--stdio"]);
    let mut other = agent.connect();
    let mut talk = agent.connect();
    for round in 0..50 {
        let (old, new) = [("a/", "b/"), ("b/", "a/")][round % 2];
        talk.done(json!({"do": "subscribe", "prefix": old}));
        // Without waiting for replies, so that many events are on their way when the next request is read.
        let requests: Vec<String> = (0..40)
            .map(|n| json!({"id": n, "do": "set", "key": format!("{old}{n}"), "value": round}).to_string() + "\n")
            .collect();
        other.send(requests.concat());
        talk.done(json!({"do": "subscribe", "prefix": new}));
        talk.forget_waiting();
        for _ in 0..40 {
            other.reply();
        }
        set(&mut other, &format!("{old}end"), round);
        set(&mut other, &format!("{new}end"), round);
        let keys = keys_until(&mut talk, &format!("{new}end"));
        assert_eq!(keys.len(), 1, "{keys:?}");
    }
}

/// Over standard output as well, where all events come at first.
#[test]
fn standard_output_may_be_told_less() {
    let mut agent = Agent::start(&["--stdio"]);
    set(&mut agent.stdio, "a", 1);
    agent.stdio.done(json!({"do": "subscribe", "prefix": "b"}));
    agent.stdio.forget_waiting();
    set(&mut agent.stdio, "a", 2);
    set(&mut agent.stdio, "b", 3);
    assert_eq!(keys_until(&mut agent.stdio, "b"), ["b"]);
    // The last event is told all the same.
    agent.stdio.done(json!({"do": "leave"}));
    assert_eq!(agent.stdio.rest(), [json!({"event": "stopped"})]);
    assert_eq!(agent.process.end().status, Some(0));
}

/// The next line that a slow client reads.
fn line(reader: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// A connection that reads only when it is told to.
fn slow(agent: &Agent) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(&agent.control).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    BufReader::new(stream)
}

/// Nobody waits for one who does not read, and it is told how much it missed: what came and what did not is all there was.
#[test]
fn a_slow_follower_is_told_what_it_missed() {
    const CHANGES: u64 = 4_000;
    let agent = Agent::start(&[]);
    let mut follower = slow(&agent);
    follower.get_mut().write_all(b"{\"do\":\"subscribe\"}\n").unwrap();
    assert_eq!(line(&mut follower), json!({"id": null, "ok": true}));
    let mut talk = agent.connect();
    let filling = "x".repeat(2_000);
    for n in 1..=CHANGES {
        set(&mut talk, "k", format!("{n} {filling}"));
    }
    let (mut told, mut missed, mut versions) = (0, 0, vec![1]);
    while *versions.last().unwrap() < CHANGES + 1 {
        let event = line(&mut follower);
        match event["event"].as_str().unwrap() {
            "missed" => {
                assert_eq!(event.as_object().unwrap().len(), 2, "{event}");
                missed += event["count"].as_u64().unwrap();
            }
            name => {
                assert_eq!(name, "update");
                told += 1;
                versions.push(event["version"].as_u64().unwrap());
            }
        }
    }
    assert!(versions.is_sorted_by(|a, b| a < b));
    assert!(missed > 0, "{told} were told");
    assert_eq!(told + missed, CHANGES);
    let stats = talk.done(json!({"do": "stats"}));
    assert!(stats["stats"]["events_missed"].as_u64().unwrap() >= missed, "{stats}");
}

/// One who asks and asks and never reads holds up nobody but itself, and costs nothing once it is gone.
#[test]
fn one_who_never_reads_holds_up_nobody() {
    let agent = Agent::start(&["--set", &format!("large={}", "x".repeat(60_000))]);
    let mut talk = agent.connect();
    set(&mut talk, "warm-up", 1);
    let before = threads(&agent.process);
    let mut silent: Vec<UnixStream> = (0..5).map(|_| slow(&agent).into_inner()).collect();
    for stream in &mut silent {
        stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        stream.write_all(b"{\"do\":\"subscribe\"}\n").unwrap();
        let error = std::iter::repeat_with(|| stream.write_all(b"{\"do\":\"state\"}\n")).find_map(Result::err).unwrap();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    }
    for n in 0..100 {
        set(&mut talk, "k", n);
    }
    assert_eq!(agent.run(&["get", "k"]).done(), "99\n");
    drop(silent);
    until("their threads have ended", || threads(&agent.process) <= before);
}

/// Nor the end of the agent.
#[test]
fn one_who_never_reads_does_not_hold_up_the_end() {
    let agent = Agent::start(&["--set", &format!("large={}", "x".repeat(60_000))]);
    let mut silent = slow(&agent).into_inner();
    silent.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let asked = std::iter::repeat_with(|| silent.write_all(b"{\"do\":\"state\"}\n")).find_map(Result::err);
    assert!(asked.is_some());
    assert_eq!(agent.terminate().status, Some(0));
}

/// Standard output that nobody reads holds up nobody either, and whoever reads on is told what it missed.
#[test]
fn output_that_is_not_read_holds_up_nobody() {
    const CHANGES: u64 = 3_000;
    let folder = TempDir::new().unwrap();
    let control = folder.path().join("control");
    let (reader, writer) = pipe().unwrap();
    let mut command = agent_command(&["--json"]);
    let process = Process::start(command.arg("--control").arg(&control).stdout(writer));
    drop(command);
    until("it serves", || UnixStream::connect(&control).is_ok());
    let mut talk = Conversation::over_socket(&control);
    let filling = "x".repeat(200);
    for n in 1..=CHANGES {
        set(&mut talk, "k", format!("{n} {filling}"));
    }
    let mut lines = BufReader::new(reader).lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    assert_eq!(lines.next().unwrap()["event"], "ready");
    let (mut told, mut missed) = (0, 0);
    for event in lines.by_ref() {
        match event["event"].as_str().unwrap() {
            "missed" => missed += event["count"].as_u64().unwrap(),
            _ => told += 1,
        }
        if event["version"] == CHANGES + 1 {
            break;
        }
    }
    assert!(missed > 0, "{told} were told");
    assert_eq!(told + missed, CHANGES);
    process.signal(Signal::TERM);
    assert_eq!(lines.last(), Some(json!({"event": "stopped"})));
    assert_eq!(process.end().status, Some(0));
}
