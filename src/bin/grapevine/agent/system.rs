//! What systemd is told by an agent that it started: `sd_notify(3)`.

use std::env;
use std::ffi::OsStr;
use std::io;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
#[cfg(target_os = "linux")]
use std::os::unix::ffi::OsStrExt;
#[cfg(target_os = "linux")]
use std::os::unix::net::SocketAddr;
use std::os::unix::net::UnixDatagram;

pub const READY: &str = "READY=1";
pub const STOPPING: &str = "STOPPING=1";

/// Tells whoever wants to know.
pub fn tell(state: &str) {
    let Some(address) = env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&address, state) {
        log::warn!("cannot tell systemd at {}: {error}", address.display());
    }
}

fn send(address: &OsStr, state: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    #[cfg(target_os = "linux")]
    if let Some(name) = address.as_bytes().strip_prefix(b"@") {
        // In the abstract name space, where user managers and containers have it.
        socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        return socket.send(state.as_bytes()).map(drop);
    }
    socket.send_to(state.as_bytes(), address).map(drop)
}
