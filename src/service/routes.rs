//! From a message to those who offer an action for it.

use std::collections::HashMap;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use siphasher::sip::SipHasher13;

use crate::peer::Peer;
use crate::service::matcher::Matcher;
use crate::service::message::Message;
use crate::service::offering::ServiceInfo;
use crate::service::pattern::Pattern;
use crate::service::provider::Provider;
use crate::value::Value;

pub(super) struct Routes {
    matcher: Matcher<Vec<Offer>>,
    peers: HashMap<Peer, Known>,
    clients: Vec<(ServiceInfo, Arc<Provider>)>,
    dice: Rng,
}

/// What is known of a node that offers actions.
pub(super) struct Known {
    pub(super) generation: u64,
    /// As it was told.
    pub(super) value: Value,
    pub(super) info: ServiceInfo,
    pub(super) provider: Arc<Provider>,
}

struct Offer {
    peer: Option<Peer>,
    provider: Arc<Provider>,
}

impl Routes {
    pub(super) fn new(seed: u64) -> Routes {
        let dice = Rng::with_seed(seed);
        Routes { matcher: Matcher::most_specific_globs_first(), peers: HashMap::new(), clients: Vec::new(), dice }
    }

    pub(super) fn add_client(&mut self, addr: &str, pin: &Pattern, provider: impl FnOnce() -> Arc<Provider>) {
        let known = self.clients.iter_mut().find(|(info, _)| info.addr == addr);
        let provider = match known {
            Some((info, _)) if info.patterns.contains(pin) => return,
            Some((info, provider)) => {
                info.patterns.push(pin.clone());
                info.patterns.sort();
                provider.clone()
            }
            None => {
                let provider = provider();
                let info = ServiceInfo { peer: None, addr: addr.to_owned(), patterns: vec![pin.clone()] };
                self.clients.push((info, provider.clone()));
                provider
            }
        };
        self.add(pin, Offer { peer: None, provider });
    }

    pub(super) fn is_unchanged(&self, peer: Peer, value: &Value) -> bool {
        self.peers.get(&peer).is_some_and(|known| known.value == *value)
    }

    /// Another generation is another process, which may do better.
    pub(super) fn set_generation(&mut self, peer: Peer, generation: u64) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        if known.generation != generation {
            known.generation = generation;
            known.provider.forgive();
        }
    }

    pub(super) fn put_peer(&mut self, peer: Peer, known: Known) {
        for pattern in &known.info.patterns {
            self.add(pattern, Offer { peer: Some(peer), provider: known.provider.clone() });
        }
        self.peers.insert(peer, known);
    }

    pub(super) fn remove_peer(&mut self, peer: Peer) -> Option<Known> {
        let known = self.peers.remove(&peer)?;
        for pattern in &known.info.patterns {
            let Some(offers) = self.matcher.get_mut(pattern) else { continue };
            offers.retain(|offer| offer.peer != Some(peer));
            if offers.is_empty() {
                self.matcher.remove(pattern);
            }
        }
        Some(known)
    }

    fn add(&mut self, pattern: &Pattern, offer: Offer) {
        match self.matcher.get_mut(pattern) {
            Some(offers) => offers.push(offer),
            None => drop(self.matcher.insert(pattern.clone(), vec![offer])),
        }
    }

    pub(super) fn has(&self, message: &Message) -> bool {
        self.matcher.find(message).is_some()
    }

    /// A provider for this message: of those that do not rest the one of two drawn with fewer calls under way; if all of them rest, the one
    /// whose rest ends first.
    pub(super) fn choose(&mut self, message: &Message, excluded: &[String], now: Instant) -> Option<Arc<Provider>> {
        let (_, offers) = self.matcher.find(message)?;
        let left = || offers.iter().filter(|offer| !excluded.contains(&offer.provider.addr));
        let best: Vec<&Offer> = left().filter(|offer| offer.provider.resting(now) == Duration::ZERO).collect();
        if best.is_empty() {
            return left().min_by_key(|offer| offer.provider.resting(now)).map(|offer| offer.provider.clone());
        }
        let first = self.dice.usize(..best.len());
        // The second is another one, if there is any.
        let second = (first + self.dice.usize(..best.len().max(2) - 1) + 1) % best.len();
        let chosen = [best[first], best[second]].into_iter().min_by_key(|offer| offer.provider.in_flight());
        chosen.map(|offer| offer.provider.clone())
    }

    /// The pattern by which this message would be sent, and who offers it.
    pub(super) fn offers(&self, message: &Message) -> Option<(Pattern, Vec<Arc<Provider>>)> {
        let (pattern, offers) = self.matcher.find(message)?;
        Some((pattern.clone(), offers.iter().map(|offer| offer.provider.clone()).collect()))
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = Peer> + '_ {
        self.peers.keys().copied()
    }

    pub(super) fn services(&self) -> Vec<ServiceInfo> {
        let clients = self.clients.iter().map(|(info, _)| info.clone());
        let mut services: Vec<ServiceInfo> =
            self.peers.values().map(|known| known.info.clone()).chain(clients).collect();
        services.sort_by(|a, b| (a.peer, &a.addr).cmp(&(b.peer, &b.addr)));
        services
    }

    pub(super) fn providers(&self) -> Vec<Arc<Provider>> {
        let clients = self.clients.iter().map(|(_, provider)| provider.clone());
        let mut providers: Vec<_> = self.peers.values().map(|known| known.provider.clone()).chain(clients).collect();
        providers.sort_by(|a, b| a.addr.cmp(&b.addr));
        providers
    }

    pub(super) fn clear(&mut self) {
        *self = Routes::new(0);
    }
}

/// How much a provider is wanted for a key: whoever has the highest weight gets it, so that, when one comes or goes, only
/// its share of the keys moves (Thaler, Ravishankar, "Using name-based mappings to increase hit rates", 1998: rendezvous hashing).
pub(super) fn weight(key: &[u8], addr: &str) -> u64 {
    // The same on every node: no secret.
    let mut hasher = SipHasher13::new();
    hasher.write(&(key.len() as u64).to_le_bytes());
    hasher.write(key);
    hasher.write(addr.as_bytes());
    hasher.finish()
}

/// Whether this of two patterns that both match a message is the one by which it is sent.
pub(super) fn is_better(one: &Pattern, other: &Pattern, message: &Message) -> bool {
    let mut both = Matcher::most_specific_globs_first();
    both.insert(one.clone(), ());
    both.insert(other.clone(), ());
    both.find(message).is_some_and(|(found, ())| found == one)
}
