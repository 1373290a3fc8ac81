//! Settings one by one.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use serde::Serialize;

use crate::config::{Config, Limits};
use crate::detector::DetectorConfig;
use crate::error::Error;
use crate::gossiper::Gossiper;
#[cfg(feature = "encryption")]
use crate::keyring::Keyring;
use crate::subscription::Subscription;
use crate::value::Value;

/// Settings of a node to be started. Each is described at its field in [`Config`]; what is wrong with one is told by
/// [`Builder::start`].
///
/// ```no_run
/// use grapevine::Gossiper;
/// use std::time::Duration;
///
/// let node = Gossiper::builder()
///     .bind("0.0.0.0:9000")
///     .advertise("10.0.0.7:9000")
///     .seed("gossip.example.org:9000")
///     .cluster("production")
///     .interval(Duration::from_millis(500))
///     .initial("zone", "eu-1")
///     .start()?;
/// # Ok::<(), grapevine::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Builder {
    config: Config,
    wrong: Option<Error>,
}

impl Gossiper {
    /// Settings, one by one; then [`Builder::start`].
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// Starts from these settings.
    pub fn from_config(config: Config) -> Self {
        Builder { config, wrong: None }
    }

    /// The address of the socket, `ADDRESS:PORT`; port 0 for one that the system gives.
    #[must_use]
    pub fn bind(mut self, addr: impl ToSocketAddrs) -> Self {
        if let Some(addr) = self.one_addr("bind", addr) {
            self.config.bind = addr;
        }
        self
    }

    /// The address under which the others reach this node; port 0 for the bound port.
    #[must_use]
    pub fn advertise(mut self, addr: impl ToSocketAddrs) -> Self {
        if let Some(addr) = self.one_addr("advertise", addr) {
            self.config.advertise = Some(addr);
        }
        self
    }

    /// Adds a seed, `HOST:PORT`.
    #[must_use]
    pub fn seed(mut self, seed: impl Into<String>) -> Self {
        self.config.seeds.push(seed.into());
        self
    }

    /// Adds seeds.
    #[must_use]
    pub fn seeds<S: Into<String>>(mut self, seeds: impl IntoIterator<Item = S>) -> Self {
        self.config.seeds.extend(seeds.into_iter().map(Into::into));
        self
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.config.cluster = name.into();
        self
    }

    /// The cluster's pre-shared keys.
    #[cfg(feature = "encryption")]
    #[must_use]
    pub fn keyring(mut self, keyring: Keyring) -> Self {
        self.config.keyring = Some(keyring);
        self
    }

    /// The time between two gossip rounds.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.config.interval = interval;
        self
    }

    /// How many live peers are chosen in each round.
    #[must_use]
    pub fn fanout(mut self, fanout: usize) -> Self {
        self.config.fanout = fanout;
        self
    }

    /// How failures are detected.
    #[must_use]
    pub fn detector(mut self, detector: DetectorConfig) -> Self {
        self.config.detector = detector;
        self
    }

    /// How long the dead are remembered.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.config.grace = grace;
        self
    }

    /// The largest datagram.
    #[must_use]
    pub fn max_datagram(mut self, bytes: usize) -> Self {
        self.config.max_datagram = bytes;
        self
    }

    /// What digests and news may take in one interval.
    #[must_use]
    pub fn bytes_per_round(mut self, bytes: usize) -> Self {
        self.config.bytes_per_round = bytes;
        self
    }

    /// Whether news is told at once.
    #[must_use]
    pub fn early_news(mut self, on: bool) -> Self {
        self.config.early_news = on;
        self
    }

    /// The largest sizes of everything that can grow.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// A key that the map has from the start.
    #[must_use]
    pub fn initial<T: Serialize + ?Sized>(mut self, key: impl Into<String>, value: &T) -> Self {
        match Value::encode(value) {
            Ok(value) => self.config.initial.push((key.into(), value)),
            Err(error) => self.wrong = self.wrong.or(Some(error)),
        }
        self
    }

    /// [`Builder::start`] is to end in this error, if in no other.
    #[cfg(feature = "encryption")]
    pub(crate) fn refuse(mut self, error: Error) -> Self {
        self.wrong = self.wrong.or(Some(error));
        self
    }

    /// Starts the node. It returns when the socket is bound; joining goes on in the background.
    ///
    /// # Errors
    /// Those of [`Gossiper::start`], and what was wrong with an address or an initial value.
    pub fn start(self) -> Result<Gossiper, Error> {
        match self.wrong {
            Some(error) => Err(error),
            None => Gossiper::start(self.config),
        }
    }

    /// Starts the node with a subscription to all its events from the first one on: a seed on the same network answers
    /// within a millisecond, before a call to [`Gossiper::subscribe`] could follow.
    ///
    /// ```
    /// use grapevine::{Event, Gossiper};
    ///
    /// let seed = Gossiper::builder().start()?;
    /// let (node, events) = Gossiper::builder().seed(seed.peer().to_string()).start_subscribed()?;
    /// let first = events.recv();
    /// assert!(matches!(first, Some(Event::NewPeer { peer, .. }) if peer == seed.peer()));
    /// # drop(node);
    /// # Ok::<(), grapevine::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Builder::start`].
    pub fn start_subscribed(self) -> Result<(Gossiper, Subscription), Error> {
        self.start_after(Gossiper::subscribe)
    }

    /// Starts the node after `prepare` was called with its handle: nothing has happened to it then. For several subscriptions
    /// that are to have all events from the first one on, or one with a filter. Where it finds that the node should not start it
    /// stops it: then nobody hears of it, and this is [`Error::Stopped`].
    ///
    /// ```
    /// use grapevine::{EventFilter, EventKind, Gossiper};
    ///
    /// let failures = EventFilter::all().kinds([EventKind::PeerFailed]);
    /// let (node, (all, failures)) =
    ///     Gossiper::builder().start_after(|node| (node.subscribe(), node.subscribe_to(failures)))?;
    /// # drop((node, all, failures));
    /// # Ok::<(), grapevine::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Builder::start`], and [`Error::Stopped`].
    pub fn start_after<R>(self, prepare: impl FnOnce(&Gossiper) -> R) -> Result<(Gossiper, R), Error> {
        if let Some(error) = self.wrong {
            return Err(error);
        }
        let transport = Gossiper::bind(&self.config)?;
        Gossiper::start_after(self.config, transport, prepare)
    }

    fn one_addr(&mut self, setting: &'static str, addr: impl ToSocketAddrs) -> Option<SocketAddr> {
        let problem = match addr.to_socket_addrs().map(|mut addrs| addrs.next()) {
            Ok(Some(addr)) => return Some(addr),
            Ok(None) => "it stands for no address".to_owned(),
            Err(error) => format!("it is no ADDRESS:PORT like 127.0.0.1:9000 ({error})"),
        };
        if self.wrong.is_none() {
            self.wrong = Some(Error::Config { setting, problem });
        }
        None
    }
}
