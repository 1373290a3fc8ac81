//! The line protocol: its names, and how what the library says becomes JSON.

pub mod keyring;
pub mod services;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use grapevine::instant::Instant;
use grapevine::service::{Pattern, ServiceStats};
use grapevine::{Error, Event, EventKind, Gossiper, PeerEntry, PeerInfo, Stats, Value};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::json;
use crate::plain::printable_json;
use keyring::SecretKeyLine;
use services::{ServiceLine, ServiceStatsLine};

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    BadRequest,
    UnknownCommand,
    UnknownPeer,
    NotFound,
    KeyTooLong,
    ValueTooLarge,
    TooManyKeys,
    ReservedKey,
    Alive,
    Stopped,
    /// The others did not confirm that they heard this node leave; it has ended all the same.
    TimedOut,
    TooManyConnections,
    /// Somebody else serves the pattern.
    AlreadyServed,
    /// Nobody waits for the reply to such a call.
    UnknownCall,
    /// So many calls are under way already; nothing was run.
    Overloaded,
    /// Keys cannot be held or changed so.
    KeyringRefused,
    /// The key file cannot be used, or written.
    KeyFileRefused,
    /// Of a call that has failed, as Seneca or the handler names it.
    #[serde(untagged)]
    Act(String),
}

/// The error of a reply.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    pub code: Code,
    pub message: String,
    /// What a handler has to say besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<serde_json::Value>>,
}

impl Problem {
    pub fn new(code: Code, message: impl Into<String>) -> Problem {
        Problem { code, message: message.into(), details: None }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let (code, message) = match &error {
            Error::KeyTooLong { len, limit } => {
                (Code::KeyTooLong, format!("the key has {len} bytes; at most it may have {limit}"))
            }
            Error::ValueTooLarge { len, limit } => {
                let text =
                    format!("the value has {len} bytes; at most it may have {limit}; split it into several keys");
                (Code::ValueTooLarge, text)
            }
            Error::MapFull { keys, bytes } => {
                let text = format!(
                    "the map is full with {keys} keys and tombstones in {bytes} bytes; delete keys, whose tombstones are collected \
                     after the grace period"
                );
                (Code::TooManyKeys, text)
            }
            Error::TimedOut(after) => {
                let text = format!(
                    "too few peers confirmed within {after:?} that they heard this node leave; it has stopped all the same, and some \
                     may list it as failed; start agents with a longer --leave-time"
                );
                (Code::TimedOut, text)
            }
            Error::Keyring(_) => (Code::KeyringRefused, error.to_string()),
            Error::KeyFile { .. } => (Code::KeyFileRefused, error.to_string()),
            Error::ReservedKey { .. } => (Code::ReservedKey, error.to_string()),
            Error::UnknownPeer(_) => (Code::UnknownPeer, error.to_string()),
            Error::StillAlive(_) => (Code::Alive, error.to_string()),
            Error::Stopped | Error::ThreadPanicked(_) => (Code::Stopped, error.to_string()),
            _ => (Code::BadRequest, error.to_string()),
        };
        Problem::new(code, message)
    }
}

/// A reply; of the fields those that there are.
#[derive(Debug, Default, Serialize)]
pub struct Reply {
    pub id: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<BTreeMap<String, EntryLine>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<MemberLine>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<ServiceLine>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<StatsLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyring: Option<Vec<SecretKeyLine>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// Whether the change is in the key file, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved: Option<bool>,
}

impl Reply {
    /// To the request with this id.
    pub fn to(id: Box<RawValue>, carried_out: Result<Reply, Problem>) -> Reply {
        match carried_out {
            Ok(reply) => Reply { id, ok: Some(true), ..reply },
            Err(problem) => Reply { id, error: Some(problem), ..Reply::default() },
        }
    }
}

/// A key's value as `get` and `state` tell it.
#[derive(Debug, Serialize)]
pub struct EntryLine {
    pub value: Box<RawValue>,
    pub version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

impl EntryLine {
    pub fn new(entry: &PeerEntry, now: Instant) -> EntryLine {
        let ttl_ms = entry.deadline.map(|deadline| milliseconds(deadline - now));
        EntryLine { value: json(&entry.value), version: entry.version, ttl_ms }
    }
}

/// A member as `members` tells it.
#[derive(Debug, Serialize)]
pub struct MemberLine {
    pub peer: String,
    pub generation: u64,
    pub state: &'static str,
    pub phi: f64,
    pub version: u64,
    pub keys: usize,
    #[serde(rename = "self")]
    pub is_self: bool,
    pub heartbeat: u64,
    /// How long ago the heartbeat was last seen to advance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    pub bytes_received: u64,
    pub bytes_sent: u64,
}

impl From<PeerInfo> for MemberLine {
    fn from(info: PeerInfo) -> MemberLine {
        MemberLine {
            peer: info.peer.to_string(),
            generation: info.generation,
            state: info.state.as_str(),
            phi: info.phi,
            version: info.version,
            keys: info.keys,
            is_self: info.is_self,
            heartbeat: info.heartbeat,
            age_ms: info.last_advance.map(milliseconds),
            bytes_received: info.bytes_received,
            bytes_sent: info.bytes_sent,
        }
    }
}

/// The counters as `stats` tells them, by the names that the library gives them.
#[derive(Debug, Serialize)]
pub struct StatsLine {
    peers: usize,
    alive: usize,
    own_keys: usize,
    rounds: u64,
    datagrams_sent: u64,
    bytes_sent: u64,
    datagrams_received: u64,
    bytes_received: u64,
    encrypted_received: u64,
    send_errors: u64,
    receive_errors: u64,
    dropped_by_kernel: Option<u64>,
    gaps: u64,
    retries: u64,
    roster_mismatches: u64,
    pauses: u64,
    events_missed: u64,
    permitted_rate: u64,
    refused: BTreeMap<&'static str, u64>,
    service: ServiceStatsLine,
}

impl StatsLine {
    pub fn new(stats: &Stats, permitted_rate: f64, service: ServiceStats) -> StatsLine {
        StatsLine {
            peers: stats.peers,
            alive: stats.alive,
            own_keys: stats.own_keys,
            rounds: stats.rounds,
            datagrams_sent: stats.datagrams_sent,
            bytes_sent: stats.bytes_sent,
            datagrams_received: stats.datagrams_received,
            bytes_received: stats.bytes_received,
            encrypted_received: stats.encrypted_received,
            send_errors: stats.send_errors,
            receive_errors: stats.receive_errors,
            dropped_by_kernel: stats.dropped_by_kernel,
            gaps: stats.gaps,
            retries: stats.retries,
            roster_mismatches: stats.roster_mismatches,
            pauses: stats.pauses,
            events_missed: stats.events_missed,
            permitted_rate: permitted_rate as u64,
            refused: stats.refused.iter().map(|(reason, count)| (reason.as_str(), count)).collect(),
            service: service.into(),
        }
    }
}

/// An event; of the fields those that there are.
#[derive(Debug, Default, Serialize)]
pub struct EventLine {
    pub event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
    /// Where calls are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Where plain calls are taken, whatever the keys say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_plain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phi: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patterns: Option<Vec<Pattern>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Pattern>,
    /// A text for people, or what somebody is called with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<serde_json::Value>,
}

/// The library's kinds of events with their names.
pub const EVENTS: [(EventKind, &str); 12] = [
    (EventKind::NewPeer, "new_peer"),
    (EventKind::PeerAlive, "peer_alive"),
    (EventKind::PeerFailed, "peer_failed"),
    (EventKind::PeerLeft, "peer_left"),
    (EventKind::PeerForgotten, "peer_forgotten"),
    (EventKind::Update, "update"),
    (EventKind::Delete, "delete"),
    (EventKind::Expire, "expire"),
    (EventKind::AddressConflict, "address_conflict"),
    (EventKind::WrongCluster, "wrong_cluster"),
    (EventKind::Missed, EventLine::MISSED),
    (EventKind::Stopped, "stopped"),
];

impl EventLine {
    pub const MISSED: &'static str = "missed";

    /// What comes first: the node is bound.
    pub fn ready(
        node: &Gossiper,
        cluster: &str,
        control: Option<&std::path::Path>,
        [listen, listen_plain]: [Option<SocketAddr>; 2],
    ) -> EventLine {
        EventLine {
            event: "ready",
            peer: Some(node.peer().to_string()),
            generation: Some(node.generation()),
            cluster: Some(cluster.to_owned()),
            control: control.map(|path| path.display().to_string()),
            listen: listen.map(|addr| addr.to_string()),
            listen_plain: listen_plain.map(|addr| addr.to_string()),
            ..EventLine::default()
        }
    }

    /// The reader was too slow.
    pub fn missed(count: u64) -> EventLine {
        EventLine { event: EventLine::MISSED, count: Some(count), ..EventLine::default() }
    }

    /// An event as it is told at `now` on the node's clock; `None` for a kind that this program does not know.
    pub fn new(event: &Event, now: Instant) -> Option<EventLine> {
        let (_, name) = EVENTS.iter().find(|(kind, _)| *kind == event.kind())?;
        let mut line = EventLine {
            event: name,
            peer: event.peer().map(|peer| peer.to_string()),
            key: event.key().map(str::to_owned),
            ..EventLine::default()
        };
        match event {
            Event::NewPeer { generation, .. }
            | Event::PeerAlive { generation, .. }
            | Event::PeerLeft { generation, .. }
            | Event::PeerForgotten { generation, .. } => line.generation = Some(*generation),
            Event::PeerFailed { generation, phi, .. } => (line.generation, line.phi) = (Some(*generation), Some(*phi)),
            Event::Update { generation, value, version, deadline, .. } => {
                (line.generation, line.version) = (Some(*generation), Some(*version));
                line.value = Some(json(value));
                line.ttl_ms = deadline.map(|deadline| milliseconds(deadline - now));
            }
            Event::Delete { generation, version, .. } | Event::Expire { generation, version, .. } => {
                (line.generation, line.version) = (Some(*generation), Some(*version));
            }
            Event::AddressConflict { addr, generation } => {
                (line.generation, line.addr) = (Some(*generation), Some(addr.to_string()));
            }
            Event::WrongCluster { addr, cluster } => {
                (line.cluster, line.addr) = (Some(cluster.clone()), Some(addr.to_string()));
            }
            Event::Missed { count } => line.count = Some(*count),
            Event::Stopped { panicked } => {
                let text = |thread| format!("the node's thread {thread} panicked, which is a bug").into();
                line.message = panicked.map(text);
            }
            _ => return None,
        }
        Some(line)
    }
}

/// A line of the protocol, with its end.
pub fn line<T: Serialize>(of: &T) -> String {
    // Text, numbers and JSON that was parsed can always be written.
    let json = serde_json::to_string(of).unwrap_or_else(|error| format!("{{\"error\":{:?}}}", error.to_string()));
    // Whoever prints the protocol on a terminal is not to be tricked either.
    printable_json(json) + "\n"
}

/// A value as JSON: what has no counterpart there in the nearest form, as the library prints it, and what cannot be decoded as a string
/// that says so.
pub fn json(value: &Value) -> Box<RawValue> {
    let text = value.to_string();
    let quoted = |text: &str| RawValue::from_string(serde_json::Value::from(text).to_string()).unwrap_or_default();
    RawValue::from_string(text.clone()).unwrap_or_else(|_| quoted(&text))
}

/// Rounded up, so that what still lives has some life left.
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// `1`, `[1, 2]` and `true` are what they look like in JSON; what is no JSON is a string.
pub fn value_of(text: &str) -> serde_json::Value {
    json::parse(text.as_bytes()).unwrap_or_else(|_| text.into())
}
