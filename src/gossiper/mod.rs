//! The handle of a running node: what a program uses.

#[cfg(feature = "encryption")]
mod keys;
mod reading;
mod writing;

#[cfg(all(feature = "encryption", feature = "service", not(all(test, shuttle))))]
pub(crate) use keys::KeyWatch;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant as Clock};

use crate::config::Config;
use crate::error::Error;
use crate::event::EventFilter;
use crate::instant::Instant;
use crate::node::{Node, Output};
use crate::peer::Peer;
use crate::stats::Stats;
use crate::subscription::{Subscribers, Subscription};
use crate::sync::thread::{self, JoinHandle, ThreadId};
use crate::sync::{self, Mutex};
#[cfg(all(feature = "service", not(all(test, shuttle))))]
use crate::sync::{AtomicBool, Ordering};
use crate::threads::{self, Shared};
use crate::transport::{Transport, UdpTransport};
#[cfg(all(feature = "service", not(all(test, shuttle))))]
use crate::value::Value;

/// A running node. Clones are handles of the same one and can be used from any thread, inside a loop over its events too.
///
/// Dropping the last one stops the node without a word, as a crash would; [`Gossiper::leave`] says goodbye.
///
/// ```
/// use grapevine::Gossiper;
/// use std::time::Duration;
///
/// let first = Gossiper::builder().interval(Duration::from_millis(50)).start()?;
/// let second = Gossiper::builder().interval(Duration::from_millis(50)).seed(first.peer().to_string()).start()?;
///
/// first.set("greeting", "hello")?;
/// let seen = second.wait_until(Duration::from_secs(10), |node| node.get_from(first.peer(), "greeting").is_some());
/// assert!(seen);
/// # Ok::<(), grapevine::Error>(())
/// ```
#[derive(Clone)]
pub struct Gossiper {
    inner: Arc<Inner>,
}

/// A handle that keeps no node running.
#[cfg(feature = "encryption")]
pub(crate) struct WeakGossiper(std::sync::Weak<Inner>);

#[cfg(feature = "encryption")]
impl WeakGossiper {
    /// The node, if there is any other handle.
    pub(crate) fn upgrade(&self) -> Option<Gossiper> {
        self.0.upgrade().map(|inner| Gossiper { inner })
    }
}

struct Inner {
    shared: Arc<Shared>,
    peer: Peer,
    bound: SocketAddr,
    events: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
    thread_ids: OnceLock<Vec<ThreadId>>,
    #[cfg(feature = "encryption")]
    keys: Arc<keys::KeyWatch>,
    /// Whether a service tells what it offers under this node's reserved key.
    #[cfg(all(feature = "service", not(all(test, shuttle))))]
    has_service: AtomicBool,
}

impl Gossiper {
    /// Starts a node over UDP with these settings. It returns when the socket is bound; joining goes on in the background.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Bind`] (the address is in use, above all) and [`Error::Thread`]; for an initial key those
    /// of [`Gossiper::set`].
    pub fn start(config: Config) -> Result<Gossiper, Error> {
        let transport = Gossiper::bind(&config)?;
        Gossiper::start_with(config, transport)
    }

    pub(crate) fn bind(config: &Config) -> Result<Arc<dyn Transport>, Error> {
        config.validate()?;
        let addr = config.bind;
        let transport = UdpTransport::bind(addr).map_err(|source| Error::Bind { addr, source })?;
        Ok(Arc::new(transport))
    }

    /// Starts a node over a transport of your own; `config.bind` is not used.
    ///
    /// # Errors
    /// Those of [`Gossiper::start`] but [`Error::Bind`].
    pub fn start_with(config: Config, transport: Arc<dyn Transport>) -> Result<Gossiper, Error> {
        Gossiper::start_after(config, transport, |_| ()).map(|(node, ())| node)
    }

    /// Starts a node, and calls `prepare` before anything can happen to it. One that `prepare` stops does not start.
    pub(crate) fn start_after<R>(
        config: Config,
        transport: Arc<dyn Transport>,
        prepare: impl FnOnce(&Gossiper) -> R,
    ) -> Result<(Gossiper, R), Error> {
        let bound = transport.local_addr();
        let mut advertise = config.advertise.unwrap_or(bound);
        if advertise.port() == 0 {
            advertise.set_port(bound.port());
        }
        if !transport.can_reach(advertise) {
            log::warn!("nodes bound like this one, to {bound}, cannot reach the advertised address {advertise}");
        }
        let peer = Peer::from(advertise);
        let events = config.limits.events;
        #[cfg(feature = "encryption")]
        let keys = Arc::new(keys::KeyWatch::new(config.keyring.clone()));
        let node = Node::new(config, peer, Instant::ZERO, sync::wall_clock(), sync::unpredictable())?;
        let shared = Shared::new(node, transport, sync::now());
        let inner = Inner {
            shared,
            peer,
            bound,
            events,
            threads: Mutex::default(),
            thread_ids: OnceLock::new(),
            #[cfg(feature = "encryption")]
            keys,
            #[cfg(all(feature = "service", not(all(test, shuttle))))]
            has_service: AtomicBool::new(false),
        };
        let node = Gossiper { inner: Arc::new(inner) };
        let prepared = prepare(&node);
        // Others are not to hear of one that was stopped.
        node.check()?;
        node.inner.shared.resolve_all();
        let threads = threads::start(&node.inner.shared)?;
        node.inner.thread_ids.get_or_init(|| threads.iter().map(|thread| thread.thread().id()).collect());
        *node.inner.threads.lock() = threads;
        log::info!("node {peer} started, bound to {bound}");
        Ok((node, prepared))
    }

    /// This node's identity: its advertised address.
    pub fn peer(&self) -> Peer {
        self.inner.peer
    }

    /// The address of its socket.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.bound
    }

    /// Which run of this node: milliseconds since 1970 at its start. It rises when the node meets its own past.
    pub fn generation(&self) -> u64 {
        self.read(|node, _| node.generation())
    }

    /// Takes the place of the one service that tells what it offers. False if it is taken.
    #[cfg(all(feature = "service", not(all(test, shuttle))))]
    pub(crate) fn take_service_place(&self) -> bool {
        !self.inner.has_service.swap(true, Ordering::SeqCst)
    }

    #[cfg(all(feature = "service", not(all(test, shuttle))))]
    pub(crate) fn leave_service_place(&self) {
        self.inner.has_service.store(false, Ordering::SeqCst);
    }

    /// Sets a reserved key, or deletes it: what is built on top of this handle tells there.
    #[cfg(all(feature = "service", not(all(test, shuttle))))]
    pub(crate) fn publish(&self, key: &str, value: Option<Value>) -> Result<(), Error> {
        self.write(|node, now, out| match value {
            Some(value) => node.set_any(now, key, value, None, out).map(drop),
            None => node.delete_any(now, key, out).map(drop),
        })
    }

    /// Drops a peer that is not alive, with its map, here and wherever else it is not seen alive: one that will never be back.
    /// Where a later heartbeat of it was heard it stays, and then comes back here until it is forgotten for good.
    ///
    /// ```
    /// # use grapevine::Gossiper;
    /// # let node = Gossiper::builder().start()?;
    /// for peer in node.failed_peers() {
    ///     node.forget(peer)?;
    /// }
    /// # Ok::<(), grapevine::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownPeer`], [`Error::StillAlive`], [`Error::Stopped`] and [`Error::ThreadPanicked`].
    pub fn forget(&self, peer: Peer) -> Result<(), Error> {
        self.write(|node, now, out| node.forget(now, peer, out))
    }

    /// Tells whoever is at these addresses of this node, once and at once, as seeds are told: for addresses that a program
    /// learns of while it runs, or remembers from an earlier run. Who answers becomes a peer; who does not is no error.
    ///
    /// ```
    /// # use grapevine::Gossiper;
    /// # use std::time::Duration;
    /// let (first, second) = (Gossiper::builder().start()?, Gossiper::builder().start()?);
    /// second.contact(&[first.local_addr()])?;
    /// assert!(second.wait_until(Duration::from_secs(5), |node| node.live_peers() == [first.peer()]));
    /// # Ok::<(), grapevine::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Stopped`] and [`Error::ThreadPanicked`].
    pub fn contact(&self, addrs: &[SocketAddr]) -> Result<(), Error> {
        let mut addrs = addrs.iter().filter(|addr| self.inner.shared.can_reach(**addr));
        self.write(|node, now, out| addrs.try_for_each(|addr| node.contact(now, *addr, out)))
    }

    /// All events from now on. For those of the very first moments there is
    /// [`Builder::start_subscribed`](crate::builder::Builder::start_subscribed).
    ///
    /// ```
    /// # use grapevine::{Event, Gossiper};
    /// let node = Gossiper::builder().start()?;
    /// let events = node.subscribe();
    /// node.set("a", &1)?;
    /// assert!(matches!(events.recv(), Some(Event::Update { key, .. }) if &*key == "a"));
    /// # Ok::<(), grapevine::Error>(())
    /// ```
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_to(EventFilter::all())
    }

    /// The events that pass `filter` from now on.
    pub fn subscribe_to(&self, filter: EventFilter) -> Subscription {
        Subscribers::subscribe(&self.inner.shared.subscribers, filter, self.inner.events)
    }

    /// Waits until `holds` is true: it is called now and after every event, on this thread and without any lock. False if
    /// `timeout` passed or the node stopped before. What changes without an event (φ, heartbeats, [`Gossiper::stats`], the
    /// permitted rate) is thus looked at with the next event, and once more when the time is up.
    pub fn wait_until(&self, timeout: Duration, mut holds: impl FnMut(&Gossiper) -> bool) -> bool {
        self.inner.shared.wait_until(timeout, || holds(self))
    }

    /// At most so many bytes per second should this node write so that the whole cluster keeps up, says flow control. `set` does not
    /// ask; `try_set` does. 1 MiB/s at the start, from 1 KiB/s to 64 MiB/s.
    pub fn permitted_rate(&self) -> f64 {
        self.read(|node, _| node.permitted_rate())
    }

    /// Counters and sizes.
    pub fn stats(&self) -> Stats {
        self.inner.shared.stats()
    }

    /// The time on this node's clock, on which deadlines in events are.
    pub fn now(&self) -> Instant {
        self.inner.shared.now()
    }

    /// A point of this node's clock, like a deadline in an event, on the system's; `None` beyond what that can tell.
    pub fn to_system(&self, instant: Instant) -> Option<Clock> {
        self.inner.shared.to_clock(instant)
    }

    /// Whether the node runs.
    ///
    /// # Errors
    /// [`Error::Stopped`] if it has left or was stopped, [`Error::ThreadPanicked`] if that was the reason.
    pub fn check(&self) -> Result<(), Error> {
        self.inner.shared.check_running()
    }

    /// Tells the others that this node leaves, for at most `timeout`, and stops it. The others list it as left, not as failed.
    ///
    /// ```
    /// # use grapevine::Gossiper;
    /// # use std::time::Duration;
    /// let node = Gossiper::builder().start()?;
    /// node.leave(Duration::from_secs(1))?;
    /// assert!(node.set("a", &1).is_err());
    /// # Ok::<(), grapevine::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TimedOut`] if too few confirmed that they heard it; the node has stopped all the same. [`Error::Stopped`] if it
    /// had before, or another handle stopped it meanwhile, and [`Error::ThreadPanicked`].
    pub fn leave(&self, timeout: Duration) -> Result<(), Error> {
        self.write(|node, now, out| {
            node.leave(now, out);
            Ok(())
        })?;
        let heard = self.wait_until(timeout, |node| node.read(|node, _| node.farewell_heard()));
        let ended = if heard { Ok(()) } else { self.check().and(Err(Error::TimedOut(timeout))) };
        self.stop();
        ended
    }

    /// Stops the node without a word: to the others it fails. Its socket is closed when the last handle is dropped.
    pub fn stop(&self) {
        self.inner.stop();
    }

    /// For a thread that works for the node and is not to keep it.
    #[cfg(feature = "encryption")]
    pub(crate) fn downgrade(&self) -> WeakGossiper {
        WeakGossiper(Arc::downgrade(&self.inner))
    }

    fn read<R>(&self, look: impl FnOnce(&Node, Instant) -> R) -> R {
        self.inner.shared.read(look)
    }

    fn write<R>(&self, act: impl FnOnce(&mut Node, Instant, &mut Output) -> Result<R, Error>) -> Result<R, Error> {
        self.check()?;
        self.inner.shared.act(&mut Output::new(), act)
    }
}

impl std::fmt::Debug for Gossiper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gossiper").field("peer", &self.inner.peer).finish_non_exhaustive()
    }
}

impl Inner {
    fn stop(&self) {
        self.shared.stop(None);
        // A transport or a logger may stop the node on one of its own threads, which cannot wait for itself, nor for
        // somebody else who waits for it.
        let me = thread::current().id();
        if self.thread_ids.get().is_some_and(|ids| ids.contains(&me)) {
            return;
        }
        for thread in self.threads.lock().drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}
