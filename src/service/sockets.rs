//! TCP as services use it. The only file of them that names `socket2`.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::sync;

/// Connections that wait to be taken in.
const BACKLOG: i32 = 1_024;
/// A read that brings nothing ends this often, so that lines which take too long are noticed.
const READ_PATIENCE: Duration = Duration::from_secs(1);
/// A write waits so long for a reader, then a thread of its own goes on with it.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_millis(1);
/// A host that has gone without a word is noticed after a minute, be it that nothing is sent to it, or that nothing arrives.
#[cfg(any(target_os = "android", target_os = "linux"))]
const SILENCE: Duration = Duration::from_secs(60);
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10)).with_retries(3);

/// Listens on an address; `[::]` takes IPv4 as well.
pub(super) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(addr.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
    }
    // What is left of an earlier run's connections is no reason to refuse the address. On Windows it would take it from others.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Ends a waiting `accept`. Not every system does so for a socket that listens; a connection to it does on all.
pub(super) fn end_listening(listener: &TcpListener) {
    let _ = SockRef::from(listener).shutdown(Shutdown::Both);
}

pub(super) fn connect(addr: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, timeout)?;
    if stream.local_addr()? == addr {
        // Nobody listens there, and the system gave this socket that very port: it would talk to itself, and keep the address from
        // whoever comes back to it.
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    prepare(&stream)?;
    Ok(stream)
}

/// Makes a connection ready for lines.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(READ_PATIENCE))?;
    stream.set_write_timeout(Some(WRITE_PATIENCE))?;
    // Where the system has no such thing, calls end by their time-outs.
    let _ = SockRef::from(stream).set_tcp_keepalive(&KEEPALIVE);
    #[cfg(any(target_os = "android", target_os = "linux"))]
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(SILENCE));
    Ok(())
}

/// Reads until this is full. What takes longer is `TimedOut`.
pub(super) fn read_by(stream: &TcpStream, mut into: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !into.is_empty() {
        stream.set_read_timeout(Some(until(deadline)?))?;
        match { stream }.read(into) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => into = &mut into[read..],
            Err(error) if is_patient(&error) => {}
            Err(error) => return Err(error),
        }
    }
    stream.set_read_timeout(Some(READ_PATIENCE))
}

/// Writes all of this, which is little. What takes longer is `TimedOut`.
pub(super) fn write_by(stream: &TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        until(deadline)?;
        match { stream }.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if is_patient(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The time that is left.
fn until(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.checked_duration_since(sync::now()).filter(|left| !left.is_zero());
    left.ok_or_else(|| io::ErrorKind::TimedOut.into())
}

/// Whether it may be tried again: nothing came, or could be sent, in the time that one attempt has.
pub(super) fn is_patient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_does_not_talk_to_itself() {
        // With a port that nobody listens on, and that the system gives to about one socket in thirty thousand.
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let talks_to_itself = |_| connect(free, Duration::from_secs(1)).is_ok();
        assert!(!(0..40_000).any(talks_to_itself));
    }

    /// Where a process has no port or descriptor left to connect to itself.
    #[test]
    #[cfg(target_os = "linux")]
    fn whoever_waits_for_a_connection_can_be_told_to_end() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| listener.accept().map(drop));
            end_listening(&listener);
            assert!(waiting.join().unwrap().is_err());
        });
    }
}
