//! Calls that one agent has no room for: they go to another one, and nothing is run for those who wait no longer.

use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{act, failure, knows, next_call, result, send, serve, serving};
use crate::harness::conversation::refusal;
use crate::harness::{Agent, Conversation, until};

/// A command that runs until a file is there, and tells by another one that it does.
fn waiting(folder: &TempDir) -> String {
    let shown = folder.path().display();
    format!("cmd:wait=touch {shown}/runs; while [ ! -e {shown}/go ]; do sleep 0.02; done; echo '[\"done\"]'")
}

/// Has an agent run that one.
fn occupy(agent: &Agent, folder: &TempDir) -> Conversation {
    let mut talk = agent.connect();
    send(&mut talk, 0, act("cmd:wait"));
    until("it runs", || folder.path().join("runs").exists());
    talk
}

fn with_time(message: impl Into<Value>, milliseconds: u64) -> Value {
    let mut request = act(message);
    request["timeout_ms"] = milliseconds.into();
    request
}

/// An agent whose only place is taken hands calls back in time for another one.
#[test]
fn calls_go_where_there_is_room_for_a_command() {
    const CALLS: usize = 12;
    let folder = TempDir::new().unwrap();
    let busy = serving(&[&waiting(&folder), "cmd:who=echo '[1]'"], &["--serve-jobs", "1", "--serve-limit", "1m"]);
    let idle = Agent::join(&busy, &["--listen", "127.0.0.1:0", "--serve", "cmd:who=echo '[2]'"]);
    let caller = Agent::join(&busy, &[]);
    knows(&caller, &busy.peer, &["cmd:wait", "cmd:who"]);
    knows(&caller, &idle.peer, &["cmd:who"]);
    let mut occupied = occupy(&busy, &folder);
    let mut talk = caller.connect();
    for n in 0..CALLS {
        // Half of it passes where there is no room; the rest is for the other agent, on a machine that is busy.
        send(&mut talk, n, with_time("cmd:who", 12_000));
    }
    for _ in 0..CALLS {
        let reply = talk.reply();
        assert_eq!(reply["result"], json!([2]), "{reply}");
    }
    let service = talk.done(json!({"do": "stats"}))["stats"]["service"].take();
    assert!(service["calls_moved"].as_u64().unwrap() > 0, "{service}");
    // Where there is nobody else, that is the caller's error.
    let told = refusal("overloaded", &busy.connect().ask(with_time("cmd:who", 200)));
    assert!(told.starts_with("1 commands run here already, and none has ended within "), "{told}");
    assert!(told.ends_with("ms, half of the time for the call"), "{told}");
    fs::write(folder.path().join("go"), "").unwrap();
    assert_eq!(occupied.reply()["result"], json!(["done"]));
}

/// Who made it has given up.
#[test]
fn a_call_that_nobody_waits_for_is_not_run() {
    let folder = TempDir::new().unwrap();
    let ran = folder.path().join("ran");
    let command = format!("cmd:note=cat >> {}; echo >> {0}", ran.display());
    let agent = serving(&[&waiting(&folder), &command], &["--serve-jobs", "1", "--serve-limit", "1m"]);
    let mut occupied = occupy(&agent, &folder);
    let mut talk = agent.connect();
    for n in 0..3 {
        send(&mut talk, n, with_time(json!({"cmd": "note", "n": n}), 200));
    }
    for _ in 0..3 {
        assert!(talk.reply()["error"]["code"].is_string());
    }
    fs::write(folder.path().join("go"), "").unwrap();
    assert_eq!(occupied.reply()["result"], json!(["done"]));
    for _ in 0..5 {
        assert_eq!(result(&mut talk, json!({"cmd": "note", "last": true})), Value::Null);
    }
    let ran: Vec<Value> = fs::read_to_string(ran)
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| line.parse().unwrap())
        .collect();
    assert_eq!(ran, vec![json!({"cmd": "note", "last": true}); 5]);
}

/// Two agents, with a program each for the same pattern, and a third one that calls.
fn two_programs() -> ([(Agent, Conversation); 2], Agent) {
    let first = serving(&[], &[]);
    let second = Agent::join(&first, &["--listen", "127.0.0.1:0"]);
    let caller = Agent::join(&first, &[]);
    let served = [first, second].map(|agent| {
        let mut program = agent.connect();
        serve(&mut program, "a:1");
        knows(&caller, &agent.peer, &["a:1"]);
        (agent, program)
    });
    (served, caller)
}

/// So many calls as these are answered by this program, one after the other.
fn answered_by(program: &mut Conversation, caller: &Agent, message: &Value) {
    let mut talk = caller.connect();
    for n in 0..10 {
        send(&mut talk, n, act(message.clone()));
        let (number, _) = next_call(program);
        program.done(json!({"do": "reply", "call": number, "result": [n]}));
        assert_eq!(talk.reply()["result"], json!([n]));
    }
}

/// A program that has as many calls to answer as may wait for it.
#[test]
fn calls_go_where_a_program_has_room() {
    let ([(busy, mut program), (_idle, mut other)], caller) = two_programs();
    let mut talks = [busy.connect(), busy.connect()];
    for talk in &mut talks {
        for n in 0..64 {
            send(talk, n, act("a:1"));
        }
    }
    for _ in 0..128 {
        next_call(&mut program);
    }
    answered_by(&mut other, &caller, &json!("a:1"));
}

/// One whose connection is broken, and not closed.
#[test]
fn calls_go_where_a_program_can_be_reached() {
    let ([(broken, mut program), (_whole, mut other)], caller) = two_programs();
    program.read_no_more();
    assert_eq!(failure(&mut broken.connect(), "a:1").0, "connection_lost");
    answered_by(&mut other, &caller, &json!("a:1"));
}

/// One that does not read what it is called with.
#[test]
fn calls_go_where_a_program_reads() {
    let ([(agent, program), (_other, mut other)], caller) = two_programs();
    drop(program);
    knows(&caller, &agent.peer, &[]);
    let message = json!({"a": 1, "text": "x".repeat(900_000)});
    let mut silent = UnixStream::connect(&agent.control).unwrap();
    silent.write_all(b"{\"do\":\"serve\",\"pattern\":\"a:1\"}\n").unwrap();
    knows(&caller, &agent.peer, &["a:1"]);
    // More than waits for it.
    let mut talk = agent.connect();
    let refused = (0..).find(|n| {
        send(&mut talk, *n, act(message.clone()));
        let mut ask = agent.connect();
        let service = ask.done(json!({"do": "stats"}))["stats"]["service"].take();
        service["call_errors"].as_u64().unwrap() > 0
    });
    assert!(refused.is_some_and(|n| n < 64), "{refused:?}");
    answered_by(&mut other, &caller, &message);
    silent.shutdown(Shutdown::Both).unwrap();
}
