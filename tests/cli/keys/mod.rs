//! Pre-shared keys: files, commands, requests, clusters that change them while everybody writes, and what must not be seen.

mod calls;
mod enabling;
mod files;
mod leaks;
mod members;
mod memory;
mod requests;
mod rotation;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use grapevine::key_file::KeyFile;
use grapevine::keyring::{Encryption, Keyring, SecretKey};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Agent, Conversation, all_alive, until};

/// The reasons for which a datagram is refused whose keys do not fit.
const REASONS: [&str; 3] = ["unknown_key", "unauthentic", "unencrypted"];
/// How often each agent of a cluster sets a key.
const WRITE_PAUSE: Duration = Duration::from_millis(50);
/// What others tell of an agent that has ended without a word.
const FAILED: &str = "peer_failed";

fn new_key() -> SecretKey {
    SecretKey::generate().unwrap()
}

fn ring(keys: &[&SecretKey], encryption: Encryption) -> Keyring {
    let mut keyring = Keyring::new(keys[0].clone()).with_encryption(encryption);
    for key in &keys[1..] {
        keyring.add((*key).clone()).unwrap();
    }
    keyring
}

/// What an agent says of such keys.
fn told(keyring: &Keyring) -> (Vec<String>, String) {
    (keyring.keys().map(SecretKey::to_string).collect(), keyring.encryption().to_string())
}

/// A key file of these keys.
fn key_file(folder: &TempDir, name: &str, keyring: &Keyring) -> KeyFile {
    let file = KeyFile::new(folder.path().join(name));
    file.save(keyring).unwrap();
    file
}

/// A file of this text and mode.
fn file_of(folder: &TempDir, text: &str, mode: u32) -> PathBuf {
    let path = folder.path().join("given");
    let _ = fs::remove_file(&path);
    fs::write(&path, text).unwrap();
    set_mode(&path, mode);
    path
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The keys that an agent has, and what it sends and takes.
fn keys_of(talk: &mut Conversation) -> (Vec<String>, String) {
    let reply = talk.done(json!({"do": "keyring"}));
    let keys = reply["keyring"].as_array().unwrap().iter().map(|key| key["key_id"].as_str().unwrap().to_owned());
    (keys.collect(), reply["encryption"].as_str().unwrap_or_default().to_owned())
}

/// How often datagrams were refused for these reasons.
fn refused(talk: &mut Conversation) -> [u64; 3] {
    let stats = talk.done(json!({"do": "stats"}));
    REASONS.map(|reason| stats["stats"]["refused"][reason].as_u64().unwrap())
}

/// Agents of which each sets another key every now and then, from the start to the end.
struct Cluster {
    agents: Vec<Agent>,
    talks: Vec<Conversation>,
    folder: TempDir,
    writers: Vec<Writer>,
}

/// Has one agent set `w/0`, `w/1` and so on.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Writer {
    fn of(agent: &Agent, mut next: u64) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, mut talk) = (stop.clone(), agent.connect());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                talk.done(json!({"do": "set", "key": format!("w/{next}"), "value": next}));
                next += 1;
                // No wait for anything: this is how often it writes.
                thread::sleep(WRITE_PAUSE);
            }
            next
        });
        Writer { stop, thread }
    }

    /// How many it has set.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

impl Cluster {
    /// Agents that all see each other, each with these arguments, and with a key file of its own if there are keys.
    fn start(size: usize, keys: Option<&Keyring>) -> Cluster {
        let folder = TempDir::new().unwrap();
        let mut agents: Vec<Agent> = Vec::new();
        for n in 0..size {
            let file = keys.map(|keys| key_file(&folder, &n.to_string(), keys).path().display().to_string());
            let file = file.iter().flat_map(|file| ["--key-file", file]);
            let seed = agents.first().map(|first| ["--seed", &first.peer]);
            let args: Vec<&str> = file.chain(seed.iter().flatten().copied()).collect();
            agents.push(Agent::start(&args));
        }
        all_alive(&agents.iter().collect::<Vec<_>>());
        let talks = agents.iter().map(Agent::connect).collect();
        let writers = agents.iter().map(|agent| Writer::of(agent, 0)).collect();
        Cluster { agents, talks, folder, writers }
    }

    fn file(&self, agent: usize) -> KeyFile {
        KeyFile::new(self.folder.path().join(agent.to_string()))
    }

    /// Waits until everybody has gone through some rounds since: what was under way has come or gone, and who could not read the others
    /// has told so.
    fn settle(&mut self) {
        let rounds = |talk: &mut Conversation| talk.done(json!({"do": "stats"}))["stats"]["rounds"].as_u64().unwrap();
        let before: Vec<u64> = self.talks.iter_mut().map(rounds).collect();
        for (talk, before) in self.talks.iter_mut().zip(before) {
            until("rounds go by", || rounds(talk) >= before + 4);
        }
        self.check();
    }

    /// Nothing that anybody sent was refused for its key.
    fn check(&mut self) {
        for (n, talk) in self.talks.iter_mut().enumerate() {
            assert_eq!(refused(talk), [0; 3], "{REASONS:?} at agent {n}");
        }
    }

    /// Waits until everybody has these keys.
    fn all_have(&mut self, keyring: &Keyring) {
        let wanted = told(keyring);
        for talk in &mut self.talks {
            until("the keys are taken in", || keys_of(talk) == wanted);
        }
        self.settle();
    }

    /// Everybody has read everything that anybody set, and nobody was seen to fail.
    fn end(self) {
        let mut cluster = self;
        let written: Vec<u64> = std::mem::take(&mut cluster.writers).into_iter().map(Writer::end).collect();
        let peers: Vec<String> = cluster.agents.iter().map(|agent| agent.peer.clone()).collect();
        for talk in &mut cluster.talks {
            for (peer, count) in peers.iter().zip(&written) {
                until("every value arrives", || {
                    let state = talk.done(json!({"do": "state", "peer": peer}));
                    let entries = state["entries"].as_object().unwrap();
                    (0..*count).all(|n| entries.get(&format!("w/{n}")).is_some_and(|entry| entry["value"] == n))
                });
            }
        }
        assert!(written.iter().all(|count| *count > 10), "{written:?}");
        cluster.check();
        for (agent, events) in cluster.events().iter().enumerate() {
            assert!(events.iter().all(|event| event["event"] != FAILED), "agent {agent}: {events:?}");
        }
    }

    /// What each has told of its peers so far.
    fn events(&mut self) -> Vec<Vec<Value>> {
        let events = self.agents.iter_mut().map(|agent| {
            let all = std::iter::from_fn(|| agent.stdio.waiting_event());
            all.filter(|event| event["event"].as_str().is_some_and(|name| name.starts_with("peer_"))).collect()
        });
        events.collect()
    }
}
