//! The agent as in a container: the first process of a process namespace, with an `/etc/hosts` of its own.

use std::fs;
use std::io::{self, Write};
use std::net::UdpSocket;
use std::process::Command;

use crate::agent::{Agent, Folder, LONG, PROGRAM, signal};

/// Whether namespaces can be made here. In a container of its own that is not allowed to root either.
fn can_unshare(what: &str) -> bool {
    let can = Command::new("unshare").args([what, "--", "true"]).output().is_ok_and(|output| output.status.success());
    if !can {
        // Not by a macro, whose output the test harness keeps to itself.
        let _ = writeln!(io::stderr(), "SKIPPED: `unshare {what}` does not work here; it takes root");
    }
    can
}

/// The one child that a process has.
fn child_of(process: u32) -> u32 {
    let children = format!("/proc/{process}/task/{process}/children");
    fs::read_to_string(children).unwrap().trim().parse().unwrap()
}

/// The kernel keeps signals from a first process that has not asked for them.
#[test]
fn the_first_process_of_a_container_leaves_when_it_is_told_to_end() {
    if !can_unshare("--pid") {
        return;
    }
    let other = Agent::start(&[]);
    for name in ["TERM", "INT"] {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--", PROGRAM]);
        let mut container = Agent::start_by(unshare, &["--seed", &other.peer]);
        other.tells_of(&container.peer, "peer_alive");
        let first = child_of(container.process());
        let status = fs::read_to_string(format!("/proc/{first}/status")).unwrap();
        let numbers = status.lines().find(|line| line.starts_with("NSpid:")).unwrap();
        assert!(numbers.ends_with("\t1"), "{numbers}");
        signal(first, name);
        assert!(container.ends().success());
        other.tells_of(&container.peer, "peer_left");
    }
}

/// As long as `RIGHT`: the file is changed in place, where it is mounted.
const WRONG: &str = "127.0.0.2 seed.grapevine.test\n";
const RIGHT: &str = "127.0.0.1 seed.grapevine.test\n";

#[test]
fn a_seed_whose_name_points_elsewhere_by_and_by_is_followed() {
    if !can_unshare("--mount") {
        return;
    }
    let seed = Agent::start(&[]);
    let (_, port) = seed.peer.rsplit_once(':').unwrap();
    let nobody = UdpSocket::bind(format!("127.0.0.2:{port}")).unwrap();
    nobody.set_read_timeout(Some(LONG)).unwrap();
    let folder = Folder::new();
    let hosts = folder.path("hosts");
    fs::write(&hosts, WRONG).unwrap();

    let mut unshare = Command::new("unshare");
    unshare
        .args(["--mount", "--", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""])
        .arg(&hosts)
        .arg(PROGRAM);
    let joining = Agent::start_by(unshare, &["--seed", &format!("seed.grapevine.test:{port}")]);
    nobody.recv(&mut [0; 2_000]).expect("it tries the address that the name has first");
    assert_eq!(joining.state_of(&seed.peer), None);

    fs::OpenOptions::new().write(true).open(&hosts).unwrap().write_all(RIGHT.as_bytes()).unwrap();
    joining.tells_of(&seed.peer, "peer_alive");
    seed.tells_of(&joining.peer, "peer_alive");
}
