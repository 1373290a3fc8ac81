//! What every datagram begins and ends with.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::msgpack::{Malformed, Reader, Write};
use crate::peer::Peer;
use crate::stats::Refusal;

/// The version of the protocol that this library speaks.
pub const PROTOCOL_VERSION: u8 = 1;

/// The first two bytes of every datagram.
const MAGIC: [u8; 2] = *b"GV";
/// The key id of datagrams that no key protects.
const NO_KEY: u8 = 0;
/// Magic, protocol version and key id before the body, checksum after it.
pub const ENVELOPE_BYTES: usize = 4 + CHECKSUM_BYTES;
const CHECKSUM_BYTES: usize = 4;

/// What every message says of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The sender's cluster.
    pub cluster: &'a str,
    /// The highest version of the protocol that the sender understands.
    pub speaks: u8,
    /// The sender's identity.
    pub sender: Peer,
    /// Which run of it. Generations in the message are told as differences from this one.
    pub generation: u64,
    /// The token that the receiver gave to the sender: it proves that the sender receives at its address.
    pub echo: Option<u64>,
    /// A token for the receiver to return.
    pub token: Option<u64>,
}

impl Header<'_> {
    /// Begins a datagram at the end of `out` with this header for a message of the given kind.
    pub(super) fn begin(&self, kind: u8, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[PROTOCOL_VERSION, NO_KEY]);
        out.put_uint(u64::from(kind));
        out.put_str(self.cluster);
        out.put_uint(u64::from(self.speaks));
        out.put_bin(&self.sender.to_wire());
        out.put_uint(self.generation);
        put_optional(out, self.echo);
        put_optional(out, self.token);
    }

    /// The size of the header and the envelope: what is left of a datagram is the message's.
    pub fn bytes(&self) -> usize {
        // kind, speaks: 1 each; cluster: at most 2 + n; sender: 2 + n; generation, echo, token: at most 9 each.
        ENVELOPE_BYTES + 2 + 2 + self.cluster.len() + 2 + self.sender.to_wire().len() + 27
    }
}

/// Ends the datagram that [`Header::begin`] began at `start`.
pub(super) fn finish(start: usize, out: &mut Vec<u8>) {
    let checksum = checksum(&out[start..]);
    out.extend_from_slice(&checksum);
}

/// Opens a datagram: the kind of its message, its header, and its message.
pub(super) fn open(datagram: &[u8]) -> Result<(u8, Header<'_>, Reader<'_>), Refusal> {
    let body_len = datagram.len().checked_sub(ENVELOPE_BYTES).ok_or(Refusal::Foreign)?;
    let (head, rest) = datagram.split_at(4);
    if head[..2] != MAGIC {
        return Err(Refusal::Foreign);
    }
    if head[2] != PROTOCOL_VERSION {
        return Err(Refusal::UnknownVersion);
    }
    if head[3] != NO_KEY {
        return Err(Refusal::UnknownKey);
    }
    let (body, told) = rest.split_at(body_len);
    if checksum(&datagram[..4 + body_len]) != told {
        return Err(Refusal::Checksum);
    }
    let mut reader = Reader::new(body);
    let (kind, header) = read_header(&mut reader).map_err(|Malformed| Refusal::Malformed)?;
    Ok((kind, header, reader))
}

/// Finds corruption that the 16 bits of UDP's own checksum, which IPv4 may leave out, let pass. A hash that is here anyway
/// serves as well as a CRC, whose table alone would be 16 KiB of a small program.
pub fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    (hasher.finish() as u32).to_be_bytes()
}

fn read_header<'a>(reader: &mut Reader<'a>) -> Result<(u8, Header<'a>), Malformed> {
    let kind = u8::try_from(reader.uint()?).map_err(|_| Malformed)?;
    let header = Header {
        cluster: reader.str()?,
        speaks: u8::try_from(reader.uint()?).map_err(|_| Malformed)?,
        sender: Peer::from_wire(reader.bin()?).ok_or(Malformed)?,
        generation: reader.uint()?,
        echo: read_optional(reader)?,
        token: read_optional(reader)?,
    };
    Ok((kind, header))
}

fn put_optional(out: &mut Vec<u8>, value: Option<u64>) {
    match value {
        Some(value) => out.put_uint(value),
        None => out.put_nil(),
    }
}

fn read_optional(reader: &mut Reader<'_>) -> Result<Option<u64>, Malformed> {
    if reader.nil() { Ok(None) } else { reader.uint().map(Some) }
}
