//! The nodes of this process, and waiting until all of them have seen something.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use grapevine::{Builder, Error, Event, EventFilter, EventKind, Gossiper, Peer, Subscription};

use crate::screen::Screen;

/// Between two gossip rounds. A failure takes four to eight of them to be seen by all: short enough to watch, long
/// enough that a busy machine does not make nodes look dead.
pub const INTERVAL: Duration = Duration::from_millis(400);
/// How long one step may take, and how long all of them together.
const STEP_PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(25);
/// The progress is drawn anew at least so often.
const REDRAW: Duration = Duration::from_millis(100);

/// A node with its name in the story.
pub struct Member {
    pub name: String,
    pub node: Gossiper,
    pub started: Instant,
    events: Subscription,
}

pub struct Cluster {
    /// The nodes that run: the seed first, the late peer last.
    pub members: Vec<Member>,
    ip: IpAddr,
    give_up: Instant,
    names: BTreeMap<Peer, String>,
    /// What the nodes told, each event with the name of the node that told it.
    pub log: Vec<(String, Event)>,
}

impl Cluster {
    pub fn new(ip: IpAddr) -> Cluster {
        Cluster { members: Vec::new(), ip, give_up: Instant::now() + PATIENCE, names: BTreeMap::new(), log: Vec::new() }
    }

    /// The node that joined last.
    pub fn late(&self) -> &Member {
        &self.members[self.members.len() - 1]
    }

    pub fn name(&self, peer: Peer) -> &str {
        self.names.get(&peer).map_or("a stranger", String::as_str)
    }

    /// Starts the next node; all but the first have the first one as their seed.
    pub fn start_next(&mut self) -> Result<&Member, String> {
        let name = format!("node {}", self.members.len());
        let mut builder = Gossiper::builder().bind((self.ip, 0)).initial("name", &name);
        if let Some(seed) = self.members.first() {
            builder = builder.seed(seed.node.peer().to_string());
        }
        let member = Member::start(name, builder)?;
        self.names.insert(member.node.peer(), member.name.clone());
        self.members.push(member);
        Ok(self.late())
    }

    /// Stops a node without a word and starts another one, which knows nothing of the first, on the same address.
    pub fn restart(&mut self, place: usize, configure: impl FnOnce(Builder) -> Builder) -> Result<(), String> {
        self.gather_events();
        let Member { name, node, .. } = self.members.remove(place);
        let addr = node.local_addr();
        node.stop();
        // The socket is closed when the last handle is gone.
        drop(node);
        let seed = self.members[0].node.peer().to_string();
        let builder = configure(Gossiper::builder().bind(addr).seed(seed));
        self.members.insert(place, Member::start(name, builder)?);
        Ok(())
    }

    /// Takes a node out of those that run; it is up to the caller how it ends.
    pub fn take(&mut self, place: usize) -> Member {
        self.gather_events();
        self.members.remove(place)
    }

    /// Has something done and waits until `check` is content with every node. Returns the seconds that each took, the
    /// quickest first.
    pub fn everywhere_after<T>(
        &self,
        screen: &mut Screen,
        title: &str,
        act: impl FnOnce() -> Result<T, Error>,
        check: impl Fn(&Gossiper) -> Result<(), String> + Sync,
    ) -> Result<Vec<f64>, String> {
        let act = || {
            let start = Instant::now();
            act().map(|_| start).map_err(|error| error.to_string())
        };
        self.watch(screen, title, act, check)
    }

    /// Waits until `check` is content with every node. Returns the seconds from `start` that each took, the quickest
    /// first.
    pub fn everywhere_since(
        &self,
        screen: &mut Screen,
        title: &str,
        start: Instant,
        check: impl Fn(&Gossiper) -> Result<(), String> + Sync,
    ) -> Result<Vec<f64>, String> {
        self.watch(screen, title, || Ok(start), check)
    }

    /// One thread waits for each node; each tells when it has seen what it waited for, or what it has seen instead.
    fn watch(
        &self,
        screen: &mut Screen,
        title: &str,
        act: impl FnOnce() -> Result<Instant, String>,
        check: impl Fn(&Gossiper) -> Result<(), String> + Sync,
    ) -> Result<Vec<f64>, String> {
        let patience = STEP_PATIENCE.min(self.give_up.saturating_duration_since(Instant::now()));
        let (sender, sights) = mpsc::channel();
        thread::scope(|scope| {
            for member in &self.members {
                let (sender, check) = (sender.clone(), &check);
                scope.spawn(move || {
                    let seen = member.node.wait_until(patience, |node| check(node).is_ok());
                    let instead = if seen { Ok(()) } else { check(&member.node) };
                    let sight = instead.map_err(|instead| format!("{} {instead}", member.name));
                    // The main thread listens until the last one has told.
                    let _ = sender.send((Instant::now(), sight));
                });
            }
            drop(sender);
            let start = act()?;
            let mut times = Vec::new();
            let mut missing = Vec::new();
            loop {
                screen.progress(title, times.len(), self.members.len(), seconds(Instant::now(), start));
                match sights.recv_timeout(REDRAW) {
                    Ok((at, Ok(()))) => times.push(seconds(at, start)),
                    Ok((_, Err(instead))) => missing.push(instead),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            if !missing.is_empty() {
                let instead = shortened(missing).join("\n  ");
                return Err(format!("not everyone saw it in {patience:.1?}, but:\n  {instead}"));
            }
            times.sort_by(f64::total_cmp);
            screen.progress(title, times.len(), self.members.len(), *times.last().unwrap_or(&0.0));
            Ok(times)
        })
    }

    /// Notes what the nodes have told since the last time.
    pub fn gather_events(&mut self) {
        for Member { name, events, .. } in &self.members {
            let told = std::iter::from_fn(|| events.try_recv());
            self.log.extend(told.map(|event| (name.clone(), event)));
        }
    }
}

impl Member {
    fn start(name: String, builder: Builder) -> Result<Member, String> {
        let started = Instant::now();
        let node = builder.interval(INTERVAL).start().map_err(|error| format!("{name} cannot start: {error}"))?;
        let kinds = [EventKind::PeerFailed, EventKind::PeerLeft, EventKind::Expire];
        let events = node.subscribe_to(EventFilter::all().kinds(kinds));
        Ok(Member { name, node, started, events })
    }
}

/// From `start` to `at`; negative if that was before.
pub fn seconds(at: Instant, start: Instant) -> f64 {
    at.saturating_duration_since(start).as_secs_f64() - start.saturating_duration_since(at).as_secs_f64()
}

fn shortened(mut lines: Vec<String>) -> Vec<String> {
    const SHOWN: usize = 5;
    if lines.len() > SHOWN {
        let more = lines.len() - SHOWN;
        lines.truncate(SHOWN);
        lines.push(format!("and {more} more"));
    }
    lines
}
