//! What programs do at the nodes of a simulation, from outside or as they would themselves.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::error::Error;
use crate::event::{Event, EventFilter};
use crate::instant::Instant;
use crate::node::{Node, Output};
use crate::peer::{Peer, PeerState};
use crate::sim::{Cause, Sim};
use crate::snapshot::Snapshot;
use crate::subscription::{Subscribers, Subscription};
use crate::value::Value;

/// A node in a simulation, as its own program sees it; see [`Sim::program`].
pub struct At<'a> {
    sim: &'a mut Sim,
    peer: Peer,
}

impl At<'_> {
    /// Where this is.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// [`Gossiper::set`](crate::gossiper::Gossiper::set).
    ///
    /// # Errors
    /// Those of [`Node::set`].
    pub fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<u64, Error> {
        self.sim.set(self.peer, key, value)
    }

    /// [`Gossiper::set_for`](crate::gossiper::Gossiper::set_for).
    ///
    /// # Errors
    /// Those of [`Node::set`].
    pub fn set_for<T: Serialize + ?Sized>(&mut self, key: &str, value: &T, life: Duration) -> Result<u64, Error> {
        self.sim.set_for(self.peer, key, value, life)
    }

    /// [`Gossiper::delete`](crate::gossiper::Gossiper::delete).
    ///
    /// # Errors
    /// Those of [`Node::delete`].
    pub fn delete(&mut self, key: &str) -> Result<Option<u64>, Error> {
        self.sim.delete(self.peer, key)
    }

    /// Everything that is seen here now.
    pub fn snapshot(&self) -> Snapshot {
        self.sim.snapshot(self.peer).unwrap_or_default()
    }
}

impl Sim {
    /// Has `program` called with each event at a node, after every step of it, also after a restart. What it sets is on the
    /// wire at once.
    ///
    /// ```
    /// use grapevine::sim::Sim;
    /// use grapevine::{Config, Event};
    /// use std::time::Duration;
    ///
    /// let mut sim = Sim::new(1);
    /// let nodes = sim.cluster(3, Config::default())?;
    /// let mut failed = 0;
    /// sim.program(nodes[0], move |node, event| {
    ///     if matches!(event, Event::PeerFailed { .. }) {
    ///         failed += 1;
    ///         node.set("failures seen", &failed).ok();
    ///     }
    /// });
    /// sim.run_for(Duration::from_secs(10))?;
    /// sim.crash(nodes[1]);
    /// sim.run_for(Duration::from_secs(20))?;
    /// assert_eq!(sim.get(nodes[2], nodes[0], "failures seen").as_deref(), Some("1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn program(&mut self, at: Peer, program: impl FnMut(&mut At<'_>, &Event) + 'static) {
        if let Some(host) = self.hosts.get_mut(&at) {
            host.program = Some(Box::new(program));
        }
    }

    /// Shows a program what it has not seen, and what comes of what it does.
    pub(super) fn run_program(&mut self, at: Peer) {
        let Some(mut program) = self.hosts.get_mut(&at).and_then(|host| host.program.take()) else { return };
        while let Some(event) = self.hosts.get_mut(&at).and_then(|host| host.unseen.pop_front()) {
            program(&mut At { sim: self, peer: at }, &event);
        }
        if let Some(host) = self.hosts.get_mut(&at) {
            host.program.get_or_insert(program);
        }
    }

    /// Sets a key of a node's map, and returns the version.
    ///
    /// # Errors
    /// Those of [`Node::set`]; [`Error::Encode`]; [`Error::Stopped`] where nothing runs.
    pub fn set<T: Serialize + ?Sized>(&mut self, at: Peer, key: &str, value: &T) -> Result<u64, Error> {
        let value = Value::encode(value)?;
        self.act(at, |node, now, out| node.set(now, key, value, None, out))?
    }

    /// Sets a key of a node's map for so long, on the node's own clock.
    ///
    /// # Errors
    /// Those of [`Sim::set`].
    pub fn set_for<T: Serialize + ?Sized>(
        &mut self,
        at: Peer,
        key: &str,
        value: &T,
        life: Duration,
    ) -> Result<u64, Error> {
        let value = Value::encode(value)?;
        self.act(at, |node, now, out| node.set(now, key, value, Some(now + life), out))?
    }

    /// Deletes a key of a node's map.
    ///
    /// # Errors
    /// Those of [`Node::delete`]; [`Error::Stopped`] where nothing runs.
    pub fn delete(&mut self, at: Peer, key: &str) -> Result<Option<u64>, Error> {
        self.act(at, |node, now, out| node.delete(now, key, out))?
    }

    /// Has a node forget a peer.
    ///
    /// # Errors
    /// Those of [`Node::forget`]; [`Error::Stopped`] where nothing runs.
    pub fn forget(&mut self, at: Peer, peer: Peer) -> Result<(), Error> {
        self.act(at, |node, now, out| node.forget(now, peer, out))?
    }

    /// Has a node leave. It tells the others until enough have heard, and then does nothing; [`Sim::crash`] ends it.
    ///
    /// # Errors
    /// [`Error::Stopped`] where nothing runs.
    pub fn leave(&mut self, peer: Peer) -> Result<(), Error> {
        self.act(peer, |node, now, out| node.leave(now, out))?;
        self.happened.leaves += 1;
        self.trace.deed(self.now, peer, "leave");
        Ok(())
    }

    /// Calls into a node as its handles do, with the time on its own clock.
    ///
    /// # Errors
    /// [`Error::Stopped`] where nothing runs, or stands still.
    pub fn act<R>(&mut self, at: Peer, call: impl FnOnce(&mut Node, Instant, &mut Output) -> R) -> Result<R, Error> {
        if self.hosts.get(&at).is_some_and(|host| host.paused.is_some()) {
            return Err(Error::Stopped);
        }
        self.steps += 1;
        self.call(at, Cause::Call, call).ok_or(Error::Stopped)
    }

    /// Hands a datagram to a node at once, and returns what it sends in the same breath.
    ///
    /// # Errors
    /// [`Error::Stopped`] where nothing runs.
    pub fn hand(&mut self, at: Peer, from: SocketAddr, datagram: &[u8]) -> Result<Vec<(SocketAddr, Vec<u8>)>, Error> {
        self.trace.datagram(self.now, at, from, datagram);
        let tap = self.tap.replace(Vec::new());
        let cause = Cause::Datagram(from);
        let handed = self.call(at, cause, |node, now, out| node.handle_datagram(now, from, datagram, out));
        let sent = std::mem::replace(&mut self.tap, tap).unwrap_or_default();
        if let Some(tap) = &mut self.tap {
            tap.extend(sent.iter().cloned());
        }
        handed.ok_or(Error::Stopped)?;
        Ok(sent.into_iter().map(|(_, to, bytes)| (to, bytes)).collect())
    }

    /// A subscription to the events of a node, bounded as in production; it ends when the process does. `None` where nothing runs.
    pub fn subscribe(&mut self, at: Peer, filter: EventFilter) -> Option<Subscription> {
        let host = self.hosts.get(&at).filter(|host| host.node.is_some())?;
        Some(Subscribers::subscribe(&host.subscribers, filter, host.config.limits.events))
    }

    /// Everything that a node held at this moment; `None` where nothing runs.
    pub fn snapshot(&self, at: Peer) -> Option<Snapshot> {
        let host = self.hosts.get(&at)?;
        Some(Snapshot::of(host.node.as_ref()?, host.clock.at(self.now)))
    }

    /// What a reader at `at` finds under a key of `owner`'s, as JSON.
    pub fn get(&self, at: Peer, owner: Peer, key: &str) -> Option<String> {
        Some(self.node(at)?.map(owner)?.get(key)?.readable(self.local(at)?)?.to_string())
    }

    /// What a node thinks of a peer.
    pub fn state(&self, at: Peer, peer: Peer) -> Option<PeerState> {
        self.node(at)?.peers().find(|(other, _)| *other == peer).map(|(_, state)| state)
    }

    /// Whom a node lists in this state.
    pub fn listed(&self, at: Peer, state: PeerState) -> Vec<Peer> {
        let peers = self.node(at).into_iter().flat_map(Node::peers);
        peers.filter(|(_, other)| *other == state).map(|(peer, _)| peer).collect()
    }

    /// The node at an address, if one runs there.
    pub fn node(&self, at: Peer) -> Option<&Node> {
        self.hosts.get(&at)?.node.as_ref()
    }

    /// The addresses where nodes run, paused ones and those that have left included.
    pub fn running(&self) -> Vec<Peer> {
        self.hosts.iter().filter(|(_, host)| host.node.is_some()).map(|(peer, _)| *peer).collect()
    }

    /// The time on a node's own clock.
    pub fn local(&self, at: Peer) -> Option<Instant> {
        Some(self.hosts.get(&at)?.clock.at(self.now))
    }

    /// Everything that a node told its program since this was [taken](Sim::take_events), with when on the simulator's clock. They are
    /// kept until then.
    pub fn events(&self, at: Peer) -> &[(Instant, Event)] {
        self.hosts.get(&at).map_or(&[], |host| &host.events)
    }

    /// The events since the last time.
    pub fn take_events(&mut self, at: Peer) -> Vec<(Instant, Event)> {
        self.hosts.get_mut(&at).map(|host| std::mem::take(&mut host.events)).unwrap_or_default()
    }
}
