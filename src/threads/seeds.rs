//! The seeds' names: resolved again whenever they are tried, each on a thread of its own.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Weak};
use std::time::Instant as Clock;

use crate::node::Output;
use crate::sync::{self, AtomicBool, Mutex, Ordering, thread};
use crate::threads::{LOG_PAUSE, STACK_BYTES, Shared};

/// A seed as it was given.
pub(super) struct SeedName {
    name: String,
    /// A name that is an address is never resolved again.
    is_addr: bool,
    pub(super) resolving: AtomicBool,
    last_warning: Mutex<Option<Clock>>,
}

impl SeedName {
    pub(super) fn new(name: &str) -> Self {
        SeedName {
            is_addr: name.parse::<SocketAddr>().is_ok(),
            name: name.to_owned(),
            resolving: AtomicBool::new(false),
            last_warning: Mutex::new(None),
        }
    }
}

/// One is being resolved until this is dropped, also by a panic: somebody else's logger runs meanwhile.
pub(super) struct Resolving<'a>(pub(super) &'a Shared, pub(super) usize);

impl Drop for Resolving<'_> {
    fn drop(&mut self) {
        if let Some(seed) = self.0.seeds.get(self.1) {
            seed.resolving.store(false, Ordering::SeqCst);
        }
    }
}

impl Shared {
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
                let _end = Resolving(&shared, index);
                match resolved {
                    Ok(addrs) => shared.seed_resolved(index, addrs),
                    Err(error) => shared.warn_of_seed(index, format_args!("it cannot be resolved: {error}")),
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
            let bind = "bind [::] for both IPv4 and IPv6";
            self.warn_of_seed(index, format_args!("{local} reaches none of its addresses; {bind}"));
        }
        self.act(&mut Output::new(), |node, now, out| node.seed_resolved(now, index, &addrs, out));
    }

    /// Says in the log what is wrong with a seed, once a minute: it is tried again and again.
    fn warn_of_seed(&self, index: usize, problem: std::fmt::Arguments<'_>) {
        let Some(seed) = self.seeds.get(index) else { return };
        let mut last = seed.last_warning.lock();
        if last.is_none_or(|last| sync::now() - last >= LOG_PAUSE) {
            *last = Some(sync::now());
            log::warn!("the seed {} is of no use now: {problem}; trying again", seed.name);
        }
    }
}
