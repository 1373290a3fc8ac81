//! Events on their way to the program: bounded, in order, and never a reason for gossip to wait.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::event::{Event, EventFilter};
use crate::sync::{AtomicU64, Mutex, Ordering, Receiver, Sender, unbounded};

/// What a [`Subscription`] brings: an [`Event`], or one of what is built on top of nodes.
pub trait Published: Clone {
    /// Which ones a subscription takes.
    type Filter: std::fmt::Debug;

    /// Whether it passes.
    fn passes(&self, filter: &Self::Filter) -> bool;

    /// Whether none comes after it.
    fn is_last(&self) -> bool;

    /// That so many were missed.
    fn missed(count: u64) -> Self;
}

impl Published for Event {
    type Filter = EventFilter;

    fn passes(&self, filter: &EventFilter) -> bool {
        filter.takes(self)
    }

    fn is_last(&self) -> bool {
        matches!(self, Event::Stopped { .. })
    }

    fn missed(count: u64) -> Self {
        Event::Missed { count }
    }
}

/// All subscriptions to one source of events.
#[derive(Debug)]
pub(crate) struct Subscribers<E: Published = Event> {
    next_id: u64,
    list: Vec<Subscriber<E>>,
    missed: u64,
    closed: bool,
}

#[derive(Debug)]
struct Subscriber<E: Published> {
    id: u64,
    filter: E::Filter,
    capacity: usize,
    sender: Sender<E>,
    /// To take out the oldest event when the channel is full.
    receiver: Receiver<E>,
    missed: Arc<AtomicU64>,
}

impl<E: Published> Default for Subscribers<E> {
    fn default() -> Self {
        Subscribers { next_id: 0, list: Vec::new(), missed: 0, closed: false }
    }
}

impl<E: Published> Subscribers<E> {
    pub(crate) fn subscribe(this: &Arc<Mutex<Self>>, filter: E::Filter, capacity: usize) -> Subscription<E> {
        // Bounded by `publish`. A channel that is bounded itself takes 104 bytes for each event that may wait, also while none does.
        let (sender, receiver) = unbounded();
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
    pub(crate) fn publish(&mut self, event: &E) {
        for subscriber in &self.list {
            if !event.passes(&subscriber.filter) {
                continue;
            }
            // The last event comes on top: where it pushed another out, `Missed` would come after it.
            while !event.is_last() && subscriber.sender.len() >= subscriber.capacity {
                if subscriber.receiver.try_recv().is_ok() {
                    subscriber.missed.fetch_add(1, Ordering::Relaxed);
                    self.missed += 1;
                }
            }
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
/// Events wait in a channel, in a number that is limited. When the program is too slow the oldest give way, and one of the next things that it reads,
/// at the latest before [`Event::Stopped`], is [`Event::Missed`] with their number. After the node has stopped, what is left
/// can be read, and then comes the end.
#[derive(Debug)]
pub struct Subscription<E: Published = Event> {
    id: u64,
    receiver: Receiver<E>,
    missed: Arc<AtomicU64>,
    subscribers: Weak<Mutex<Subscribers<E>>>,
}

impl<E: Published> Subscription<E> {
    /// Waits for the next event; `None` when the node has stopped and every event was read.
    pub fn recv(&self) -> Option<E> {
        self.take_missed().or_else(|| self.receiver.recv().ok())
    }

    /// Waits for the next event for so long; `None` if none came, or none will come any more.
    pub fn recv_timeout(&self, timeout: Duration) -> Option<E> {
        self.take_missed().or_else(|| self.receiver.recv_timeout(timeout).ok())
    }

    /// The next event if there is one.
    pub fn try_recv(&self) -> Option<E> {
        self.take_missed().or_else(|| self.receiver.try_recv().ok())
    }

    /// Waits for one event after the other, until the node has stopped.
    pub fn iter(&self) -> impl Iterator<Item = E> + '_ {
        std::iter::from_fn(|| self.recv())
    }

    /// The channel itself, for `crossbeam_channel::select!`. What is read from it directly does not tell of missed events:
    /// look at [`Subscription::missed`].
    pub fn receiver(&self) -> &Receiver<E> {
        &self.receiver
    }

    /// How many events were missed since the last time that this, or an [`Event::Missed`], told.
    pub fn missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }

    /// Ends it: whoever waits is woken, as by the end of the node.
    pub(crate) fn end(&self) {
        if let Some(subscribers) = self.subscribers.upgrade() {
            subscribers.lock().list.retain(|subscriber| subscriber.id != self.id);
        }
    }

    fn take_missed(&self) -> Option<E> {
        match self.missed() {
            0 => None,
            count => Some(E::missed(count)),
        }
    }
}

impl<E: Published> Drop for Subscription<E> {
    fn drop(&mut self) {
        self.end();
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
        let subscribers: Arc<Mutex<Subscribers>> = Arc::default();
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
        let subscribers: Arc<Mutex<Subscribers>> = Arc::default();
        let filter = EventFilter::all().kinds([EventKind::PeerLeft]);
        let subscription = Subscribers::subscribe(&subscribers, filter, 3);
        subscribers.lock().publish(&event(1));
        assert_eq!(subscription.try_recv(), None);
        drop(subscription);
        assert!(subscribers.lock().list.is_empty());
    }
}
