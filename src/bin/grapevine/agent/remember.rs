//! `--remember`: the last known peers in a file, for a start at which no seed answers.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use grapevine::{Event, EventFilter, EventKind, Peer, Subscription};
use rustix::fs::OFlags;
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

/// The file, and whom it tells of.
pub struct Remembered {
    file: PathBuf,
    peers: Vec<SocketAddr>,
    written: Option<Instant>,
    /// A failure to write was told.
    warned: bool,
}

/// When the remembered peers are tried.
struct Tries {
    next: Instant,
    pause: Duration,
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
        Remembered { file, peers, written: None, warned: false }
    }

    /// Keeps the file up to date, and tries who is in it for as long as there is nobody else.
    pub fn start(self, agent: &Arc<Agent>) -> io::Result<()> {
        let (agent, writing) = (agent.clone(), agent.writing());
        let kinds = [EventKind::PeerAlive, EventKind::PeerFailed, EventKind::PeerLeft];
        let events = agent.node.subscribe_to(EventFilter::all().kinds(kinds));
        thread::Builder::new().name("remember".to_owned()).spawn(move || {
            let _writing = writing;
            self.run(&agent, &events);
        })?;
        Ok(())
    }

    fn run(mut self, agent: &Agent, events: &Subscription) {
        let mut tries = Tries { next: Instant::now() + PAUSE, pause: PAUSE };
        loop {
            let alive = agent.node.live_peers();
            if !alive.is_empty() {
                tries = Tries { next: Instant::now() + PAUSE, pause: PAUSE };
            } else if tries.next <= Instant::now() && !self.peers.is_empty() {
                self.try_some(agent);
                tries.pause = (tries.pause * 2).min(MAX_PAUSE);
                tries.next = Instant::now() + tries.pause;
            }
            let is_alone = alive.is_empty() && !self.peers.is_empty();
            let peers = self.with(alive, agent.node.peer());
            let is_news = peers != self.peers;
            let rest = self.written.map_or(Duration::ZERO, |written| PAUSE.saturating_sub(written.elapsed()));
            if is_news && rest.is_zero() {
                self.keep(peers.clone(), &agent.cluster);
            }
            let wait = if is_news && (!rest.is_zero() || self.warned) {
                Some(rest.max(Duration::from_millis(100)))
            } else {
                is_alone.then(|| tries.next.saturating_duration_since(Instant::now()))
            };
            let event = match wait {
                Some(wait) => events.recv_timeout(wait),
                None => events.recv(),
            };
            if matches!(event, Some(Event::Stopped { .. })) || agent.node.check().is_err() {
                // Who was alive when this node ended is whom it finds when it starts again.
                let peers = self.with(agent.node.live_peers(), agent.node.peer());
                if peers != self.peers {
                    self.keep(peers, &agent.cluster);
                }
                return;
            }
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

    /// Those who are alive, and then those remembered before: who is away now may be the only one there at the next start. Of many
    /// each node keeps others, those that follow it in the order of their addresses.
    fn with(&self, alive: Vec<Peer>, me: Peer) -> Vec<SocketAddr> {
        if alive.is_empty() {
            return self.peers.clone();
        }
        let after = alive.partition_point(|peer| *peer < me);
        let ring = alive[after..].iter().chain(&alive[..after]).map(Peer::addr);
        let mut peers: Vec<SocketAddr> = ring.take(MAX_PEERS).collect();
        let away: Vec<SocketAddr> = self.peers.iter().copied().filter(|addr| !peers.contains(addr)).collect();
        peers.extend(away);
        peers.truncate(MAX_PEERS);
        peers
    }

    fn keep(&mut self, peers: Vec<SocketAddr>, cluster: &str) {
        self.written = Some(Instant::now());
        let contents = Contents { cluster: cluster.to_owned(), peers };
        match write(&self.file, &contents) {
            Ok(()) => (self.peers, self.warned) = (contents.peers, false),
            Err(error) if !std::mem::replace(&mut self.warned, true) => {
                log::warn!("{} cannot be written: {error}; trying again", self.file.display());
            }
            Err(_) => {}
        }
    }
}

fn read(file: &Path) -> io::Result<Contents> {
    // A pipe would have nobody at its other end.
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(file)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    let mut contents: Contents = serde_json::from_str(&text)?;
    contents.peers.truncate(MAX_PEERS);
    Ok(contents)
}

/// Writes all of it or nothing.
fn write(file: &Path, contents: &Contents) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut out = tempfile::Builder::new().prefix(".grapevine-").tempfile_in(folder)?;
    out.write_all(format!("{}\n", serde_json::to_string_pretty(contents)?).as_bytes())?;
    out.as_file().sync_all()?;
    let _: File = out.persist(file)?;
    Ok(())
}
