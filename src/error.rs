//! What can go wrong for whoever calls this library. What strangers send is never an error here: it is counted.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::peer::Peer;

/// Every error of the library. Each variant says when it occurs and what state is left.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of its range, or contradicts another. Nothing was started.
    Config {
        /// The setting's name in [`Config`](crate::config::Config).
        setting: &'static str,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// The socket could not be bound or set up, most often because the address is in use. Nothing was started.
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A key is none, or keys cannot be held or changed so. The keyring is unchanged.
    Keyring(String),
    /// A key file cannot be read, written, or used. Neither the file nor the keyring is changed.
    KeyFile {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it and what would be right; nothing that is in it.
        problem: String,
    },
    /// A thread could not be started. Nothing is left running.
    Thread(io::Error),
    /// A value's own `Serialize` failed, or it is nested too deep. The map is unchanged.
    Encode(String),
    /// A value is not of the type asked for.
    Decode(String),
    /// A key is longer than [`Limits::key_bytes`](crate::config::Limits::key_bytes). The map is unchanged.
    KeyTooLong {
        /// The key's length in bytes.
        len: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// A key begins with [`RESERVED_PREFIX`](crate::value::RESERVED_PREFIX). The map is unchanged.
    ReservedKey {
        /// The key.
        key: String,
        /// How no key of a program may begin.
        prefix: &'static str,
    },
    /// An encoded value is larger than [`Limits::value_bytes`](crate::config::Limits::value_bytes). The map is unchanged.
    ValueTooLarge {
        /// The value's encoded size in bytes.
        len: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// The map would exceed [`Limits::keys`](crate::config::Limits::keys), tombstones of deleted keys included, or
    /// [`Limits::map_bytes`](crate::config::Limits::map_bytes). The map is unchanged.
    MapFull {
        /// Keys and tombstones held.
        keys: usize,
        /// Bytes held, as the limit counts them.
        bytes: usize,
    },
    /// `try_set` or `try_set_for` was called faster than [`permitted_rate`](crate::gossiper::Gossiper::permitted_rate) allows.
    /// The map is unchanged; try again after `retry_after`.
    RateExceeded {
        /// The rate in force, in bytes per second.
        permitted: f64,
        /// When the call would be let through.
        retry_after: Duration,
    },
    /// No such peer is known here.
    UnknownPeer(Peer),
    /// `forget` was called for a peer that is alive, or for this node itself. Nothing was forgotten.
    StillAlive(Peer),
    /// The node has left or was stopped. Reading goes on to give the last state.
    Stopped,
    /// One of the node's threads panicked, which is a bug in this library; the node was stopped.
    ThreadPanicked(&'static str),
    /// `leave` ran out of time before enough peers confirmed that they heard it. The node has stopped all the same.
    TimedOut(Duration),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Config { setting, problem } => write!(f, "the setting `{setting}` cannot be used: {problem}"),
            Error::Bind { addr, source } => match source.kind() {
                io::ErrorKind::AddrInUse => {
                    write!(f, "cannot bind {addr}: it is in use; stop the other program or choose another port")
                }
                io::ErrorKind::AddrNotAvailable => {
                    write!(
                        f,
                        "cannot bind {addr}: this machine has no such address; bind one of its own, or 0.0.0.0 or [::] with an `advertise` address"
                    )
                }
                _ => write!(f, "cannot bind {addr}: {source}"),
            },
            Error::Keyring(problem) => write!(f, "the keyring cannot be used so: {problem}"),
            Error::KeyFile { path, problem } => write!(f, "the key file {} cannot be used: {problem}", path.display()),
            Error::Thread(source) => write!(f, "cannot start a thread: {source}"),
            Error::Encode(problem) => write!(f, "the value cannot be encoded: {problem}"),
            Error::Decode(problem) => write!(f, "the value is not of the type asked for: {problem}"),
            Error::KeyTooLong { len, limit } => {
                write!(
                    f,
                    "the key has {len} bytes and the limit is {limit}; shorten it or raise `limits.key_bytes` on every node"
                )
            }
            Error::ReservedKey { key, prefix } => {
                write!(
                    f,
                    "the key {key:?} cannot be set or deleted: keys that begin with {prefix:?} belong to Grapevine itself; choose another one"
                )
            }
            Error::ValueTooLarge { len, limit } => {
                write!(
                    f,
                    "the value has {len} bytes and the limit is {limit}; split it or raise `limits.value_bytes` on every node"
                )
            }
            Error::MapFull { keys, bytes } => {
                write!(
                    f,
                    "the map is full with {keys} keys and tombstones in {bytes} bytes; delete keys, wait for tombstones to be collected, or raise `limits.keys` or `limits.map_bytes` on every node"
                )
            }
            Error::RateExceeded { permitted, retry_after } => {
                write!(
                    f,
                    "the cluster permits {permitted:.0} bytes per second from this node; try again in {retry_after:?}, or use `set`, which does not ask"
                )
            }
            Error::UnknownPeer(peer) => write!(f, "no peer {peer} is known here"),
            Error::StillAlive(peer) => {
                write!(f, "{peer} is alive, or this node itself; stop it, or wait until it is seen to have failed")
            }
            Error::Stopped => f.write_str("the node has stopped"),
            Error::ThreadPanicked(name) => {
                write!(f, "the node was stopped because its thread `{name}` panicked; this is a bug, please report it")
            }
            Error::TimedOut(after) => {
                write!(
                    f,
                    "too few peers confirmed within {after:?} that they heard this node leave; it has stopped all the same, and some may list it as failed; give `leave` several intervals"
                )
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Bind { source, .. } | Error::Thread(source) => Some(source),
            _ => None,
        }
    }
}
