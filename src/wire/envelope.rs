//! What every datagram begins and ends with.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::msgpack::{Malformed, Reader, Write};
use crate::peer::Peer;
use crate::stats::Refusal;
use crate::wire::seal::Seal;

/// The version of the protocol that this library speaks.
pub const PROTOCOL_VERSION: u8 = 1;

/// The first two bytes of every datagram.
pub(super) const MAGIC: [u8; 2] = *b"GV";
/// The key id of datagrams that no key protects.
pub const NO_KEY: u8 = 0;
/// Magic, protocol version and key id.
pub const HEAD_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 4;
/// What follows the head of an encrypted datagram.
pub(super) const NONCE_BYTES: usize = 24;
/// What ends an encrypted datagram.
pub(super) const TAG_BYTES: usize = 16;
/// What surrounds the header and the message of a plain datagram.
pub const ENVELOPE_BYTES: usize = HEAD_BYTES + CHECKSUM_BYTES;
/// What surrounds the header and the message of an encrypted datagram.
pub const SEALED_ENVELOPE_BYTES: usize = HEAD_BYTES + NONCE_BYTES + TAG_BYTES;

/// What every message says of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// In the envelope: which key encrypts the rest, 0 for none.
    pub key_id: u8,
    /// The sender's cluster; empty in an encrypted datagram, where it is authenticated without being told.
    pub cluster: &'a str,
    /// The highest version of the protocol that the sender understands.
    pub speaks: u8,
    /// The sender's identity.
    pub sender: Peer,
    /// Which run of it. Generations in the message are told as differences from this one.
    pub generation: u64,
    /// For which run of which node the message was made, by its [hash](run_hash); 0 where the sender does not know who that is.
    pub receiver: u32,
    /// The token that the receiver gave to the sender: it proves that the sender receives at its address.
    pub echo: Option<u64>,
    /// A token for the receiver to return.
    pub token: Option<u64>,
}

impl Header<'_> {
    /// Begins a datagram at the end of `out` with this header for a message of the given kind.
    pub(super) fn begin(&self, kind: u8, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[PROTOCOL_VERSION, self.key_id]);
        out.put_uint(u64::from(kind));
        out.put_str(self.cluster);
        out.put_uint(u64::from(self.speaks));
        out.put_bin(&self.sender.to_wire());
        out.put_uint(self.generation);
        out.put_uint(u64::from(self.receiver));
        put_optional(out, self.echo);
        put_optional(out, self.token);
    }

    /// Ends the datagram that [`Header::begin`] began at `start`. One that is to be encrypted gets its tag then.
    pub(super) fn finish(&self, start: usize, out: &mut Vec<u8>) {
        if self.key_id == NO_KEY {
            let checksum = checksum(&out[start..]);
            out.extend_from_slice(&checksum);
        }
    }

    /// The size of the header and the envelope: what is left of a datagram is the message's.
    pub fn bytes(&self) -> usize {
        let envelope = if self.key_id == NO_KEY { ENVELOPE_BYTES } else { SEALED_ENVELOPE_BYTES };
        // kind, speaks: 1 each; cluster: at most 2 + n; sender: 2 + n; receiver: at most 5; generation, echo, token: at most 9 each.
        envelope + 2 + 2 + self.cluster.len() + 2 + self.sender.to_wire().len() + 5 + 27
    }
}

/// Opens a datagram, in `buffer` if it is encrypted: the kind of its message, its header, its message, and which of the keys it
/// was. Without a buffer only plain ones are taken.
pub(super) fn open<'a>(
    datagram: &'a [u8],
    seal: &Seal,
    buffer: Option<&'a mut Vec<u8>>,
) -> Result<(u8, Header<'a>, Reader<'a>, Option<usize>), Refusal> {
    if datagram.len() < ENVELOPE_BYTES || datagram[..2] != MAGIC {
        return Err(Refusal::Foreign);
    }
    if datagram[2] != PROTOCOL_VERSION {
        return Err(Refusal::UnknownVersion);
    }
    let key_id = datagram[3];
    let (body, key) = match key_id {
        NO_KEY if seal.takes_plain() => (check(datagram)?, None),
        NO_KEY => return Err(Refusal::Unencrypted),
        _ => {
            let (body, key) = seal.open(key_id, datagram, buffer.ok_or(Refusal::UnknownKey)?)?;
            (body, Some(key))
        }
    };
    let mut reader = Reader::new(body);
    let (kind, header) = read_header(&mut reader, key_id).map_err(|Malformed| Refusal::Malformed)?;
    Ok((kind, header, reader, key))
}

/// What is in a plain datagram, if its checksum is right.
fn check(datagram: &[u8]) -> Result<&[u8], Refusal> {
    let (checked, told) = datagram.split_at(datagram.len() - CHECKSUM_BYTES);
    if checksum(checked) == told { Ok(&checked[HEAD_BYTES..]) } else { Err(Refusal::Checksum) }
}

/// Finds corruption that the 16 bits of UDP's own checksum, which IPv4 may leave out, let pass. A hash that is here anyway
/// serves as well as a CRC, whose table alone would be 16 KiB of a small program.
pub fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    (hasher.finish() as u32).to_be_bytes()
}

/// What stands for a run of a node in [`Header::receiver`]; never 0.
pub fn run_hash(peer: Peer, generation: u64) -> u32 {
    let mut hasher = SipHasher13::new();
    hasher.write(&peer.to_wire());
    hasher.write(&generation.to_le_bytes());
    (hasher.finish() as u32).max(1)
}

fn read_header<'a>(reader: &mut Reader<'a>, key_id: u8) -> Result<(u8, Header<'a>), Malformed> {
    let kind = u8::try_from(reader.uint()?).map_err(|_| Malformed)?;
    let header = Header {
        key_id,
        cluster: reader.str()?,
        speaks: u8::try_from(reader.uint()?).map_err(|_| Malformed)?,
        sender: Peer::from_wire(reader.bin()?).ok_or(Malformed)?,
        generation: reader.uint()?,
        receiver: u32::try_from(reader.uint()?).map_err(|_| Malformed)?,
        echo: read_optional(reader)?,
        token: read_optional(reader)?,
    };
    // It was authenticated already.
    if key_id != NO_KEY && !header.cluster.is_empty() { Err(Malformed) } else { Ok((kind, header)) }
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
