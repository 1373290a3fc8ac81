//! The handle of a running service: what a program uses.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::gossiper::Gossiper;
use crate::service::actions::Action;
use crate::service::call::Call;
use crate::service::cluster;
use crate::service::config::{ServiceConfig, config};
use crate::service::directory::PATTERNS;
use crate::service::error::{ActError, Failure};
use crate::service::message::IntoMessage;
use crate::service::offering::{ServiceEvent, ServiceInfo};
use crate::service::pattern::IntoPattern;
use crate::service::server::{Connections, Server};
use crate::service::shared::Shared;
use crate::service::stats::{ServiceStats, read};
use crate::service::threads;
use crate::subscription::Subscription;
use crate::sync;

/// Nothing may come for so long before a service that drains is closed. Who has not heard by then that it offers nothing finds nobody
/// listening, and calls somebody else.
const QUIET_TIME: Duration = Duration::from_millis(500);
/// How often a service that drains looks whether it is done.
const DRAIN_PERIOD: Duration = Duration::from_millis(10);

/// A running service on top of a node. Clones are handles of the same one and can be used from any thread.
///
/// Dropping the last one closes it, as [`Service::close`] does. A handler that owns a handle of its own service keeps it
/// open; close it then.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

/// Servers that nobody can reach yet, with their sockets.
#[derive(Default)]
pub(super) struct Bound {
    servers: Vec<(Server, TcpListener)>,
    connections: Arc<Connections>,
}

struct Inner {
    shared: Arc<Shared>,
    /// One for each address on which calls are taken.
    servers: Vec<Server>,
    connections: Arc<Connections>,
}

impl Service {
    /// Starts a service on top of a running node. It returns when the socket is bound.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Bind`] (the address is in use, above all), [`Error::Thread`], and [`Error::Stopped`] or
    /// [`Error::ThreadPanicked`] of a node that does not run.
    pub fn start(config: ServiceConfig, node: &Gossiper) -> Result<Service, Error> {
        config.validate()?;
        node.check()?;
        let bound = Service::bind(&config)?;
        Service::start_bound(config, bound, node)
    }

    /// Binds the sockets on which calls are to be taken, if any are.
    pub(super) fn bind(config: &ServiceConfig) -> Result<Bound, Error> {
        let mut bound = Bound::default();
        for (addr, is_plain) in [(config.listen, false), (config.listen_plain, true)] {
            let Some(addr) = addr else { continue };
            let server = Server::bind(addr, is_plain, &bound.connections);
            bound.servers.push(server.map_err(|source| Error::Bind { addr, source })?);
        }
        Ok(bound)
    }

    pub(super) fn start_bound(config: ServiceConfig, bound: Bound, node: &Gossiper) -> Result<Service, Error> {
        let listens = bound.servers.iter().map(|(server, _)| server).find(|server| !server.is_plain);
        let addr = listens.map(|server| cluster::advertised(&config, server.bound, node)).transpose()?;
        if addr.is_some() {
            cluster::take_place(node)?;
        }
        let shared = Arc::new(Shared::new(node.clone(), addr, config));
        let watched = shared.clone();
        let events = node.subscribe_to(cluster::membership());
        if let Err(error) = threads::spawn("directory", move || cluster::watch(&events, &watched)) {
            close(&shared, &[]);
            return Err(Error::Thread(error));
        }
        let mut servers = Vec::new();
        for (server, listener) in bound.servers {
            if let Err(error) = server.start(listener, &shared) {
                close(&shared, &servers);
                return Err(Error::Thread(error));
            }
            servers.push(server);
        }
        if let Some(addr) = addr {
            let peer = node.peer();
            log::info!("node {peer} takes calls at {addr}");
            if addr.ip().is_loopback() && !peer.addr().ip().is_loopback() {
                log::warn!("nodes on other hosts cannot call {addr}; give `advertise` the address that they see");
            }
        }
        Ok(Service { inner: Arc::new(Inner { shared, servers, connections: bound.connections }) })
    }

    /// The node that it is on top of.
    pub fn node(&self) -> &Gossiper {
        &self.inner.shared.node
    }

    /// The address of the socket on which calls are taken, if it listens.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.inner.servers.iter().find(|server| !server.is_plain).map(|server| server.bound)
    }

    /// The address of the socket on which plain calls are taken whatever the keys say, if there is one
    /// ([`ServiceConfig::listen_plain`]).
    pub fn local_plain_addr(&self) -> Option<SocketAddr> {
        self.inner.servers.iter().find(|server| server.is_plain).map(|server| server.bound)
    }

    /// Registers an action: `handler` is run for every message that matches `pattern` and no better pattern, on a thread of the
    /// pool, several at once. The message becomes what the handler takes, and what it gives becomes the result: an object,
    /// an array, or nothing. A handler for a pattern that has one already replaces it.
    ///
    /// An error, and a panic too, is the caller's error ([`ActError::Failed`]) and harms nobody else.
    ///
    /// ```
    /// # use grapevine::service::{Failure, Service};
    /// # let service = Service::builder().start()?;
    /// use serde_json::{Value, json};
    ///
    /// service.add("role:api,cmd:echo", |message: Value| Ok(message))?;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Text {
    ///     text: String,
    /// }
    /// service.add("role:api,cmd:count", |message: Text| Ok(json!({"bytes": message.text.len()})))?;
    /// let counted: Value = service.act("role:api,cmd:count,text:grapevine")?;
    /// assert_eq!(counted, json!({"bytes": 9}));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for a text that is no pattern, or more than 1,024 patterns; [`Error::ValueTooLarge`] if the patterns
    /// together are too long to be told to the others; [`Error::Stopped`] if the service was closed.
    pub fn add<M, R, F>(&self, pattern: impl IntoPattern, handler: F) -> Result<(), Error>
    where
        M: DeserializeOwned,
        R: Serialize,
        F: Fn(M) -> Result<R, Failure> + Send + Sync + 'static,
    {
        let shared = &self.inner.shared;
        let pattern = pattern.into_pattern().map_err(|error| config("pattern", error.to_string()))?;
        let telling = shared.telling.lock();
        if shared.is_closed() {
            return Err(Error::Stopped);
        }
        if shared.actions.len() >= PATTERNS && !shared.actions.has(&pattern) {
            return Err(config("pattern", format!("{PATTERNS} actions are the most that one service can have")));
        }
        let replaced = shared.actions.add(pattern.clone(), Action::new(handler));
        let told = cluster::tell(&self.inner.shared);
        let dropped = match (&told, replaced) {
            (Ok(()), replaced) => replaced,
            (Err(_), Some(replaced)) => shared.actions.add(pattern, replaced),
            (Err(_), None) => shared.actions.remove(&pattern),
        };
        drop(telling);
        drop(dropped);
        shared.directory.tell_changed();
        told
    }

    /// Takes an action away. False if there was none with this pattern.
    ///
    /// # Errors
    /// [`Error::Config`] for a text that is no pattern, and [`Error::Stopped`], also when the node stops meanwhile: then it is taken
    /// away all the same.
    pub fn remove(&self, pattern: impl IntoPattern) -> Result<bool, Error> {
        let pattern = pattern.into_pattern().map_err(|error| config("pattern", error.to_string()))?;
        let shared = &self.inner.shared;
        let telling = shared.telling.lock();
        if shared.is_closed() {
            return Err(Error::Stopped);
        }
        let removed = shared.actions.remove(&pattern);
        let told = if removed.is_some() { cluster::tell(&self.inner.shared) } else { Ok(()) };
        drop(telling);
        told.map(|()| removed.is_some())
    }

    /// Calls the action for a message and waits for its result: one that is registered here, otherwise at whoever offers the best
    /// pattern for it. Among several the one with fewer calls under way, of two drawn at random.
    ///
    /// ```no_run
    /// # use grapevine::service::Service;
    /// # let service = Service::builder().start()?;
    /// use serde_json::{Value, json};
    ///
    /// let sum: Value = service.act("role:api,cmd:add,left:2,right:3")?;
    /// let sum: Value = service.act(json!({"role": "api", "cmd": "add", "left": 2, "right": 3}))?;
    /// let sum: Value = service.act(("role:api,cmd:add", json!({"left": 2, "right": 3})))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Every [`ActError`]; [`ActError::NotFound`] at once if nobody offers it.
    pub fn act<R: DeserializeOwned>(&self, message: impl IntoMessage) -> Result<R, ActError> {
        self.call(message).send()
    }

    /// [`Service::act`], always at the same provider for the same key: see [`Call::shard`].
    ///
    /// # Errors
    /// Every [`ActError`].
    pub fn act_sharded<R: DeserializeOwned>(
        &self,
        key: impl AsRef<[u8]>,
        message: impl IntoMessage,
    ) -> Result<R, ActError> {
        self.call(message).shard(key).send()
    }

    /// A call with settings of its own; then [`Call::send`].
    pub fn call(&self, message: impl IntoMessage) -> Call<'_> {
        Call::new(&self.inner.shared, message.into_message())
    }

    /// Sends messages that match `pin` to an address outside of the cluster, `HOST:PORT`: a Seneca service, for example. It
    /// counts as a provider like those in the cluster.
    ///
    /// # Errors
    /// [`Error::Config`] for an address without a port, or a text that is no pattern; [`Error::Stopped`] if the service was closed.
    pub fn client(&self, addr: &str, pin: impl IntoPattern) -> Result<(), Error> {
        let pin = pin.into_pattern().map_err(|error| config("pin", error.to_string()))?;
        ServiceConfig { clients: vec![(addr.to_owned(), pin.clone())], ..ServiceConfig::default() }.validate()?;
        if self.inner.shared.directory.add_client(addr, &pin) { Ok(()) } else { Err(Error::Stopped) }
    }

    /// Waits until somebody, or this program, offers an action for a message like this. False if `timeout` passed before, the
    /// service was closed, or this is no message.
    pub fn wait_for(&self, pattern: impl IntoMessage, timeout: Duration) -> bool {
        let Ok(message) = pattern.into_message() else { return false };
        let now = sync::now();
        let deadline = now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(86_400));
        let shared = &self.inner.shared;
        shared.directory.wait_for(&message, deadline, || shared.actions.find(&message).is_some())
    }

    /// Who offers what, this service itself included: sorted by node.
    pub fn services(&self) -> Vec<ServiceInfo> {
        let shared = &self.inner.shared;
        let mut services = shared.directory.services();
        let patterns = shared.offered();
        if let Some(addr) = shared.addr.filter(|_| !patterns.is_empty()) {
            services.push(ServiceInfo { peer: Some(shared.node.peer()), addr: addr.to_string(), patterns });
            services.sort_by(|a, b| (a.peer, &a.addr).cmp(&(b.peer, &b.addr)));
        }
        services
    }

    /// What changes in who offers what, elsewhere, from now on.
    pub fn subscribe(&self) -> Subscription<ServiceEvent> {
        self.inner.shared.directory.subscribe()
    }

    /// Counters and sizes.
    pub fn stats(&self) -> ServiceStats {
        let shared = &self.inner.shared;
        let counters = &shared.counters;
        ServiceStats {
            calls: read(&counters.calls),
            call_errors: read(&counters.call_errors),
            calls_moved: read(&counters.calls_moved),
            call_time: counters.call_time.latency(),
            requests: read(&counters.requests),
            request_errors: read(&counters.request_errors),
            requests_expired: read(&counters.requests_expired),
            request_time: counters.request_time.latency(),
            queue: shared.pool.waiting(),
            connections: self.inner.connections.number(),
            refused: counters.refused(),
            providers: shared.directory.stats(),
        }
    }

    /// Closes the service without a call lost, as before a restart: offers nothing any more, goes on to answer until no call has come
    /// for half a second and none is under way, neither of others nor of this program, and closes. False if `timeout` passed before,
    /// or somebody closed it; it is closed all the same. A handler that drains its own service waits for itself.
    ///
    /// ```
    /// # use grapevine::service::Service;
    /// # use std::time::Duration;
    /// # let service = Service::builder().listen("127.0.0.1:0").start()?;
    /// assert!(service.drain(Duration::from_secs(10)));
    /// service.node().leave(Duration::from_secs(5))?;
    /// # Ok::<(), grapevine::Error>(())
    /// ```
    pub fn drain(&self, timeout: Duration) -> bool {
        let shared = &self.inner.shared;
        let begun = sync::now();
        {
            let _telling = shared.telling.lock();
            shared.withdraw();
        }
        let (mut requests, mut quiet_since) = (read(&shared.counters.requests), begun);
        let is_at_work = || shared.is_at_work() || self.inner.connections.are_sending();
        let drained = loop {
            let now = sync::now();
            let came = read(&shared.counters.requests);
            if came != requests || is_at_work() {
                (requests, quiet_since) = (came, now);
            }
            if now - quiet_since >= QUIET_TIME {
                break true;
            }
            if shared.is_closed() || now - begun >= timeout {
                break false;
            }
            let _ = shared.ended.recv_timeout(DRAIN_PERIOD);
        };
        self.close();
        drained
    }

    /// Offers nothing any more, takes no more calls, and makes none. What handlers are doing goes on; its results are not sent. The
    /// node goes on too.
    pub fn close(&self) {
        close(&self.inner.shared, &self.inner.servers);
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shared = &self.inner.shared;
        f.debug_struct("Service").field("node", &shared.node).field("addr", &shared.addr).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        close(&self.shared, &self.servers);
    }
}

fn close(shared: &Shared, servers: &[Server]) {
    let telling = shared.telling.lock();
    if !shared.close() {
        return;
    }
    shared.withdraw();
    if shared.addr.is_some() {
        shared.node.leave_service_place();
    }
    drop(telling);
    // What was not begun is refused while it can be told, and moves to somebody else.
    shared.pool.close();
    servers.iter().for_each(Server::close);
    shared.directory.close();
    shared.actions.clear();
}
