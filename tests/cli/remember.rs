//! `--remember`: the last known peers in a file, for a start at which no seed answers.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Agent, all_alive, until};

/// Who is in a file.
fn peers_in(file: &Path) -> Vec<String> {
    let Ok(text) = fs::read_to_string(file) else { return Vec::new() };
    // It is never seen half written.
    let contents: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(contents["cluster"], "grapevine", "{text}");
    contents["peers"].as_array().unwrap().iter().map(|peer| peer.as_str().unwrap().to_owned()).collect()
}

/// Those who are alive come first.
fn remembers(file: &Path, agents: &[&Agent]) {
    let mut wanted: Vec<&str> = agents.iter().map(|agent| &*agent.peer).collect();
    wanted.sort_unstable();
    until("the peers are remembered", || {
        let mut peers = peers_in(file);
        peers.truncate(wanted.len());
        peers.sort_unstable();
        peers == wanted
    });
}

#[test]
fn a_restart_without_seeds_finds_the_cluster_again() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("peers");
    let remember = ["--remember", file.to_str().unwrap()];
    let first = Agent::start(&[]);
    let second = Agent::join(&first, &remember);
    remembers(&file, &[&first]);

    // A third one comes. Whoever reads the old file at that moment goes on reading the old one, whole: it is replaced.
    let mut old = File::open(&file).unwrap();
    let before = old.metadata().unwrap();
    let third = Agent::join(&first, &[]);
    remembers(&file, &[&first, &third]);
    let mut text = String::new();
    old.read_to_string(&mut text).unwrap();
    assert_eq!(text.len() as u64, before.len());
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["peers"], json!([first.peer]));
    assert_ne!(fs::metadata(&file).unwrap().ino(), before.ino());
    assert_eq!(folder.path().read_dir().unwrap().count(), 1, "nothing is left beside it");

    // Who is away is remembered after those who are alive.
    second.crash();
    let peer = third.peer.clone();
    third.crash();
    first.sees(&peer, json!({"state": "failed"}));
    let second = Agent::start(&remember);
    all_alive(&[&first, &second]);
    second.logs("nobody answers; trying 2 of 2 remembered peers");
    remembers(&file, &[&first]);
    let first_peer = first.peer.clone();
    first.terminate();
    second.sees(&first_peer, json!({"state": "left"}));
    assert_eq!(peers_in(&file), [first_peer, peer]);
}

/// None of these is a reason not to start, and each is said. What is no use is replaced.
#[test]
fn files_that_are_no_use_are_warnings() {
    let seed = Agent::start(&[]);
    let folder = TempDir::new().unwrap();
    let other_cluster = json!({"cluster": "other\u{1b}", "peers": [seed.peer]}).to_string();
    let contents: [(&[u8], &str); 9] = [
        (b"", "cannot be read and is not used: "),
        (b"{", "cannot be read and is not used: "),
        (b"[]", "cannot be read and is not used: "),
        (b"{\"cluster\": \"grapevine\"}", "cannot be read and is not used: "),
        (b"{\"cluster\": \"grapevine\", \"peers\": [\"nobody\"]}", "cannot be read and is not used: "),
        (b"\xff\x00\xfe", "cannot be read and is not used: "),
        (&[b' '; 2 << 20], "cannot be read and is not used: "),
        (&[b'['; 1 << 20], "cannot be read and is not used: "),
        (other_cluster.as_bytes(), "tells of another cluster, \"other\\u{1b}\"; it is not used"),
    ];
    let started: Vec<_> = contents
        .into_iter()
        .enumerate()
        .map(|(n, (contents, warning))| {
            let file = folder.path().join(n.to_string());
            fs::write(&file, contents).unwrap();
            let agent = Agent::join(&seed, &["--remember", file.to_str().unwrap()]);
            agent.logs(&format!("{} {warning}", file.display()));
            (file, agent)
        })
        .collect();
    for (file, agent) in &started {
        agent.sees(&seed.peer, json!({"state": "alive"}));
        until("it is replaced", || {
            fs::read_to_string(file).is_ok_and(|text| text.contains(&seed.peer) && text.contains("\"grapevine\""))
        });
    }
}

/// Neither to be read nor to be written: a folder stands where the file should be.
#[test]
fn a_file_that_cannot_be_had_is_a_warning() {
    let seed = Agent::start(&[]);
    let folder = TempDir::new().unwrap();
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("precious"), "").unwrap();
    let first = Agent::join(&seed, &["--remember", taken.to_str().unwrap()]);
    first.logs(&format!("{} cannot be read and is not used: it is no file", taken.display()));
    first.logs(&format!("{} cannot be written: ", taken.display()));
    let nowhere = folder.path().join("none/peers");
    let second = Agent::join(&seed, &["--remember", nowhere.to_str().unwrap()]);
    second.logs(&format!("{} cannot be written: No such file or directory", nowhere.display()));
    // A file that is not there yet is none of those.
    assert!(!second.process.errors().contains("cannot be read"));
    second.sees(&seed.peer, json!({"state": "alive"}));
    // It is tried again.
    fs::create_dir(nowhere.parent().unwrap()).unwrap();
    remembers(&nowhere, &[&seed, &first]);
}

/// Addresses where nobody is, or somebody else, cost nothing but time.
#[test]
fn peers_that_are_gone_are_passed_over() {
    let first = Agent::start(&[]);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("peers");
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut peers = vec!["127.0.0.1:1".to_owned(), "[::1]:1".to_owned(), stranger.local_addr().unwrap().to_string()];
    peers.push(first.peer.clone());
    fs::write(&file, json!({"cluster": "grapevine", "peers": peers}).to_string()).unwrap();
    let second = Agent::start(&["--remember", file.to_str().unwrap()]);
    all_alive(&[&first, &second]);
    remembers(&file, &[&first]);
}

/// What others have put where the file is to be is no way to have another file written, or to hold up the start.
#[test]
fn links_and_pipes_are_no_files() {
    let seed = Agent::start(&[]);
    let folder = TempDir::new().unwrap();
    let (pipe, precious, link) =
        (folder.path().join("pipe"), folder.path().join("precious"), folder.path().join("link"));
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let agent = Agent::join(&seed, &["--remember", pipe.to_str().unwrap()]);
    agent.logs(&format!("{} cannot be read and is not used: it is no file", pipe.display()));
    fs::write(&precious, "precious").unwrap();
    std::os::unix::fs::symlink(&precious, &link).unwrap();
    let _agent = Agent::join(&seed, &["--remember", link.to_str().unwrap()]);
    until("the link is replaced", || link.symlink_metadata().unwrap().is_file());
    remembers(&link, &[&seed, &agent]);
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
}

/// Who ends at once has it for the next start.
#[test]
fn the_end_is_remembered() {
    let seed = Agent::start(&[]);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("peers");
    let mut agent = Agent::join(&seed, &["--remember", file.to_str().unwrap()]);
    agent.stdio.event(json!({"event": "peer_alive", "peer": seed.peer}));
    agent.terminate();
    assert_eq!(peers_in(&file), [&*seed.peer]);
}
