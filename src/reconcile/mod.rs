//! Reconciliation: what goes into digests and deltas, how a node that is behind catches up at once, and how news is told
//! before the next round. State machines without time or sockets of their own; [`Node`](crate::node::Node) drives them.

mod catch_up;
mod digests;
mod news;
mod pack;

pub use catch_up::{CatchUp, Session};
pub use digests::{DigestSet, PreparedDigest};
pub(crate) use digests::{heartbeat_difference, heartbeat_told};
pub use news::News;
pub use pack::{Packed, Room, deepest_first, pack_owner, waiting_entries};
