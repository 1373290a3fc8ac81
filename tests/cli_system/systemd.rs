//! What systemd is told, and what its unit sets.

use std::collections::BTreeSet;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{Agent, LONG, run};

fn notifying(address: &str) -> Agent {
    Agent::start_after(&[], |command| {
        command.env("NOTIFY_SOCKET", address);
    })
}

/// Listens as systemd does, and has an agent start and end.
fn up_and_down(system: &UnixDatagram, address: &str) {
    system.set_read_timeout(Some(LONG)).unwrap();
    let told = || {
        let mut text = [0; 1_000];
        let length = system.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    let agent = notifying(address);
    assert_eq!(told(), "READY=1");
    // Who waited for it can use it.
    assert_eq!(agent.connect().members()[0]["state"], "alive");
    agent.process.signal(Signal::TERM);
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(agent.process.end().status, Some(0));
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_stops() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    up_and_down(&UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap());
}

#[test]
fn systemd_is_told_at_an_abstract_address() {
    let name = format!("grapevine-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    up_and_down(&UnixDatagram::bind_addr(&address).unwrap(), &format!("@{name}"));
}

#[test]
fn a_service_manager_that_is_gone_is_no_reason_not_to_start() {
    let folder = TempDir::new().unwrap();
    let agent = notifying(folder.path().join("nobody").to_str().unwrap());
    assert_eq!(agent.terminate().status, Some(0));
}

/// The names of the program's settings in a text.
fn settings(text: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_uppercase() || c == '_';
    text.split(|c| !is_name(c)).filter(|word| word.starts_with("GRAPEVINE_")).collect()
}

#[test]
fn the_environment_file_has_every_setting_that_there_is() {
    // In one line, for it is broken wherever there is a space.
    let help = run(&["agent", "--help"]).done().split_whitespace().collect::<Vec<_>>().join(" ");
    let told = help.split("[env: ").skip(1).filter_map(|rest| rest.split('=').next()).collect::<BTreeSet<_>>();
    assert!(told.contains("GRAPEVINE_BIND"), "{help}");
    assert_eq!(settings(include_str!("../../examples/deploy/grapevine.env")), told);
    let unit = settings(include_str!("../../examples/deploy/grapevine.service"));
    assert!(unit.is_subset(&told), "{unit:?}");
}
