//! Services: actions that are registered by pattern and called wherever they run.
//!
//! A [`Service`] goes on top of a node. What it offers is told to every other node by gossip, calls go over TCP to whoever offers the
//! action, on [Seneca](https://senecajs.org)'s own wire: Seneca's clients can call what is registered here, and the other way round.
//!
//! ```
//! use grapevine::service::{Failure, Service};
//! use serde::{Deserialize, Serialize};
//! use std::time::Duration;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Numbers {
//!     left: i64,
//!     right: i64,
//! }
//! #[derive(Serialize, Deserialize)]
//! struct Sum {
//!     result: i64,
//! }
//!
//! let interval = Duration::from_millis(50);
//! let server = Service::builder().listen("127.0.0.1:0").interval(interval).start()?;
//! server.add("role:api,cmd:add", |numbers: Numbers| {
//!     let result = numbers.left.checked_add(numbers.right).ok_or(Failure::new("overflow", "too large"))?;
//!     Ok(Sum { result })
//! })?;
//!
//! let seed = server.node().peer().to_string();
//! let client = Service::builder().seed(seed).interval(interval).start()?;
//! assert!(client.wait_for("role:api,cmd:add", Duration::from_secs(10)));
//! let sum: Sum = client.act(("role:api,cmd:add", Numbers { left: 2, right: 3 }))?;
//! assert_eq!(sum.result, 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// The modules are listed from bottom to top, and each names only those above it in the list.
// Vocabulary.
mod error;
mod compare;
mod text;
mod pattern;
mod message;
mod offering;
mod config;
mod lock;
mod stats;
// Data.
mod json;
mod matcher;
mod wire;
// Edge.
mod threads;
mod oneshot;
mod sockets;
mod room;
mod keys;
mod frames;
mod greeting;
mod lines;
mod outbox;
mod pool;
// Calls to others.
mod connection;
mod provider;
mod routes;
mod directory;
// Calls from others.
mod actions;
mod answers;
mod shared;
mod caller;
mod requests;
mod server;
// Face.
mod cluster;
mod attempt;
mod call;
mod handle;
mod builder;

pub use actions::time_left;
pub use builder::ServiceBuilder;
pub use call::Call;
pub use config::ServiceConfig;
pub use error::{ActError, Failure};
pub use handle::Service;
pub use message::{IntoMessage, Message};
pub use offering::{ServiceEvent, ServiceInfo};
pub use pattern::{IntoPattern, Pattern, PatternError};
pub use stats::{Latency, ProviderStats, ServiceStats};
