//! What the programs at the nodes do: writing, deleting, reading, subscribing.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use grapevine::{Error, Gossiper, Subscription};

use crate::cluster::Cluster;

/// Between two actions, whatever they are: up to 200 a second.
const PAUSE: Duration = Duration::from_millis(5);
/// Subscriptions that are open; the oldest gives way to the next.
const SUBSCRIPTIONS: usize = 16;
/// Keys of one kind that a node overwrites for ever.
const GAUGES: u64 = 10;
/// One node in so many has a large value, most of the time: always about as much in all.
const LARGE_EVERY: usize = 5;
/// Keys of a node that were set and are yet to be deleted.
const ITEMS: usize = 4;

/// What was done so far.
#[derive(Default)]
pub struct Load {
    overwrites: AtomicU64,
    lives: AtomicU64,
    items: AtomicU64,
    deletes: AtomicU64,
    large: AtomicU64,
    subscriptions: AtomicU64,
    events: AtomicU64,
    names: AtomicU64,
}

impl Load {
    /// Keeps the nodes busy until it is over.
    pub fn run(&self, cluster: &Cluster, over: &AtomicBool) {
        let mut dice = Rng::with_seed(1);
        let mut subscriptions: VecDeque<Subscription> = VecDeque::new();
        let mut items = vec![VecDeque::new(); cluster.places.len()];
        while !over.load(Ordering::Relaxed) {
            let halted = cluster.writes.read();
            let place = dice.usize(..cluster.places.len());
            // While the node is away the place is empty.
            if let Some(run) = &*cluster.places[place].lock() {
                if let Err(error) = self.act(place, &run.node, &mut dice, &mut subscriptions, &mut items[place]) {
                    eprintln!("{:?} refuses: {error}", run.node);
                }
            }
            drop(halted);
            thread::sleep(PAUSE);
        }
    }

    /// Actions on maps.
    pub fn writes(&self) -> u64 {
        [&self.overwrites, &self.lives, &self.items, &self.deletes, &self.large].iter().map(|count| told(count)).sum()
    }

    fn act(
        &self,
        place: usize,
        node: &Gossiper,
        dice: &mut Rng,
        subscriptions: &mut VecDeque<Subscription>,
        items: &mut VecDeque<String>,
    ) -> Result<(), Error> {
        match dice.u32(..100) {
            0..45 => {
                node.set(&format!("gauge/{}", dice.u64(..GAUGES)), &dice.f64())?;
                one_more(&self.overwrites);
            }
            45..70 => {
                let life = Duration::from_millis(dice.u64(100..3_000));
                node.set_for(&self.new_name("session"), "somebody is logged in", life)?;
                one_more(&self.lives);
            }
            70..84 => {
                let name = self.new_name("item");
                node.set(&name, &["one", "of", "many"])?;
                one_more(&self.items);
                items.push_back(name);
                if items.len() > ITEMS {
                    // If the node was restarted since, there is no such key.
                    self.deletes.fetch_add(u64::from(node.delete(&items[0])?.is_some()), Ordering::Relaxed);
                    items.pop_front();
                }
            }
            84..89 if place.is_multiple_of(LARGE_EVERY) => {
                node.set("large", &vec![dice.u8(..); dice.usize(5_000..30_000)])?;
                one_more(&self.large);
            }
            89..90 if place.is_multiple_of(LARGE_EVERY) => {
                self.deletes.fetch_add(u64::from(node.delete("large")?.is_some()), Ordering::Relaxed);
            }
            84..90 => {}
            _ => self.subscribe(node, dice, subscriptions),
        }
        Ok(())
    }

    /// Opens a subscription, closes the oldest, reads another one; most are never read.
    fn subscribe(&self, node: &Gossiper, dice: &mut Rng, subscriptions: &mut VecDeque<Subscription>) {
        subscriptions.push_back(node.subscribe());
        one_more(&self.subscriptions);
        if subscriptions.len() > SUBSCRIPTIONS {
            subscriptions.pop_front();
        }
        let read = &subscriptions[dice.usize(..subscriptions.len())];
        let events = std::iter::from_fn(|| read.try_recv()).count();
        self.events.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// A name that no key has had: what is left of old ones has to go by itself.
    fn new_name(&self, kind: &str) -> String {
        format!("{kind}/{}", self.names.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} keys overwritten, {} set with a life, {} set for a while, {} large values, {} deletions; \
             {} subscriptions, {} events read",
            told(&self.overwrites),
            told(&self.lives),
            told(&self.items),
            told(&self.large),
            told(&self.deletes),
            told(&self.subscriptions),
            told(&self.events)
        )
    }
}

fn one_more(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn told(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
