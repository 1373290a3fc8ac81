//! Nodes that leave or crash, and come back under the same address or another one.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use grapevine::{Error, Event};
use parking_lot::Mutex;

use crate::cluster::{Cluster, Run, SEEDS};

/// How long a node is away: long enough at the default interval that the others find it to have failed.
const AWAY: Duration = Duration::from_secs(2);
/// Failures are looked at this often.
const LOOK: Duration = Duration::from_millis(100);
const FAREWELL: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(5);

/// What was done and seen so far.
#[derive(Default)]
pub struct Restarts {
    left: AtomicU64,
    crashed: AtomicU64,
    moved: AtomicU64,
    failures: AtomicU64,
    false_alarms: AtomicU64,
    late_ms: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Restarts {
    /// Restarts one node after the other until it is over.
    pub fn run(&self, cluster: &Cluster, over: &AtomicBool) {
        let mut dice = Rng::with_seed(2);
        while !over.load(Ordering::Relaxed) {
            let all_there = cluster.restarts.lock();
            let place = dice.usize(..cluster.places.len());
            if let Err(problem) = self.restart(cluster, place, &mut dice) {
                *self.trouble.lock() = Some(format!("node {place}: {problem}"));
                return;
            }
            drop(all_there);
            // Somebody may wait for the lock, which is not given in turn.
            thread::sleep(LOOK);
        }
    }

    /// Whether a node could not be restarted.
    ///
    /// # Errors
    /// Why.
    pub fn check(&self) -> Result<(), String> {
        self.trouble.lock().take().map_or(Ok(()), Err)
    }

    pub fn count(&self) -> u64 {
        told(&self.left) + told(&self.crashed)
    }

    /// Failures told of peers that ran.
    pub fn false_alarms(&self) -> u64 {
        told(&self.false_alarms)
    }

    /// By how many milliseconds a thread woke up late at most, since the last time that this was asked: how busy the
    /// machine is.
    pub fn late_ms(&self) -> u64 {
        self.late_ms.swap(0, Ordering::Relaxed)
    }

    fn restart(&self, cluster: &Cluster, place: usize, dice: &mut Rng) -> Result<(), Error> {
        self.look_at_failures(cluster);
        let Some(run) = cluster.places[place].lock().take() else { return Ok(()) };
        let addr = run.node.local_addr();
        if dice.bool() {
            match run.node.leave(FAREWELL) {
                // On a busy machine too few may have confirmed.
                Ok(()) | Err(Error::TimedOut(_)) => {}
                Err(error) => return Err(error),
            }
            self.left.fetch_add(1, Ordering::Relaxed);
        } else {
            run.node.stop();
            self.crashed.fetch_add(1, Ordering::Relaxed);
        }
        cluster.count(&run);
        drop(run);
        let back = Instant::now() + AWAY;
        while Instant::now() < back {
            self.look_at_failures(cluster);
            let before = Instant::now();
            thread::sleep(LOOK);
            let late = before.elapsed().saturating_sub(LOOK).as_millis();
            self.late_ms.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        let moves = place >= SEEDS && dice.bool();
        self.moved.fetch_add(u64::from(moves), Ordering::Relaxed);
        *cluster.places[place].lock() = Some(self.start(cluster, (!moves).then_some(addr))?);
        Ok(())
    }

    /// Starts a node. Its old address is free as soon as nobody uses the old handle, which others do for a moment.
    fn start(&self, cluster: &Cluster, addr: Option<SocketAddr>) -> Result<Run, Error> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            match cluster.start_node(addr) {
                Err(Error::Bind { .. }) if Instant::now() < give_up => thread::sleep(LOOK),
                other => return other,
            }
        }
    }

    fn look_at_failures(&self, cluster: &Cluster) {
        let mut failures = Vec::new();
        for place in &cluster.places {
            if let Some(run) = &*place.lock() {
                failures.extend(std::iter::from_fn(|| run.failures.try_recv()).map(|event| (run.node.peer(), event)));
            }
        }
        let (mut observers, mut peers) = (BTreeSet::new(), BTreeSet::new());
        for (observer, event) in failures {
            let Event::PeerFailed { peer, generation, .. } = event else { continue };
            self.failures.fetch_add(1, Ordering::Relaxed);
            if cluster.runs(peer, generation) {
                self.false_alarms.fetch_add(1, Ordering::Relaxed);
                observers.insert(observer);
                peers.insert(peer);
            }
        }
        if !peers.is_empty() {
            println!("         false alarms: {} nodes about {}", observers.len(), peers.len());
        }
    }
}

impl fmt::Display for Restarts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} nodes left and {} crashed; {} of them came back under another address; \
             {} failures told, {} of them false alarms",
            told(&self.left),
            told(&self.crashed),
            told(&self.moved),
            told(&self.failures),
            told(&self.false_alarms)
        )
    }
}

fn told(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
