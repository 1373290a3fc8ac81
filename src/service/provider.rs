//! Somebody who offers actions: where it is, the connections to it, and whether it keeps failing.

use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::service::connection::{Connection, Limits};
use crate::service::keys::Keys;
use crate::service::lock::{Condvar, Mutex};
use crate::service::stats::{Counters, ProviderStats, count, read};
use crate::service::threads;
use crate::sync::{self, AtomicU64, Ordering};

/// A connection with so many calls under way is busy: another one is opened if there may be one.
const BUSY: u64 = 32;
/// If one more connection cannot be had, another one is not tried sooner.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);
/// If the keys change while one is opened, it is opened anew; not for ever.
const ATTEMPTS: usize = 8;
/// How long a provider is left alone after the first, second … failure in a row, in seconds: Fibonacci's numbers, as Seneca's clients
/// wait before they connect again.
const RESTS: [u64; 8] = [1, 1, 2, 3, 5, 8, 13, 21];
/// After more of them it is left alone for so long.
const LONGEST_REST: Duration = Duration::from_secs(30);
/// Calls without an answer in a row that count as a failure: one may be slow by itself.
const TIMEOUTS: u32 = 3;

/// A provider, shared by the calls to it.
pub(super) struct Provider {
    /// `HOST:PORT`. A host name is resolved whenever a connection is opened.
    pub(super) addr: String,
    most: usize,
    limits: Limits,
    /// What connections to it are protected with; they are plain without it, for it is outside of the cluster.
    keys: Option<Keys>,
    counters: Arc<Counters>,
    pool: Mutex<Pool>,
    /// One was opened, or could not be.
    opened: Condvar,
    health: Mutex<Health>,
    calls: AtomicU64,
    unanswered: AtomicU64,
    in_flight: AtomicU64,
}

/// The connections to it.
struct Pool {
    /// None any more once it is retired.
    open: Option<Vec<Arc<Connection>>>,
    /// Whether a thread opens one.
    opening: bool,
    /// How often that was tried, and why the last one failed, if it did.
    attempts: u64,
    problem: Option<String>,
    /// How many were not used any more because keys changed: no reason to call the provider unreachable.
    moved: u64,
    /// One more could not be had a moment ago: those that are open have to do until then.
    enough_until: Option<Instant>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum NoConnection {
    /// It could not be opened.
    Failed(String),
    /// None was there at the caller's deadline, which says nothing about the provider.
    OutOfTime,
    /// It has failed or left, or offers nothing any more.
    Retired,
}

#[derive(Default)]
struct Health {
    failures: usize,
    timeouts: u32,
    /// The answers that had come by the first of these time-outs.
    answers: u64,
    rests_until: Option<Instant>,
}

/// A call that is under way.
pub(super) struct InFlight<'a>(&'a Provider);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Provider {
    pub(super) fn new(
        addr: String,
        most: usize,
        limits: Limits,
        keys: Option<Keys>,
        counters: &Arc<Counters>,
    ) -> Provider {
        Provider {
            addr,
            most,
            limits,
            keys,
            counters: counters.clone(),
            pool: Mutex::new(Pool {
                open: Some(Vec::new()),
                opening: false,
                attempts: 0,
                problem: None,
                moved: 0,
                enough_until: None,
            }),
            opened: Condvar::new(),
            health: Mutex::default(),
            calls: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
        }
    }

    /// Counts a call as under way until what this gives is dropped.
    pub(super) fn enter(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    pub(super) fn in_flight(&self) -> u64 {
        read(&self.in_flight)
    }

    /// The connection with the fewest calls under way. If there is none, or all are busy and there may be more, another one is opened;
    /// only if there is none it is waited for, until `deadline`.
    pub(super) fn connection(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Connection>, NoConnection> {
        let (mut pool, mut timed_out) = (self.pool.lock(), false);
        let (mut attempts, mut moved) = (pool.attempts, pool.moved);
        loop {
            let open = pool.open.as_mut().ok_or(NoConnection::Retired)?;
            let mut moved_now = 0;
            open.retain(|connection| {
                let goes_on = connection.is_current() && !connection.is_ending();
                moved_now += u64::from(!goes_on && connection.has_moved());
                goes_on
            });
            let number = open.len();
            let best = open.iter().map(|connection| (connection.in_flight(), connection)).min_by_key(|best| best.0);
            let best = best.map(|(in_flight, connection)| (in_flight, connection.clone()));
            pool.moved += moved_now;
            if pool.moved != moved {
                // The one that was waited for, perhaps.
                (attempts, moved) = (pool.attempts, pool.moved);
            }
            if best.is_none() && pool.attempts != attempts {
                return Err(NoConnection::Failed(pool.problem.clone().unwrap_or_else(|| "it was closed".to_owned())));
            }
            let is_enough = best.as_ref().is_some_and(|(in_flight, _)| {
                *in_flight < BUSY || number >= self.most || pool.enough_until.is_some_and(|until| until > sync::now())
            });
            if !is_enough && !pool.opening {
                pool.opening = true;
                let provider = self.clone();
                if let Err(error) = threads::spawn("connect", move || provider.open()) {
                    pool.opening = false;
                    if best.is_none() {
                        return Err(NoConnection::Failed(format!("no thread could be started: {error}")));
                    }
                }
            }
            match best {
                Some((_, connection)) => return Ok(connection),
                None if timed_out => return Err(NoConnection::OutOfTime),
                None => (pool, timed_out) = self.opened.wait_until(pool, deadline),
            }
        }
    }

    /// Opens a connection, in the time that one may take and no call's.
    fn open(&self) {
        let mut opened = self.connect();
        for _ in 1..ATTEMPTS {
            // Somebody may have refused, or taken, what must not be any more.
            match &opened {
                (Ok(connection), _) if connection.is_current() => break,
                (Ok(connection), _) => connection.close(),
                (Err(_), version) if *version == self.version() => break,
                (Err(_), _) => {}
            }
            opened = self.connect();
        }
        let (opened, _) = opened;
        let mut pool = self.pool.lock();
        pool.opening = false;
        pool.attempts += 1;
        match (opened, pool.open.as_mut()) {
            (Ok(connection), Some(open)) => {
                open.push(connection);
                pool.problem = None;
            }
            // It was retired meanwhile.
            (Ok(connection), None) => connection.close(),
            (Err(error), open) => {
                let is_only_one_more = open.is_some_and(|open| !open.is_empty());
                pool.problem = Some(describe(&error));
                pool.enough_until = Some(sync::now() + BETWEEN_ATTEMPTS);
                if !is_only_one_more {
                    self.rest(&mut self.health.lock());
                }
            }
        }
        drop(pool);
        self.opened.notify_all();
    }

    fn version(&self) -> u64 {
        self.keys.as_ref().map_or(0, Keys::version)
    }

    /// Also says at which version of the keys that was begun.
    fn connect(&self) -> (io::Result<Arc<Connection>>, u64) {
        let version = self.version();
        (self.connect_to_any(), version)
    }

    fn connect_to_any(&self) -> io::Result<Arc<Connection>> {
        let mut problem = io::Error::new(io::ErrorKind::NotFound, "the name stands for no address");
        for addr in self.addr.to_socket_addrs()? {
            match Connection::open(addr, &self.limits, self.keys.as_ref(), &self.counters) {
                Ok(connection) => return Ok(connection),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    pub(super) fn sent(&self) {
        count(&self.calls);
    }

    /// It answered, whatever it answered.
    pub(super) fn answered(&self) {
        let mut health = self.health.lock();
        if health.failures > 0 || health.timeouts > 0 {
            *health = Health::default();
        }
    }

    /// It could not be reached, and is left alone already.
    pub(super) fn was_unreachable(&self) {
        count(&self.unanswered);
    }

    /// Its connection broke: it is left alone for a while, for longer each time.
    pub(super) fn failed(&self) {
        count(&self.unanswered);
        self.rest(&mut self.health.lock());
    }

    /// A call to it had no answer in time. One that answers others, be it too late, is only slow.
    pub(super) fn timed_out(&self) {
        count(&self.unanswered);
        let answers = self.pool.lock().open.iter().flatten().map(|connection| connection.answers()).sum();
        let mut health = self.health.lock();
        if health.answers != answers {
            (health.answers, health.timeouts) = (answers, 0);
        }
        health.timeouts += 1;
        if health.timeouts >= TIMEOUTS {
            self.rest(&mut health);
        }
    }

    fn rest(&self, health: &mut Health) {
        let now = sync::now();
        // Calls that fail together are one failure.
        if health.rests_until.is_some_and(|until| until > now) {
            return;
        }
        let rest = RESTS.get(health.failures).map_or(LONGEST_REST, |seconds| Duration::from_secs(*seconds));
        health.failures += 1;
        health.rests_until = Some(now + rest);
    }

    /// For how long it is left alone; zero if it is not.
    pub(super) fn resting(&self, now: Instant) -> Duration {
        let until = self.health.lock().rests_until;
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Its node is alive again, or has new things to offer: no reason to leave it alone any more.
    pub(super) fn forgive(&self) {
        *self.health.lock() = Health::default();
    }

    /// Its node has failed or left, or is elsewhere now: no more calls are sent to it. Those under way that may be repeated go to
    /// another one, the others may still be answered.
    pub(super) fn retire(&self) {
        self.take_all().into_iter().for_each(|connection| connection.retire());
    }

    pub(super) fn close(&self) {
        self.take_all().into_iter().for_each(|connection| connection.close());
    }

    fn take_all(&self) -> Vec<Arc<Connection>> {
        let open = self.pool.lock().open.take();
        self.opened.notify_all();
        open.unwrap_or_default()
    }

    pub(super) fn stats(&self) -> ProviderStats {
        let pool = self.pool.lock();
        let connections = pool.open.iter().flatten().filter(|connection| !connection.is_ending()).count();
        ProviderStats {
            addr: self.addr.clone(),
            calls: read(&self.calls),
            unanswered: read(&self.unanswered),
            in_flight: usize::try_from(self.in_flight()).unwrap_or(usize::MAX),
            connections,
            resting: self.resting(sync::now()),
        }
    }
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        // A handshake says more.
        _ if error.get_ref().is_some() => error.to_string(),
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        io::ErrorKind::TimedOut => "it does not answer".to_owned(),
        _ => error.to_string(),
    }
}
