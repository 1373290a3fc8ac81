//! A network that loses datagrams.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use grapevine::transport::{Transport, UdpTransport};

/// UDP that drops a part of what it receives, each datagram by a throw of the dice.
pub struct Lossy {
    udp: UdpTransport,
    /// The chance of each datagram to be lost, 0 to 1.
    chance: f64,
    dice: Mutex<fastrand::Rng>,
}

impl Lossy {
    pub fn new(udp: UdpTransport, percent: f64) -> Self {
        Lossy { udp, chance: percent / 100.0, dice: Mutex::new(super::dice()) }
    }

    fn is_lost(&self) -> bool {
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        dice.f64() < self.chance
    }
}

impl Transport for Lossy {
    fn local_addr(&self) -> SocketAddr {
        self.udp.local_addr()
    }

    fn can_reach(&self, to: SocketAddr) -> bool {
        self.udp.can_reach(to)
    }

    fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        self.udp.send(to, datagram)
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        loop {
            // An interruption is `None` and never lost.
            match self.udp.receive(buffer)? {
                Some(_) if self.is_lost() => {}
                received => return Ok(received),
            }
        }
    }

    fn interrupt(&self) {
        self.udp.interrupt();
    }

    fn dropped(&self) -> Option<u64> {
        self.udp.dropped()
    }
}
