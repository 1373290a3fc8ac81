//! Who offers what: learnt from the nodes' maps, dropped when a node fails or leaves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::gossiper::Gossiper;
use crate::peer::{Peer, PeerState};
use crate::service::config::ServiceConfig;
use crate::service::connection::Limits;
use crate::service::keys::Keys;
use crate::service::lock::{Condvar, Mutex, MutexGuard};
use crate::service::message::Message;
use crate::service::offering::{ServiceEvent, ServiceInfo};
use crate::service::pattern::Pattern;
use crate::service::provider::Provider;
use crate::service::room::Room;
use crate::service::routes::{Known, Routes};
use crate::service::stats::{Counters, ProviderStats};
use crate::subscription::{Subscribers, Subscription};
use crate::sync;
use crate::value::Value;

/// The key under which a node tells what it offers.
pub(super) const KEY: &str = "grapevine/service";
/// Patterns that one node may offer.
pub(super) const PATTERNS: usize = 1_024;

/// What is under that key.
#[derive(Serialize, Deserialize)]
pub(super) struct Advertisement {
    /// `ADDRESS:PORT`.
    pub(super) addr: String,
    pub(super) patterns: Vec<String>,
}

/// Who offers what, and who is told of it.
pub(super) struct Directory {
    state: Mutex<State>,
    changed: Condvar,
    subscribers: Arc<sync::Mutex<Subscribers<ServiceEvent>>>,
    counters: Arc<Counters>,
    limits: Limits,
    keys: Keys,
    connections_per_provider: usize,
    events: usize,
}

struct State {
    routes: Routes,
    closed: bool,
}

impl Directory {
    pub(super) fn new(config: &ServiceConfig, keys: Keys, counters: &Arc<Counters>) -> Directory {
        let limits = Limits {
            connect_timeout: config.connect_timeout,
            line_bytes: config.line_bytes,
            line_time: config.line_time,
            room: Room::new(config.buffered_bytes),
        };
        let directory = Directory {
            state: Mutex::new(State { routes: Routes::new(sync::unpredictable()), closed: false }),
            changed: Condvar::new(),
            subscribers: Arc::default(),
            counters: counters.clone(),
            limits,
            keys,
            connections_per_provider: config.connections_per_provider,
            events: config.events,
        };
        for (addr, pin) in &config.clients {
            directory.add_client(addr, pin);
        }
        directory
    }

    /// Messages that match `pin` can be sent to this address, whoever is there. False if the directory was closed.
    pub(super) fn add_client(&self, addr: &str, pin: &Pattern) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        state.routes.add_client(addr, pin, || self.provider(addr, None));
        self.changed.notify_all();
        true
    }

    fn provider(&self, addr: &str, keys: Option<Keys>) -> Arc<Provider> {
        let (most, limits) = (self.connections_per_provider, self.limits.clone());
        Arc::new(Provider::new(addr.to_owned(), most, limits, keys, &self.counters))
    }

    /// Looks at what a node tells now.
    pub(super) fn refresh(&self, node: &Gossiper, peer: Peer) {
        let mut state = self.state.lock();
        // Under the lock, so that of two who look the later one has the last word.
        // One of whom others told, and who was not heard of since, may be long dead: that is no offer.
        let peer_info = node.peer_info(peer).filter(|info| info.state == PeerState::Alive);
        // What it told before a restart says nothing of the process that is there now.
        let entry = node.entry(peer, KEY).filter(|entry| !entry.held_over || entry.version > 0);
        let told = peer_info.and_then(|info| Some((info, entry?.value)));
        if state.closed {
            return;
        }
        let Some((peer_info, value)) = told else {
            return self.withdraw(state, peer);
        };
        let generation = peer_info.generation;
        if state.routes.is_unchanged(peer, &value) {
            return state.routes.set_generation(peer, generation);
        }
        let (addr, patterns) = match read(peer, &value) {
            Ok(told) => told,
            Err(problem) => {
                self.counters.refuse("bad_advertisement", Some(peer.addr()), &problem);
                return self.withdraw(state, peer);
            }
        };
        let info = ServiceInfo { peer: Some(peer), addr, patterns };
        let before = state.routes.remove_peer(peer);
        // The same address keeps its connections, whatever it offers there.
        let kept = before.as_ref().filter(|known| known.info.addr == info.addr).map(|known| known.provider.clone());
        let provider = match kept {
            Some(provider) => provider,
            None => {
                before.iter().for_each(|known| known.provider.retire());
                self.provider(&info.addr, Some(self.keys.clone()))
            }
        };
        provider.forgive();
        state.routes.put_peer(peer, Known { generation, value, info: info.clone(), provider });
        self.publish(&if before.is_none() { ServiceEvent::Offered(info) } else { ServiceEvent::Changed(info) });
        self.changed.notify_all();
    }

    fn withdraw(&self, mut state: MutexGuard<'_, State>, peer: Peer) {
        let Some(known) = state.routes.remove_peer(peer) else { return };
        self.publish(&ServiceEvent::Withdrawn(known.info));
        drop(state);
        known.provider.retire();
    }

    /// Of those of `peers` that are not among these any more nothing is offered.
    pub(super) fn keep_only(&self, peers: &[Peer]) {
        let gone: Vec<Peer> = self.state.lock().routes.peers().filter(|peer| !peers.contains(peer)).collect();
        for peer in gone {
            self.withdraw(self.state.lock(), peer);
        }
    }

    /// In the order in which things happened: called under the lock.
    fn publish(&self, event: &ServiceEvent) {
        self.subscribers.lock().publish(event);
    }

    /// A provider for this message, without those at `excluded`: of two that are drawn the one with fewer calls under way.
    pub(super) fn choose(&self, message: &Message, excluded: &[String]) -> Option<Arc<Provider>> {
        self.state.lock().routes.choose(message, excluded, sync::now())
    }

    /// The pattern by which this message would be sent, and the addresses of those who offer it.
    pub(super) fn offers(&self, message: &Message) -> Option<(Pattern, Vec<Arc<Provider>>)> {
        self.state.lock().routes.offers(message)
    }

    /// Waits until somebody offers an action for this message, or `is_local` says that this program does.
    pub(super) fn wait_for(&self, message: &Message, deadline: Instant, is_local: impl Fn() -> bool) -> bool {
        let (mut state, mut timed_out) = (self.state.lock(), false);
        loop {
            if is_local() || state.routes.has(message) {
                return true;
            }
            if state.closed || timed_out {
                return false;
            }
            (state, timed_out) = self.changed.wait_until(state, deadline);
        }
    }

    /// Wakes those who wait: this program offers something new.
    pub(super) fn tell_changed(&self) {
        drop(self.state.lock());
        self.changed.notify_all();
    }

    pub(super) fn subscribe(&self) -> Subscription<ServiceEvent> {
        Subscribers::subscribe(&self.subscribers, (), self.events)
    }

    /// Those outside of this program, sorted by address.
    pub(super) fn services(&self) -> Vec<ServiceInfo> {
        self.state.lock().routes.services()
    }

    pub(super) fn stats(&self) -> Vec<ProviderStats> {
        let providers = self.state.lock().routes.providers();
        providers.iter().map(|provider| provider.stats()).collect()
    }

    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let providers = state.routes.providers();
        state.routes.clear();
        let mut subscribers = self.subscribers.lock();
        subscribers.publish(&ServiceEvent::Stopped);
        subscribers.close();
        drop((subscribers, state));
        self.changed.notify_all();
        providers.iter().for_each(|provider| provider.close());
    }
}

/// What a node tells, if it can be used.
fn read(peer: Peer, value: &Value) -> Result<(String, Vec<Pattern>), String> {
    let told: Advertisement = value.decode().map_err(|error| error.to_string())?;
    let mut addr: SocketAddr = told.addr.parse().map_err(|_| format!("{:?} is no address with a port", told.addr))?;
    if addr.ip().is_unspecified() {
        addr.set_ip(peer.addr().ip());
    }
    if addr.port() == 0 {
        return Err("its port is 0".to_owned());
    }
    if told.patterns.len() > PATTERNS {
        return Err(format!("{} patterns; {PATTERNS} are the most", told.patterns.len()));
    }
    let patterns = told.patterns.iter().map(|pattern| pattern.parse::<Pattern>().map_err(|error| error.to_string()));
    let mut patterns = patterns.collect::<Result<Vec<Pattern>, String>>()?;
    patterns.sort();
    patterns.dedup();
    Ok((addr.to_string(), patterns))
}
