//! Settings of a service one by one, with those of its node.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use crate::builder::Builder;
use crate::error::Error;
use crate::gossiper::Gossiper;
use crate::service::config::{ServiceConfig, config};
use crate::service::handle::Service;
use crate::service::pattern::{IntoPattern, Pattern};

/// Settings of a service to be started, and of the node below it unless that runs already. Each is described at its field in
/// [`ServiceConfig`]; what is wrong with one is told by [`ServiceBuilder::start`].
///
/// ```no_run
/// use grapevine::service::Service;
///
/// let service = Service::builder()
///     .listen("10.0.0.7:4444") // gossip is then on port 4445
///     .seed("10.0.0.8:4445")
///     .pin("role:api")
///     .start()?;
/// # Ok::<(), grapevine::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct ServiceBuilder {
    config: ServiceConfig,
    node: Option<Gossiper>,
    gossip: Option<Builder>,
    seeds: Vec<String>,
    interval: Option<Duration>,
    cluster: Option<String>,
    wrong: Option<Error>,
}

impl Service {
    /// Settings, one by one; then [`ServiceBuilder::start`].
    pub fn builder() -> ServiceBuilder {
        ServiceBuilder::default()
    }
}

impl ServiceBuilder {
    /// Starts from these settings.
    pub fn from_config(config: ServiceConfig) -> Self {
        ServiceBuilder { config, ..ServiceBuilder::default() }
    }

    /// On top of this node, which runs already.
    #[must_use]
    pub fn node(mut self, node: &Gossiper) -> Self {
        self.node = Some(node.clone());
        self
    }

    /// On top of a node with these settings. Without it, and without [`ServiceBuilder::node`], the node binds the port above the
    /// service's, or any port if the service does not listen.
    #[must_use]
    pub fn gossip(mut self, settings: Builder) -> Self {
        self.gossip = Some(settings);
        self
    }

    /// A seed of the node: the gossip address of any other one, `HOST:PORT`.
    #[must_use]
    pub fn seed(mut self, seed: impl Into<String>) -> Self {
        self.seeds.push(seed.into());
        self
    }

    /// Seeds of the node.
    #[must_use]
    pub fn seeds<S: Into<String>>(mut self, seeds: impl IntoIterator<Item = S>) -> Self {
        self.seeds.extend(seeds.into_iter().map(Into::into));
        self
    }

    /// The time between two gossip rounds of the node.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = Some(name.into());
        self
    }

    /// Where calls from others are taken, `ADDRESS:PORT`; port 0 for one that the system gives.
    #[must_use]
    pub fn listen(mut self, addr: impl ToSocketAddrs) -> Self {
        self.config.listen = self.one_addr("listen", addr).or(self.config.listen);
        self
    }

    /// Where plain calls are taken whatever the keys of the node say, `ADDRESS:PORT`: see [`ServiceConfig::listen_plain`].
    #[must_use]
    pub fn listen_plain(mut self, addr: impl ToSocketAddrs) -> Self {
        self.config.listen_plain = self.one_addr("listen_plain", addr).or(self.config.listen_plain);
        self
    }

    /// The address under which the others reach it.
    #[must_use]
    pub fn advertise(mut self, addr: impl ToSocketAddrs) -> Self {
        self.config.advertise = self.one_addr("advertise", addr).or(self.config.advertise);
        self
    }

    /// What others may call; given several times, what matches any of them.
    #[must_use]
    pub fn pin(mut self, pin: impl IntoPattern) -> Self {
        if let Some(pin) = self.pattern("pins", pin) {
            self.config.pins.push(pin);
        }
        self
    }

    /// A service outside of the cluster, `HOST:PORT`, and the messages that it is sent: in plain, whatever the keys of the node say.
    #[must_use]
    pub fn client(mut self, addr: impl Into<String>, pin: impl IntoPattern) -> Self {
        if let Some(pin) = self.pattern("clients", pin) {
            self.config.clients.push((addr.into(), pin));
        }
        self
    }

    /// How long a call may take if it says nothing else.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    /// How many handlers may run at once.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.config.workers = workers;
        self
    }

    /// How many calls may wait for a handler's thread.
    #[must_use]
    pub fn queue(mut self, queue: usize) -> Self {
        self.config.queue = queue;
        self
    }

    /// The longest line, in bytes.
    #[must_use]
    pub fn line_bytes(mut self, bytes: usize) -> Self {
        self.config.line_bytes = bytes;
        self
    }

    /// What all long lines may take up together, in bytes.
    #[must_use]
    pub fn buffered_bytes(mut self, bytes: usize) -> Self {
        self.config.buffered_bytes = bytes;
        self
    }

    /// How long a line may take to arrive.
    #[must_use]
    pub fn line_time(mut self, time: Duration) -> Self {
        self.config.line_time = time;
        self
    }

    /// How many connections others may have open here.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.config.connections = connections;
        self
    }

    /// How many connections to one provider there may be.
    #[must_use]
    pub fn connections_per_provider(mut self, connections: usize) -> Self {
        self.config.connections_per_provider = connections;
        self
    }

    /// How long a connection may take to open.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// Starts the node, unless it runs, and the service. It returns when both sockets are bound.
    ///
    /// # Errors
    /// Those of [`Gossiper::start`] and [`Service::start`], and what was wrong with an address or a pattern.
    pub fn start(self) -> Result<Service, Error> {
        if let Some(error) = self.wrong {
            return Err(error);
        }
        let for_node =
            self.gossip.is_some() || !self.seeds.is_empty() || self.interval.is_some() || self.cluster.is_some();
        if let Some(node) = &self.node {
            if for_node {
                let problem = "the node runs already, and its settings were given as well; give them to the node";
                return Err(config("node", problem.to_owned()));
            }
            return Service::start(self.config, node);
        }
        self.config.validate()?;
        let mut gossip = match (self.gossip, self.config.listen) {
            (Some(gossip), _) => gossip,
            (None, None) => Gossiper::builder(),
            (None, Some(listen)) => Gossiper::builder().bind(port_above(listen)?),
        };
        gossip = gossip.seeds(self.seeds);
        if let Some(interval) = self.interval {
            gossip = gossip.interval(interval);
        }
        if let Some(cluster) = self.cluster {
            gossip = gossip.cluster(cluster);
        }
        // First what may be refused: of a node that was there for a moment others would hear.
        let bound = Service::bind(&self.config)?;
        let node = gossip.start()?;
        Service::start_bound(self.config, bound, &node)
    }

    fn pattern(&mut self, setting: &'static str, pattern: impl IntoPattern) -> Option<Pattern> {
        match pattern.into_pattern() {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                self.wrong.get_or_insert(config(setting, error.to_string()));
                None
            }
        }
    }

    fn one_addr(&mut self, setting: &'static str, addr: impl ToSocketAddrs) -> Option<SocketAddr> {
        let problem = match addr.to_socket_addrs().map(|mut addrs| addrs.next()) {
            Ok(Some(addr)) => return Some(addr),
            Ok(None) => "it stands for no address".to_owned(),
            Err(error) => format!("it is no ADDRESS:PORT like 127.0.0.1:4444 ({error})"),
        };
        self.wrong.get_or_insert(config(setting, problem));
        None
    }
}

/// Where a service's node gossips: one port above it, as seneca-gossip does.
fn port_above(mut listen: SocketAddr) -> Result<SocketAddr, Error> {
    if listen.port() == 0 {
        return Ok(listen);
    }
    let Some(port) = listen.port().checked_add(1) else {
        let problem = "there is no port above 65535 for gossip; choose a lower one, or give `gossip` a port";
        return Err(config("listen", problem.to_owned()));
    };
    listen.set_port(port);
    Ok(listen)
}
