//! `--serve`: calls that commands answer.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{act, calling, failure, knows, listen_plain, on_the_wire, result, serving};
use crate::harness::conversation::refusal;
use crate::harness::process::{is_running, signal_to};
use crate::harness::{Agent, until};

/// The lines of a file that commands write.
fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}

/// Both ways to a command: by its own agent's clients, and over TCP by another agent's.
fn both(commands: &[&str], args: &[&str], check: impl Fn(&mut crate::harness::Conversation)) {
    let server = serving(commands, args);
    check(&mut server.connect());
    let patterns: Vec<String> = {
        let services = server.connect().done(json!({"do": "services"}))["services"].take();
        services[0]["patterns"].as_array().unwrap().iter().map(|pattern| pattern.as_str().unwrap().to_owned()).collect()
    };
    let caller = calling(&server, &patterns.iter().map(String::as_str).collect::<Vec<_>>());
    check(&mut caller.connect());
}

#[test]
fn what_a_command_prints_is_the_result() {
    let commands = [
        "cmd:echo=cat",
        "cmd:list=echo '[1, 2.50, \"ü\"]'",
        "cmd:nothing=true",
        "cmd:blank=echo; echo",
        "cmd:null=echo null",
        "cmd:lines=printf '{\\n\\t\"a\":\\r\\n [1,\\n2],\\n\"b\":\"c\\\\nd\"}\\n'",
        "cmd:noise=echo noise >&2; echo '{\"quiet\":true}'",
        "cmd:number=echo '{\"n\":12345678901234567890123}'",
        "cmd:name=echo \"{\\\"pattern\\\":\\\"$GRAPEVINE_PATTERN\\\"}\"",
    ];
    both(&commands, &[], |talk| {
        let message = json!({"cmd": "echo", "z": {"a": [1, null]}, "text": "$(false) '\" \u{1b}\nü"});
        assert_eq!(result(talk, message.clone()).to_string(), message.to_string());
        assert_eq!(result(talk, "cmd:list"), json!([1, 2.5, "ü"]));
        for nothing in ["cmd:nothing", "cmd:blank", "cmd:null"] {
            assert_eq!(result(talk, nothing), Value::Null, "{nothing}");
        }
        assert_eq!(result(talk, "cmd:lines"), json!({"a": [1, 2], "b": "c\nd"}));
        assert_eq!(result(talk, "cmd:noise"), json!({"quiet": true}));
        assert_eq!(result(talk, "cmd:name"), json!({"pattern": "cmd:name"}));
        // Digit by digit.
        talk.send("{\"do\":\"act\",\"message\":\"cmd:number\",\"id\":1}\n");
        assert!(talk.raw_line().contains("{\"n\":12345678901234567890123}"));
    });
}

/// A code for each, and the first part of what it wrote to standard error.
#[test]
fn what_goes_wrong_is_the_caller_s_error() {
    let commands = [
        "cmd:fail=echo the shelf is empty >&2; echo '{}'; exit 3",
        "cmd:killed=kill -TERM $$",
        "cmd:missing=/nonexistent/program",
        "cmd:text=echo hello; echo why >&2",
        "cmd:number=echo 5",
        "cmd:two=echo '{} {}'",
        "cmd:bytes=printf '{\"a\":\"\\377\"}'",
        "cmd:slow=echo so far >&2; sleep 1000",
    ];
    both(&commands, &["--serve-limit", "2s"], |talk| {
        let told = |talk: &mut _, message: &str| failure(talk, message);
        assert_eq!(
            told(talk, "cmd:fail"),
            (
                "command_failed".to_owned(),
                "the command for cmd:fail ended with exit status: 3: the shelf is empty".to_owned()
            )
        );
        assert_eq!(talk.ask(act("cmd:fail"))["error"]["details"], json!({"status": 3}));
        let (code, message) = told(talk, "cmd:killed");
        assert!(code == "command_failed" && message.starts_with("the command for cmd:killed ended with signal: 15"));
        assert_eq!(talk.ask(act("cmd:killed"))["error"]["details"], json!({"signal": 15}));
        let (code, message) = told(talk, "cmd:missing");
        assert!(code == "command_failed" && message.contains("exit status: 127: "), "{message}");
        assert!(message.contains("/nonexistent/program"), "{message}");
        for (name, why) in [
            ("text", "it is no JSON: expected value at line 1 column 1: why"),
            ("number", "it is neither an object nor an array"),
            ("two", "it is no JSON: trailing characters at line 1 column 4"),
            ("bytes", "invalid utf-8 sequence of 1 bytes from index 6"),
        ] {
            let told = told(talk, &format!("cmd:{name}"));
            let message = format!("the command for cmd:{name} did not print a result: {why}");
            assert_eq!(told, ("bad_result".to_owned(), message));
        }
        assert_eq!(
            told(talk, "cmd:slow"),
            (
                "command_timed_out".to_owned(),
                "the command for cmd:slow took longer than 2s and was killed: so far".to_owned()
            )
        );
    });
}

#[test]
fn one_that_prints_too_much_is_killed() {
    let endless = "cmd:endless=while :; do printf '[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20],'; done";
    let server = serving(&[endless, "cmd:large=head -c 9000000 /dev/zero"], &["--serve-limit", "10m"]);
    for name in ["endless", "large"] {
        let (code, message) = failure(&mut server.connect(), format!("cmd:{name}"));
        assert_eq!(code, "result_too_large", "{message}");
        assert_eq!(message, format!("the command for cmd:{name} printed more than 8388608 bytes and was killed"));
    }
}

/// What it left behind writes on and on: that is killed, too, as the caller is told.
#[test]
fn what_is_left_behind_and_does_not_end_is_killed() {
    const LIMIT: Duration = Duration::from_secs(2);
    let folder = TempDir::new().unwrap();
    let (ids, go) = (folder.path().join("ids"), folder.path().join("go"));
    let wait = format!("until [ -e {} ]; do sleep 0.02; done", go.display());
    // That nobody reads any more does not end it.
    let writer = format!("(trap '' PIPE; {wait}; yes 2>/dev/null; exec sleep 1000)");
    let command = format!("cmd:leave={writer} & echo $! >> {ids}; echo $$ >> {ids}; {wait}", ids = ids.display());
    let server = serving(&[&command], &["--serve-limit", &format!("{LIMIT:?}")]);
    let mut talk = server.connect();
    talk.send(act("cmd:leave").to_string() + "\n");
    until("it runs", || lines(&ids).len() == 2);
    let begun = Instant::now();
    // The shell ends while the agent does not look, and the time is over when it does.
    server.process.pause();
    fs::write(&go, "").unwrap();
    let [left_behind, shell] = lines(&ids).try_into().unwrap();
    until("the shell has ended, and its time", || !is_running(&shell) && begun.elapsed() > LIMIT);
    assert!(is_running(&left_behind));
    server.process.signal(Signal::CONT);
    let told = refusal("command_timed_out", &talk.reply());
    assert_eq!(told, "the command for cmd:leave took longer than 2s and was killed");
    until("what was left behind has ended", || !is_running(&left_behind));
}

/// Where the system does not let the agent read.
#[cfg(target_os = "linux")]
#[test]
fn one_whose_output_cannot_be_read_is_killed() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let folder = TempDir::new().unwrap();
    let ids = folder.path().join("ids");
    let command = format!("cmd:slow=echo so far >&2; sleep 1000 & echo $! $$ >> {}; wait", ids.display());
    let server = serving(&[&command], &["--serve-limit", "1m"]);
    let mut talk = server.connect();
    talk.send(act("cmd:slow").to_string() + "\n");
    let ids = || fs::read_to_string(&ids).unwrap_or_default();
    until("it runs", || ids().ends_with('\n'));
    // Two are looked at at once, which is more than may be open.
    let agent = Pid::from_raw(server.process.id() as i32);
    let before = prlimit(agent, Resource::Nofile, Rlimit { current: Some(1), maximum: Some(256) }).unwrap();
    let told = refusal("result_not_read", &talk.reply());
    prlimit(agent, Resource::Nofile, Rlimit { current: before.current.min(Some(256)), maximum: Some(256) }).unwrap();
    let wanted =
        "the command for cmd:slow was killed, for its output could not be read: Invalid argument (os error 22)";
    assert!(told.starts_with(wanted), "{told}");
    until("both have ended", || !ids().split_whitespace().any(is_running));
}

/// More than a pipe holds, in both directions, and much of what nobody wants.
#[test]
fn large_messages_and_results() {
    let server = serving(
        &["cmd:echo=cat", "cmd:noise=head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 1", "cmd:deaf=echo '{}'"],
        &[],
    );
    let caller = calling(&server, &["cmd:deaf", "cmd:echo", "cmd:noise"]);
    for talk in [&mut server.connect(), &mut caller.connect()] {
        let message = json!({"cmd": "echo", "text": "ü".repeat(400_000)});
        assert_eq!(result(talk, message.clone()), message);
        let message = json!({"cmd": "deaf", "text": "x".repeat(1_000_000)});
        assert_eq!(result(talk, message), json!({}));
        let (code, message) = failure(talk, "cmd:noise");
        assert_eq!(code, "command_failed");
        assert!((1_000..1_200).contains(&message.len()), "{}", message.len());
    }
}

/// With everything that it started.
#[test]
fn one_that_takes_too_long_is_killed() {
    let folder = TempDir::new().unwrap();
    let ids = folder.path().join("ids");
    let shown = ids.display();
    let command = format!("cmd:slow=sleep 1000 & echo $! >> {shown}; echo $$ >> {shown}; wait");
    let server = serving(&[&command], &["--serve-limit", "300ms"]);
    let (code, _) = failure(&mut server.connect(), "cmd:slow");
    assert_eq!(code, "command_timed_out");
    let ids = lines(&ids);
    assert_eq!(ids.len(), 2);
    until("both have ended", || !ids.iter().any(|id| is_running(id)));
}

/// What a command leaves behind holds its outputs: its result is not waited for because of that, and it goes on.
#[test]
fn what_is_left_behind_holds_up_nothing() {
    let server = serving(&["cmd:leave=sleep 1000 & echo \"{\\\"id\\\":\\\"$!\\\"}\""], &["--serve-limit", "30s"]);
    let mut talk = server.connect();
    let left: Vec<String> = (0..3).map(|_| result(&mut talk, "cmd:leave")["id"].as_str().unwrap().to_owned()).collect();
    for id in left {
        assert!(is_running(&id));
        signal_to(id.parse().unwrap(), Signal::KILL);
    }
}

/// Each takes a place, of which there are as many as commands may run at once; the others wait, and all are answered.
#[test]
fn so_many_run_at_once() {
    const CALLS: usize = 12;
    let folder = TempDir::new().unwrap();
    let shown = folder.path().display();
    let command = format!(
        "cmd:work=for place in 1 2 3; do
            if mkdir {shown}/$place 2>/dev/null; then sleep 0.1; rmdir {shown}/$place; echo \"[$place]\"; exit; fi
        done
        exit 1"
    );
    let server = serving(&[&command], &["--serve-jobs", "3"]);
    let mut talk = server.connect();
    for n in 0..CALLS {
        let mut request = act("cmd:work");
        request["id"] = n.into();
        talk.send(request.to_string() + "\n");
    }
    let replies: Vec<Value> = (0..CALLS).map(|_| talk.reply()).collect();
    assert!(replies.iter().all(|reply| reply["ok"] == true), "{replies:#?}");
    assert!(replies.iter().any(|reply| reply["result"] == json!([3])), "they do not wait for each other");
}

/// The pattern ends where one can end; what it names comes to the command with everything else.
#[test]
fn a_command_may_have_any_characters() {
    let commands = ["cmd:\"a=b\"=X='=;=' && echo \"[\\\"$X\\\"]\"", "=echo '[\"everything else\"]'"];
    let server = serving(&commands, &[]);
    let mut talk = server.connect();
    assert_eq!(result(&mut talk, json!({"cmd": "a=b"})), json!(["=;="]));
    assert_eq!(result(&mut talk, json!({"cmd": "b"})), json!(["everything else"]));
}

/// Its environment says where the agent is.
#[test]
fn a_command_may_ask_the_agent() {
    let grapevine = env!("CARGO_BIN_EXE_grapevine");
    let count = format!("cmd:count={grapevine} members --json | tr -d '\\n'");
    let again = format!("cmd:again={grapevine} act cmd:end");
    let server = serving(&[&count, &again, "cmd:end=echo '{\"end\":1}'"], &[]);
    let mut talk = server.connect();
    assert_eq!(result(&mut talk, "cmd:count")["members"][0]["peer"], server.peer.as_str());
    assert_eq!(result(&mut talk, "cmd:again"), json!({"end": 1}));
}

/// Without an address to listen on, for the agent's own clients.
#[test]
fn commands_for_the_own_clients_alone() {
    let agent = Agent::start(&["--serve", "cmd:echo=cat"]);
    agent.logs("nobody else can call what --serve offers");
    assert_eq!(result(&mut agent.connect(), "cmd:echo,a:1"), json!({"cmd": "echo", "a": 1}));
    assert_eq!(agent.ready.get("listen"), None);
    let other = Agent::join(&agent, &[]);
    other.sees(&agent.peer, json!({"state": "alive"}));
    let (code, _) = failure(&mut other.connect(), "cmd:echo");
    assert_eq!(code, "act_not_found");
}

/// A pin is for those outside.
#[test]
fn only_what_is_pinned_may_be_called_by_others() {
    let server =
        serving(&["role:api,cmd:a=echo '[1]'", "role:secret=echo '[2]'"], &["--pin", "role:api", "--pin", "role:b"]);
    let mut own = server.connect();
    assert_eq!(result(&mut own, "role:secret"), json!([2]));
    let caller = calling(&server, &["cmd:a,role:api"]);
    let mut talk = caller.connect();
    assert_eq!(result(&mut talk, "role:api,cmd:a"), json!([1]));
    assert_eq!(failure(&mut talk, "role:secret").0, "act_not_found");
    assert_eq!(on_the_wire(listen_plain(&server), &json!({"role": "api", "cmd": "a"}))["res"], json!([1]));
    let answer = on_the_wire(listen_plain(&server), &json!({"role": "secret"}));
    assert_eq!(answer["error"]["code"], "act_not_found", "{answer}");
}

/// The agent ends once the last call is answered.
#[test]
fn calls_are_answered_before_the_end() {
    let folder = TempDir::new().unwrap();
    let started = folder.path().join("started");
    let command = format!("cmd:slow=touch {}; sleep 0.5; echo '[\"done\"]'", started.display());
    let server = serving(&[&command], &[]);
    let caller = calling(&server, &["cmd:slow"]);
    let mut talk = caller.connect();
    talk.send(act("cmd:slow").to_string() + "\n");
    until("it runs", || started.exists());
    assert_eq!(server.terminate().status, Some(0));
    assert_eq!(talk.reply()["result"], json!(["done"]));
}

/// Nor does a command outlive the agent for long.
#[test]
fn commands_that_run_at_the_end_are_killed() {
    let folder = TempDir::new().unwrap();
    let (started, done) = (folder.path().join("started"), folder.path().join("done"));
    let command = format!("cmd:slow=touch {}; sleep 20; touch {}", started.display(), done.display());
    let server = serving(&[&command], &["--serve-limit", "1m"]);
    let caller = calling(&server, &["cmd:slow"]);
    let (mut talk, mut own) = (caller.connect(), server.connect());
    talk.send(act("cmd:slow").to_string() + "\n");
    own.send(act("cmd:slow").to_string() + "\n");
    until("it runs", || started.exists());
    server.logs_after_leaving("2 commands for calls still ran and were killed");
    assert!(!done.exists());
    // Nobody is left without an answer.
    for talk in [&mut talk, &mut own] {
        let reply = talk.reply();
        assert!(
            ["command_failed", "connection_lost", "stopped"].contains(&reply["error"]["code"].as_str().unwrap()),
            "{reply}"
        );
    }
}

/// Many agents' commands for one pattern share the calls, and one that crashes takes nothing from the others.
#[test]
fn several_agents_serve_one_pattern() {
    let first = serving(&["cmd:who=echo '[1]'"], &[]);
    let second = Agent::join(&first, &["--listen", "127.0.0.1:0", "--serve", "cmd:who=echo '[2]'"]);
    let caller = calling(&first, &["cmd:who"]);
    knows(&caller, &second.peer, &["cmd:who"]);
    let mut talk = caller.connect();
    let mut seen = std::collections::BTreeSet::new();
    until("both are called", || {
        seen.insert(result(&mut talk, "cmd:who").to_string());
        seen.len() == 2
    });
    // The same key always goes to the same one.
    for key in ["a", "b", "c", "d"] {
        let answer = |talk: &mut crate::harness::Conversation| {
            talk.done(json!({"do": "act", "message": "cmd:who", "shard": key, "idempotent": true}))["result"].take()
        };
        let first = answer(&mut talk);
        for _ in 0..5 {
            assert_eq!(answer(&mut talk), first);
        }
    }
    first.crash();
    for _ in 0..20 {
        let reply = talk.done(json!({"do": "act", "message": "cmd:who", "idempotent": true}));
        assert_eq!(reply["result"], json!([2]));
    }
}
