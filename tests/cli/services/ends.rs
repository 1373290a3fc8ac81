//! Calls whose agent, client or program goes: nobody is left without an answer who can still be told one, and nothing goes on.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{act, calling, failure, knows, serve, serving};
use crate::harness::conversation::refusal;
use crate::harness::process::is_running;
use crate::harness::{Agent, Conversation, LONG, until};

/// Of a program that does not answer, whether the agent waits for it at the end or not.
#[test]
fn a_call_of_a_program_is_answered_at_the_end_of_the_agent() {
    for args in [&[][..], &["--listen", "127.0.0.1:0"]] {
        let agent = Agent::start(args);
        let (mut program, mut talk) = (agent.connect(), agent.connect());
        serve(&mut program, "a:1");
        talk.send(act("a:1").to_string() + "\n");
        program.event(json!({"event": "call"}));
        assert_eq!(agent.terminate().status, Some(0));
        let told = refusal("connection_lost", &talk.reply());
        assert_eq!(
            told,
            "the agent ends and does not wait for the program that serves this; whether it ran is not known"
        );
    }
}

/// What a client hears that says all it has to say, and then closes its side of the connection.
fn told_after_closing(agent: &Agent, requests: &[Value]) -> Vec<Value> {
    let mut stream = UnixStream::connect(&agent.control).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let requests: String = requests.iter().map(|request| format!("{request}\n")).collect();
    stream.write_all(requests.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    told.lines().map(|line| line.parse().unwrap()).collect()
}

/// As `nc -N` does.
#[test]
fn requests_are_answered_after_the_client_has_said_all() {
    let agent = serving(&["cmd:slow=sleep 0.3; echo '[\"slow\"]'"], &[]);
    let mut request = act("cmd:slow");
    request["id"] = 7.into();
    let told = told_after_closing(&agent, &[request, json!({"id": 8, "do": "get", "key": "a"})]);
    assert_eq!((told.len(), &told[0]["error"]["code"]), (2, &json!("not_found")), "{told:?}");
    assert_eq!(told[1], json!({"id": 7, "ok": true, "result": ["slow"]}));
    let mut late = act("cmd:slow");
    late["timeout_ms"] = 50.into();
    assert_eq!(told_after_closing(&agent, &[late])[0]["error"]["code"], "action_timeout");
    // What it would have to answer itself is lost, whether it still heard of it or not.
    let mut told = told_after_closing(&agent, &[json!({"do": "serve", "pattern": "a:1"}), act("a:1")]);
    told.retain(|line| line["event"].is_null());
    assert_eq!((told.len(), &told[0]["ok"]), (2, &json!(true)), "{told:?}");
    assert!(told[1]["error"]["code"].is_string(), "{told:?}");
    assert_eq!(told_after_closing(&agent, &[json!({"id": 9, "do": "leave"})]), [json!({"id": 9, "ok": true})]);
    assert_eq!(agent.process.end().status, Some(0));
}

/// Not for as long as its calls take.
#[test]
fn a_client_that_has_gone_altogether_gives_its_place_back() {
    let agent = serving(&["cmd:slow=sleep 60"], &["--serve-limit", "1m"]);
    for _ in 0..64 {
        let mut stream = UnixStream::connect(&agent.control).unwrap();
        stream.write_all((act("cmd:slow").to_string() + "\n").as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let begun = std::time::Instant::now();
    until("there is room for another client", || {
        let mut talk = agent.connect();
        talk.send("{\"do\":\"keys\"}\n");
        talk.raw_line().contains("\"ok\":true")
    });
    assert!(begun.elapsed().as_secs() < 20, "their calls are waited for");
}

/// One that reads no more, and goes on writing.
#[test]
fn a_program_that_cannot_be_written_to_has_gone() {
    let server = serving(&[], &[]);
    let caller = Agent::join(&server, &[]);
    let mut program = Conversation::over_socket(&server.control);
    serve(&mut program, "a:1");
    knows(&caller, &server.peer, &["a:1"]);
    program.read_no_more();
    for talk in [&mut server.connect(), &mut caller.connect()] {
        for _ in 0..3 {
            let (code, message) = failure(talk, "a:1");
            assert_eq!(code, "connection_lost", "{message}");
        }
    }
}

/// Neither those for calls nor those for events, with everything that they started.
#[test]
fn no_command_outlives_a_second_signal() {
    let folder = TempDir::new().unwrap();
    let ids = folder.path().join("ids");
    let command = format!("sleep 1000 & echo $! $$ >> {}; wait", ids.display());
    let serve = format!("cmd:slow={command}");
    let server = serving(&[&serve], &["--serve-limit", "1h", "--on-event", &command, "--on-event-names", "update"]);
    let caller = calling(&server, &["cmd:slow"]);
    caller.connect().send(act("cmd:slow").to_string() + "\n");
    server.run(&["set", "a", "1"]).done();
    let running = || -> Vec<String> {
        let text = fs::read_to_string(&ids).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    };
    until("both run", || running().len() == 4);
    server.process.signal(Signal::TERM);
    server.logs("SIGTERM: leaving");
    server.process.signal(Signal::INT);
    let ended = server.process.end();
    assert_eq!(ended.status, Some(128 + Signal::INT.as_raw()), "{ended:?}");
    until("all have ended", || !running().iter().any(|id| is_running(id)));
}
