//! Somebody on the network who runs no node: an enemy, a recorder, another implementation.

use std::net::SocketAddr;

use crate::instant::Instant;
use crate::peer::Peer;
use crate::sim::Sim;
use crate::sim::network::Datagram;

/// Somebody at an address of the network who receives what is sent there and sends what it likes. Times are the
/// simulator's own.
pub trait Intruder {
    /// A datagram has come.
    fn receive(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], outbox: &mut Outbox);

    /// A node sends something to anybody, whether it arrives or not.
    fn overhear(&mut self, _now: Instant, _from: SocketAddr, _to: SocketAddr, _datagram: &[u8]) {}

    /// The time has come that [`Intruder::next`] said.
    fn act(&mut self, now: Instant, outbox: &mut Outbox);

    /// When it wants to act next; [`Instant::MAX`] for never.
    fn next(&self) -> Instant;
}

/// What an [`Intruder`] sends.
#[derive(Debug)]
pub struct Outbox {
    addr: SocketAddr,
    now: Instant,
    datagrams: Vec<Datagram>,
}

impl Outbox {
    /// Its own address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sends from its own address.
    pub fn send(&mut self, to: SocketAddr, datagram: Vec<u8>) {
        self.send_as(self.addr, to, datagram);
    }

    /// Sends under the address of somebody else; answers go there.
    pub fn send_as(&mut self, from: SocketAddr, to: SocketAddr, datagram: Vec<u8>) {
        self.resend(self.now, from, to, datagram);
    }

    /// Sends what was sent by somebody at `sent`: to have been under way since then.
    pub fn resend(&mut self, sent: Instant, from: SocketAddr, to: SocketAddr, datagram: Vec<u8>) {
        self.datagrams.push(Datagram { from, to, bytes: datagram, sent });
    }
}

/// An intruder at its address.
pub(super) struct Outsider {
    number: u64,
    sent: u64,
    intruder: Box<dyn Intruder>,
    wake: Option<Instant>,
}

impl Outsider {
    pub(super) fn overhear(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        self.intruder.overhear(now, from, to, datagram);
    }
}

/// Intruders are counted from here, nodes from 0: draws are made by these numbers.
const FIRST_OUTSIDER: u64 = 1 << 32;

impl Sim {
    /// Puts an intruder at an address, in the place of whoever was there.
    pub fn intrude(&mut self, addr: SocketAddr, intruder: impl Intruder + 'static) {
        let peer = Peer::from(addr);
        self.expel(addr);
        self.crash(peer);
        let number = FIRST_OUTSIDER + self.intruders;
        self.intruders += 1;
        self.outsiders.insert(peer, Outsider { number, sent: 0, intruder: Box::new(intruder), wake: None });
        self.schedule_outsider(peer);
    }

    /// Takes an intruder away.
    pub fn expel(&mut self, addr: SocketAddr) {
        let peer = Peer::from(addr);
        if let Some(wake) = self.outsiders.remove(&peer).and_then(|outsider| outsider.wake) {
            self.wakes.remove(&(wake, peer));
        }
    }

    pub(super) fn outsider_acts(&mut self, peer: Peer, received: Option<Datagram>) {
        let now = self.now;
        let Some(outsider) = self.outsiders.get_mut(&peer) else { return };
        let mut outbox = Outbox { addr: peer.addr(), now, datagrams: Vec::new() };
        match received {
            Some(datagram) => outsider.intruder.receive(now, datagram.from, &datagram.bytes, &mut outbox),
            None => outsider.intruder.act(now, &mut outbox),
        }
        for datagram in outbox.datagrams {
            outsider.sent += 1;
            *(if datagram.sent < now { &mut self.happened.recorded } else { &mut self.happened.lies }) += 1;
            self.network.send(datagram, outsider.number, outsider.sent, &mut self.happened);
        }
        self.schedule_outsider(peer);
    }

    fn schedule_outsider(&mut self, peer: Peer) {
        let Some(outsider) = self.outsiders.get_mut(&peer) else { return };
        let next = outsider.intruder.next();
        let due = (next != Instant::MAX).then(|| next.max(self.now));
        if let Some(old) = std::mem::replace(&mut outsider.wake, due) {
            self.wakes.remove(&(old, peer));
        }
        if let Some(due) = due {
            self.wakes.insert((due, peer));
        }
    }
}
