//! Who offers what, for programs: as a list, and as events.

use crate::peer::Peer;
use crate::service::pattern::Pattern;
use crate::subscription::Published;

/// A node that offers actions, or a client's address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceInfo {
    /// The node; `None` for a service outside of the cluster, and `Some` of this node itself for its own.
    pub peer: Option<Peer>,
    /// Where its actions are called.
    pub addr: String,
    /// What it offers, sorted.
    pub patterns: Vec<Pattern>,
}

/// Who offers what has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceEvent {
    /// A node offers actions.
    Offered(ServiceInfo),
    /// A node offers other actions than before, or at another address.
    Changed(ServiceInfo),
    /// A node does not offer actions any more: it has failed, left, was restarted without any, or closed its service.
    Withdrawn(ServiceInfo),
    /// This subscription was too slow and so many events were dropped. Read [`Service::services`](crate::service::Service::services)
    /// afresh.
    Missed {
        /// How many.
        count: u64,
    },
    /// This service was closed, or its node has stopped. The last event.
    Stopped,
}

impl Published for ServiceEvent {
    type Filter = ();

    fn passes(&self, (): &()) -> bool {
        true
    }

    fn is_last(&self) -> bool {
        matches!(self, ServiceEvent::Stopped)
    }

    fn missed(count: u64) -> Self {
        ServiceEvent::Missed { count }
    }
}
