//! The lock that the threads and the handles of a node share, and what hangs on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use crate::error::Error;
use crate::event::Event;
use crate::instant::Instant;
use crate::node::{Node, Output};
use crate::stats::Stats;
use crate::subscription::Subscribers;
use crate::sync::{self, AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering};
use crate::threads::seeds::SeedName;
use crate::transport::Transport;

/// What the threads and the handles of one node share.
pub(crate) struct Shared {
    node: Mutex<Node>,
    pub(crate) subscribers: Arc<Mutex<Subscribers>>,
    changes: Mutex<u64>,
    changed: Condvar,
    pub(super) waiters: AtomicU64,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) max_datagram: usize,
    pub(super) seeds: Vec<SeedName>,
    origin: Clock,
    stop: AtomicBool,
    panicked: Mutex<Option<&'static str>>,
    pub(super) gossip: Alarm,
    pub(super) detect: Alarm,
    pub(super) drain: Drain,
    /// Rung when the node stops.
    pub(super) receive_again: Alarm,
    send_errors: AtomicU64,
    pub(super) receive_errors: AtomicU64,
}

/// Wakes a thread that sleeps until a deadline, if there is a nearer one now.
///
/// Not a channel: one that is waited for spins and yields before it sleeps, which for two wake-ups a round was a sixth
/// of an idle node's work.
#[derive(Default)]
pub(super) struct Alarm {
    pub(super) sleeps_until: AtomicU64,
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Alarm {
    /// Sleeps for `timeout`, or until it is rung, if it has not been since the last time.
    pub(super) fn wait(&self, timeout: Duration) {
        let mut rung = self.rung.lock();
        if !*rung {
            self.bell.wait_for(&mut rung, timeout);
        }
        *rung = false;
    }

    pub(super) fn set(&self, due: Instant) {
        if due.as_micros() < self.sleeps_until.load(Ordering::SeqCst) {
            self.ring();
        }
    }

    pub(super) fn ring(&self) {
        *self.rung.lock() = true;
        self.bell.notify_one();
    }
}

/// The detector's questions whether everything that had arrived was worked off, and the receiver's answers.
#[derive(Default)]
pub(super) struct Drain {
    asked: AtomicU64,
    answered: Mutex<u64>,
    answer: Condvar,
}

impl Drain {
    /// The number of the last question.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Asks; the number of the question.
    pub(super) fn ask(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Answers a question and those before it.
    pub(super) fn answer(&self, question: u64) {
        let mut answered = self.answered.lock();
        *answered = question.max(*answered);
        drop(answered);
        self.answer.notify_one();
    }

    /// Waits for the answer to a question.
    pub(super) fn wait(&self, question: u64, timeout: Duration) {
        let deadline = sync::now() + timeout;
        let mut answered = self.answered.lock();
        while *answered < question && !self.answer.wait_until(&mut answered, deadline).timed_out() {}
    }
}

/// Counts one who waits for changes, until it is dropped: the caller's condition may panic.
struct Waiter<'a>(&'a AtomicU64);

impl<'a> Waiter<'a> {
    fn new(waiters: &'a AtomicU64) -> Self {
        waiters.fetch_add(1, Ordering::SeqCst);
        Waiter(waiters)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    pub(crate) fn new(node: Node, transport: Arc<dyn Transport>, origin: Clock) -> Arc<Shared> {
        Arc::new(Shared {
            seeds: node.config().seeds.iter().map(|name| SeedName::new(name)).collect(),
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
            drain: Drain::default(),
            receive_again: Alarm::default(),
            send_errors: AtomicU64::new(0),
            receive_errors: AtomicU64::new(0),
        })
    }

    /// Whether the socket could send to such an address at all.
    pub(crate) fn can_reach(&self, addr: SocketAddr) -> bool {
        self.transport.can_reach(addr)
    }

    /// The time on the node's clock.
    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + (sync::now() - self.origin)
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
        self.deliver(node, out);
        result
    }

    /// Publishes the events, lets the lock go, and does the rest. A function of its own, for every caller of `act` is compiled
    /// with a copy of that: six of them took 4 kB of a minimal node.
    fn deliver(self: &Arc<Self>, node: MutexGuard<'_, Node>, out: &mut Output) {
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
            return;
        }
        #[cfg(feature = "encryption")]
        if let Err(error) = out.seal(sync::random) {
            // Without nonces there is no encryption, and without that nothing is sent.
            self.send_errors.fetch_add(1, Ordering::Relaxed);
            log::error!("cannot encrypt: the system has no randomness: {error}");
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
        let deadline = sync::now().checked_add(timeout);
        let _waiter = Waiter::new(&self.waiters);
        loop {
            let seen = *self.changes.lock();
            if holds() {
                break true;
            }
            let mut changes = self.changes.lock();
            if *changes == seen {
                if self.is_stopped() {
                    break false;
                }
                match deadline {
                    Some(deadline) => drop(self.changed.wait_until(&mut changes, deadline)),
                    None => self.changed.wait(&mut changes),
                }
            }
            drop(changes);
            // Not only when the wait timed out: where something changes all the time there is none.
            if deadline.is_some_and(|deadline| deadline <= sync::now()) {
                break holds();
            }
        }
    }

    pub(super) fn notify(&self) {
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
        let mut reason = self.panicked.lock();
        if self.stop.swap(true, Ordering::SeqCst) {
            return;
        }
        *reason = panicked;
        drop(reason);
        let mut subscribers = self.subscribers.lock();
        subscribers.publish(&Event::Stopped { panicked });
        subscribers.close();
        drop(subscribers);
        self.gossip.ring();
        self.detect.ring();
        self.receive_again.ring();
        self.drain.answer(u64::MAX);
        self.transport.interrupt();
        *self.changes.lock() += 1;
        self.changed.notify_all();
    }
}
