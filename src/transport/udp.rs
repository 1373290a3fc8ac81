//! UDP over IPv4, IPv6 or both. The only file that names `socket2`.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::transport::Transport;

/// Asked of the kernel for the receive buffer: room for a thousand datagrams of 1,400 bytes, which take up 2,304 bytes
/// each there. What the system allows (`net.core.rmem_max`) may be less.
const RECEIVE_BUFFER_BYTES: usize = 2 << 20;
/// A receiver that hears nothing looks up this often, in case an interruption was lost.
const RECEIVE_PATIENCE: Duration = Duration::from_secs(1);

/// Where the system holds up a datagram for longer, it is lost, as others are: nobody waits for a full queue.
const SEND_PATIENCE: Duration = Duration::from_millis(1);

/// A UDP socket.
#[derive(Debug)]
pub struct UdpTransport {
    socket: UdpSocket,
    local: SocketAddr,
    /// Where this socket reaches itself.
    loopback: SocketAddr,
    /// Whether IPv4 destinations have to be written as IPv6 ones.
    dual_stack: bool,
    /// Names the socket in the kernel's statistics.
    inode: Option<u64>,
}

impl UdpTransport {
    /// Binds a socket. `[::]` takes IPv4 as well.
    ///
    /// # Errors
    /// What the system says, an address in use above all.
    pub fn bind(addr: SocketAddr) -> io::Result<UdpTransport> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        let dual_stack = addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        if addr.is_ipv6() {
            socket.set_only_v6(!dual_stack)?;
        }
        // A smaller buffer than asked for is no reason not to start: lost datagrams are counted.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        socket.bind(&addr.into())?;
        let socket = UdpSocket::from(socket);
        socket.set_read_timeout(Some(RECEIVE_PATIENCE))?;
        socket.set_write_timeout(Some(SEND_PATIENCE))?;
        let local = socket.local_addr()?;
        let loopback = match local.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let inode = inode(&socket);
        Ok(UdpTransport { socket, local, loopback: SocketAddr::new(loopback, local.port()), dual_stack, inode })
    }
}

impl Transport for UdpTransport {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn can_reach(&self, to: SocketAddr) -> bool {
        self.dual_stack || to.is_ipv4() == self.local.is_ipv4()
    }

    fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        let to = match to {
            SocketAddr::V4(v4) if self.dual_stack => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
            other => other,
        };
        self.socket.send_to(datagram, to).map(|_| ())
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        loop {
            return match self.socket.recv_from(buffer) {
                Ok((0, from)) if canonical(from) == self.loopback => Ok(None),
                Ok((len, from)) => Ok(Some((len, canonical(from)))),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(None),
                // A signal says nothing of what waits in the socket.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }

    fn interrupt(&self) {
        // An empty datagram to oneself: the socket's queue is in order, so what came before it is received before it.
        let _ = self.socket.send_to(&[], self.loopback);
    }

    fn dropped(&self) -> Option<u64> {
        let table = if self.local.is_ipv4() { "/proc/self/net/udp" } else { "/proc/self/net/udp6" };
        let inode = self.inode?.to_string();
        let text = fs::read_to_string(table).ok()?;
        // Columns: slot, addresses, state, queues, timer, retransmits, uid, timeout, inode (the tenth) … drops (the last).
        let line = text.lines().find(|line| line.split_whitespace().nth(9) == Some(inode.as_str()))?;
        line.split_whitespace().last()?.parse().ok()
    }
}

/// IPv4 addresses that a dual-stack socket shows as IPv6 ones, as what they are.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(unix)]
fn inode(socket: &UdpSocket) -> Option<u64> {
    use std::fs::File;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::MetadataExt;
    let file = File::from(OwnedFd::from(socket.try_clone().ok()?));
    file.metadata().ok().map(|metadata| metadata.ino())
}

#[cfg(not(unix))]
fn inode(_: &UdpSocket) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(addr: &str) -> UdpTransport {
        UdpTransport::bind(addr.parse().unwrap()).unwrap()
    }

    #[test]
    fn dual_stack_talks_to_both_families() {
        let both = bound("[::]:0");
        let mut buffer = [0; 16];
        for other in [bound("127.0.0.1:0"), bound("[::1]:0")] {
            let both_addr = SocketAddr::new(other.local_addr().ip(), both.local_addr().port());
            other.send(both_addr, b"hello").unwrap();
            let (len, from) = both.receive(&mut buffer).unwrap().unwrap();
            assert_eq!((&buffer[..len], from), (&b"hello"[..], other.local_addr()));
            both.send(from, b"back").unwrap();
            let (len, from) = other.receive(&mut buffer).unwrap().unwrap();
            assert_eq!((&buffer[..len], from), (&b"back"[..], both_addr));
        }
    }

    #[test]
    fn an_interruption_comes_after_what_waits() {
        for addr in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let socket = bound(addr);
            socket.send(socket.loopback, b"x").unwrap();
            socket.interrupt();
            let mut buffer = [0; 16];
            assert!(socket.receive(&mut buffer).unwrap().is_some(), "{addr}");
            assert!(socket.receive(&mut buffer).unwrap().is_none(), "{addr}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn datagrams_dropped_by_the_kernel_are_counted() {
        let socket = bound("127.0.0.1:0");
        assert_eq!(socket.dropped(), Some(0));
        for _ in 0..10_000 {
            socket.send(socket.loopback, &[7; 1_400]).unwrap();
        }
        assert!(socket.dropped().unwrap() > 0);
    }

    #[test]
    fn an_address_in_use_is_an_error() {
        let first = bound("127.0.0.1:0");
        let error = UdpTransport::bind(first.local_addr()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
