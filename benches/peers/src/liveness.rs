//! Who lists whom as live, over time.
//!
//! chitchat re-evaluates the liveness of its peers once per gossip round and
//! publishes the outcome on a `watch` channel. Reading that channel tells what
//! a user of the library would be told, and, unlike asking the node itself,
//! neither takes the node's lock nor costs anything while nothing changes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use chitchat::{ChitchatId, NodeState};
use tokio::sync::watch;

/// A node's published view of the live nodes, itself among them.
pub type LiveNodes = watch::Receiver<BTreeMap<ChitchatId, NodeState>>;

/// How often to look while a time is being measured. It bounds the error of
/// the time.
pub const MEASURING_PERIOD: Duration = Duration::from_millis(1);

/// Looks every `period` whether `done` holds; gives up after `limit`.
///
/// Returns the moment it was seen to hold.
pub async fn poll_until(period: Duration, limit: Duration, mut done: impl AsyncFnMut() -> bool) -> Option<Instant> {
    let deadline = Instant::now() + limit;
    loop {
        if done().await {
            return Some(Instant::now());
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(period).await;
    }
}

/// Counts false failures: a node that runs, and that another node which runs
/// ceases to list as live.
pub struct FailureWatch {
    views: BTreeMap<usize, View>,
    stopped: HashSet<ChitchatId>,
    false_failures: u64,
}

struct View {
    published: LiveNodes,
    /// What was published when last looked at.
    live: BTreeSet<ChitchatId>,
}

impl FailureWatch {
    /// Watches nobody yet.
    pub fn new() -> Self {
        FailureWatch { views: BTreeMap::new(), stopped: HashSet::new(), false_failures: 0 }
    }

    /// Watches what node `number` publishes from now on.
    pub fn add(&mut self, number: usize, live: &LiveNodes) {
        let mut published = live.clone();
        let live = published.borrow_and_update().keys().cloned().collect();
        self.views.insert(number, View { published, live });
    }

    /// Takes note that node `number` is being stopped: to find it dead is
    /// right from now on, and what it says itself no longer counts.
    pub fn stop(&mut self, number: usize, id: &ChitchatId) {
        self.views.remove(&number);
        self.stopped.insert(id.clone());
    }

    /// Looks for changes. To miss none it must be called more often than
    /// nodes publish, that is, than once per gossip interval.
    pub fn poll(&mut self) {
        for view in self.views.values_mut() {
            // An error means that the node has ended; it reports no more.
            if !view.published.has_changed().unwrap_or(false) {
                continue;
            }
            let now = view.published.borrow_and_update();
            let lost = view.live.iter().filter(|id| !now.contains_key(*id) && !self.stopped.contains(*id)).count();
            self.false_failures += lost as u64;
            view.live = now.keys().cloned().collect();
        }
    }

    /// Keeps looking for `duration`, at a fraction of the gossip interval.
    pub async fn poll_for(&mut self, duration: Duration, interval: Duration) {
        let period = (interval / 3).max(MEASURING_PERIOD);
        let deadline = Instant::now() + duration;
        loop {
            self.poll();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(period)).await;
        }
    }

    /// The false failures counted so far.
    pub fn false_failures(&self) -> u64 {
        self.false_failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ChitchatId {
        ChitchatId::new(name, 0, ([127, 0, 0, 1], 1).into())
    }

    fn live(names: &[&str]) -> BTreeMap<ChitchatId, NodeState> {
        names.iter().map(|name| (id(name), NodeState::for_test())).collect()
    }

    #[test]
    fn only_the_loss_of_a_running_node_is_a_false_failure() {
        let (publish, published) = watch::channel(live(&["a", "b", "c"]));
        let mut failures = FailureWatch::new();
        failures.add(0, &published);
        failures.poll();
        assert_eq!(failures.false_failures(), 0);

        failures.stop(1, &id("b"));
        publish.send(live(&["a", "c"])).unwrap();
        failures.poll();
        assert_eq!(failures.false_failures(), 0);

        publish.send(live(&["a"])).unwrap();
        failures.poll();
        failures.poll();
        assert_eq!(failures.false_failures(), 1);

        publish.send(live(&["a", "c"])).unwrap();
        failures.poll();
        publish.send(live(&["a"])).unwrap();
        failures.poll();
        assert_eq!(failures.false_failures(), 2);
    }
}
