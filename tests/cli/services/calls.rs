//! `act`, as a request of the line protocol and as a command.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{act, calling, failure, knows, listen, result, send, serving};
use crate::harness::agent::threads;
use crate::harness::conversation::refusal;
use crate::harness::{Agent, until};

/// A message as text and as an object; the best pattern is called, here or elsewhere.
#[test]
fn messages_in_both_forms() {
    let server = serving(&["role:a=echo '[\"a\"]'; cat >/dev/null", "role:a,cmd:b=cat"], &[]);
    let caller = calling(&server, &["cmd:b,role:a", "role:a"]);
    for mut talk in [server.connect(), caller.connect()] {
        assert_eq!(result(&mut talk, "role:a"), json!(["a"]));
        assert_eq!(result(&mut talk, "role:a,cmd:c"), json!(["a"]));
        let message = json!({"role": "a", "cmd": "b", "n": 1.5, "o": {"x": [true, null]}});
        assert_eq!(result(&mut talk, message.clone()), message);
        assert_eq!(
            result(&mut talk, "role:a, cmd:b, n:1.5, o:{x:[true]}"),
            json!({"role": "a", "cmd": "b", "n": 1.5, "o": {"x": [true]}})
        );
        // What ends in a dollar sign is between the caller and the service.
        assert_eq!(
            result(&mut talk, json!({"role": "a", "cmd": "b", "x$": 1, "default$": {}})),
            json!({"role": "a", "cmd": "b"})
        );
        assert_eq!(
            result(&mut talk, json!({"role": "nobody", "default$": {"by": "default"}})),
            json!({"by": "default"})
        );
    }
}

#[test]
fn calls_that_are_none() {
    let agent = Agent::start(&[]);
    let mut talk = agent.connect();
    for (fields, wanted) in [
        (json!({}), "act: missing field `message`"),
        (json!({"message": "a:1", "timeout": 5}), "act: unknown field `timeout`"),
        (json!({"message": "a:1", "timeout_ms": -1}), "act: invalid value: integer `-1`, expected u64"),
        (json!({"message": "a:1", "idempotent": 1}), "act: invalid type: integer `1`, expected a boolean"),
        (json!({"message": "a:1", "shard": 1}), "act: invalid type: integer `1`, expected a string"),
    ] {
        let mut request = fields;
        request["do"] = "act".into();
        let told = talk.refused("bad_request", request.clone());
        assert!(told.starts_with(wanted), "{request}: {told}");
    }
    for (message, wanted) in [
        (json!(5), "this is no message: it is no object, but a number"),
        (json!(null), "this is no message: it is no object, but null"),
        (json!([]), "this is no message: it is no object, but an array"),
        (json!("a"), "this is no message: at character 2: "),
        (json!({"a": 1, "timeout$": "soon"}), "this is no message: timeout$ is \"soon\""),
        (json!({"a": 1, "default$": 5}), "this is no message: default$ must be an object or an array"),
    ] {
        let (code, told) = failure(&mut talk, message.clone());
        assert_eq!(code, "invalid_message");
        assert!(told.starts_with(wanted), "{message}: {told}");
    }
    let told = talk.refused("act_not_found", act(json!({"role": "a", "cmd": 1})));
    assert_eq!(told, "nobody offers an action for { role: 'a', cmd: 1 }");
}

/// Whoever asks for something that takes long is told everything else meanwhile.
#[test]
fn a_long_call_holds_up_nothing() {
    let folder = TempDir::new().unwrap();
    let go = folder.path().join("go");
    let command = format!("cmd:wait=while [ ! -e {} ]; do sleep 0.02; done; echo '[\"done\"]'", go.display());
    let server = serving(&[&command, "cmd:now=echo '[\"now\"]'"], &["--serve-limit", "1m"]);
    let caller = calling(&server, &["cmd:now", "cmd:wait"]);
    for mut talk in [server.connect(), caller.connect()] {
        send(&mut talk, json!({"slow": [1]}), act("cmd:wait"));
        for n in 0..5 {
            assert_eq!(result(&mut talk, "cmd:now"), json!(["now"]));
            talk.done(json!({"do": "set", "key": "k", "value": n}));
        }
        fs::write(&go, "").unwrap();
        assert_eq!(talk.reply(), json!({"id": {"slow": [1]}, "ok": true, "result": ["done"]}));
        fs::remove_file(&go).unwrap();
    }
}

#[test]
fn a_call_has_its_time() {
    let server = serving(&["cmd:slow=sleep 20"], &["--serve-limit", "1m", "--serve-jobs", "10"]);
    let caller = calling(&server, &["cmd:slow"]);
    for mut talk in [server.connect(), caller.connect()] {
        let told = talk.refused("action_timeout", json!({"do": "act", "message": "cmd:slow", "timeout_ms": 100}));
        assert_eq!(told, "no answer within 100ms");
        assert_eq!(failure(&mut talk, json!({"cmd": "slow", "timeout$": 50})).0, "action_timeout");
        assert_eq!(failure(&mut talk, json!({"cmd": "slow", "timeout$": 0})).0, "action_timeout");
    }
    let told = caller.run(&["act", "cmd:slow", "--timeout", "100ms"]).failed();
    assert_eq!(told, "no answer within 100ms (action_timeout)");
}

/// So many of one connection, no more; the others go on.
#[test]
fn calls_of_a_connection_have_a_limit() {
    const MOST: usize = 64;
    let agent = serving(&["cmd:slow=sleep 60"], &["--serve-limit", "1m"]);
    let mut talk = agent.connect();
    for n in 0..MOST + 3 {
        let mut request = act("cmd:slow");
        request["timeout_ms"] = 3_000.into();
        send(&mut talk, n, request);
    }
    for n in 0..3 {
        let reply = talk.reply();
        assert_eq!(reply["id"], MOST + n);
        let told = refusal("overloaded", &reply);
        assert_eq!(told, "64 calls are under way on this connection already; wait until one has ended");
    }
    // Only calls are meant.
    talk.done(json!({"do": "keys"}));
    assert_eq!(failure(&mut agent.connect(), "cmd:other").0, "act_not_found");
    // Four are run at once; the others wait for half of their time.
    let codes: Vec<Value> = (0..MOST).map(|_| talk.reply()["error"]["code"].take()).collect();
    let count = |wanted: &str| codes.iter().filter(|code| *code == wanted).count();
    assert_eq!((count("action_timeout"), count("overloaded")), (4, MOST - 4), "{codes:?}");
    assert_eq!(failure(&mut talk, "cmd:other").0, "act_not_found");
}

/// Clients that do not read their replies take nothing from the others.
#[test]
fn whoever_does_not_read_holds_up_nobody_else() {
    const CLIENTS: usize = 9;
    let agent = Agent::start(&[]);
    let mut talk = agent.connect();
    let mut silent: Vec<UnixStream> = (0..CLIENTS).map(|_| UnixStream::connect(&agent.control).unwrap()).collect();
    let call = |default: Value| act(json!({"a": 1, "default$": default})).to_string() + "\n";
    let mut all_call = |requests: &str, done: usize| {
        silent.iter_mut().for_each(|stream| stream.write_all(requests.as_bytes()).unwrap());
        until("their calls are done", || {
            let service = talk.done(json!({"do": "stats"}))["stats"]["service"].take();
            service["calls"].as_u64().unwrap() >= done as u64
        });
    };
    // More than a connection takes. What comes then waits to be written.
    all_call(&call(json!(["x".repeat(900_000)])), CLIENTS);
    all_call(&call(json!([])).repeat(63), 512);
    for n in 0..20 {
        assert_eq!(result(&mut talk, json!({"a": 1, "default$": [n]})), json!([n]));
    }
}

/// What its calls have taken is given back when they have ended.
#[test]
fn whoever_goes_leaves_nothing_behind() {
    let agent = serving(&["cmd:slow=sleep 60"], &["--serve-limit", "1m"]);
    let mut talk = agent.connect();
    let before = threads(&agent.process);
    for _ in 0..3 {
        let mut leaving = agent.connect();
        for n in 0..20 {
            let mut request = act("cmd:slow");
            request["timeout_ms"] = 500.into();
            send(&mut leaving, n, request);
        }
        leaving.done(json!({"do": "keys"}));
    }
    assert_eq!(failure(&mut talk, "cmd:other").0, "act_not_found");
    until("their calls have ended", || {
        let service = talk.done(json!({"do": "stats"}))["stats"]["service"].take();
        service["calls"] == 61
    });
    // Those that wait for their commands, or for a place to run one, are left.
    until("their threads have ended", || threads(&agent.process) <= before.map(|before| before + 62));
}

/// A provider that dies: what may be repeated goes elsewhere, and of the rest is told that nobody knows.
#[test]
fn a_provider_dies_with_the_call() {
    for idempotent in [true, false] {
        let folder = TempDir::new().unwrap();
        let shown = folder.path().display();
        let start = |name: &str, seed: Option<&Agent>| {
            let command = format!(
                "cmd:slow=touch {shown}/{name}; while [ ! -e {shown}/go ]; do sleep 0.02; done; echo '[\"{name}\"]'"
            );
            let mut args = vec!["--listen", "127.0.0.1:0", "--serve", &*command, "--serve-limit", "1m"];
            args.extend(seed.into_iter().flat_map(|seed| ["--seed", &*seed.peer]));
            Agent::start(&args)
        };
        let caller = Agent::start(&[]);
        let mut servers = vec![("one", start("one", Some(&caller))), ("two", start("two", Some(&caller)))];
        for (_, server) in &servers {
            knows(&caller, &server.peer, &["cmd:slow"]);
        }
        let mut talk = caller.connect();
        send(&mut talk, 1, json!({"do": "act", "message": "cmd:slow", "idempotent": idempotent}));
        let mut taken = None;
        until("one of them has it", || {
            taken = servers.iter().position(|(name, _)| folder.path().join(name).exists());
            taken.is_some()
        });
        let (_, dying) = servers.remove(taken.unwrap());
        dying.crash();
        let (left, _left) = servers.pop().unwrap();
        if idempotent {
            until("the other one has it", || folder.path().join(left).exists());
        }
        fs::write(folder.path().join("go"), "").unwrap();
        let reply = talk.reply();
        match idempotent {
            true => assert_eq!(reply["result"], json!([left])),
            false => assert!(refusal("connection_lost", &reply).contains("the action may have run"), "{reply}"),
        }
    }
}

/// Calls that are under way when the agent ends are answered.
#[test]
fn nobody_is_left_without_an_answer() {
    let server = serving(&["cmd:slow=sleep 60"], &["--serve-limit", "2m"]);
    let caller = calling(&server, &["cmd:slow"]);
    let mut talk = caller.connect();
    send(&mut talk, 1, act("cmd:slow"));
    talk.done(json!({"do": "keys"}));
    until("it is under way", || {
        let providers = talk.done(json!({"do": "stats"}))["stats"]["service"]["providers"].take();
        providers[0]["in_flight"] == 1
    });
    assert_eq!(caller.terminate().status, Some(0));
    let reply = talk.reply();
    assert!(reply["id"] == 1 && reply["error"]["code"].is_string(), "{reply}");
}

#[test]
fn what_belongs_to_the_service_is_nobody_s_to_set() {
    let agent = serving(&["a:1=true"], &[]);
    let mut talk = agent.connect();
    for request in [json!({"do": "set", "value": 1}), json!({"do": "delete"})] {
        let mut request = request;
        request["key"] = "grapevine/service".into();
        let told = talk.refused("reserved_key", request);
        assert!(told.contains("\"grapevine/service\" cannot be set or deleted"), "{told}");
    }
    assert!(agent.run(&["set", "grapevine/x", "1"]).failed().contains("choose another one"));
}

#[test]
fn the_command_prints_the_result() {
    let server = serving(
        &[
            "cmd:echo=cat",
            "cmd:none=true",
            "cmd:fail=echo 'the shelf' is empty >&2; exit 3",
            "cmd:slow=sleep 1; echo '[]'",
        ],
        &[],
    );
    let agent = calling(&server, &["cmd:echo", "cmd:fail", "cmd:none", "cmd:slow"]);
    for (args, printed) in [
        (&["act", "cmd:echo"][..], "{\"cmd\":\"echo\"}"),
        (&["act", "cmd:echo,left:2,right:x"], "{\"cmd\":\"echo\",\"left\":2,\"right\":\"x\"}"),
        (
            &["act", "cmd:echo", "{\"z\":[1,{\"y\":null}],\"cmd\":\"fail\"}"],
            "{\"z\":[1,{\"y\":null}],\"cmd\":\"echo\"}",
        ),
        (&["act", "", "{\"cmd\":\"echo\"}"], "{\"cmd\":\"echo\"}"),
        (&["act", "{\"cmd\":\"echo\"}"], "{\"cmd\":\"echo\"}"),
        (&["act", "cmd:none"], "null"),
        (&["act", "cmd:slow", "--timeout", "20s", "--idempotent", "--shard", "key"], "[]"),
    ] {
        assert_eq!(agent.run(args).done(), format!("{printed}\n"), "{args:?}");
        let json = agent.run(&[args, &["--json"]].concat()).done();
        assert_eq!(json, format!("{{\"ok\":true,\"result\":{printed}}}\n"), "{args:?}");
    }
    for (args, told) in [
        (
            &["act", "cmd:fail"][..],
            "the command for cmd:fail ended with exit status: 3: the shelf is empty (command_failed)",
        ),
        (&["act", "cmd:nobody"], "nobody offers an action for { cmd: 'nobody' } (act_not_found)"),
        (
            &["act", "cmd:nobody,x:\"a\\u001b\""],
            "nobody offers an action for { cmd: 'nobody', x: 'a\\x1B' } (act_not_found)",
        ),
    ] {
        assert_eq!(agent.run(args).failed(), told, "{args:?}");
    }
    let mut ended = agent.run(&["act", "cmd:fail", "--json"]);
    let told = "the command for cmd:fail ended with exit status: 3: the shelf is empty";
    let error = json!({"code": "command_failed", "message": told, "details": {"status": 3}});
    assert_eq!(String::from_utf8(std::mem::take(&mut ended.out)).unwrap(), format!("{{\"error\":{error}}}\n"));
    assert_eq!(ended.failed(), format!("{told} (command_failed)"));
    for (args, told) in [
        (
            &["act", "cmd"][..],
            "this is no message: at character 4: the key `cmd` has to be followed by a colon and its value",
        ),
        (&["act", "cmd:echo", "5"], "JSON: it is no object, like '{\"left\": 2}'"),
        (&["act", "cmd:echo", "left:2"], "JSON: it cannot be read: expected value at line 1 column 1"),
        (
            &["act", "cmd:echo,timeout$:soon"],
            "this is no message: timeout$ is \"soon\", not milliseconds (invalid_message)",
        ),
        (
            &["act", "cmd:echo,default$:5"],
            "this is no message: default$ must be an object or an array, and is a number (invalid_message)",
        ),
    ] {
        assert_eq!(agent.run(args).misused(), told, "{args:?}");
    }
    assert!(agent.run(&["act", "cmd:echo", "--timeout", "soon"]).refused().contains("--timeout"));
    assert!(agent.run(&["act"]).refused().contains("<PATTERN>"));
}

/// Of the names that serde_json has for itself: what a client says is taken as it is written, and refused where services refuse it.
#[test]
fn no_name_means_anything() {
    let server = serving(&["cmd:echo=cat"], &[]);
    let mut talk = server.connect();
    let message = |name: &str| format!(r#"{{"cmd":"echo","x":{{"$serde_json::private::{name}":"1"}}}}"#);
    let request = |message: &str| format!("{{\"id\":1,\"do\":\"act\",\"message\":{message}}}\n");
    let raw = message("RawValue");
    talk.send(request(&raw));
    let wanted = "this is no message: no object may have the name $serde_json::private::RawValue";
    let told = refusal("invalid_message", &talk.reply());
    assert!(told.starts_with(wanted), "{told}");
    let told = server.run(&["act", "", &raw]).misused();
    assert!(told.starts_with(wanted), "{told}");
    let message = message("Number");
    talk.send(request(&message));
    assert_eq!(talk.raw_line(), format!("{{\"id\":1,\"ok\":true,\"result\":{message}}}\n"));
    assert_eq!(server.run(&["act", "", &message]).done(), format!("{message}\n"));
}

/// By default the agent gives a call 22 seconds, and the command waits for the agent.
#[test]
fn the_command_waits_as_long_as_the_call_may_take() {
    let server = serving(&["cmd:slow=sleep 17; echo '[1]'"], &["--serve-limit", "1m"]);
    let begun = std::time::Instant::now();
    assert_eq!(server.run(&["act", "cmd:slow"]).done(), "[1]\n");
    assert!(begun.elapsed() >= Duration::from_secs(17));
}

#[test]
fn calls_are_counted() {
    let server = serving(&["cmd:echo=cat", "cmd:fail=exit 1"], &[]);
    let caller = calling(&server, &["cmd:echo", "cmd:fail"]);
    let mut talk = caller.connect();
    for _ in 0..4 {
        result(&mut talk, "cmd:echo");
    }
    failure(&mut talk, "cmd:fail");
    failure(&mut talk, "cmd:nobody");
    let service = |agent: &Agent| agent.connect().done(json!({"do": "stats"}))["stats"]["service"].take();
    let calls = service(&caller);
    let wanted = json!({"calls": 6, "call_errors": 2, "calls_moved": 0, "requests": 0, "queue": 0, "connections": 0});
    assert!(crate::harness::has(&calls, &wanted), "{calls}");
    let provider = json!({"addr": listen(&server), "calls": 5, "unanswered": 0, "in_flight": 0, "connections": 1, "resting_ms": 0});
    assert_eq!(calls["providers"], json!([provider]));
    let times = ["p50", "p90", "p99", "max"].map(|name| calls["call_us"][name].as_u64().unwrap());
    assert!(times.is_sorted() && times[3] > 0, "{calls}");
    let requests = service(&server);
    let wanted = json!({"calls": 0, "requests": 5, "request_errors": 1, "requests_expired": 0, "connections": 1});
    assert!(crate::harness::has(&requests, &wanted), "{requests}");
    assert!(requests["request_us"]["p50"].as_u64().unwrap() > 0, "{requests}");

    let out = caller.run(&["stats"]).done();
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    for line in [
        &["service", "calls", "6"][..],
        &["service", "call_errors", "2"],
        &["PROVIDER", "CALLS", "UNANSWERED", "IN", "FLIGHT", "CONNECTIONS", "RESTS"],
        &[listen(&server), "5", "0", "0", "1"],
    ] {
        assert!(lines.iter().any(|found| found == line), "{line:?}\n{out}");
    }
    assert!(lines.iter().any(|line| line.starts_with(&["service", "call", "time", "p50"])), "{out}");
    let out = server.run(&["stats"]).done();
    assert!(!out.contains("PROVIDER") && !out.contains("call time"), "{out}");
}
