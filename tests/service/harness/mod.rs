//! What the tests of services share: clusters, gates, and both ends of the wire spoken by hand.

mod fake;
mod relay;
mod wire;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use grapevine::keyring::SecretKey;
use grapevine::service::{Service, ServiceBuilder, ServiceInfo, ServiceStats};
use grapevine::{Builder, DetectorConfig, Gossiper, PeerState};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use serde_json::{Value, json};

pub use fake::{Deaf, Fake, refusing};
pub use relay::{Relay, Way};
pub use wire::{Client, request};

pub use crate::common::keyed::is_keyed;
use crate::common::keyed::keyring;
use crate::common::{ms, secs};

/// Nothing takes so long.
pub const LONG: Duration = secs(60);

/// Held by every test, and by those alone that look at the whole process.
static PROCESS: RwLock<()> = RwLock::new(());

pub fn with_others() -> RwLockReadGuard<'static, ()> {
    PROCESS.read()
}

pub fn alone() -> RwLockWriteGuard<'static, ()> {
    PROCESS.write()
}

/// Waits for something of which no event tells.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {LONG:?}: {what}");
        thread::sleep(ms(2));
    }
}

/// A key that is the same each time.
pub fn key(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; 32])
}

/// With the keys that all nodes have here, if they have any.
fn keyed(node: Builder) -> Builder {
    match keyring() {
        Some(keyring) => node.keyring(keyring),
        None => node,
    }
}

/// A node that fails nobody for a pause of less than ten seconds, however busy the machine is.
pub fn calm() -> Builder {
    let node = Gossiper::builder().interval(ms(50));
    keyed(node.detector(DetectorConfig { pause: 200.0, ..DetectorConfig::default() }))
}

/// A node that notices failures within a fraction of a second.
pub fn alert() -> Builder {
    let node = Gossiper::builder().interval(ms(20));
    keyed(node.detector(DetectorConfig { pause: 20.0, ..DetectorConfig::default() }))
}

/// Settings of a service that takes calls; with keys also plain ones, from [`Client`]s.
pub fn server() -> ServiceBuilder {
    let settings = Service::builder().listen("127.0.0.1:0");
    if is_keyed() { settings.listen_plain("127.0.0.1:0") } else { settings }
}

/// Where plain calls are taken.
pub fn plain_addr(service: &Service) -> SocketAddr {
    service.local_plain_addr().or(service.local_addr()).unwrap()
}

/// The first of a cluster.
pub fn first(settings: ServiceBuilder) -> Service {
    settings.gossip(calm()).start().unwrap()
}

/// One more, which finds the others through `seed`.
pub fn join(seed: &Service, settings: ServiceBuilder) -> Service {
    settings.gossip(calm()).seed(seed.node().peer().to_string()).start().unwrap()
}

/// One that takes no calls, and one more that does.
pub fn caller_and_provider(settings: ServiceBuilder) -> (Service, Service) {
    let caller = first(Service::builder());
    let provider = join(&caller, settings);
    (caller, provider)
}

/// Waits until `caller` knows who offers this.
pub fn finds(caller: &Service, pattern: &str) {
    assert!(caller.wait_for(pattern, LONG), "{pattern}: {:?}", caller.services());
}

/// Waits until `caller` knows so many who offer exactly this, all of them alive.
pub fn finds_offers(caller: &Service, pattern: &str, number: usize) {
    let pattern = pattern.parse().unwrap();
    let is_alive = |info: &ServiceInfo| {
        info.peer.is_none_or(|peer| caller.node().peer_info(peer).is_some_and(|info| info.state == PeerState::Alive))
    };
    let offers = || -> Vec<bool> {
        caller.services().iter().filter(|info| info.patterns.contains(&pattern)).map(is_alive).collect()
    };
    let deadline = Instant::now() + LONG;
    while offers() != vec![true; number] {
        assert!(
            Instant::now() < deadline,
            "{number} offer {pattern:?}: {:#?} {:#?}",
            caller.services(),
            caller.node().peers()
        );
        thread::sleep(ms(2));
    }
}

/// Waits until each of them gets calls: those that are known to be alive are preferred.
pub fn all_are_called(caller: &Service, providers: &[&Service]) {
    for (n, provider) in providers.iter().enumerate() {
        echo(provider, "ready:1", &n.to_string());
    }
    finds_offers(caller, "ready:1", providers.len());
    let called = || {
        (0..20 * providers.len())
            .map(|_| by(&caller.act::<Value>("ready:1").unwrap()).to_owned())
            .collect::<BTreeSet<_>>()
    };
    until("all are called", || called().len() == providers.len());
}

/// Registers an action that gives back who ran it, and with what.
pub fn echo(service: &Service, pattern: &str, name: &str) {
    let name = name.to_owned();
    service.add(pattern, move |message: Value| Ok(json!({"by": name, "message": message}))).unwrap();
}

/// Who ran it.
pub fn by(result: &Value) -> &str {
    result["by"].as_str().unwrap()
}

/// Handlers that wait until they may end.
pub struct Gate {
    begun: Receiver<Value>,
    end: Sender<()>,
}

impl Gate {
    /// Registers such an action; it gives back the message.
    pub fn new(service: &Service, pattern: &str) -> Gate {
        Gate::named(service, pattern, "")
    }

    /// The result tells who ran it.
    pub fn named(service: &Service, pattern: &str, name: &str) -> Gate {
        let (tell, begun) = unbounded();
        let (end, may_end) = bounded::<()>(0);
        let name = name.to_owned();
        let handler = move |message: Value| {
            let _ = tell.send(message.clone());
            let _ = may_end.recv();
            Ok(json!({"by": name, "message": message}))
        };
        service.add(pattern, handler).unwrap();
        Gate { begun, end }
    }

    /// Waits until one more handler runs, and gives its message.
    pub fn begun(&self) -> Value {
        self.begun.recv_timeout(LONG).expect("a handler runs")
    }

    /// How many handlers have begun and were not waited for.
    pub fn more_begun(&self) -> usize {
        self.begun.len()
    }

    /// Lets a handler end.
    pub fn let_one_end(&self) {
        self.end.send_timeout((), LONG).expect("a handler waits");
    }

    /// Lets all of them end, now and later.
    pub fn open(self) {
        drop(self.end);
    }
}

/// How often something was refused for this reason.
pub fn refused(stats: &ServiceStats, reason: &str) -> u64 {
    stats.refused.get(reason).copied().unwrap_or(0)
}
