//! The cluster as a service sees it: what it tells the other nodes, and what they tell.

use std::net::SocketAddr;

use crate::error::Error;
use crate::event::{Event, EventFilter, EventKind};
use crate::gossiper::Gossiper;
use crate::peer::Peer;
use crate::service::config::{ServiceConfig, config};
use crate::service::directory::{Advertisement, KEY, PATTERNS};
use crate::service::pattern::Pattern;
use crate::service::shared::Shared;
use crate::subscription::Subscription;
use crate::sync::select;
use crate::value::Value;

/// Tells the other nodes what is offered now.
pub(super) fn tell(shared: &Shared) -> Result<(), Error> {
    let Some(addr) = shared.addr.filter(|_| !shared.is_withdrawn()) else { return Ok(()) };
    let patterns: Vec<String> = shared.offered().iter().map(Pattern::to_string).collect();
    if patterns.len() > PATTERNS {
        let problem = format!("{PATTERNS} patterns are the most that can be told, and within the pins these are more");
        return Err(config("pattern", problem));
    }
    let told = match patterns.is_empty() {
        true => None,
        false => Some(Value::encode(&Advertisement { addr: addr.to_string(), patterns })?),
    };
    shared.node.publish(KEY, told)
}

pub(super) fn take_place(node: &Gossiper) -> Result<(), Error> {
    if node.take_service_place() {
        return Ok(());
    }
    let problem = "another service listens on it, and a node can tell of one; give each a node of its own";
    Err(config("node", problem.to_owned()))
}

/// Where others reach it.
pub(super) fn advertised(settings: &ServiceConfig, bound: SocketAddr, node: &Gossiper) -> Result<SocketAddr, Error> {
    let mut addr = settings.advertise.unwrap_or(bound);
    if addr.port() == 0 {
        addr.set_port(bound.port());
    }
    if addr.ip().is_unspecified() {
        addr.set_ip(node.peer().addr().ip());
    }
    Ok(addr)
}

pub(super) fn membership() -> EventFilter {
    let kinds = [
        EventKind::PeerAlive,
        EventKind::PeerFailed,
        EventKind::PeerLeft,
        EventKind::PeerForgotten,
        EventKind::Update,
        EventKind::Delete,
        EventKind::Expire,
        EventKind::NewPeer,
    ];
    EventFilter::all().kinds(kinds).key_prefix(KEY)
}

/// Follows what the other nodes tell, until the node stops or the service is closed.
pub(super) fn watch(events: &Subscription, shared: &Shared) {
    let node = &shared.node;
    let me = node.peer();
    refresh_all(shared);
    loop {
        let event = select! {
            recv(events.receiver()) -> event => event,
            recv(shared.ended) -> _ => return,
        };
        if events.missed() > 0 {
            refresh_all(shared);
        }
        match event {
            Ok(Event::Stopped { .. }) | Err(_) => break,
            Ok(event) => {
                if let Some(peer) = event.peer().filter(|peer| *peer != me) {
                    shared.directory.refresh(node, peer);
                }
            }
        }
    }
    // The node has stopped: nobody is found any more.
    shared.directory.close();
}

fn refresh_all(shared: &Shared) {
    let peers: Vec<Peer> = shared.node.peers().iter().map(|info| info.peer).collect();
    shared.directory.keep_only(&peers);
    peers.iter().for_each(|peer| shared.directory.refresh(&shared.node, *peer));
}
