//! Where the control socket is when nobody says.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The port of an agent that was told none.
const DEFAULT_PORT: u16 = 9_000;

/// The control socket of the agent that gossips on this port, or on the default one.
pub fn default_control(port: Option<u16>) -> PathBuf {
    let port = port.unwrap_or(DEFAULT_PORT);
    folder().join(format!("grapevine-{port}.sock"))
}

/// The port on which an agent with these addresses gossips, if they say so; 0 for one that the system gives.
pub fn gossip_port(bind: Option<&str>, listen: Option<&str>) -> Option<u16> {
    let port = |addr: &str| addr.rsplit_once(':')?.1.parse().ok();
    match (bind, listen) {
        (Some(bind), _) => port(bind),
        (None, Some(listen)) => port_above(port(listen)?),
        (None, None) => None,
    }
}

/// Where an agent gossips that takes calls on this port and was told nothing else.
pub fn port_above(port: u16) -> Option<u16> {
    if port == 0 { Some(0) } else { port.checked_add(1) }
}

/// The address to which an agent is bound that was told none.
pub fn default_bind() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT))
}

fn folder() -> PathBuf {
    let of_this_user = || std::env::temp_dir().join(format!("grapevine-{}", rustix::process::getuid().as_raw()));
    runtime_folder().unwrap_or_else(of_this_user)
}

/// The system's folder for this user's sockets, if it has one.
fn runtime_folder() -> Option<PathBuf> {
    std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute())
}

/// Makes the folder for a control socket that nobody gave a path for.
pub fn prepare_default(control: &Path) -> Result<(), String> {
    if let (Some(folder), None) = (control.parent(), runtime_folder()) {
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(format!("cannot create the folder {}: {error}; give --control a path", folder.display()));
            }
            _ => {}
        }
    }
    check_default(control)
}

/// Whether the folder of such a socket, if there is one, is this user's alone: in a temporary folder others can put something there.
pub fn check_default(control: &Path) -> Result<(), String> {
    let Some(folder) = control.parent().filter(|_| runtime_folder().is_none()) else { return Ok(()) };
    match fs::symlink_metadata(folder) {
        Ok(is) if is.is_dir() && is.uid() == rustix::process::getuid().as_raw() && is.mode() & 0o077 == 0 => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(_) => Err(format!("the folder {} is not yours alone; give --control a path", folder.display())),
        Err(error) => Err(format!("cannot look at {}: {error}; give --control a path", folder.display())),
    }
}
