//! Settings from the environment, over which options win; what the program says of itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::harness::agent::free_address;
use crate::harness::{Agent, Conversation, Ended, Process, has, program, until};

fn start_in(environment: &[(&str, &str)], args: &[&str]) -> Agent {
    Agent::start_after(args, |command| {
        command.envs(environment.iter().copied());
    })
}

/// Starts an agent that is expected not to, with settings that are good but for those in the environment.
fn refused_in(environment: &[(&str, &str)], args: &[&str]) -> Ended {
    Process::start(program(&[&["agent", "--bind", "127.0.0.1:0"], args].concat()).envs(environment.iter().copied()))
        .end()
}

#[test]
fn an_agent_is_set_up_by_its_environment() {
    let seed = Agent::start(&["--cluster", "blue"]);
    let folder = TempDir::new().unwrap();
    let (control, file) = (folder.path().join("control"), folder.path().join("peers"));
    let bind = free_address();
    let advertise = format!("127.0.0.1:{}", bind.rsplit_once(':').unwrap().1);
    let mut command = program(&["agent", "--pause", "20"]);
    command.envs([
        ("GRAPEVINE_BIND", bind.replace("127.0.0.1", "0.0.0.0")),
        ("GRAPEVINE_ADVERTISE", advertise.clone()),
        ("GRAPEVINE_SEED", format!("127.0.0.1:1, {},", seed.peer)),
        ("GRAPEVINE_CLUSTER", "blue".to_owned()),
        ("GRAPEVINE_INTERVAL", "50ms".to_owned()),
        ("GRAPEVINE_CONTROL", control.display().to_string()),
        ("GRAPEVINE_JSON", "true".to_owned()),
        ("GRAPEVINE_REMEMBER", file.display().to_string()),
        ("GRAPEVINE_ON_EVENT", "echo seen $GRAPEVINE_EVENT >&2".to_owned()),
    ]);
    let mut process = Process::start(&mut command);
    let mut stdio = Conversation::over_stdio(&mut process);
    let ready = stdio.next_event().unwrap();
    let wanted = json!({"event": "ready", "peer": advertise, "cluster": "blue", "control": control});
    assert!(has(&ready, &wanted), "{ready}");
    stdio.event(json!({"event": "peer_alive", "peer": seed.peer}));
    until("a command was run", || process.errors().contains("seen peer_alive"));
    until("the peers are remembered", || file.exists());
    // So are the commands that talk to it.
    let mut members = program(&["members"]);
    let out = Process::start(members.env("GRAPEVINE_CONTROL", &control)).end().done();
    assert!(out.contains(&advertise), "{out}");
}

/// 65 bytes: one too many.
const LONG_NAME: &str = "ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";

/// That is how compositions of containers pass on what nobody gave.
#[test]
fn empty_variables_count_as_not_set() {
    let names = [
        "ADVERTISE",
        "SEED",
        "CLUSTER",
        "INTERVAL",
        "FANOUT",
        "PHI",
        "PAUSE",
        "GRACE",
        "LEAVE_TIME",
        "JSON",
        "REMEMBER",
        "ON_EVENT",
        "KEY_FILE",
    ];
    let names = names.map(|name| format!("GRAPEVINE_{name}"));
    let empty: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let agent = start_in(&empty, &[]);
    let members = program(&["members", "--control", agent.control.to_str().unwrap()]);
    let mut members = members;
    Process::start(members.env("GRAPEVINE_BIND", "").env("GRAPEVINE_CONTROL", "")).end().done();
    // As a flag, a variable may say it in any way.
    let agent = start_in(&[("GRAPEVINE_JSON", "1")], &[]);
    agent.run(&["members"]).done();
}

/// A setting that is out of its range is noticed, and so was read.
#[test]
fn every_variable_is_read_and_options_win() {
    for (variable, bad, option, good, named) in [
        ("GRAPEVINE_INTERVAL", "1ms", "--interval", "50ms", "--interval"),
        ("GRAPEVINE_FANOUT", "0", "--fanout", "3", "--fanout"),
        ("GRAPEVINE_PHI", "0.1", "--phi", "8", "--phi or --pause"),
        ("GRAPEVINE_PAUSE", "-1", "--pause", "20", "--phi or --pause"),
        ("GRAPEVINE_GRACE", "1ms", "--grace", "1h", "--grace"),
        ("GRAPEVINE_SEED", "nobody", "--seed", "127.0.0.1:1", "--seed"),
        ("GRAPEVINE_ADVERTISE", "nobody", "--advertise", "127.0.0.1:0", "--advertise"),
        ("GRAPEVINE_CLUSTER", LONG_NAME, "--cluster", "blue", "--cluster"),
        ("GRAPEVINE_LEAVE_TIME", "2h", "--leave-time", "1s", "--leave-time"),
    ] {
        let told = refused_in(&[(variable, bad)], &[]).misused();
        assert!(told.contains(named), "{variable}: {told}");
        start_in(&[(variable, bad)], &[option, good]);
    }
    let told = Process::start(program(&["agent"]).env("GRAPEVINE_BIND", "nobody")).end().misused();
    assert!(told.contains("--bind: "), "{told}");
    start_in(&[("GRAPEVINE_BIND", "nobody"), ("GRAPEVINE_CONTROL", "/nowhere/control")], &[]);
    let told = refused_in(&[("GRAPEVINE_CONTROL", "/nowhere/control")], &[]).failed();
    assert!(told.contains("/nowhere/control"), "{told}");
}

/// A name stands for all of its addresses.
#[test]
fn a_seed_may_have_a_name() {
    let seed = Agent::start(&[]);
    let port = seed.peer.rsplit_once(':').unwrap().1;
    let agent = Agent::start(&["--seed", &format!("localhost:{port}")]);
    agent.sees(&seed.peer, json!({"state": "alive"}));
    let agent = Agent::start(&["--seed", "nobody.invalid:9000"]);
    agent.logs("nobody.invalid:9000");
    agent.run(&["members"]).done();
}

#[test]
fn empty_variables_are_as_good_as_none() {
    let empty = [("GRAPEVINE_ADVERTISE", ""), ("GRAPEVINE_SEED", "")];
    let agent = start_in(&empty, &[]);
    assert_eq!(agent.connect().members().len(), 1);
}

/// Where the control socket is when nobody says: in a folder of the user's own, by the port.
#[test]
fn agents_and_commands_find_each_other_by_the_port() {
    let folder = TempDir::new().unwrap();
    for (variable, at) in [("XDG_RUNTIME_DIR", folder.path().to_owned()), ("TMPDIR", folder.path().join("tmp"))] {
        fs::create_dir_all(&at).unwrap();
        let bind = free_address();
        // One that is empty is none.
        let environment = [("XDG_RUNTIME_DIR", Path::new("")), (variable, &at)];
        let mut process = Process::start(program(&["agent", "--json", "--bind", &bind]).envs(environment));
        let ready = Conversation::over_stdio(&mut process).next_event().unwrap();
        let control = ready["control"].as_str().unwrap();
        assert!(control.starts_with(at.to_str().unwrap()), "{control}");
        // It, and the folder that is made for it, are nobody else's.
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(Path::new(control)), 0o600);
        if variable == "TMPDIR" {
            assert_eq!(mode(Path::new(control).parent().unwrap()), 0o700);
        }
        assert!(control.ends_with(&format!("grapevine-{}.sock", bind.rsplit_once(':').unwrap().1)), "{control}");
        let ask = |command: &mut Command| Process::start(command.envs(environment)).end();
        let out = ask(program(&["members"]).env("GRAPEVINE_BIND", &bind)).done();
        assert!(out.contains(&bind), "{out}");
        // Nobody is at the default port's.
        let told = ask(&mut program(&["members"])).failed();
        assert!(told.contains("grapevine-9000.sock"), "{told}");
        ask(program(&["leave"]).env("GRAPEVINE_BIND", &bind)).done();
        assert_eq!(process.end().status, Some(0));
    }
}

/// In a temporary folder anybody could have put something there.
#[test]
fn a_folder_that_is_not_the_user_s_alone_is_not_used() {
    let folder = TempDir::new().unwrap();
    let own = folder.path().join(format!("grapevine-{}", rustix::process::getuid().as_raw()));
    fs::create_dir(&own).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).unwrap();
    let mut process =
        Process::start(program(&["agent", "--json", "--bind", &free_address()]).env("TMPDIR", folder.path()));
    let ready = Conversation::over_stdio(&mut process).next_event().unwrap();
    assert_eq!(ready.get("control"), None, "{ready}");
    until("it says so", || process.errors().contains("there is no control socket: the folder"));
    assert_eq!(own.read_dir().unwrap().count(), 0);
}
