//! How datagrams get to other nodes and from them: UDP, or whatever else implements [`Transport`].

mod udp;

use std::io;
use std::net::SocketAddr;

pub use udp::UdpTransport;

/// Sends and receives datagrams. Its methods are called from several threads at once.
pub trait Transport: Send + Sync + 'static {
    /// The address that it is bound to.
    fn local_addr(&self) -> SocketAddr;

    /// Whether a datagram could be sent to such an address at all: the family fits.
    fn can_reach(&self, to: SocketAddr) -> bool;

    /// Sends a datagram without waiting, or hardly: gossip and whoever sets a key wait with it.
    ///
    /// # Errors
    /// What the system says; it is counted, and gossip goes on.
    fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()>;

    /// Waits for a datagram and writes it into `buffer`; one that is longer is cut. `None` after [`Transport::interrupt`], once
    /// everything that arrived before it was received, and whenever nothing came for a second or so.
    ///
    /// # Errors
    /// What the system says; it is counted, and the receiver thread tries again.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>>;

    /// Makes a waiting [`Transport::receive`], or else the next one, return `None` after all that waits. It must not wait for that: the
    /// receiving thread itself calls it, too.
    fn interrupt(&self);

    /// How many datagrams were dropped because the receive buffer was full, where that can be told.
    fn dropped(&self) -> Option<u64> {
        None
    }
}
