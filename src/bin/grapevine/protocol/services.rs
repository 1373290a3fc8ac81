//! The line protocol's words for services.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine::service::{ActError, Latency, Message, Pattern, ProviderStats, ServiceEvent, ServiceInfo, ServiceStats};
use grapevine::{Error, Peer};
use serde::Serialize;
use serde_json::Value;

use super::{Code, EventLine, Problem, milliseconds};

/// The names of events about what others offer.
pub const SERVICE_EVENTS: [&str; 3] = ["service_offered", "service_changed", "service_withdrawn"];

/// Who offers what, as `services` tells it.
#[derive(Debug, Serialize)]
pub struct ServiceLine {
    /// None for one outside of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    addr: String,
    patterns: Vec<Pattern>,
    #[serde(rename = "self")]
    is_self: bool,
}

impl ServiceLine {
    pub fn new(info: ServiceInfo, me: Peer) -> ServiceLine {
        let ServiceInfo { peer, addr, patterns, .. } = info;
        ServiceLine { peer: peer.map(|peer| peer.to_string()), addr, patterns, is_self: peer == Some(me) }
    }
}

/// The counters of the service, by the names that the library gives them. Times are in microseconds.
#[derive(Debug, Serialize)]
pub struct ServiceStatsLine {
    calls: u64,
    call_errors: u64,
    calls_moved: u64,
    call_us: LatencyLine,
    requests: u64,
    request_errors: u64,
    requests_expired: u64,
    request_us: LatencyLine,
    queue: usize,
    connections: usize,
    refused: BTreeMap<&'static str, u64>,
    providers: Vec<ProviderLine>,
}

#[derive(Debug, Serialize)]
struct LatencyLine {
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

#[derive(Debug, Serialize)]
struct ProviderLine {
    addr: String,
    calls: u64,
    unanswered: u64,
    in_flight: usize,
    connections: usize,
    resting_ms: u64,
}

impl From<ServiceStats> for ServiceStatsLine {
    fn from(stats: ServiceStats) -> ServiceStatsLine {
        ServiceStatsLine {
            calls: stats.calls,
            call_errors: stats.call_errors,
            calls_moved: stats.calls_moved,
            call_us: stats.call_time.into(),
            requests: stats.requests,
            request_errors: stats.request_errors,
            requests_expired: stats.requests_expired,
            request_us: stats.request_time.into(),
            queue: stats.queue,
            connections: stats.connections,
            refused: stats.refused,
            providers: stats.providers.into_iter().map(ProviderLine::from).collect(),
        }
    }
}

impl From<Latency> for LatencyLine {
    fn from(latency: Latency) -> LatencyLine {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let Latency { p50, p90, p99, max, .. } = latency;
        LatencyLine { p50: micros(p50), p90: micros(p90), p99: micros(p99), max: micros(max) }
    }
}

impl From<ProviderStats> for ProviderLine {
    fn from(stats: ProviderStats) -> ProviderLine {
        ProviderLine {
            addr: stats.addr,
            calls: stats.calls,
            unanswered: stats.unanswered,
            in_flight: stats.in_flight,
            connections: stats.connections,
            resting_ms: milliseconds(stats.resting),
        }
    }
}

impl From<ActError> for Problem {
    fn from(error: ActError) -> Problem {
        let message = match &error {
            ActError::NotFound { message } => format!("nobody offers an action for {message}"),
            ActError::Failed(failure) => failure.message().to_owned(),
            other => other.to_string(),
        };
        let details = match &error {
            ActError::Failed(failure) => failure.details().cloned().map(Box::new),
            _ => None,
        };
        Problem { code: Code::Act(error.code().to_owned()), message, details }
    }
}

impl Problem {
    /// Why a pattern cannot be served.
    pub fn of_serving(error: Error) -> Problem {
        match error {
            Error::Config { problem, .. } => Problem::new(Code::BadRequest, format!("serve: {problem}")),
            Error::ValueTooLarge { len, limit } => {
                let text = format!(
                    "the patterns that this agent offers would take {len} bytes together; at most {limit} can be told to the others"
                );
                Problem::new(Code::ValueTooLarge, text)
            }
            error => error.into(),
        }
    }
}

impl EventLine {
    /// What has changed at others; `None` at the end, of which the node tells.
    pub fn of_service(event: &ServiceEvent) -> Option<EventLine> {
        let [offered, changed, withdrawn] = SERVICE_EVENTS;
        let (event, info) = match event {
            ServiceEvent::Offered(info) => (offered, info),
            ServiceEvent::Changed(info) => (changed, info),
            ServiceEvent::Withdrawn(info) => (withdrawn, info),
            ServiceEvent::Missed { count } => return Some(EventLine::missed(*count)),
            _ => return None,
        };
        Some(EventLine {
            event,
            peer: info.peer.map(|peer| peer.to_string()),
            addr: Some(info.addr.clone()),
            patterns: Some(info.patterns.clone()),
            ..EventLine::default()
        })
    }

    /// A call for a program that serves this pattern.
    pub fn call(number: u64, pattern: &Pattern, message: Message) -> EventLine {
        EventLine {
            event: "call",
            call: Some(number),
            pattern: Some(pattern.clone()),
            message: Some(Value::Object(message)),
            ..EventLine::default()
        }
    }
}
