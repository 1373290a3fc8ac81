//! What the parts of a running service share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::gossiper::Gossiper;
use crate::service::actions::Actions;
use crate::service::answers::Answers;
use crate::service::config::ServiceConfig;
use crate::service::directory::{Directory, KEY};
use crate::service::keys::Keys;
use crate::service::lock::Mutex;
use crate::service::message::Message;
use crate::service::pattern::Pattern;
use crate::service::pool::Pool;
use crate::service::room::Room;
use crate::service::stats::Counters;
use crate::service::wire;
use crate::sync::{self, AtomicBool, AtomicU64, Ordering, Receiver, Sender, bounded};

pub(super) struct Shared {
    pub(super) node: Gossiper,
    /// Where others reach it, if it listens.
    pub(super) addr: Option<SocketAddr>,
    pub(super) config: ServiceConfig,
    /// Who this is in what travels, as Seneca names its own: an id, the start, the process, the version.
    pub(super) instance: String,
    pub(super) actions: Actions,
    pub(super) pool: Arc<Pool>,
    pub(super) answers: Answers,
    /// For what others send.
    pub(super) room: Arc<Room>,
    pub(super) directory: Directory,
    pub(super) keys: Keys,
    pub(super) counters: Arc<Counters>,
    /// Calls of this program, and requests of others, that have not ended.
    under_way: AtomicU64,
    withdrawn: AtomicBool,
    /// Held while what is offered is told, so that the last word is the latest.
    pub(super) telling: Mutex<()>,
    closed: AtomicBool,
    /// Nothing is sent: it ends when the service is closed.
    open: Mutex<Option<Sender<()>>>,
    pub(super) ended: Receiver<()>,
    /// The moment at which the wall clock was read, so that it need not be again.
    began: (Instant, u64),
}

/// A call or a request that has not ended.
pub(super) struct UnderWay {
    pub(super) shared: Arc<Shared>,
}

impl UnderWay {
    pub(super) fn begin(shared: &Arc<Shared>) -> UnderWay {
        shared.under_way.fetch_add(1, Ordering::SeqCst);
        UnderWay { shared: shared.clone() }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.shared.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    pub(super) fn new(node: Gossiper, addr: Option<SocketAddr>, config: ServiceConfig) -> Shared {
        let (counters, keys) = (Arc::new(Counters::default()), Keys::of(&node));
        let directory = Directory::new(&config, keys.clone(), &counters);
        let began = (sync::now(), sync::wall_clock());
        let start = began.1;
        let instance =
            format!("{}/{start}/{}/grapevine-{}/-", wire::random_name(), std::process::id(), env!("CARGO_PKG_VERSION"));
        let pool = Pool::new(config.workers, config.queue);
        let (actions, answers, closed) = (Actions::default(), Answers::new(), AtomicBool::new(false));
        let (under_way, withdrawn) = (AtomicU64::new(0), AtomicBool::new(false));
        let room = Room::new(config.buffered_bytes);
        let (open, ended) = bounded(0);
        let open = Mutex::new(Some(open));
        let telling = Mutex::default();
        Shared {
            node,
            addr,
            config,
            instance,
            actions,
            pool,
            answers,
            room,
            directory,
            keys,
            counters,
            under_way,
            withdrawn,
            telling,
            closed,
            open,
            ended,
            began,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Tells the others that nothing is offered here any more.
    pub(super) fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::SeqCst);
        if self.addr.is_some() {
            // A node that has stopped offers nothing anyway.
            let _ = self.node.publish(KEY, None);
        }
    }

    pub(super) fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::SeqCst)
    }

    pub(super) fn is_at_work(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) > 0
    }

    /// False if it was closed before.
    pub(super) fn close(&self) -> bool {
        drop(self.open.lock().take());
        !self.closed.swap(true, Ordering::SeqCst)
    }

    /// Milliseconds since 1970.
    pub(super) fn milliseconds(&self, at: Instant) -> u64 {
        let (began, wall_clock) = self.began;
        let since = at.saturating_duration_since(began).as_millis();
        wall_clock.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// What others can call.
    pub(super) fn offered(&self) -> Vec<Pattern> {
        let patterns = self.actions.patterns();
        if self.config.pins.is_empty() {
            return patterns;
        }
        let pinned =
            |pattern: &Pattern| self.config.pins.iter().filter_map(|pin| pattern.pinned_by(pin)).collect::<Vec<_>>();
        let mut offered: Vec<Pattern> = patterns.iter().flat_map(pinned).collect();
        offered.sort();
        offered.dedup();
        offered
    }

    /// Whether others may call with this message.
    pub(super) fn is_open_to_others(&self, message: &Message) -> bool {
        self.config.pins.is_empty() || self.config.pins.iter().any(|pin| pin.matches(message))
    }
}
