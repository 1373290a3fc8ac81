//! What datagrams look like. docs/PROTOCOL.md tells the same for other languages, with test vectors.
//!
//! Decoding borrows from the datagram and allocates nothing; whatever is wrong is a [`Refusal`](crate::stats::Refusal) and no panic.

mod deltas;
mod envelope;
mod fields;
#[cfg(feature = "encryption")]
mod keys;
#[cfg(not(feature = "encryption"))]
#[path = "no_keys.rs"]
mod keys;
mod message;
mod records;
mod seal;

pub use crate::msgpack::Malformed;
pub(crate) use deltas::{DELTA_HEAD_BYTES, ENTRY_HEAD_BYTES};
pub use deltas::{Deltas, Entries, OwnerDelta, WireContent, WireEntry, entry_bytes, put_delta, put_entry, put_piece};
pub use envelope::{
    ENVELOPE_BYTES, HEAD_BYTES, Header, NO_KEY, PROTOCOL_VERSION, SEALED_ENVELOPE_BYTES, checksum, run_hash,
};
pub use message::{Answer, Columns, CompactDigest, DeltaMessage, Digest, End, Message, Opened, Rates, WantMessage};
pub use records::{Ints, Rows, Uints, Want, Wants, put_row, put_want};
pub use seal::Seal;
