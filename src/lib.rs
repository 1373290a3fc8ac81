#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]
//! Grapevine.

// Vocabulary.
pub mod instant;
mod msgpack;
pub mod peer;
pub mod error;
pub mod value;
pub mod event;
pub mod stats;
// Data.
pub mod detector;
pub mod config;
pub mod state;
// Protocol.
pub mod wire;
pub mod flow;
pub mod reconcile;
pub mod select;
// Core.
pub mod node;
// Edge.
pub mod transport;
pub mod subscription;
mod threads;
// Face.
pub mod snapshot;
pub mod gossiper;
pub mod builder;

pub use builder::Builder;
pub use config::Config;
pub use error::Error;
pub use event::{Event, EventFilter, EventKind};
pub use gossiper::Gossiper;
pub use peer::{Peer, PeerInfo, PeerState};
pub use value::Value;
