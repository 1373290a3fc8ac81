//! How an agent ends: by signals, by the end of its input, by request; the others hear it, and nothing is left behind.

use std::io::{Read, Write, pipe};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::agent::{agent_command, free_address};
use crate::harness::{Agent, Conversation, Ended, Process, all_alive, has, run, until};

/// Two agents that see each other: one that ends, and one that watches it.
fn pair(args: &[&str]) -> (Agent, Agent) {
    let watching = Agent::start(&[]);
    let ending = Agent::join(&watching, args);
    all_alive(&[&watching, &ending]);
    (watching, ending)
}

/// What an agent printed last.
fn last_line(ended: &Ended) -> Value {
    let out = String::from_utf8(ended.out.clone()).unwrap();
    serde_json::from_str(out.lines().last().unwrap()).unwrap()
}

#[test]
fn signals_have_it_leave() {
    for (signal, name) in [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM")] {
        let (mut watching, ending) = pair(&[]);
        let Agent { process, peer, folder, .. } = ending;
        process.signal(signal);
        let ended = process.end();
        assert_eq!(ended.status, Some(0), "{ended:?}");
        assert_eq!(last_line(&ended), json!({"event": "stopped"}));
        assert!(ended.err.contains(&format!("{name}: leaving")), "{}", ended.err);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0, "the socket is gone");
        watching.stdio.event(json!({"event": "peer_left", "peer": peer}));
        watching.sees(&peer, json!({"state": "left"}));
    }
}

/// While the others do not confirm that they heard it leave, which takes five seconds at most.
#[test]
fn a_second_signal_ends_it_at_once() {
    let (watching, ending) = pair(&[]);
    watching.process.pause();
    ending.process.signal(Signal::TERM);
    ending.logs("SIGTERM: leaving");
    ending.process.signal(Signal::INT);
    let ended = ending.process.end();
    assert_eq!((ended.status, ended.signal), (Some(128 + Signal::INT.as_raw()), None), "{ended:?}");
}

#[test]
fn nobody_confirms_and_it_ends_all_the_same() {
    let (watching, ending) = pair(&[]);
    watching.process.pause();
    let ended = ending.terminate();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.err.contains("too few peers confirmed within 5s"), "{}", ended.err);
}

#[test]
fn the_end_of_its_input_has_it_leave() {
    let (mut watching, mut ending) = pair(&["--stdio"]);
    ending.stdio.done(json!({"do": "set", "key": "a", "value": 1}));
    ending.stdio.close();
    assert_eq!(ending.stdio.rest().last(), Some(&json!({"event": "stopped"})));
    assert_eq!(ending.process.end().status, Some(0));
    watching.stdio.event(json!({"event": "peer_left", "peer": ending.peer}));
}

/// Without `--stdio` its input is nobody's.
#[test]
fn an_agent_without_input_goes_on() {
    let mut agent = Agent::start(&[]);
    agent.stdio.close();
    agent.connect().done(json!({"do": "set", "key": "a", "value": 1}));
    agent.stdio.event(json!({"event": "update", "key": "a"}));
    assert!(agent.process.runs());
}

#[test]
fn requests_before_the_end_of_the_input_are_answered() {
    let mut agent = Agent::start(&["--stdio"]);
    let requests = (0..100).map(|n| json!({"id": n, "do": "set", "key": "a", "value": n}).to_string() + "\n");
    agent.stdio.send(requests.collect::<String>());
    agent.stdio.close();
    for n in 0..100 {
        assert!(has(&agent.stdio.reply(), &json!({"id": n, "ok": true})));
    }
    assert_eq!(agent.stdio.rest().last(), Some(&json!({"event": "stopped"})));
    assert_eq!(agent.process.end().status, Some(0));
}

/// Over either way to talk, the reply comes before the end, and everybody is told.
#[test]
fn a_request_has_it_leave() {
    for over_stdio in [true, false] {
        let (mut watching, mut ending) = pair(&["--stdio"]);
        let (mut asking, mut following) = (ending.connect(), ending.connect());
        following.done(json!({"do": "subscribe"}));
        if over_stdio {
            assert_eq!(ending.stdio.ask(json!({"id": 7, "do": "leave"})), json!({"id": 7, "ok": true}));
        } else {
            assert_eq!(asking.ask(json!({"id": 7, "do": "leave"})), json!({"id": 7, "ok": true}));
        }
        watching.stdio.event(json!({"event": "peer_left", "peer": ending.peer}));
        assert_eq!(asking.next_event(), None, "the end");
        assert_eq!(following.rest().last(), Some(&json!({"event": "stopped"})));
        assert_eq!(ending.stdio.rest().last(), Some(&json!({"event": "stopped"})));
        assert_eq!(ending.process.end().status, Some(0));
    }
}

/// Of many who ask at once each is answered whose request was read before the end.
#[test]
fn many_have_it_leave_at_once() {
    let (_watching, ending) = pair(&[]);
    let mut streams: Vec<UnixStream> = (0..10).map(|_| UnixStream::connect(&ending.control).unwrap()).collect();
    for stream in &mut streams {
        // The last ones may come too late.
        let _ = stream.write_all(b"{\"do\":\"leave\"}\n");
    }
    let replies = streams.iter_mut().map(|stream| {
        let mut reply = String::new();
        let _ = stream.read_to_string(&mut reply);
        reply
    });
    let replies: Vec<Value> = replies.filter(|reply| !reply.is_empty()).map(|reply| reply.parse().unwrap()).collect();
    assert!(replies.iter().any(|reply| reply["ok"] == true), "{replies:?}");
    assert!(replies.iter().all(|reply| reply["ok"] == true || reply["error"]["code"] == "stopped"), "{replies:?}");
    assert_eq!(ending.process.end().status, Some(0));
}

/// `grapevine agent --json | head -1`: that nobody reads is no reason for a node to end.
#[test]
fn nobody_reads_what_an_agent_prints() {
    for args in [&["--json"][..], &[]] {
        let watching = Agent::start(&[]);
        let control = watching.folder.path().join("other");
        let (reader, writer) = pipe().unwrap();
        let mut command = agent_command(&["--seed", &watching.peer]);
        let mut process = Process::start(command.args(args).arg("--control").arg(&control).stdout(writer));
        drop(command);
        drop(reader);
        until("it serves", || UnixStream::connect(&control).is_ok());
        let mut talk = Conversation::over_socket(&control);
        for n in 0..10 {
            talk.done(json!({"do": "set", "key": "a", "value": n}));
        }
        let peer = talk.members()[0]["peer"].as_str().unwrap().to_owned();
        watching.sees(&peer, json!({"state": "alive"}));
        assert!(process.runs());
        process.signal(Signal::TERM);
        let ended = process.end();
        assert_eq!(ended.status, Some(0), "{ended:?}");
        assert!(ended.err.contains("events are not printed any more"), "{}", ended.err);
        watching.sees(&peer, json!({"state": "left"}));
    }
}

/// Who speaks the line protocol and reads no more has gone, also if its input is still open.
#[test]
fn nobody_reads_the_line_protocol() {
    let mut watching = Agent::start(&[]);
    let (reader, writer) = pipe().unwrap();
    let mut command = agent_command(&["--seed", &watching.peer, "--stdio"]);
    let process = Process::start(command.stdout(writer));
    drop(command);
    let peer = watching.stdio.event(json!({"event": "peer_alive"}))["peer"].clone();
    drop(reader);
    // It has something to tell.
    watching.connect().done(json!({"do": "set", "key": "a", "value": 1}));
    watching.stdio.event(json!({"event": "peer_left", "peer": peer}));
    assert_eq!(process.end().status, Some(0));
}

/// An agent whose standard error has been closed has nobody to tell, and goes on.
#[test]
fn nobody_reads_what_an_agent_logs() {
    let (reader, writer) = pipe().unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let control = folder.path().join("control");
    let mut command = agent_command(&["--json"]);
    let process = Process::start(command.arg("--control").arg(&control).stderr(writer).env("RUST_LOG", "trace"));
    drop((command, reader));
    until("it serves", || UnixStream::connect(&control).is_ok());
    let mut talk = Conversation::over_socket(&control);
    talk.done(json!({"do": "set", "key": "a", "value": 1}));
    assert_eq!(talk.done(json!({"do": "leave"})), json!({}));
    assert_eq!(process.end().status, Some(0));
}

/// Events that nobody reads hold up no end.
#[test]
fn an_agent_whose_output_is_full_ends() {
    for args in [&[][..], &["--stdio"]] {
        let folder = tempfile::TempDir::new().unwrap();
        let control = folder.path().join("control");
        let mut command = agent_command(args);
        command.arg("--control").arg(&control).arg("--json");
        // A pipe that nobody reads, and that stays open.
        let (reader, writer) = pipe().unwrap();
        let mut agent = Process::start(command.stdout(writer));
        drop(command);
        until("it listens", || control.exists());
        let control = control.to_str().unwrap();
        for n in 0..60 {
            run(&["set", "k", &format!("{n}{}", "v".repeat(4_000)), "--control", control]).done();
        }
        run(&["leave", "--control", control]).done();
        until("it has ended", || !agent.runs());
        drop(reader);
    }
}

/// The address of one that was told to leave is free when the command returns.
#[test]
fn another_agent_may_start_where_one_has_left() {
    let addr = free_address();
    for _ in 0..5 {
        let agent = Agent::start(&["--bind", &addr, "--on-event", "sleep 0.2", "--on-event-names", "all"]);
        agent.run(&["set", "a", "1"]).done();
        agent.run(&["leave"]).done();
    }
}

#[test]
fn the_time_for_leaving_can_be_said() {
    // A peer that hears nothing, and so confirms nothing.
    let deaf = Agent::start(&[]);
    let agent = Agent::join(&deaf, &["--leave-time", "100ms"]);
    agent.sees(&deaf.peer, json!({"state": "alive"}));
    deaf.process.pause();
    let told = agent.run(&["leave"]).failed();
    assert!(told.starts_with("too few peers confirmed within 100ms") && told.ends_with("--leave-time"), "{told}");
}

/// Closing a terminal is an end like others, unless whoever started the agent did not want that, as `nohup` does not.
#[test]
fn a_terminal_that_is_closed_ends_it() {
    let seed = Agent::start(&[]);
    let agent = Agent::join(&seed, &[]);
    agent.sees(&seed.peer, json!({"state": "alive"}));
    let peer = agent.peer.clone();
    agent.process.signal(Signal::HUP);
    if is_ignored_here(Signal::HUP) {
        agent.run(&["set", "still", "here"]).done();
        seed.reads(&peer, "still", &json!("here"));
    } else {
        assert_eq!(agent.process.end().status, Some(0));
        seed.sees(&peer, json!({"state": "left"}));
    }
}

#[test]
fn a_terminal_that_is_closed_does_not_end_it_under_nohup() {
    let folder = tempfile::TempDir::new().unwrap();
    let control = folder.path().join("control");
    let agent_program = agent_command(&[]);
    let mut command = std::process::Command::new("nohup");
    command.arg(agent_program.get_program()).args(agent_program.get_args()).arg("--control").arg(&control);
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let agent = Process::start(&mut command);
    until("it listens", || control.exists());
    agent.signal(Signal::HUP);
    run(&["set", "still", "here", "--control", control.to_str().unwrap()]).done();
    run(&["leave", "--control", control.to_str().unwrap()]).done();
    assert_eq!(agent.end().status, Some(0));
}

/// Whether these tests were started by something like `nohup`: what they start then ignores the signal too.
fn is_ignored_here(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal.as_raw() - 1) & 1 == 1
}
