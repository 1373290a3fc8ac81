//! The agent as in a container: the first process of a process namespace, with an `/etc/hosts` of its own.

use std::fs;
use std::io::{self, Write};
use std::net::UdpSocket;
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::process::signal_to;
use crate::harness::{Agent, LONG};

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
    let mut other = Agent::start(&[]);
    for signal in [Signal::TERM, Signal::INT] {
        let unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
        let container = Agent::start_within(&unshare, &["--seed", &other.peer], |_| ());
        other.stdio.event(json!({"event": "peer_alive", "peer": container.peer}));
        let first = child_of(container.process.id());
        let status = fs::read_to_string(format!("/proc/{first}/status")).unwrap();
        let numbers = status.lines().find(|line| line.starts_with("NSpid:")).unwrap();
        assert!(numbers.ends_with("\t1"), "{numbers}");
        signal_to(first, signal);
        assert_eq!(container.process.end().status, Some(0));
        other.stdio.event(json!({"event": "peer_left", "peer": container.peer}));
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
    let mut seed = Agent::start(&[]);
    let (_, port) = seed.peer.rsplit_once(':').unwrap();
    let nobody = UdpSocket::bind(format!("127.0.0.2:{port}")).unwrap();
    nobody.set_read_timeout(Some(LONG)).unwrap();
    let folder = TempDir::new().unwrap();
    let hosts = folder.path().join("hosts");
    fs::write(&hosts, WRONG).unwrap();

    let mount = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    let unshare = ["unshare", "--mount", "--", "sh", "-c", mount, hosts.to_str().unwrap()];
    let mut joining = Agent::start_within(&unshare, &["--seed", &format!("seed.grapevine.test:{port}")], |_| ());
    nobody.recv(&mut [0; 2_000]).expect("it tries the address that the name has first");
    assert!(joining.connect().members().iter().all(|member| member["peer"] != seed.peer));

    fs::OpenOptions::new().write(true).open(&hosts).unwrap().write_all(RIGHT.as_bytes()).unwrap();
    joining.stdio.event(json!({"event": "peer_alive", "peer": seed.peer}));
    seed.stdio.event(json!({"event": "peer_alive", "peer": joining.peer}));
}
