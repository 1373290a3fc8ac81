//! What is asked for in the line protocol, and what is said to it.

use std::time::Duration;

use grapevine::{EventFilter, Gossiper, Peer, PeerEntry};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::agent::{Agent, session};
use crate::lines::{Line, MAX_REQUEST_BYTES};
use crate::protocol::{Code, EntryLine, MemberLine, Problem, Reply, StatsLine};

/// What follows a reply.
pub enum Then {
    Nothing,
    /// Events.
    Follow(EventFilter),
    /// The end of the agent.
    End,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    key: String,
    value: Value,
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
const NAMES: &str = "set, delete, get, keys, state, members, stats, subscribe, forget and leave";

/// Carries out a request.
pub fn answer(agent: &Agent, request: &Line<'_>) -> (Reply, Then) {
    let (id, carried_out) = match parse(request) {
        Ok((id, name, fields)) => (id, carry_out(agent, &name, fields)),
        Err((id, problem)) => (id, Err(problem)),
    };
    match carried_out {
        Ok((reply, then)) => (Reply { id, ok: reply.error.is_none().then_some(true), ..reply }, then),
        Err(problem) => (Reply { id, error: Some(problem), ..Reply::default() }, Then::Nothing),
    }
}

type Parsed = (Value, String, Value);

fn parse(request: &Line<'_>) -> Result<Parsed, (Value, Problem)> {
    let bad = |text: String| Problem::new(Code::BadRequest, text);
    let bytes = match request {
        Line::Bytes(bytes) => bytes,
        Line::TooLong => return Err((Value::Null, bad(format!("the line is longer than {MAX_REQUEST_BYTES} bytes")))),
    };
    let mut fields: Map<String, Value> = serde_json::from_slice(bytes)
        .map_err(|error| (Value::Null, bad(format!("the line is no JSON object: {error}"))))?;
    let id = fields.remove("id").unwrap_or_default();
    match fields.remove("do") {
        Some(Value::String(name)) => Ok((id, name, Value::Object(fields))),
        Some(_) => Err((id, bad("`do` is no string".to_owned()))),
        None => Err((id, bad(format!("it does not say what to `do`: one of {NAMES}")))),
    }
}

fn carry_out(agent: &Agent, name: &str, fields: Value) -> Result<(Reply, Then), Problem> {
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
            Reply { stats: Some(StatsLine::new(&node.stats(), node.permitted_rate())), ..Reply::default() }
        }
        "subscribe" => {
            let Subscribe { prefix } = fields_of(name, fields)?;
            node.check()?;
            return Ok((Reply::default(), Then::Follow(session::filter(prefix))));
        }
        "forget" => {
            let Forget { peer } = fields_of(name, fields)?;
            node.forget(address(&peer)?)?;
            Reply::default()
        }
        "leave" => {
            fields_of::<Nothing>(name, fields)?;
            // It ends all the same if the others did not confirm.
            let left = agent.leave();
            let reply = match left {
                Ok(()) => Reply::default(),
                Err(error) => Reply { error: Some(error.into()), ..Reply::default() },
            };
            return Ok((reply, Then::End));
        }
        other => {
            let text = format!("`{other}` is unknown; there are {NAMES}");
            return Err(Problem::new(Code::UnknownCommand, text));
        }
    };
    Ok((reply, Then::Nothing))
}

fn fields_of<T: DeserializeOwned>(name: &str, fields: Value) -> Result<T, Problem> {
    serde_json::from_value(fields).map_err(|error| Problem::new(Code::BadRequest, format!("{name}: {error}")))
}

fn set(node: &Gossiper, Set { key, value, ttl_ms }: Set) -> Result<Reply, Problem> {
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
