//! The three threads of a node, and the lock that they share. Each is thin: take the lock, call one method of the core, publish its
//! events, let go, send its datagrams.

use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant as Clock, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Condvar, Mutex};

use crate::error::Error;
use crate::event::Event;
use crate::instant::Instant;
use crate::node::{Node, Output};
use crate::stats::Stats;
use crate::subscription::Subscribers;
use crate::transport::Transport;

/// A thread of the core needs some 20 KiB, in debug builds twice that; the rest is for loggers.
const STACK_BYTES: usize = 256 << 10;
/// After a receive error the receiver waits, at first so long and then longer, up to the second one.
const FIRST_BACKOFF: Duration = Duration::from_millis(1);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// A receive error is logged at most this often.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// What the threads and the handles of one node share.
pub(crate) struct Shared {
    node: Mutex<Node>,
    pub(crate) subscribers: Arc<Mutex<Subscribers>>,
    changes: Mutex<u64>,
    changed: Condvar,
    waiters: AtomicU64,
    transport: Arc<dyn Transport>,
    max_datagram: usize,
    seeds: Vec<SeedName>,
    origin: Clock,
    stop: AtomicBool,
    panicked: Mutex<Option<&'static str>>,
    gossip: Alarm,
    detect: Alarm,
    drained: (Sender<()>, Receiver<()>),
    send_errors: AtomicU64,
    receive_errors: AtomicU64,
}

struct SeedName {
    name: String,
    /// A name that is an address is never resolved again.
    is_addr: bool,
    resolving: AtomicBool,
    last_warning: Mutex<Option<Clock>>,
}

/// Wakes a thread that sleeps until a deadline, if there is a nearer one now.
///
/// Not a channel: one that is waited for spins and yields before it sleeps, which for two wake-ups a round was a sixth
/// of an idle node's work.
#[derive(Default)]
struct Alarm {
    sleeps_until: AtomicU64,
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Alarm {
    /// Sleeps for `timeout`, or until it is rung, if it has not been since the last time.
    fn wait(&self, timeout: Duration) {
        let mut rung = self.rung.lock();
        if !*rung {
            self.bell.wait_for(&mut rung, timeout);
        }
        *rung = false;
    }

    fn set(&self, due: Instant) {
        if due.as_micros() < self.sleeps_until.load(Ordering::SeqCst) {
            self.ring();
        }
    }

    fn ring(&self) {
        *self.rung.lock() = true;
        self.bell.notify_one();
    }
}

impl Shared {
    pub(crate) fn new(node: Node, transport: Arc<dyn Transport>, origin: Clock) -> Arc<Shared> {
        let seeds = node.config().seeds.iter().map(|name| SeedName {
            name: name.clone(),
            is_addr: name.parse::<SocketAddr>().is_ok(),
            resolving: AtomicBool::new(false),
            last_warning: Mutex::new(None),
        });
        Arc::new(Shared {
            seeds: seeds.collect(),
            max_datagram: node.config().max_datagram,
            node: Mutex::new(node),
            subscribers: Arc::default(),
            changes: Mutex::new(0),
            changed: Condvar::new(),
            waiters: AtomicU64::new(0),
            transport,
            origin,
            stop: AtomicBool::new(false),
            panicked: Mutex::new(None),
            gossip: Alarm::default(),
            detect: Alarm::default(),
            drained: bounded(1),
            send_errors: AtomicU64::new(0),
            receive_errors: AtomicU64::new(0),
        })
    }

    /// The time on the node's clock.
    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }

    /// A point of the node's clock on the system's monotonic one.
    pub(crate) fn to_clock(&self, instant: Instant) -> Option<Clock> {
        self.origin.checked_add(instant - Instant::ZERO)
    }

    /// A point of the system's monotonic clock on the node's.
    pub(crate) fn at_clock(&self, clock: Clock) -> Instant {
        Instant::ZERO + clock.saturating_duration_since(self.origin)
    }

    /// Looks at the node under the lock.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&Node, Instant) -> R) -> R {
        let node = self.node.lock();
        look(&node, self.now())
    }

    /// Has the core do something: under the lock the call and the publishing of its events, after it everything that takes
    /// time or runs somebody else's code.
    pub(crate) fn act<R>(
        self: &Arc<Self>,
        out: &mut Output,
        call: impl FnOnce(&mut Node, Instant, &mut Output) -> R,
    ) -> R {
        out.clear();
        let mut node = self.node.lock();
        let result = call(&mut node, self.now(), out);
        if !out.events.is_empty() {
            let mut subscribers = self.subscribers.lock();
            for event in &out.events {
                subscribers.publish(event);
            }
        }
        let (next_gossip, next_detect) = (node.next_gossip(), node.next_detect());
        let leaving = node.has_left();
        drop(node);
        if leaving {
            // Whoever called `leave` waits for others to have heard it, of which no event tells.
            self.notify();
        }
        if out.is_empty() {
            self.gossip.set(next_gossip);
            self.detect.set(next_detect);
            return result;
        }
        for (to, datagram) in out.datagrams() {
            if self.transport.send(to, datagram).is_err() {
                self.send_errors.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.gossip.set(next_gossip);
        self.detect.set(next_detect);
        if !out.events.is_empty() {
            self.notify();
        }
        for line in &out.log {
            log::log!(line.level, "{}", line.text);
        }
        for index in &out.resolve {
            self.resolve(*index);
        }
        result
    }

    /// What the node has counted, with what only its surroundings know.
    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.node.lock().stats();
        stats.send_errors = self.send_errors.load(Ordering::Relaxed);
        stats.receive_errors = self.receive_errors.load(Ordering::Relaxed);
        stats.dropped_by_kernel = self.transport.dropped();
        stats.events_missed = self.subscribers.lock().missed();
        stats
    }

    /// Calls `holds` now and after every change, without a lock, until it is true or time is up.
    pub(crate) fn wait_until(&self, timeout: Duration, mut holds: impl FnMut() -> bool) -> bool {
        let deadline = Clock::now().checked_add(timeout);
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let held = loop {
            let seen = *self.changes.lock();
            if holds() {
                break true;
            }
            let mut changes = self.changes.lock();
            if *changes != seen {
                continue;
            }
            if self.is_stopped() {
                break false;
            }
            let timed_out = match deadline {
                Some(deadline) => self.changed.wait_until(&mut changes, deadline).timed_out(),
                None => {
                    self.changed.wait(&mut changes);
                    false
                }
            };
            drop(changes);
            if timed_out {
                break holds();
            }
        };
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        held
    }

    fn notify(&self) {
        if self.waiters.load(Ordering::SeqCst) > 0 {
            *self.changes.lock() += 1;
            self.changed.notify_all();
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Why the node cannot be used any more, if it cannot.
    pub(crate) fn check_running(&self) -> Result<(), Error> {
        match (*self.panicked.lock(), self.is_stopped()) {
            (Some(name), _) => Err(Error::ThreadPanicked(name)),
            (None, true) => Err(Error::Stopped),
            (None, false) => Ok(()),
        }
    }

    /// Ends the threads, the subscriptions and the waiting; the first time that it is called.
    pub(crate) fn stop(&self, panicked: Option<&'static str>) {
        if let Some(name) = panicked {
            *self.panicked.lock() = Some(name);
        }
        if self.stop.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut subscribers = self.subscribers.lock();
        subscribers.publish(&Event::Stopped { panicked });
        subscribers.close();
        drop(subscribers);
        self.gossip.ring();
        self.detect.ring();
        self.transport.interrupt();
        *self.changes.lock() += 1;
        self.changed.notify_all();
    }

    /// Resolves a seed's name on a thread of its own: it may take as long as it likes.
    pub(crate) fn resolve(self: &Arc<Self>, index: usize) {
        let Some(seed) = self.seeds.get(index) else { return };
        if seed.is_addr || seed.resolving.swap(true, Ordering::SeqCst) {
            return;
        }
        let (shared, name): (Weak<Shared>, String) = (Arc::downgrade(self), seed.name.clone());
        let started =
            thread::Builder::new().name("grapevine-resolver".to_owned()).stack_size(STACK_BYTES).spawn(move || {
                let resolved = name.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
                let Some(shared) = shared.upgrade() else { return };
                match resolved {
                    Ok(addrs) => shared.seed_resolved(index, addrs),
                    Err(error) => shared.warn_of_seed(index, format_args!("it cannot be resolved: {error}")),
                }
                if let Some(seed) = shared.seeds.get(index) {
                    seed.resolving.store(false, Ordering::SeqCst);
                }
            });
        if started.is_err() {
            seed.resolving.store(false, Ordering::SeqCst);
        }
    }

    /// Gives the core the addresses of seeds that are addresses, and starts to resolve the others.
    pub(crate) fn resolve_all(self: &Arc<Self>) {
        for (index, seed) in self.seeds.iter().enumerate() {
            match seed.name.parse() {
                Ok(addr) => self.seed_resolved(index, vec![addr]),
                Err(_) => self.resolve(index),
            }
        }
    }

    fn seed_resolved(self: &Arc<Self>, index: usize, mut addrs: Vec<SocketAddr>) {
        addrs.retain(|addr| self.transport.can_reach(*addr));
        if addrs.is_empty() {
            let local = self.transport.local_addr();
            let problem = "it has no address that can be reached from";
            self.warn_of_seed(index, format_args!("{problem} {local}; bind [::] for both IPv4 and IPv6"));
        }
        self.act(&mut Output::new(), |node, now, out| node.seed_resolved(now, index, &addrs, out));
    }
}

impl Shared {
    /// Says in the log what is wrong with a seed, once a minute: it is tried again and again.
    fn warn_of_seed(&self, index: usize, problem: std::fmt::Arguments<'_>) {
        let Some(seed) = self.seeds.get(index) else { return };
        let mut last = seed.last_warning.lock();
        if last.is_none_or(|last| last.elapsed() >= LOG_PAUSE) {
            *last = Some(Clock::now());
            log::warn!("the seed {} is of no use now: {problem}; trying again", seed.name);
        }
    }
}

type ThreadBody = fn(&Arc<Shared>);

/// Starts the three threads.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<Vec<JoinHandle<()>>, Error> {
    let threads: [(&'static str, ThreadBody); 3] =
        [("grapevine-receiver", receive), ("grapevine-gossip", gossip), ("grapevine-detector", detect)];
    let mut handles = Vec::with_capacity(threads.len());
    for (name, run) in threads {
        let thread_shared = shared.clone();
        let body = move || {
            if catch_unwind(AssertUnwindSafe(|| run(&thread_shared))).is_err() {
                log::error!("the thread {name} panicked; the node is stopped");
                thread_shared.stop(Some(name));
            }
        };
        match thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(body) {
            Ok(handle) => handles.push(handle),
            Err(error) => {
                shared.stop(None);
                for handle in handles {
                    let _ = handle.join();
                }
                return Err(Error::Thread(error));
            }
        }
    }
    Ok(handles)
}

/// The receiver thread: one datagram after the other.
fn receive(shared: &Arc<Shared>) {
    let mut out = Output::new();
    // One byte more than is allowed shows that a datagram was longer.
    let mut buffer = vec![0; shared.max_datagram + 1];
    let mut backoff = FIRST_BACKOFF;
    let mut last_log: Option<Clock> = None;
    while !shared.is_stopped() {
        match shared.transport.receive(&mut buffer) {
            Ok(Some((len, from))) => {
                backoff = FIRST_BACKOFF;
                shared.act(&mut out, |node, now, out| node.handle_datagram(now, from, &buffer[..len], out));
            }
            Ok(None) => {
                let _ = shared.drained.0.try_send(());
            }
            Err(error) => {
                shared.receive_errors.fetch_add(1, Ordering::Relaxed);
                if last_log.is_none_or(|last| last.elapsed() >= LOG_PAUSE) {
                    last_log = Some(Clock::now());
                    log::warn!("cannot receive: {error}; trying again");
                }
                thread::sleep(backoff);
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        }
    }
}

/// The gossip-timer thread: rounds, news, repeated requests.
fn gossip(shared: &Arc<Shared>) {
    run_at_deadlines(shared, &shared.gossip, Node::next_gossip, |node, now, out| {
        node.wall_clock(now, wall_clock());
        node.gossip(now, out);
    });
}

/// Milliseconds since 1970 as the system shows them; 1 if it shows a time before.
pub(crate) fn wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis());
    u64::try_from(since).unwrap_or(u64::MAX)
}

/// The failure-detector thread: failures, expiry, forgetting.
fn detect(shared: &Arc<Shared>) {
    run_at_deadlines(shared, &shared.detect, Node::next_detect, |node, now, out| {
        node.detect(now, out);
    });
}

fn run_at_deadlines(
    shared: &Arc<Shared>,
    alarm: &Alarm,
    next: impl Fn(&Node) -> Instant,
    mut work: impl FnMut(&mut Node, Instant, &mut Output),
) {
    let mut out = Output::new();
    let is_detector = std::ptr::eq(alarm, &shared.detect);
    loop {
        // First the promise until when it sleeps, then the look at the deadline: whoever moves it in between rings.
        alarm.sleeps_until.store(u64::MAX, Ordering::SeqCst);
        let due = shared.read(|node, _| next(node));
        alarm.sleeps_until.store(due.as_micros(), Ordering::SeqCst);
        let wait = due - shared.now();
        if !wait.is_zero() {
            alarm.wait(wait.min(Duration::from_secs(3600)));
        }
        if shared.is_stopped() {
            return;
        }
        if shared.now() < due {
            continue;
        }
        if is_detector && shared.act(&mut out, |node, now, _| node.suspects(now)) {
            drain(shared);
        }
        shared.act(&mut out, &mut work);
    }
}

/// Waits until the receiver has worked off what is in the socket: a peer is not to be suspected while its heartbeat waits
/// there. At most a second, should the receiver be stuck.
fn drain(shared: &Arc<Shared>) {
    let _ = shared.drained.1.try_recv();
    shared.transport.interrupt();
    let _ = shared.drained.1.recv_timeout(Duration::from_secs(1));
}
