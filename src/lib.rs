//! Cluster membership, failure detection and shared state for programs that block.
//!
//! Each node owns a map of keys and values; gossip over UDP brings every map to every node; a φ accrual detector tells the
//! live from the failed. [`Gossiper`] is the handle of a running node and all that most programs need.
//!
//! ```
//! use grapevine::Gossiper;
//! use std::time::Duration;
//!
//! let interval = Duration::from_millis(50);
//! let first = Gossiper::builder().interval(interval).start()?;
//! let second = Gossiper::builder().interval(interval).seed(first.peer().to_string()).start()?;
//!
//! second.set("service/web", "10.0.0.7:80")?;
//! let found = first.wait_until(Duration::from_secs(10), |node| !node.entries("service/").is_empty());
//! assert!(found);
//! second.leave(Duration::from_secs(5))?;
//! # Ok::<(), grapevine::Error>(())
//! ```
//!
//! # The parts
//! The modules are listed below from bottom to top, and each names only those above it in the list. A program that drives nodes
//! itself, on virtual time or over another transport, starts at [`node::Node`], which is a plain value without clock,
//! socket, thread or dice, or at [`transport::Transport`].
//!
//! # The papers
//! Reconciliation and flow control: van Renesse, Dumitriu, Gough, Thomas, "Efficient Reconciliation and Flow Control for
//! Anti-Entropy Protocols", LADIS 2008. Detection: Hayashibara, Défago, Yared, Katayama, "The φ Accrual Failure
//! Detector", 2004. Where this library goes beyond them its documentation says so.

#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

// Vocabulary.
pub mod instant;
mod msgpack;
pub mod peer;
pub mod error;
#[cfg(feature = "encryption")]
pub mod keyring;
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
mod sync;
pub mod transport;
pub mod subscription;
mod threads;
// Face.
pub mod snapshot;
pub mod gossiper;
pub mod builder;
#[cfg(feature = "encryption")]
pub mod key_file;
// On top.
#[cfg(all(feature = "service", not(all(test, shuttle))))]
pub mod service;
#[cfg(feature = "sim")]
pub mod sim;

pub use builder::Builder;
pub use config::{Config, Limits};
pub use detector::DetectorConfig;
pub use error::Error;
pub use event::{Event, EventFilter, EventKind};
pub use gossiper::Gossiper;
pub use peer::{Peer, PeerInfo, PeerState};
pub use snapshot::{PeerEntry, Snapshot};
pub use stats::Stats;
pub use subscription::Subscription;
pub use value::Value;

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// So do those of the guide to services.
#[cfg(all(doctest, feature = "service"))]
#[doc = include_str!("../docs/SERVICES.md")]
struct Services;
