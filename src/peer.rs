//! Who a peer is: its advertised address, and what is known of it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

/// A peer's identity: the address and port that it advertises.
///
/// Kept as the IPv6 form (IPv4 as `::ffff:a.b.c.d`) and the port, so that one peer has one spelling whatever socket it was
/// seen through. Peers are ordered by address and then port: the order of the ring.
///
/// ```
/// use grapevine::peer::Peer;
///
/// let peer: Peer = "127.0.0.1:9000".parse()?;
/// assert_eq!(peer, "[::ffff:127.0.0.1]:9000".parse()?);
/// assert_eq!(peer.to_string(), "127.0.0.1:9000");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    // Integers, because comparing peers is most of what walking the ring costs: as bytes it took an eighth of an idle
    // node's time.
    ip_high: u64,
    ip_low: u64,
    port: u16,
}

impl Peer {
    /// The lowest place on the ring; no peer is there.
    pub(crate) const LOWEST: Peer = Peer { ip_high: 0, ip_low: 0, port: 0 };

    /// The address to send to.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::new(Ipv6Addr::from(self.ip()).to_canonical(), self.port)
    }

    /// Why nobody could be reached under this address, if so: an unspecified, multicast, broadcast or IPv6 link-local
    /// address (which means something else on every host), or port 0.
    pub fn unreachable_because(&self) -> Option<&'static str> {
        let ip = self.addr().ip();
        if self.port == 0 {
            return Some("its port is 0");
        }
        if ip.is_unspecified() {
            return Some("it is the unspecified address");
        }
        if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Some("it is a multicast or broadcast address");
        }
        match ip {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                Some("it is a link-local address, which other hosts cannot tell from their own")
            }
            _ => None,
        }
    }

    /// The bytes that stand for this peer in a datagram: 6 for IPv4, 18 for IPv6.
    pub(crate) fn to_wire(self) -> PeerBytes {
        let mut bytes = [0; 18];
        bytes[..16].copy_from_slice(&self.ip().to_be_bytes());
        bytes[16..].copy_from_slice(&self.port.to_be_bytes());
        PeerBytes { bytes, start: if self.is_ipv4() { 12 } else { 0 } }
    }

    /// The peer that these bytes stand for; `None` unless they are 6, or 18 that are no mapped IPv4 address.
    pub(crate) fn from_wire(bytes: &[u8]) -> Option<Peer> {
        if let Ok([a, b, c, d, port @ ..]) = <[u8; 6]>::try_from(bytes) {
            let addr = (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes(port));
            return Some(Peer::from(SocketAddr::from(addr)));
        }
        let bytes = <[u8; 18]>::try_from(bytes).ok()?;
        let (ip, port) = bytes.split_first_chunk::<16>()?;
        let addr = (Ipv6Addr::from(*ip), u16::from_be_bytes([port[0], port[1]]));
        Some(Peer::from(SocketAddr::from(addr))).filter(|peer| !peer.is_ipv4())
    }

    fn ip(self) -> u128 {
        u128::from(self.ip_high) << 64 | u128::from(self.ip_low)
    }

    fn is_ipv4(self) -> bool {
        self.ip_high == 0 && self.ip_low >> 32 == 0xffff
    }
}

/// A peer as it is written into datagrams.
pub(crate) struct PeerBytes {
    bytes: [u8; 18],
    start: usize,
}

impl std::ops::Deref for PeerBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl From<SocketAddr> for Peer {
    fn from(addr: SocketAddr) -> Peer {
        let ip = match addr.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let ip = u128::from(ip);
        Peer { ip_high: (ip >> 64) as u64, ip_low: ip as u64, port: addr.port() }
    }
}

impl FromStr for Peer {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Peer, Self::Err> {
        text.parse::<SocketAddr>().map(Peer::from)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.addr().fmt(f)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.addr().fmt(f)
    }
}

/// What this node thinks of a peer. Each node judges for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerState {
    /// Heard of, but its heartbeat was never seen to advance: no evidence that it runs.
    Known,
    /// Its heartbeat advances.
    Alive,
    /// It was alive, and the failure detector's φ reached the threshold.
    Failed,
    /// It said that it leaves.
    Left,
    /// It was dropped with its map; only its identity is remembered, so that hearsay does not bring it back.
    Forgotten,
}

impl PeerState {
    /// The state's name in lower case: `known`, `alive`, `failed`, `left` or `forgotten`.
    pub fn as_str(self) -> &'static str {
        match self {
            PeerState::Known => "known",
            PeerState::Alive => "alive",
            PeerState::Failed => "failed",
            PeerState::Left => "left",
            PeerState::Forgotten => "forgotten",
        }
    }
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One peer as this node sees it at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Its identity.
    pub peer: Peer,
    /// Which run of it: milliseconds since 1970 at its start. A restart is a higher generation.
    pub generation: u64,
    /// What this node thinks of it.
    pub state: PeerState,
    /// The number of its latest gossip round that is known of here; a run draws its first, below 96.
    pub heartbeat: u64,
    /// The suspicion level φ now; 0 for this node itself and for a peer never seen alive.
    pub phi: f64,
    /// How long ago its heartbeat was last seen to advance; `None` if never, zero for this node itself.
    pub last_advance: Option<Duration>,
    /// The highest version of its map that is held here.
    pub version: u64,
    /// How many readable keys of it are held here.
    pub keys: usize,
    /// What this node sent to its address, in bytes of UDP payload, since it was new here; 0 for this node itself.
    pub bytes_sent: u64,
    /// What came in its name; 0 for this node itself.
    pub bytes_received: u64,
    /// Whether it is this node itself.
    pub is_self: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_has_one_spelling() {
        let plain: Peer = "10.1.2.3:80".parse().unwrap();
        let mapped: Peer = "[::ffff:10.1.2.3]:80".parse().unwrap();
        assert_eq!(plain, mapped);
        assert_eq!(plain.to_wire().len(), 6);
        assert_eq!(Peer::from_wire(&plain.to_wire()), Some(plain));
        let six: Peer = "[2001:db8::1]:9000".parse().unwrap();
        assert_eq!(six.to_wire().len(), 18);
        assert_eq!(Peer::from_wire(&six.to_wire()), Some(six));
        assert_eq!(six.to_string(), "[2001:db8::1]:9000");
    }

    #[test]
    fn wire_form_is_canonical() {
        let plain: Peer = "10.1.2.3:80".parse().unwrap();
        let long = plain.to_wire().bytes;
        assert_eq!(Peer::from_wire(&long), None, "a mapped address in the long form would be a second spelling");
        for len in (0..40).filter(|len| *len != 6 && *len != 18) {
            assert_eq!(Peer::from_wire(&vec![1; len]), None);
        }
    }

    #[test]
    fn unreachable_addresses_are_told_apart() {
        for bad in
            ["0.0.0.0:1", "[::]:1", "1.2.3.4:0", "224.0.0.1:5", "255.255.255.255:5", "[ff02::1]:5", "[fe80::1]:5"]
        {
            assert!(bad.parse::<Peer>().unwrap().unreachable_because().is_some(), "{bad}");
        }
        for good in ["127.0.0.1:1", "[::1]:1", "10.0.0.1:9000", "[2001:db8::1]:65535"] {
            assert_eq!(good.parse::<Peer>().unwrap().unreachable_because(), None, "{good}");
        }
    }

    #[test]
    fn scope_and_flow_are_not_part_of_the_identity() {
        let addr = SocketAddr::V6(std::net::SocketAddrV6::new(Ipv6Addr::LOCALHOST, 7, 3, 9));
        assert_eq!(Peer::from(addr), "[::1]:7".parse().unwrap());
    }
}
