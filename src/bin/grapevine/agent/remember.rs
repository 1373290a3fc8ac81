//! `--remember`: the last known peers in a file, for a start at which no seed answers.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use grapevine::{EventFilter, EventKind, Peer, Subscription};
use serde::{Deserialize, Serialize};

use crate::agent::Agent;

/// The file is written at most so often, and who finds nobody tries so soon, then after twice the time, up to the second one.
const PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// So many peers are remembered: enough that one of them is still there.
const MAX_PEERS: usize = 64;
/// So many of them are tried at once.
const TRIED_AT_ONCE: usize = 8;
/// A larger file is none of ours.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What is in the file.
#[derive(Serialize, Deserialize)]
struct Contents {
    cluster: String,
    peers: Vec<SocketAddr>,
}

/// The file, and whom it told of at the start.
pub struct Remembered {
    file: PathBuf,
    peers: Vec<SocketAddr>,
}

impl Remembered {
    /// Reads the file. One that is damaged is no reason not to start.
    pub fn load(file: PathBuf, cluster: &str) -> Remembered {
        let shown = file.display();
        let peers = match read(&file) {
            Ok(contents) if contents.cluster == cluster => contents.peers,
            Ok(contents) => {
                log::warn!("{shown} tells of another cluster, {:?}; it is not used", contents.cluster);
                Vec::new()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                log::warn!("{shown} cannot be read and is not used: {error}");
                Vec::new()
            }
        };
        Remembered { file, peers }
    }

    /// Keeps the file up to date, and tries who is in it for as long as there is nobody else.
    pub fn start(self, agent: &Arc<Agent>) -> io::Result<()> {
        let agent = agent.clone();
        let kinds = [EventKind::NewPeer, EventKind::PeerAlive, EventKind::PeerFailed, EventKind::PeerLeft];
        let events = agent.node.subscribe_to(EventFilter::all().kinds(kinds));
        thread::Builder::new().name("remember".to_owned()).spawn(move || self.run(&agent, &events))?;
        Ok(())
    }

    fn run(mut self, agent: &Agent, events: &Subscription) {
        let mut pause = PAUSE;
        let mut next_try = Instant::now() + pause;
        let mut warned = false;
        while agent.node.check().is_ok() {
            let alive = agent.node.live_peers();
            let is_alone = alive.is_empty();
            if !is_alone {
                (pause, next_try) = (PAUSE, Instant::now() + PAUSE);
            } else if !self.peers.is_empty() && Instant::now() >= next_try {
                self.try_some(agent);
                pause = (pause * 2).min(MAX_PAUSE);
                next_try = Instant::now() + pause;
            }
            let kept = self.keep(alive, &agent.cluster);
            match &kept {
                Ok(()) => warned = false,
                Err(error) if !std::mem::replace(&mut warned, true) => {
                    log::warn!("{} cannot be written: {error}; trying again", self.file.display());
                }
                Err(_) => {}
            }
            let nothing_to_do = kept.is_ok() && (!is_alone || self.peers.is_empty());
            if nothing_to_do && events.recv().is_none() {
                return;
            }
            thread::sleep(PAUSE);
            while events.try_recv().is_some() {}
        }
    }

    /// Tries the next few, in turn.
    fn try_some(&mut self, agent: &Agent) {
        let some = self.peers.len().min(TRIED_AT_ONCE);
        log::info!("nobody answers; trying {some} of {} remembered peers", self.peers.len());
        if let Err(error) = agent.node.contact(&self.peers[..some]) {
            log::debug!("the remembered peers cannot be tried: {error}");
        }
        self.peers.rotate_left(some);
    }

    /// Writes who is alive, if that has changed. Nobody is no news: then the last known are wanted.
    fn keep(&mut self, alive: Vec<Peer>, cluster: &str) -> io::Result<()> {
        let peers: Vec<SocketAddr> = alive.into_iter().take(MAX_PEERS).map(|peer| peer.addr()).collect();
        if peers.is_empty() || peers == self.peers {
            return Ok(());
        }
        write(&self.file, &Contents { cluster: cluster.to_owned(), peers: peers.clone() })?;
        self.peers = peers;
        Ok(())
    }
}

fn read(file: &Path) -> io::Result<Contents> {
    let mut text = String::new();
    File::open(file)?.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    let mut contents: Contents = serde_json::from_str(&text)?;
    contents.peers.truncate(MAX_PEERS);
    Ok(contents)
}

/// Writes all of it or nothing.
fn write(file: &Path, contents: &Contents) -> io::Result<()> {
    let mut temporary = OsString::from(file);
    temporary.push(".new");
    let mut out = File::create(&temporary)?;
    out.write_all(format!("{}\n", serde_json::to_string_pretty(contents)?).as_bytes())?;
    out.sync_all()?;
    std::fs::rename(&temporary, file)
}
