//! Events on their way to the program: bounded, in order, and never a reason for gossip to wait.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::event::{Event, EventFilter};
use crate::sync::{AtomicU64, Mutex, Ordering, Receiver, Sender, bounded};

/// All subscriptions of one node.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    next_id: u64,
    list: Vec<Subscriber>,
    missed: u64,
    closed: bool,
}

#[derive(Debug)]
struct Subscriber {
    id: u64,
    filter: EventFilter,
    capacity: usize,
    sender: Sender<Event>,
    /// To take out the oldest event when the channel is full.
    receiver: Receiver<Event>,
    missed: Arc<AtomicU64>,
}

impl Subscribers {
    pub(crate) fn subscribe(this: &Arc<Mutex<Subscribers>>, filter: EventFilter, capacity: usize) -> Subscription {
        // The last event has a place of its own: where it pushed another out, `Missed` would come after it.
        let (sender, receiver) = bounded(capacity + 1);
        let missed = Arc::new(AtomicU64::new(0));
        let mut subscribers = this.lock();
        subscribers.next_id += 1;
        let id = subscribers.next_id;
        if !subscribers.closed {
            let (receiver, missed) = (receiver.clone(), missed.clone());
            subscribers.list.push(Subscriber { id, filter, capacity, sender, receiver, missed });
        }
        Subscription { id, receiver, missed, subscribers: Arc::downgrade(this) }
    }

    /// Hands an event to everyone who takes it; where there is no room the oldest one gives way.
    pub(crate) fn publish(&mut self, event: &Event) {
        for subscriber in &self.list {
            if !subscriber.filter.takes(event) {
                continue;
            }
            let is_last = matches!(event, Event::Stopped { .. });
            while !is_last && subscriber.sender.len() >= subscriber.capacity {
                if subscriber.receiver.try_recv().is_ok() {
                    subscriber.missed.fetch_add(1, Ordering::Relaxed);
                    self.missed += 1;
                }
            }
            // Nobody else sends, so there is room.
            let _ = subscriber.sender.try_send(event.clone());
        }
    }

    pub(crate) fn missed(&self) -> u64 {
        self.missed
    }

    /// Ends every subscription once what is in it was read, and those to come at once.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.list.clear();
    }
}

/// The events of a node, as [`Gossiper::subscribe`](crate::gossiper::Gossiper::subscribe) gives them. Dropping it ends it.
///
/// Events wait in a bounded channel. When the program is too slow the oldest give way, and one of the next things that it reads,
/// at the latest before [`Event::Stopped`], is [`Event::Missed`] with their number. After the node has stopped, what is left
/// can be read, and then comes the end.
#[derive(Debug)]
pub struct Subscription {
    id: u64,
    receiver: Receiver<Event>,
    missed: Arc<AtomicU64>,
    subscribers: Weak<Mutex<Subscribers>>,
}

impl Subscription {
    /// Waits for the next event; `None` when the node has stopped and every event was read.
    pub fn recv(&self) -> Option<Event> {
        self.take_missed().or_else(|| self.receiver.recv().ok())
    }

    /// Waits for the next event for so long; `None` if none came, or none will come any more.
    pub fn recv_timeout(&self, timeout: Duration) -> Option<Event> {
        self.take_missed().or_else(|| self.receiver.recv_timeout(timeout).ok())
    }

    /// The next event if there is one.
    pub fn try_recv(&self) -> Option<Event> {
        self.take_missed().or_else(|| self.receiver.try_recv().ok())
    }

    /// Waits for one event after the other, until the node has stopped.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        std::iter::from_fn(|| self.recv())
    }

    /// The channel itself, for `crossbeam_channel::select!`. What is read from it directly does not tell of missed events:
    /// look at [`Subscription::missed`].
    pub fn receiver(&self) -> &Receiver<Event> {
        &self.receiver
    }

    /// How many events were missed since the last time that this, or an [`Event::Missed`], told.
    pub fn missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }

    fn take_missed(&self) -> Option<Event> {
        match self.missed() {
            0 => None,
            count => Some(Event::Missed { count }),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(subscribers) = self.subscribers.upgrade() {
            subscribers.lock().list.retain(|subscriber| subscriber.id != self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventKind;

    fn event(generation: u64) -> Event {
        Event::NewPeer { peer: "127.0.0.1:1".parse().unwrap(), generation }
    }

    #[test]
    fn the_oldest_gives_way_and_the_subscriber_is_told() {
        let subscribers = Arc::new(Mutex::new(Subscribers::default()));
        let slow = Subscribers::subscribe(&subscribers, EventFilter::all(), 3);
        for generation in 1..=5 {
            subscribers.lock().publish(&event(generation));
        }
        subscribers.lock().close();
        let got: Vec<Event> = slow.iter().collect();
        assert_eq!(got, [Event::Missed { count: 2 }, event(3), event(4), event(5)]);
    }

    #[test]
    fn only_what_was_asked_for_comes_and_dropping_ends_it() {
        let subscribers = Arc::new(Mutex::new(Subscribers::default()));
        let filter = EventFilter::all().kinds([EventKind::PeerLeft]);
        let subscription = Subscribers::subscribe(&subscribers, filter, 3);
        subscribers.lock().publish(&event(1));
        assert_eq!(subscription.try_recv(), None);
        drop(subscription);
        assert!(subscribers.lock().list.is_empty());
    }
}
