//! What datagrams look like. docs/PROTOCOL.md tells the same for other languages, with test vectors.
//!
//! Decoding borrows from the datagram and allocates nothing; whatever is wrong is a [`Refusal`] and no panic.

mod deltas;
mod envelope;
mod message;
mod records;

pub use crate::msgpack::Malformed;
pub use deltas::{entry_bytes, put_delta, put_entry, put_piece, Deltas, Entries, OwnerDelta, WireContent, WireEntry};
pub(crate) use deltas::{DELTA_HEAD_BYTES, ENTRY_HEAD_BYTES};
pub use envelope::{checksum, Header, ENVELOPE_BYTES, PROTOCOL_VERSION};
pub use message::{Answer, Columns, CompactDigest, DeltaMessage, Digest, End, Message, Rates, WantMessage};
pub use records::{put_row, put_want, Ints, Rows, Uints, Want, Wants};
