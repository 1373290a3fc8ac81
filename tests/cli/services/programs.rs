//! `serve`: calls that a program at the other end of a connection answers.

use std::io::Write;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use super::{act, calling, failure, knows, next_call, result, send, serve, serving};
use crate::harness::conversation::refusal;
use crate::harness::{Agent, Conversation, LONG, has, until};

#[test]
fn a_program_answers_calls() {
    let server = serving(&[], &[]);
    let caller = Agent::join(&server, &[]);
    let mut stdio_server = Agent::start(&["--stdio", "--listen", "127.0.0.1:0", "--seed", &server.peer]);
    let silent = Conversation::over_stdio(&mut stdio_server.process);
    let over_stdio = std::mem::replace(&mut stdio_server.stdio, silent);
    for (agent, mut program) in [(&server, server.connect()), (&stdio_server, over_stdio)] {
        serve(&mut program, "role:calc,cmd:*");
        knows(&caller, &agent.peer, &["cmd:*,role:calc"]);
        // From this agent's clients, and from another's.
        for talk in [&mut agent.connect(), &mut caller.connect()] {
            send(talk, 1, act(json!({"role": "calc", "cmd": "add", "left": 2, "right": [3, "ü\u{1b}"]})));
            let event = program.event(json!({"event": "call"}));
            let number = event["call"].as_u64().unwrap();
            let message = json!({"role": "calc", "cmd": "add", "left": 2, "right": [3, "ü\u{1b}"]});
            let wanted = json!({"event": "call", "call": number, "pattern": "cmd:*,role:calc", "message": message});
            assert_eq!(event.to_string(), wanted.to_string());
            assert_eq!(program.done(json!({"do": "reply", "call": number, "result": {"sum": 5}})), json!({}));
            assert_eq!(talk.reply(), json!({"id": 1, "ok": true, "result": {"sum": 5}}));
            for (answer, wanted) in [
                (json!({"result": [1, null]}), json!([1, null])),
                (json!({"result": null}), Value::Null),
                (json!({}), Value::Null),
            ] {
                send(talk, 2, act("role:calc,cmd:x"));
                let (number, _) = next_call(&mut program);
                let mut reply = answer;
                (reply["do"], reply["call"]) = (json!("reply"), json!(number));
                program.done(reply);
                assert_eq!(talk.reply()["result"], wanted);
            }
            send(talk, 3, act("role:calc,cmd:divide"));
            let (number, _) = next_call(&mut program);
            let error = json!({"code": "division_by_zero", "message": "right is 0", "details": {"right": 0}});
            program.done(json!({"do": "reply", "call": number, "error": error}));
            assert_eq!(talk.reply(), json!({"id": 3, "error": error}));
            send(talk, 4, act("role:calc,cmd:fail"));
            let (number, _) = next_call(&mut program);
            program.done(json!({"do": "reply", "call": number, "error": {"message": "it does not work"}}));
            let error = json!({"code": "act_execute", "message": "it does not work"});
            assert_eq!(talk.reply(), json!({"id": 4, "error": error}));
        }
    }
}

/// No name in an object means anything on the way.
#[test]
fn details_are_taken_as_they_are() {
    let agent = Agent::start(&[]);
    let (mut program, mut talk) = (agent.connect(), agent.connect());
    serve(&mut program, "a:1");
    for name in ["RawValue", "Number"] {
        talk.send("{\"id\":1,\"do\":\"act\",\"message\":\"a:1\"}\n");
        let (number, _) = next_call(&mut program);
        let details = format!(r#"{{"z":{{"$serde_json::private::{name}":"1"}}}}"#);
        let error = format!(r#"{{"code":"x","message":"y","details":{details}}}"#);
        program.send(format!("{{\"do\":\"reply\",\"call\":{number},\"error\":{error}}}\n"));
        assert_eq!(program.raw_line(), "{\"id\":null,\"ok\":true}\n");
        assert_eq!(talk.raw_line(), format!("{{\"id\":1,\"error\":{error}}}\n"));
    }
}

/// What it says wrong is its own error, and the call goes on waiting.
#[test]
fn replies_that_are_none() {
    let agent = Agent::start(&[]);
    let (mut program, mut talk) = (agent.connect(), agent.connect());
    serve(&mut program, "a:1");
    send(&mut talk, 1, act("a:1"));
    let (number, _) = next_call(&mut program);
    for (fields, wanted) in [
        (json!({}), "reply: missing field `call`"),
        (json!({"call": "1"}), "reply: invalid type: string \"1\", expected u64"),
        (json!({"call": number, "result": 5}), "reply: `result` is neither an object, an array nor null"),
        (json!({"call": number, "result": "text"}), "reply: `result` is neither"),
        (json!({"call": number, "result": {}, "error": {"message": "x"}}), "reply: there is both"),
        (json!({"call": number, "error": "text"}), "reply: invalid type"),
        (json!({"call": number, "error": {"code": "x"}}), "reply: missing field `message`"),
        (json!({"call": number, "value": {}}), "reply: unknown field `value`"),
    ] {
        let mut request = fields;
        request["do"] = "reply".into();
        let told = program.refused("bad_request", request.clone());
        assert!(told.starts_with(wanted), "{request}: {told}");
    }
    // Nor is it anybody else's to reply to.
    for (other, number) in [(&mut agent.connect(), number), (&mut program, number + 1)] {
        let told = other.refused("unknown_call", json!({"do": "reply", "call": number, "result": {}}));
        assert_eq!(told, format!("nobody waits for the reply to call {number}: it was replied to, or took too long"));
    }
    program.done(json!({"do": "reply", "call": number, "result": {"a": 1}}));
    assert_eq!(talk.reply()["result"], json!({"a": 1}));
    program.refused("unknown_call", json!({"do": "reply", "call": number, "result": {}}));
}

#[test]
fn offers_that_are_none() {
    let agent = serving(&["cmd:own=echo '[1]'"], &[]);
    let (mut program, mut other) = (agent.connect(), agent.connect());
    for (fields, wanted) in [
        (json!({}), "serve: missing field `pattern`"),
        (json!({"pattern": 1}), "serve: invalid type"),
        (json!({"pattern": "a"}), "serve: this is no pattern: at character"),
        (json!({"pattern": "a:{}"}), "serve: this is no pattern: "),
        (json!({"pattern": "a:1", "timeout": 5}), "serve: unknown field `timeout`"),
        (json!({"pattern": "a:1", "timeout_ms": 0}), "serve: timeout_ms is 0; the range is 1 to 86400000"),
        (json!({"pattern": "a:1", "timeout_ms": 86_400_001}), "serve: timeout_ms is 86400001; "),
    ] {
        let mut request = fields;
        request["do"] = "serve".into();
        let told = program.refused("bad_request", request.clone());
        assert!(told.starts_with(wanted), "{request}: {told}");
    }
    // Each pattern is served once, by a command or by a program; that may say so again.
    serve(&mut program, "b:2,a:1");
    serve(&mut program, "a:1,b:2");
    for pattern in ["a:1,b:2", "cmd:own"] {
        let told = other.refused("already_served", json!({"do": "serve", "pattern": pattern}));
        assert_eq!(told, format!("{pattern} is served already, by a command or over another connection"));
    }
    assert_eq!(result(&mut other, "cmd:own"), json!([1]));
    // All patterns together have a limit, above which the others are not told.
    let long = |n: usize| format!("n:{n},x:\"{}\"", "v".repeat(250));
    let refused = (0..300).find_map(|n| {
        let reply = program.ask(json!({"do": "serve", "pattern": long(n)}));
        reply.get("error").map(|_| (n, refusal("value_too_large", &reply)))
    });
    let (n, told) = refused.expect("a limit");
    assert!(told.starts_with("the patterns that this agent offers would take "), "{told}");
    assert_eq!(failure(&mut other, long(n)).0, "act_not_found");
    knows_so_many(&agent, n + 2);
}

fn knows_so_many(agent: &Agent, count: usize) {
    let services = agent.connect().done(json!({"do": "services"}))["services"].take();
    assert_eq!(services[0]["patterns"].as_array().unwrap().len(), count);
}

/// The connection is the offer: whoever waits is told, whoever comes finds somebody else.
#[test]
fn what_is_offered_goes_with_the_connection() {
    let server = serving(&[], &[]);
    let caller = Agent::join(&server, &[]);
    let mut talk = caller.connect();
    for round in 0..3 {
        let mut program = server.connect();
        serve(&mut program, "a:1");
        serve(&mut program, "b:2");
        knows(&caller, &server.peer, &["a:1", "b:2"]);
        send(&mut talk, round, act("a:1"));
        next_call(&mut program);
        drop(program);
        let told = refusal("connection_lost", &talk.reply());
        assert_eq!(told, "the program that serves this has gone; whether it ran is not known");
        knows(&caller, &server.peer, &[]);
        assert_eq!(failure(&mut talk, "a:1").0, "act_not_found");
        assert_eq!(failure(&mut server.connect(), "a:1").0, "act_not_found");
    }
}

/// One who does not answer: the call ends, and what is said later goes nowhere.
#[test]
fn a_program_that_does_not_answer() {
    let server = serving(&[], &[]);
    let mut program = server.connect();
    serve(&mut program, "a:1");
    program.done(json!({"do": "serve", "pattern": "b:2", "timeout_ms": 50}));
    let caller = calling(&server, &["a:1", "b:2"]);
    let mut talk = caller.connect();
    let mut request = act("a:1");
    request["timeout_ms"] = 100.into();
    send(&mut talk, 1, request);
    let (late, _) = next_call(&mut program);
    // The caller's time-out, and the program's own.
    assert_eq!(refusal("action_timeout", &talk.reply()), "no answer within 100ms");
    send(&mut talk, 2, act("b:2"));
    let (number, _) = next_call(&mut program);
    let told = refusal("action_timeout", &talk.reply());
    assert_eq!(told, "the program that serves b:2 did not answer within 50ms");
    program.refused("unknown_call", json!({"do": "reply", "call": number, "result": {}}));
    program.done(json!({"do": "reply", "call": late, "result": {}}));
    // It may come back to its senses.
    send(&mut talk, 3, act("a:1"));
    let (number, _) = next_call(&mut program);
    program.done(json!({"do": "reply", "call": number, "result": {}}));
    assert_eq!(talk.reply()["result"], json!({}));
}

/// In any order, and each to whoever asked.
#[test]
fn many_calls_at_once() {
    const CALLS: u64 = 60;
    let server = serving(&[], &[]);
    let mut program = server.connect();
    serve(&mut program, "a:*");
    let caller = calling(&server, &["a:*"]);
    let mut talks = [caller.connect(), server.connect()];
    for talk in &mut talks {
        for n in 0..CALLS {
            send(talk, n, act(json!({"a": "1", "n": n})));
        }
    }
    let mut calls: Vec<(u64, Value)> = (0..CALLS * 2).map(|_| next_call(&mut program)).collect();
    calls.sort_by_key(|(number, _)| number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for (number, message) in calls {
        program.done(json!({"do": "reply", "call": number, "result": {"n": message["n"]}}));
    }
    for talk in &mut talks {
        let mut ids: Vec<u64> = (0..CALLS)
            .map(|_| {
                let reply = talk.reply();
                assert_eq!(reply["result"]["n"], reply["id"], "{reply}");
                reply["id"].as_u64().unwrap()
            })
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..CALLS).collect::<Vec<_>>());
    }
}

/// So many wait for a program, no more; the rest of the agent is not held up.
#[test]
fn a_program_has_its_limits() {
    const CALLS: usize = 128;
    let agent = serving(&["cmd:echo=cat"], &[]);
    let mut program = agent.connect();
    serve(&mut program, "a:1");
    let mut talks: Vec<Conversation> = (0..3).map(|_| agent.connect()).collect();
    for (n, talk) in talks.iter_mut().enumerate() {
        for _ in 0..[64, 64, 5][n] {
            send(talk, 0, act("a:1"));
        }
    }
    let calls: Vec<u64> = (0..CALLS).map(|_| next_call(&mut program).0).collect();
    assert_eq!(result(&mut agent.connect(), "cmd:echo,x:1"), json!({"cmd": "echo", "x": 1}));
    // Whichever came last.
    let mut refused = 0;
    let mut replies = Vec::new();
    until("the others are refused", || {
        let mut talk = agent.connect();
        let service = talk.done(json!({"do": "stats"}))["stats"]["service"].take();
        service["call_errors"] == 5
    });
    for call in calls {
        program.done(json!({"do": "reply", "call": call}));
    }
    for (talk, count) in talks.iter_mut().zip([64, 64, 5]) {
        replies.extend((0..count).map(|_| talk.reply()));
    }
    for reply in replies.iter().filter(|reply| reply["ok"] != true) {
        assert_eq!(refusal("overloaded", reply), "128 calls wait for the program already");
        refused += 1;
    }
    assert_eq!(refused, 5);
}

/// One who does not even read.
#[test]
fn a_program_that_does_not_read() {
    let agent = serving(&[], &[]);
    let mut silent = UnixStream::connect(&agent.control).unwrap();
    silent.set_read_timeout(Some(LONG)).unwrap();
    silent.write_all(b"{\"do\":\"serve\",\"pattern\":\"a:1\",\"timeout_ms\":1000}\n").unwrap();
    let mut talk = agent.connect();
    knows(&agent, &agent.peer, &["a:1"]);
    let message = json!({"a": 1, "text": "x".repeat(900_000)});
    let mut codes: Vec<String> = Vec::new();
    for n in 0..20 {
        send(&mut talk, n, act(message.clone()));
    }
    for _ in 0..20 {
        codes.push(talk.reply()["error"]["code"].as_str().unwrap().to_owned());
    }
    // What waits for it has a limit in bytes.
    assert!(codes.contains(&"action_timeout".to_owned()) && codes.contains(&"overloaded".to_owned()), "{codes:?}");
    drop(silent);
    until("it is withdrawn", || failure(&mut talk, "a:1").0 == "act_not_found");
}

/// A program may call what it answers itself, over the same connection.
#[test]
fn a_program_calls_itself() {
    let agent = Agent::start(&["--stdio"]);
    let mut program = agent.connect();
    serve(&mut program, "a:1");
    serve(&mut program, "b:2");
    send(&mut program, 7, act("a:1"));
    let (outer, message) = next_call(&mut program);
    assert_eq!(message, json!({"a": 1}));
    send(&mut program, 8, act("b:2"));
    let (inner, message) = next_call(&mut program);
    assert_eq!(message, json!({"b": 2}));
    send(&mut program, 9, json!({"do": "reply", "call": inner, "result": {"inner": 1}}));
    let mut replies = [program.reply(), program.reply()];
    replies.sort_by_key(|reply| reply["id"].as_u64());
    assert!(has(&replies[0], &json!({"id": 8, "result": {"inner": 1}})), "{replies:?}");
    send(&mut program, 10, json!({"do": "reply", "call": outer, "result": {"outer": 1}}));
    let mut replies = [program.reply(), program.reply()];
    replies.sort_by_key(|reply| reply["id"].as_u64());
    assert!(has(&replies[0], &json!({"id": 7, "result": {"outer": 1}})), "{replies:?}");
}

/// What it is at is finished before the agent ends, if that does not take too long.
#[test]
fn a_program_answers_before_the_end() {
    let mut server = serving(&[], &["--stdio"]);
    serve(&mut server.stdio, "a:1");
    let caller = calling(&server, &["a:1"]);
    let mut talk = caller.connect();
    send(&mut talk, 1, act("a:1"));
    let (number, _) = next_call(&mut server.stdio);
    send(&mut server.stdio, 1, json!({"do": "leave"}));
    knows(&caller, &server.peer, &[]);
    send(&mut server.stdio, 2, json!({"do": "reply", "call": number, "result": {"last": true}}));
    assert_eq!(talk.reply()["result"], json!({"last": true}));
    for reply in [server.stdio.reply(), server.stdio.reply()] {
        assert_eq!(reply["ok"], true, "{reply}");
    }
    assert_eq!(server.stdio.rest().last(), Some(&json!({"event": "stopped"})));
    assert_eq!(server.process.end().status, Some(0));
}
