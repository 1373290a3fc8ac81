//! Agents that cannot start: each says why and what to do, in one line, and leaves nothing behind.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::agent::{agent_command, free_address};
use crate::harness::{Agent, Conversation, Ended, Process, program, run, until};

/// Tries to start an agent with a control socket of its own, which must not be left behind.
fn start(args: &[&str]) -> Ended {
    let folder = TempDir::new().unwrap();
    let control = folder.path().join("control");
    let ended = Process::start(agent_command(args).arg("--control").arg(&control)).end();
    assert!(!control.exists(), "{ended:?}");
    ended
}

#[test]
fn options_that_there_are_not() {
    for args in [
        &["--nonsense"][..],
        &["nonsense"],
        &[],
        &["agent", "--nonsense"],
        &["agent", "stray"],
        &["members", "--prefix", "a"],
        &["get"],
        &["get", "127.0.0.1:1", "key", "stray"],
        &["set", "key"],
        &["completions", "tcsh"],
    ] {
        run(args).refused();
    }
    assert!(run(&["agent", "--sed", "127.0.0.1:1"]).refused().contains("a similar argument exists: '--seed'"));
    assert!(run(&["member"]).refused().contains("a similar subcommand exists: 'members'"));
}

#[test]
fn options_that_cannot_be_read() {
    for (option, value) in [
        ("--interval", "often"),
        ("--interval", "5"),
        ("--fanout", "many"),
        ("--fanout", "1.5"),
        ("--phi", "high"),
        ("--grace", ""),
        ("--on-event-jobs", "x"),
        ("--on-event-names", "update"),
        ("--on-event-jobs", "2"),
    ] {
        let told = start(&[option, value]).refused();
        assert!(told.contains(option) || told.contains("--on-event <COMMAND>"), "{option} {value}: {told}");
    }
}

#[test]
fn settings_out_of_range() {
    let hook = ["--on-event", "true"];
    let cases: [(&[&str], &str); 20] = [
        (&["--bind", "nonsense"], "--bind: it is no ADDRESS:PORT like 127.0.0.1:9000"),
        (&["--bind", "127.0.0.1:99999"], "--bind: "),
        (&["--bind", "127.0.0.1"], "--bind: "),
        (&["--bind", "0.0.0.0:0"], "`advertise`"),
        (&["--bind", "[::]:0"], "`advertise`"),
        (&["--advertise", "nonsense"], "--advertise: it is no ADDRESS:PORT"),
        (&["--advertise", "0.0.0.0:1"], "--advertise: "),
        (&["--seed", "nonsense"], "--seed: `nonsense` is not HOST:PORT"),
        (&["--seed", "::1:9000"], "write an IPv6 address in brackets, like [::1]:9000"),
        (&["--cluster", ""], "--cluster: "),
        (&["--interval", "1ms"], "--interval: it is 1ms; the range is 10 ms to 1 h"),
        (&["--fanout", "0"], "--fanout: it is 0; the range is 1 to 16"),
        (&["--phi", "0"], "--phi or --pause: "),
        (&["--pause", "nan"], "--phi or --pause: "),
        (&["--grace", "1ms"], "--grace: "),
        (&["--set", "colour"], "--set colour: it has no `=`; write KEY=VALUE, like --set colour=red"),
        (&[hook[0], hook[1], "--on-event-jobs", "0"], "--on-event-jobs 0: the range is 1 to 64"),
        (&[hook[0], hook[1], "--on-event-limit", "0s"], "--on-event-limit 0ns: the range is 1 ms to 1 h"),
        (
            &[hook[0], hook[1], "--on-event-names", "update,born"],
            "--on-event-names born: there are all, new_peer, peer_alive",
        ),
        (&[hook[0], hook[1], "--on-event-names", ""], "--on-event-names : there are all"),
    ];
    for (args, wanted) in cases {
        let told = start(args).misused();
        assert!(told.contains(wanted), "{args:?}: {told}");
    }
}

#[test]
fn keys_that_are_too_large() {
    let (long, large) = (format!("{}=1", "k".repeat(257)), format!("k={}", "v".repeat(65_536)));
    let told = start(&["--set", &long]).misused();
    assert!(told.ends_with("k=…: the key has 257 bytes; at most it may have 256"), "{told}");
    let told = start(&["--set", &large]).misused();
    assert_eq!(told, "--set k=…: the value has 65541 bytes; at most it may have 65536");
}

#[test]
fn addresses_that_cannot_be_had() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let told = start(&["--bind", &addr]).failed();
    assert_eq!(told, format!("cannot bind {addr}: it is in use; stop the other program or choose another port"));
    let told = start(&["--bind", "203.0.113.7:0"]).failed();
    assert!(told.starts_with("cannot bind 203.0.113.7:0: this machine has no such address"), "{told}");
    // Another agent has it; that goes on.
    let agent = Agent::start(&[]);
    assert!(start(&["--bind", &agent.peer]).failed().contains("it is in use"));
    agent.run(&["members"]).done();
}

#[test]
fn a_second_agent_on_one_socket() {
    let agent = Agent::start(&["--set", "who=first"]);
    let control = agent.control.to_str().unwrap();
    let told = Process::start(agent_command(&[]).args(["--control", control])).end().failed();
    let wanted = format!(
        "another agent serves the control socket {control}; end it with `grapevine leave --control {control}`, or give --control another path"
    );
    assert_eq!(told, wanted);
    assert_eq!(agent.run(&["get", "who"]).done(), "first\n");
}

/// Of many that start at once one is served.
#[test]
fn many_agents_on_one_socket() {
    let folder = TempDir::new().unwrap();
    let control = folder.path().join("control");
    // One that crashed has left its socket.
    drop(UnixListener::bind(&control).unwrap());
    let mut agents: Vec<Process> =
        (0..8).map(|_| Process::start(agent_command(&["--json"]).arg("--control").arg(&control))).collect();
    until("all but one have ended", || agents.iter_mut().map(|agent| usize::from(agent.runs())).sum::<usize>() <= 1);
    let (running, ended): (Vec<_>, Vec<_>) =
        agents.into_iter().map(|mut agent| (agent.runs(), agent)).partition(|(runs, _)| *runs);
    assert_eq!((running.len(), ended.len()), (1, 7));
    for (_, agent) in ended {
        assert!(agent.end().failed().starts_with("another agent serves the control socket"));
    }
    assert!(run(&["members", "--control", control.to_str().unwrap()]).done().contains("alive"));
}

#[test]
fn a_socket_that_a_crash_left_is_replaced() {
    let folder = TempDir::new().unwrap();
    let control = folder.path().join("control");
    let control = control.to_str().unwrap();
    Agent::start(&["--control", control]).crash();
    assert!(fs::metadata(control).unwrap().file_type().is_socket());
    let told = run(&["members", "--control", control]).failed();
    assert_eq!(told, format!("nobody serves {control}: its agent has died; start it again with `grapevine agent`"));
    let agent = Agent::start(&["--control", control, "--set", "who=second"]);
    assert_eq!(agent.run(&["get", "who"]).done(), "second\n");
}

#[test]
fn paths_that_are_no_socket_are_left_alone() {
    let folder = TempDir::new().unwrap();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, "precious").unwrap();
    symlink("/nowhere", &link).unwrap();
    for path in [&file, &link, &folder.path().to_owned()] {
        let path = path.to_str().unwrap();
        let told = Process::start(agent_command(&[]).args(["--control", path])).end().failed();
        assert_eq!(told, format!("{path} is there and is no socket; give --control another path"));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert!(link.symlink_metadata().unwrap().is_symlink());
    let long = folder.path().join("x".repeat(120));
    for (path, why) in
        [(folder.path().join("none/control"), "No such file"), (file.join("control"), "Not a directory"), (long, "")]
    {
        let told = Process::start(agent_command(&[]).arg("--control").arg(&path)).end().failed();
        assert!(told.starts_with(&format!("cannot create the control socket {}: ", path.display())), "{told}");
        assert!(told.contains(why) && told.ends_with("; give --control another path"), "{told}");
    }
}

#[test]
fn the_socket_is_for_this_user_alone_and_goes_with_the_agent() {
    let agent = Agent::start(&[]);
    let control = agent.control.clone();
    let mode = fs::metadata(&control).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600, "{mode:o}");
    assert_eq!(agent.ready["control"], json!(control));
    let Agent { process, folder, .. } = agent;
    process.signal(Signal::TERM);
    assert_eq!(process.end().status, Some(0));
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

/// Somebody took the first one's socket away and started another agent there: the first one's end is not the second one's.
#[test]
fn a_socket_of_another_agent_stays() {
    let folder = TempDir::new().unwrap();
    let control = folder.path().join("control");
    let control = control.to_str().unwrap();
    let first = Agent::start(&["--control", control]);
    fs::remove_file(control).unwrap();
    let second = Agent::start(&["--control", control, "--set", "who=second"]);
    assert_eq!(first.terminate().status, Some(0));
    assert_eq!(second.run(&["get", "who"]).done(), "second\n");
}

/// Whoever may read a folder can lock it; that is said, and holds up no start for ever.
#[test]
fn a_folder_that_stays_locked() {
    for lock in [FlockOperation::LockExclusive, FlockOperation::LockShared] {
        let folder = TempDir::new().unwrap();
        let locked = fs::File::open(folder.path()).unwrap();
        flock(&locked, lock).unwrap();
        let control = folder.path().join("control");
        let told = Process::start(agent_command(&[]).arg("--control").arg(&control)).end().failed();
        let wanted = format!(
            "cannot create the control socket {}: another program holds a lock on its folder; give --control another path",
            control.display()
        );
        assert_eq!(told, wanted);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        drop(locked);
        Agent::start(&["--control", control.to_str().unwrap()]).run(&["members"]).done();
    }
}

/// Another agent that is just starting locks it for a moment, which is waited for.
#[test]
fn a_folder_that_is_locked_for_a_moment() {
    let folder = TempDir::new().unwrap();
    let control = folder.path().join("control");
    let locked = fs::File::open(folder.path()).unwrap();
    flock(&locked, FlockOperation::LockExclusive).unwrap();
    let mut agent = Process::start(agent_command(&["--json"]).arg("--control").arg(&control));
    let files = Path::new("/proc").join(agent.id().to_string()).join("fd");
    if files.exists() {
        until("it wants the lock", || {
            let mut files = files.read_dir().unwrap().flatten();
            files.any(|file| fs::read_link(file.path()).is_ok_and(|is| is == folder.path()))
        });
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    drop(locked);
    let ready = Conversation::over_stdio(&mut agent).next_event().unwrap();
    assert_eq!(ready["control"], json!(control), "{ready}");
    run(&["leave", "--control", control.to_str().unwrap()]).done();
    assert_eq!(agent.end().status, Some(0));
}

/// For a socket that nobody asked for no agent is kept from starting.
#[test]
fn the_default_folder_that_is_locked() {
    let folder = TempDir::new().unwrap();
    let locked = fs::File::open(folder.path()).unwrap();
    flock(&locked, FlockOperation::LockExclusive).unwrap();
    let mut command = agent_command(&["--json", "--bind", &free_address()]);
    let mut agent = Process::start(command.env("XDG_RUNTIME_DIR", folder.path()));
    let ready = Conversation::over_stdio(&mut agent).next_event().unwrap();
    assert_eq!(ready.get("control"), None, "{ready}");
    agent.signal(Signal::TERM);
    let ended = agent.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.err.contains("there is no control socket: cannot create the control socket "), "{ended:?}");
    assert!(ended.err.contains(": another program holds a lock on its folder; give --control "), "{ended:?}");
}

/// Somebody else's folder in the place of one's own: neither agents nor commands trust it.
#[test]
fn a_folder_that_is_not_ones_own() {
    let folder = TempDir::new().unwrap();
    let uid = rustix::process::getuid().as_raw();
    let trap = folder.path().join(format!("grapevine-{uid}"));
    fs::create_dir(&trap).unwrap();
    fs::set_permissions(&trap, fs::Permissions::from_mode(0o777)).unwrap();
    let listener = UnixListener::bind(trap.join("grapevine-9000.sock")).unwrap();
    listener.set_nonblocking(true).unwrap();
    let told = Process::start(program(&["set", "password", "hunter2"]).env("TMPDIR", folder.path())).end().failed();
    assert!(told.contains("is not yours alone"), "{told}");
    assert!(listener.accept().is_err(), "nothing was said to it");
}
