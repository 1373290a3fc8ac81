//! What happens to a node and to services elsewhere, as one story.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, never, select};
use grapevine::service::{Service, ServiceEvent};
use grapevine::{Event, EventFilter, Gossiper, Subscription};

use crate::protocol::EventLine;

/// The events of services end with those of the node, though not in the same moment.
const END_TIME: Duration = Duration::from_secs(1);

/// A subscription to the events of a node, and to those of services. It may be read on several threads.
pub struct Events {
    node: Gossiper,
    of_node: Subscription,
    of_services: Option<Subscription<ServiceEvent>>,
    /// That the node has stopped, until everything else was told.
    last: Mutex<Option<Event>>,
}

impl Events {
    /// From now on; of services if there is one.
    pub fn new(node: &Gossiper, filter: EventFilter, service: Option<&Service>) -> Events {
        let of_node = node.subscribe_to(filter);
        let of_services = service.map(Service::subscribe);
        Events { node: node.clone(), of_node, of_services, last: Mutex::default() }
    }

    /// Waits for the next one; `None` when the node has stopped and everything was told, or when `stop` is closed.
    pub fn next(&self, stop: &Receiver<()>) -> Option<EventLine> {
        let no_services = never();
        let mut of_services = self.of_services.as_ref().map_or(&no_services, Subscription::receiver);
        loop {
            let missed = self.missed();
            if missed > 0 {
                return Some(EventLine::missed(missed));
            }
            let told = select! {
                recv(self.of_node.receiver()) -> event => match event {
                    Ok(event) => self.tell_of_node(event),
                    Err(_) => return self.after_the_node(),
                },
                recv(of_services) -> event => match event {
                    Ok(event) => EventLine::of_service(&event),
                    Err(_) => {
                        of_services = &no_services;
                        continue;
                    }
                },
                recv(stop) -> _ => return None,
            };
            if told.is_some() {
                return told;
            }
        }
    }

    /// What waits now.
    pub fn waiting(&self) -> Vec<EventLine> {
        let of_node = self.of_node.receiver();
        let waiting = of_node.try_iter().take(of_node.len()).filter_map(|event| self.tell_of_node(event));
        let mut told: Vec<EventLine> = waiting.collect();
        if let Some(of_services) = self.of_services.as_ref().map(Subscription::receiver) {
            told.extend(
                of_services.try_iter().take(of_services.len()).filter_map(|event| EventLine::of_service(&event)),
            );
        }
        told.extend(self.last());
        told
    }

    fn missed(&self) -> u64 {
        self.of_node.missed() + self.of_services.as_ref().map_or(0, Subscription::missed)
    }

    fn tell_of_node(&self, event: Event) -> Option<EventLine> {
        if matches!(event, Event::Stopped { .. }) {
            *self.lock_last() = Some(event);
            return None;
        }
        EventLine::new(&event, self.node.now())
    }

    /// The node has told everything.
    fn after_the_node(&self) -> Option<EventLine> {
        while let Some(event) = self.of_services.as_ref().and_then(|events| events.recv_timeout(END_TIME)) {
            let told = EventLine::of_service(&event);
            if told.is_some() {
                return told;
            }
        }
        self.last()
    }

    fn last(&self) -> Option<EventLine> {
        let last = self.lock_last().take()?;
        EventLine::new(&last, self.node.now())
    }

    fn lock_last(&self) -> MutexGuard<'_, Option<Event>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
