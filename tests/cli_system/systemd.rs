//! What systemd is told, and what its unit sets.

use std::collections::BTreeSet;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;

use crate::agent::{Agent, Folder, LONG, PROGRAM};

/// Listens as systemd does, and has an agent start and end.
fn up_and_down(system: &UnixDatagram, address: &str) {
    system.set_read_timeout(Some(LONG)).unwrap();
    let told = || {
        let mut text = [0; 1_000];
        let length = system.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    let mut command = Command::new(PROGRAM);
    command.env("NOTIFY_SOCKET", address);
    let mut agent = Agent::start_by(command, &[]);
    assert_eq!(told(), "READY=1");
    // Who waited for it can use it.
    assert_eq!(agent.state_of(&agent.peer).as_deref(), Some("alive"));
    agent.signal("TERM");
    assert_eq!(told(), "STOPPING=1");
    assert!(agent.ends().success());
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_stops() {
    let folder = Folder::new();
    let path = folder.path("notify");
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
    let folder = Folder::new();
    let mut command = Command::new(PROGRAM);
    command.env("NOTIFY_SOCKET", folder.path("nobody"));
    let mut agent = Agent::start_by(command, &[]);
    agent.signal("TERM");
    assert!(agent.ends().success());
}

/// The names of the program's settings in a text.
fn settings(text: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_uppercase() || c == '_';
    text.split(|c| !is_name(c)).filter(|word| word.starts_with("GRAPEVINE_")).collect()
}

#[test]
fn the_environment_file_has_every_setting_that_there_is() {
    let help = Command::new(PROGRAM).args(["agent", "--help"]).output().unwrap();
    // In one line, for it is broken wherever there is a space.
    let help = String::from_utf8(help.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let told = help.split("[env: ").skip(1).filter_map(|rest| rest.split('=').next()).collect::<BTreeSet<_>>();
    assert!(told.contains("GRAPEVINE_BIND"), "{help}");
    assert_eq!(settings(include_str!("../../examples/deploy/grapevine.env")), told);
    let unit = settings(include_str!("../../examples/deploy/grapevine.service"));
    assert!(unit.is_subset(&told), "{unit:?}");
}
