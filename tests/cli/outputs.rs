//! What reaches a person and what reaches a pipe: help, completions, colours, and values that would play tricks on a terminal.

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Agent, Conversation, Process, all_alive, program, run, until};

const COMMANDS: [&str; 14] = [
    "agent",
    "members",
    "get",
    "keys",
    "set",
    "delete",
    "watch",
    "services",
    "act",
    "stats",
    "top",
    "forget",
    "leave",
    "completions",
];

#[test]
fn it_says_what_it_is() {
    let version = format!("grapevine {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["--version"]).done(), version);
    assert_eq!(run(&["-V"]).done(), version);
    let help = run(&["--help"]).done();
    assert!(
        help.starts_with("Cluster membership, failure detection and shared state") && help.contains("Exit status"),
        "{help}"
    );
    for command in COMMANDS {
        let line = |line: &&str| line.split_whitespace().next() == Some(command);
        assert!(help.lines().find(line).is_some_and(|line| line.len() > 20), "{command}\n{help}");
        let own = run(&[command, "--help"]).done();
        assert!(own.contains(&format!("Usage: grapevine {command}")), "{own}");
        assert_eq!(run(&["help", command]).done(), own);
        assert!(run(&[command, "-h"]).done().contains("Usage: "));
    }
    let agent = run(&["agent", "--help"]).done();
    let agent = agent.split_whitespace().collect::<Vec<_>>().join(" ");
    for variable in [
        "BIND",
        "ADVERTISE",
        "SEED",
        "CLUSTER",
        "INTERVAL",
        "CONTROL",
        "REMEMBER",
        "ON_EVENT",
        "LISTEN",
        "PIN",
        "CLIENT",
        "SERVE",
    ] {
        assert!(agent.contains(&format!("[env: GRAPEVINE_{variable}")), "{variable}\n{agent}");
    }
    assert!(!agent.contains('\u{1b}') && !help.contains('\u{1b}'));
}

#[test]
fn shells_complete_every_command() {
    for (shell, mark) in [
        ("bash", "complete -F _grapevine"),
        ("zsh", "#compdef grapevine"),
        ("fish", "complete -c grapevine"),
        ("elvish", "edit:completion:arg-completer[grapevine]"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = run(&["completions", shell]).done();
        assert!(script.contains(mark), "{shell}");
        for word in
            COMMANDS.iter().chain(&["--on-event", "--ttl", "--prefix", "--listen", "--serve-jobs", "--idempotent"])
        {
            let word = if shell == "fish" { word.trim_start_matches('-') } else { word };
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let mut bash = Command::new("bash");
    let mut bash = bash.arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    let script = run(&["completions", "bash"]).done();
    bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(bash.wait().unwrap().success());
}

/// `| head -1`: nobody is left to be told anything, which is no failure.
#[test]
fn nobody_reads_the_output() {
    let agent = Agent::start(&["--set", "a=1"]);
    let control = agent.control.to_str().unwrap();
    let commands: [&[&str]; 10] = [
        &["--help"],
        &["--version"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["members", "--control", control],
        &["get", "a", "--control", control],
        &["keys", "--json", "--control", control],
        &["stats", "--control", control],
        &["set", "a", "2", "--control", control],
        &["watch", "--control", control],
    ];
    let mut talk = agent.connect();
    for args in commands {
        let (reader, writer) = pipe().unwrap();
        let mut command = program(args);
        let mut process = Process::start(command.stdout(writer));
        drop((command, reader));
        let mut value = 0;
        until("it ends", || {
            value += 1;
            talk.done(json!({"do": "set", "key": "a", "value": value}));
            !process.runs()
        });
        let ended = process.end();
        assert_eq!((ended.status, &*ended.err), (Some(0), ""), "{args:?}");
    }
    // Nor to be told what is wrong.
    let (reader, writer) = pipe().unwrap();
    let mut command = program(&["get", "nothing", "--control", control]);
    let process = Process::start(command.stderr(writer));
    drop((command, reader));
    assert_eq!(process.end().status, Some(1));
}

/// Runs a command to its end in a terminal, in colours if it knows any: what the terminal was sent.
fn in_terminal(command: &mut Command) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let path = ptsname(&terminal, Vec::new()).unwrap();
    let side = || {
        Stdio::from(rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap())
    };
    command.env("TERM", "xterm-256color").stdin(side()).stdout(side()).stderr(side());
    let mut process = Process::start(command);
    // The other side is the process's alone, whose end is thus that of the output.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut terminal = File::from(terminal);
    let output = thread::spawn(move || {
        let mut output = Vec::new();
        // A terminal whose other side has been closed ends with an error.
        let _ = terminal.read_to_end(&mut output);
        output
    });
    until("it ends", || !process.runs());
    String::from_utf8(output.join().unwrap()).unwrap().replace("\r\n", "\n")
}

#[test]
fn colours_are_for_terminals() {
    let agent = Agent::start(&[]);
    let other = Agent::join(&agent, &[]);
    all_alive(&[&agent, &other]);
    let control = agent.control.to_str().unwrap();
    let members = ["members", "--control", control];
    let coloured = in_terminal(&mut program(&members));
    assert_eq!(coloured.matches("\u{1b}[32malive\u{1b}[0m").count(), 2, "{coloured:?}");
    assert!(coloured.starts_with("\u{1b}[1mPEER"), "{coloured:?}");
    for plain in [
        in_terminal(program(&members).env("NO_COLOR", "1")),
        in_terminal(program(&["members", "--json", "--control", control]).env("NO_COLOR", "1")),
        agent.run(&["members"]).done(),
        agent.run(&["stats"]).done(),
    ] {
        assert!(plain.contains("alive") && !plain.contains('\u{1b}'), "{plain:?}");
    }
}

/// Text that clears the screen, rings, and is red from here on, in one and in two characters.
const EVIL: &str = "a\u{1b}[2J\u{7}\u{9b}31m\u{7f}\nb";

/// In a terminal control characters are shown as escapes; a pipe is given what there is.
#[test]
fn values_play_no_tricks_on_terminals() {
    let agent = Agent::start(&[]);
    let control = agent.control.to_str().unwrap();
    let mut talk = agent.connect();
    for (key, value) in [("text", json!(EVIL)), ("object", json!({EVIL: [EVIL]})), (EVIL, json!(1))] {
        talk.done(json!({"do": "set", "key": key, "value": value}));
    }
    let shown = |args: &[&str]| {
        let out = in_terminal(&mut program(&[args, &["--control", control]].concat()));
        let has_tricks = out.chars().any(|c| c.is_control() && c != '\n');
        assert!(!has_tricks, "{args:?}: {out:?}");
        out
    };
    let as_escapes = "a\\u{1b}[2J\\u{7}\\u{9b}31m\\u{7f}\\nb";
    assert_eq!(shown(&["get", "text"]), format!("{as_escapes}\n"));
    assert!(shown(&["keys"]).contains(as_escapes));
    assert!(shown(&["get", "nothing\u{1b}[2J"]).contains("nothing\\u{1b}[2J"));
    // What is JSON is still the same JSON.
    let read = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    assert_eq!(read(&shown(&["get", "object"])), json!({EVIL: [EVIL]}));
    assert_eq!(read(&shown(&["get", "text", "--json"]))["value"], EVIL);
    assert_eq!(read(&shown(&["keys", "--json"]))["keys"][0], EVIL);

    assert_eq!(agent.run(&["get", "text"]).done(), format!("{EVIL}\n"));
    assert_eq!(agent.run(&["keys"]).done(), format!("{EVIL}\nobject\ntext\n"));
    assert_eq!(read(&agent.run(&["get", "object"]).done()), json!({EVIL: [EVIL]}));
    assert_eq!(read(&agent.run(&["get", "text", "--json"]).done())["value"], EVIL);
}

/// Whoever watches, and the agent's own terminal.
#[test]
fn events_play_no_tricks_on_terminals() {
    let other = Agent::start(&["--set", &format!("text={EVIL}"), "--set", &format!("{EVIL}=1")]);
    for json in [false, true] {
        let folder = TempDir::new().unwrap();
        let control = folder.path().join("control");
        let mut command = program(&["agent", "--bind", "127.0.0.1:0", "--interval", "50ms", "--seed", &other.peer]);
        command.args(json.then_some("--json")).arg("--control").arg(&control);
        let printed = thread::spawn(move || in_terminal(&mut command));
        let watch = thread::spawn({
            let control = control.clone();
            move || {
                until("it serves", || UnixStream::connect(&control).is_ok());
                in_terminal(program(&["watch", "--control", control.to_str().unwrap()]).args(json.then_some("--json")))
            }
        });
        until("it serves", || UnixStream::connect(&control).is_ok());
        let mut talk = Conversation::over_socket(&control);
        let request = json!({"do": "get", "peer": other.peer, "key": EVIL});
        until("the keys have come", || talk.ask(request.clone())["value"] == 1);
        // Until somebody watches who is sure to be told.
        for n in 0..20 {
            talk.done(json!({"do": "set", "key": EVIL, "value": format!("{n}{EVIL}")}));
            run(&["keys", "--control", control.to_str().unwrap()]).done();
        }
        talk.done(json!({"do": "leave"}));
        for out in [printed.join().unwrap(), watch.join().unwrap()] {
            assert!(out.contains("update") && out.contains("stopped"), "{out}");
            assert!(!out.chars().any(|c| c.is_control() && c != '\n'), "{out:?}");
        }
    }
}

#[test]
fn top_needs_a_terminal() {
    assert_eq!(run(&["top"]).misused(), "top needs a terminal; `grapevine members` prints the same once");
    assert_eq!(run(&["top", "--every", "1ms"]).misused(), "--every 1ms: the range is 100 ms to 1 h");
}
