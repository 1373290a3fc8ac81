//! What connections are protected with: the keys of the node, by the Noise protocol; or nothing. docs/PROTOCOL.md tells the bytes.

#[cfg(feature = "encryption")]
mod noise;
#[cfg(feature = "encryption")]
mod ring;
#[cfg(not(feature = "encryption"))]
#[path = "none.rs"]
mod ring;

#[cfg(test)]
#[cfg(feature = "encryption")]
pub(super) use noise::tests::sessions;
pub(super) use ring::{Keys, Protection, Session};

/// What the first message of a handshake begins with: whose it is, the version, and which key; as a datagram does.
pub(super) const MAGIC: [u8; 2] = *b"GV";
pub(super) const PREAMBLE_BYTES: usize = 4;
/// Each of the two messages: a public key and a tag.
pub(super) const MESSAGE_BYTES: usize = 48;
/// By so much what is sealed is longer than what is in it.
pub(super) const TAG_BYTES: usize = 16;

/// What a caller sends first.
pub(super) type Hello = [u8; PREAMBLE_BYTES + MESSAGE_BYTES];
/// What it is answered.
pub(super) type Answer = [u8; MESSAGE_BYTES];

/// Why a handshake is not answered: what it is counted as, and what people are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) &'static str, pub(super) &'static str);
