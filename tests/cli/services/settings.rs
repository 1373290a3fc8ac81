//! The options and variables of services.

use std::net::{TcpListener, UdpSocket};
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use super::{knows, listen_plain, on_the_wire, result, serving};
use crate::harness::agent::agent_command;
use crate::harness::{Agent, Conversation, Ended, Process, is_keyed, program, until};

fn start(args: &[&str]) -> Ended {
    let folder = TempDir::new().unwrap();
    Process::start(agent_command(args).arg("--control").arg(folder.path().join("control"))).end()
}

#[test]
fn settings_that_cannot_be_used() {
    let cases: [(&[&str], &str); 17] = [
        (&["--listen", "nobody"], "--listen: it is no ADDRESS:PORT like 127.0.0.1:4444"),
        (&["--listen", "127.0.0.1"], "--listen: it is no ADDRESS:PORT"),
        (
            &["--advertise-service", "127.0.0.1:1"],
            "--advertise-service: it needs an address to listen on; give --listen as well",
        ),
        (
            &["--listen", "127.0.0.1:0", "--advertise-service", "0.0.0.0:1"],
            "--advertise-service: nobody can reach 0.0.0.0:1",
        ),
        (&["--listen", "127.0.0.1:0", "--advertise-service", "x"], "--advertise-service: it is no ADDRESS:PORT"),
        (&["--pin", "a:1"], "--pin: they are for calls from others; give --listen as well"),
        (&["--listen", "127.0.0.1:0", "--pin", "a"], "--pin a: this is no pattern: at character 2"),
        (
            &["--client", "127.0.0.1:1"],
            "--client 127.0.0.1:1: it has no `=`; write HOST:PORT=PATTERN, like 10.0.0.7:10201=role:api",
        ),
        (&["--client", "127.0.0.1:1=a"], "--client 127.0.0.1:1=a: this is no pattern"),
        (&["--client", "127.0.0.1=a:1"], "--client: \"127.0.0.1\" is no HOST:PORT like 10.0.0.7:10201"),
        (
            &["--serve", "a:1"],
            "--serve a:1: it has no `=`; write PATTERN=COMMAND, like --serve 'role:api,cmd:add=./add'",
        ),
        (&["--serve", "a=true"], "--serve a=true: this is no pattern"),
        (&["--serve", "a:1= "], "--serve a:1= : there is no command after the `=`"),
        (
            &["--serve", "a:1,b:2=true", "--serve", "b:2,a:1=false"],
            "--serve a:1,b:2=…: there are two of them; leave one out",
        ),
        (&["--serve", "a:1=true", "--serve-jobs", "0"], "--serve-jobs 0: the range is 1 to 64"),
        (&["--serve", "a:1=true", "--serve-jobs", "65"], "--serve-jobs 65: the range is 1 to 64"),
        (&["--serve", "a:1=true", "--serve-limit", "2h"], "--serve-limit 7200s: the range is 1 ms to 1 h"),
    ];
    for (args, wanted) in cases {
        let told = start(args).misused();
        assert!(told.starts_with(wanted), "{args:?}: {told}");
    }
    let told = Process::start(&mut program(&["agent", "--listen", "127.0.0.1:65535"])).end().misused();
    assert_eq!(told, "--listen 127.0.0.1:65535: there is no port above it for gossip; give --bind an address");
    for (option, value) in [("--serve-jobs", "many"), ("--serve-limit", "long")] {
        assert!(start(&[option, value]).refused().contains(option));
    }
}

/// It ends before anybody has heard of it.
#[test]
fn what_cannot_be_offered() {
    let seed = Agent::start(&[]);
    let patterns = |count: usize, len: usize| -> Vec<String> {
        (0..count).map(|n| format!("n:{n},x:{}=true", "v".repeat(len))).collect()
    };
    let start = |patterns: Vec<String>| {
        let mut args = vec!["--listen", "127.0.0.1:0", "--seed", &*seed.peer];
        args.extend(patterns.iter().flat_map(|pattern| ["--serve", pattern]));
        start(&args)
    };
    for _ in 0..3 {
        let ended = start(patterns(300, 250));
        let wanted = "grapevine: --serve: the patterns that this agent offers would take ";
        assert!(ended.status == Some(2) && ended.err.contains(wanted), "{ended:?}");
        let ended = start(patterns(1_025, 1));
        let wanted = "grapevine: --serve: 1024 ";
        assert!(ended.status == Some(2) && ended.err.contains(wanted), "{ended:?}");
    }
    nobody_else_was_heard_of(&seed);
}

/// What comes from somebody who comes later comes after what might have come from them.
fn nobody_else_was_heard_of(seed: &Agent) {
    let last = Agent::join(seed, &[]);
    seed.sees(&last.peer, json!({"state": "alive"}));
    assert_eq!(seed.connect().members().len(), 2);
}

#[test]
fn an_address_that_cannot_be_had() {
    let seed = Agent::start(&[]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for _ in 0..5 {
        let told = start(&["--listen", &addr, "--seed", &seed.peer]).failed();
        assert_eq!(told, format!("cannot bind {addr}: it is in use; stop the other program or choose another port"));
    }
    nobody_else_was_heard_of(&seed);
}

/// Where nothing is said of gossip, it is on the port above; by that port the control socket is found, too.
#[test]
fn gossip_is_on_the_port_above() {
    let folder = TempDir::new().unwrap();
    let in_folder = |command: &mut Command| {
        command.env("XDG_RUNTIME_DIR", folder.path());
    };
    let start = || {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (listen, gossip) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", port.checked_add(1)?));
        UdpSocket::bind(&gossip).ok()?;
        let mut command = program(&["agent", "--json", "--listen", &listen]);
        in_folder(&mut command);
        let mut process = Process::start(&mut command);
        // Somebody else may have it now.
        let ready = Conversation::over_stdio(&mut process).next_event()?;
        Some((process, ready, listen, gossip))
    };
    let mut started = None;
    until("a pair of ports is free", || {
        started = start();
        started.is_some()
    });
    let (process, ready, listen, gossip) = started.unwrap();
    assert_eq!((&ready["peer"], &ready["listen"]), (&json!(gossip), &json!(listen)));
    let control = folder.path().join(format!("grapevine-{}.sock", gossip.rsplit_once(':').unwrap().1));
    assert_eq!(ready["control"], json!(control));
    for (variable, value) in [("GRAPEVINE_LISTEN", &listen), ("GRAPEVINE_BIND", &gossip)] {
        let mut members = program(&["members"]);
        in_folder(members.env(variable, value));
        let out = Process::start(&mut members).end().done();
        assert!(out.contains(&gossip), "{out}");
    }
    let mut leave = program(&["leave"]);
    in_folder(leave.env("GRAPEVINE_LISTEN", &listen));
    Process::start(&mut leave).end().done();
    assert_eq!(process.end().status, Some(0));
}

#[test]
fn a_service_is_set_up_by_its_environment() {
    let outside = serving(&["role:out=echo '[\"out\"]'"], &[]);
    let environment = [
        ("GRAPEVINE_LISTEN", "127.0.0.1:0".to_owned()),
        ("GRAPEVINE_ADVERTISE_SERVICE", "127.0.0.1:0".to_owned()),
        ("GRAPEVINE_PIN", "role:api,cmd:*; role:b;".to_owned()),
        ("GRAPEVINE_CLIENT", format!("127.0.0.1:1=role:nobody; {}=role:out", listen_plain(&outside))),
        ("GRAPEVINE_SERVE", "role:api=X='a;b'; echo \"[\\\"$X\\\"]\"".to_owned()),
        ("GRAPEVINE_SERVE_JOBS", "2".to_owned()),
        ("GRAPEVINE_SERVE_LIMIT", "5s".to_owned()),
    ];
    let agent = Agent::start_after(&[], |command| {
        command.envs(environment);
        command.envs(is_keyed().then_some(("GRAPEVINE_LISTEN_PLAIN", "127.0.0.1:0")));
    });
    knows(&agent, &agent.peer, &["cmd:*,role:api"]);
    let mut talk = agent.connect();
    assert_eq!(result(&mut talk, "role:api"), json!(["a;b"]));
    assert_eq!(result(&mut talk, "role:out"), json!(["out"]));
    assert_eq!(on_the_wire(listen_plain(&agent), &json!({"role": "api", "cmd": 1}))["res"], json!(["a;b"]));
    assert_eq!(on_the_wire(listen_plain(&agent), &json!({"role": "api"}))["error"]["code"], "act_not_found");
}

/// A setting that is wrong is noticed, and so was read; options win.
#[test]
fn every_variable_is_read_and_options_win() {
    for (variable, bad, option, good) in [
        ("GRAPEVINE_LISTEN", "nobody", "--listen", "127.0.0.1:0"),
        ("GRAPEVINE_ADVERTISE_SERVICE", "0.0.0.0:1", "--advertise-service", "127.0.0.1:1"),
        ("GRAPEVINE_PIN", "a", "--pin", "a:1"),
        ("GRAPEVINE_CLIENT", "a", "--client", "127.0.0.1:1=a:1"),
        ("GRAPEVINE_SERVE", "a", "--serve", "a:1=true"),
        ("GRAPEVINE_SERVE_JOBS", "0", "--serve-jobs", "1"),
        ("GRAPEVINE_SERVE_LIMIT", "2h", "--serve-limit", "1s"),
    ] {
        let listen: &[&str] = if option == "--listen" { &[] } else { &["--listen", "127.0.0.1:0"] };
        let folder = TempDir::new().unwrap();
        let mut command = agent_command(listen);
        command.arg("--control").arg(folder.path().join("control")).env(variable, bad);
        let told = Process::start(&mut command).end().misused();
        assert!(told.starts_with(option), "{variable}: {told}");
        Agent::start_after(&[listen, &[option, good]].concat(), |command| {
            command.env(variable, bad);
        });
        // One that is empty is none.
        Agent::start_after(listen, |command| {
            command.env(variable, "");
        });
    }
}
