//! What datagrams look like. docs/PROTOCOL.md tells the same for other languages, with test vectors.
//!
//! Decoding borrows from the datagram and allocates nothing; whatever is wrong is a [`Refusal`](crate::stats::Refusal) and no panic.

mod deltas;
mod envelope;
mod message;
mod records;

pub use crate::msgpack::Malformed;
pub(crate) use deltas::{DELTA_HEAD_BYTES, ENTRY_HEAD_BYTES};
pub use deltas::{Deltas, Entries, OwnerDelta, WireContent, WireEntry, entry_bytes, put_delta, put_entry, put_piece};
pub use envelope::{ENVELOPE_BYTES, Header, PROTOCOL_VERSION, checksum};
pub use message::{Answer, Columns, CompactDigest, DeltaMessage, Digest, End, Message, Rates, WantMessage};
pub use records::{Ints, Rows, Uints, Want, Wants, put_row, put_want};
