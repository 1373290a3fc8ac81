//! What is asked for in the line protocol, and what is said to it.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine::{EventFilter, Gossiper, Peer, PeerEntry};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::agent::calls::Act;
use crate::agent::offers::{CallReply, Serve};
use crate::agent::{Agent, keys, session};
use crate::json::Json;
use crate::lines::{Line, MAX_REQUEST_BYTES};
use crate::protocol::services::ServiceLine;
use crate::protocol::{Code, EntryLine, MemberLine, Problem, Reply, StatsLine};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    key: String,
    value: Json,
    ttl_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delete {
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Get {
    key: String,
    peer: Option<String>,
}

/// Of `keys` and `state`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    peer: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forget {
    peer: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subscribe {
    prefix: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The names of all requests.
const NAMES: &str = "set, delete, get, keys, state, members, services, stats, subscribe, act, serve, reply, forget, keyring, keyring_add, \
     keyring_use, keyring_remove, keyring_encryption, keyring_off and leave";

/// What a request comes to.
pub enum Asked {
    /// It was carried out.
    Done(Box<Reply>),
    /// Events are to follow.
    Events(EventFilter),
    Act(Act),
    Serve(Serve),
    Reply(CallReply),
    Leave,
}

/// Carries out a request, as far as that takes nothing but the agent; with its id.
pub fn answer(agent: &Agent, request: &Line<'_>) -> (Box<RawValue>, Result<Asked, Problem>) {
    match parse(request) {
        Ok((id, name, fields)) => (id, carry_out(agent, &name, fields)),
        Err((id, problem)) => (id, Err(problem)),
    }
}

/// A request's fields, each as it was written, and where that is: there may be keys in them, of which no copies are made.
pub type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// Its id, its name, and the rest.
type Parsed<'a> = (Box<RawValue>, String, Fields<'a>);

fn parse<'a>(request: &Line<'a>) -> Result<Parsed<'a>, (Box<RawValue>, Problem)> {
    let bad = |text: String| Problem::new(Code::BadRequest, text);
    let bytes = match request {
        Line::Bytes(bytes) => bytes,
        Line::TooLong => {
            return Err((Box::default(), bad(format!("the line is longer than {MAX_REQUEST_BYTES} bytes"))));
        }
    };
    let mut fields: Fields<'a> = serde_json::from_slice(bytes).map_err(|error| {
        // Of JSON that is something else the error would show what.
        let why = if error.is_data() { "it is another value".to_owned() } else { error.to_string() };
        (Box::default(), bad(format!("the line is no JSON object: {why}")))
    })?;
    let id = fields.remove("id").map(RawValue::to_owned).unwrap_or_default();
    match fields.remove("do").map(|name| serde_json::from_str(name.get())) {
        Some(Ok(name)) => Ok((id, name, fields)),
        Some(Err(_)) => Err((id, bad("`do` is no string".to_owned()))),
        None => Err((id, bad(format!("it does not say what to `do`: one of {NAMES}")))),
    }
}

fn carry_out(agent: &Agent, name: &str, fields: Fields<'_>) -> Result<Asked, Problem> {
    let node = &agent.node;
    let reply = match name {
        "set" => set(node, fields_of(name, fields)?)?,
        "delete" => delete(node, fields_of(name, fields)?)?,
        "get" => get(node, fields_of(name, fields)?)?,
        "keys" => {
            let peer = whose(node, fields_of::<Whose>(name, fields)?.peer)?;
            Reply { keys: Some(node.keys(peer).iter().map(|key| key.to_string()).collect()), ..Reply::default() }
        }
        "state" => state(node, fields_of(name, fields)?)?,
        "members" => {
            fields_of::<Nothing>(name, fields)?;
            let own = node.peer_info(node.peer());
            let members = own.into_iter().chain(node.peers()).map(MemberLine::from).collect();
            Reply { members: Some(members), ..Reply::default() }
        }
        "stats" => {
            fields_of::<Nothing>(name, fields)?;
            let stats = StatsLine::new(&node.stats(), node.permitted_rate(), agent.service.stats());
            Reply { stats: Some(stats), ..Reply::default() }
        }
        "services" => {
            fields_of::<Nothing>(name, fields)?;
            let services = agent.service.services().into_iter();
            let services = services.map(|info| ServiceLine::new(info, node.peer())).collect();
            Reply { services: Some(services), ..Reply::default() }
        }
        "act" => return fields_of(name, fields).map(Asked::Act),
        "serve" => return fields_of(name, fields).map(Asked::Serve),
        "reply" => return fields_of(name, fields).map(Asked::Reply),
        "subscribe" => {
            let Subscribe { prefix } = fields_of(name, fields)?;
            node.check()?;
            return Ok(Asked::Events(session::filter(prefix)));
        }
        "forget" => {
            let Forget { peer } = fields_of(name, fields)?;
            node.forget(address(&peer)?)?;
            Reply::default()
        }
        name if keys::NAMES.contains(&name) => keys::answer(agent, name, fields)?,
        "leave" => {
            fields_of::<Nothing>(name, fields)?;
            return Ok(Asked::Leave);
        }
        other => {
            // What is long may be a key by mistake.
            let shown = if other.len() <= 32 { format!("`{other}`") } else { "that".to_owned() };
            let text = format!("{shown} is unknown; there are {NAMES}");
            return Err(Problem::new(Code::UnknownCommand, text));
        }
    };
    Ok(Asked::Done(Box::new(reply)))
}

fn fields_of<T: DeserializeOwned>(name: &str, fields: Fields<'_>) -> Result<T, Problem> {
    let parsed = serde_json::to_string(&fields).and_then(|text| serde_json::from_str(&text));
    parsed.map_err(|error| Problem::new(Code::BadRequest, format!("{name}: {error}")))
}

fn set(node: &Gossiper, Set { key, value: Json(value), ttl_ms }: Set) -> Result<Reply, Problem> {
    let version = match ttl_ms {
        Some(ttl) => node.set_for(&key, &value, Duration::from_millis(ttl))?,
        None => node.set(&key, &value)?,
    };
    Ok(Reply { version: Some(version), ..Reply::default() })
}

fn delete(node: &Gossiper, Delete { key }: Delete) -> Result<Reply, Problem> {
    let version = node.delete(&key)?.ok_or_else(|| not_found(node.peer(), &key))?;
    Ok(Reply { version: Some(version), ..Reply::default() })
}

fn get(node: &Gossiper, Get { key, peer }: Get) -> Result<Reply, Problem> {
    let peer = whose(node, peer)?;
    let entry = node.entry(peer, &key).ok_or_else(|| not_found(peer, &key))?;
    let EntryLine { value, version, ttl_ms } = EntryLine::new(&entry, node.now());
    Ok(Reply { value: Some(value), version: Some(version), ttl_ms, ..Reply::default() })
}

fn state(node: &Gossiper, Whose { peer }: Whose) -> Result<Reply, Problem> {
    let peer = whose(node, peer)?;
    let now = node.now();
    let told = |entry: &PeerEntry| (entry.key.to_string(), EntryLine::new(entry, now));
    let entries = node.entries_of(peer).iter().map(told).collect();
    Ok(Reply { entries: Some(entries), ..Reply::default() })
}

/// The peer that is meant: this node itself where none is named.
fn whose(node: &Gossiper, peer: Option<String>) -> Result<Peer, Problem> {
    let Some(peer) = peer else { return Ok(node.peer()) };
    let peer = address(&peer)?;
    match node.peer_info(peer) {
        Some(_) => Ok(peer),
        None => Err(grapevine::Error::UnknownPeer(peer).into()),
    }
}

fn address(peer: &str) -> Result<Peer, Problem> {
    let text = || format!("`{peer}` is no ADDRESS:PORT like 127.0.0.1:9001 or [::1]:9001");
    peer.parse().map_err(|_| Problem::new(Code::BadRequest, text()))
}

fn not_found(peer: Peer, key: &str) -> Problem {
    Problem::new(Code::NotFound, format!("{peer} has no key `{key}`"))
}
