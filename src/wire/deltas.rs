//! Deltas: for each owner a head and its entries, one after the other in a `bin`.

use std::time::Duration;

use crate::instant::Instant;
use crate::msgpack::{Malformed, Reader, Write};
use crate::peer::Peer;
use crate::state::{Content, Delta, Entry};
use crate::value::Key;
use crate::wire::records::{put_owner, read_owner};

/// Appends one owner's delta, whose entries were put into `entries`. `base` is the generation in the message's header.
pub fn put_delta(out: &mut Vec<u8>, owner: Peer, delta: &Delta, entries: &[u8], base: u64) {
    put_owner(out, owner, delta.generation, base);
    out.put_uint(delta.from);
    out.put_uint(delta.to - delta.from);
    out.put_uint(delta.max - delta.to);
    out.put_uint(delta.floor);
    out.put_bin(entries);
}

/// What [`put_delta`] takes at most beside the entries.
pub(crate) const DELTA_HEAD_BYTES: usize = 20 + 9 + 4 * 9 + 3;

/// Appends an entry to those of one owner; `previous` is the version before it, at first the delta's `from`.
pub fn put_entry(out: &mut Vec<u8>, key: &Key, entry: &Entry, previous: u64, now: Instant) {
    put_entry_head(out, key, entry, previous, now);
    match (&entry.content, entry.deadline) {
        (Content::Value(_), Some(deadline)) if deadline <= now => out.put_bool(true),
        (Content::Value(value), _) => out.put_bin(value.as_bytes()),
        (Content::Deleted, _) => out.put_nil(),
        (Content::Expired, _) => out.put_bool(true),
    }
}

/// Appends a piece of an entry's value; `offset` and `end` are within the value's bytes.
pub fn put_piece(out: &mut Vec<u8>, key: &Key, entry: &Entry, previous: u64, now: Instant, offset: usize, end: usize) {
    let Content::Value(value) = &entry.content else { return };
    let bytes = value.as_bytes();
    let Some(piece) = bytes.get(offset..end) else { return };
    put_entry_head(out, key, entry, previous, now);
    out.put_uint(bytes.len() as u64);
    out.put_uint(offset as u64);
    out.put_bin(piece);
}

/// What [`put_entry`] takes at most for this entry.
pub fn entry_bytes(key: &Key, entry: &Entry) -> usize {
    let value = match &entry.content {
        Content::Value(value) => value.as_bytes().len(),
        Content::Deleted | Content::Expired => 0,
    };
    key.len() + value + ENTRY_HEAD_BYTES
}

/// What an entry or a piece takes at most beside the key and the bytes: lengths 3 + 5, version and life 9 each, and for a
/// piece total and offset 5 each.
pub(crate) const ENTRY_HEAD_BYTES: usize = 36;

fn put_entry_head(out: &mut Vec<u8>, key: &Key, entry: &Entry, previous: u64, now: Instant) {
    out.put_str(key);
    out.put_uint(entry.version.saturating_sub(previous));
    match entry.life(now) {
        Some(life) => out.put_uint(u64::try_from(life.as_millis()).unwrap_or(u64::MAX)),
        None => out.put_nil(),
    }
}

/// One owner's delta as it came.
#[derive(Clone, Debug)]
pub struct OwnerDelta<'a> {
    /// The owner.
    pub owner: Peer,
    /// The head.
    pub delta: Delta,
    /// The entries.
    pub entries: Entries<'a>,
}

/// Walks the deltas of a message; ends after the first malformed one.
#[derive(Clone, Debug)]
pub struct Deltas<'a> {
    reader: Reader<'a>,
    base: u64,
}

impl<'a> Deltas<'a> {
    pub(crate) fn new(bytes: &'a [u8], base: u64) -> Self {
        Deltas { reader: Reader::new(bytes), base }
    }

    /// Whether each of them can be read to its end.
    pub fn are_well_formed(&self) -> bool {
        self.clone().all(|part| part.is_ok_and(|mut part| part.entries.all(|entry| entry.is_ok())))
    }

    fn read(&mut self) -> Result<OwnerDelta<'a>, Malformed> {
        let (owner, generation) = read_owner(&mut self.reader, self.base)?;
        let from = self.reader.uint()?;
        let to = from.checked_add(self.reader.uint()?).ok_or(Malformed)?;
        let max = to.checked_add(self.reader.uint()?).ok_or(Malformed)?;
        let floor = self.reader.uint()?;
        let entries = Entries { reader: Reader::new(self.reader.bin()?), previous: from };
        Ok(OwnerDelta { owner, delta: Delta { generation, from, to, floor, max }, entries })
    }
}

impl<'a> Iterator for Deltas<'a> {
    type Item = Result<OwnerDelta<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let item = self.read();
        if item.is_err() {
            self.reader = Reader::default();
        }
        Some(item)
    }
}

/// An entry as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireEntry<'a> {
    /// The key.
    pub key: &'a str,
    /// Its version.
    pub version: u64,
    /// How much of its life is left.
    pub life: Option<Duration>,
    /// What stands under it.
    pub content: WireContent<'a>,
}

/// What stands under a key, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireContent<'a> {
    /// A whole value.
    Value(&'a [u8]),
    /// A tombstone.
    Deleted,
    /// A value whose life has ended.
    Expired,
    /// A piece of a value that does not fit a datagram. Nothing of its owner follows it in the message.
    Piece {
        /// The size of the whole value.
        total: u64,
        /// Where the piece begins.
        offset: u64,
        /// The piece.
        bytes: &'a [u8],
    },
}

/// Walks one owner's entries; ends after the first malformed one.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    reader: Reader<'a>,
    previous: u64,
}

impl<'a> Entries<'a> {
    fn read(&mut self) -> Result<WireEntry<'a>, Malformed> {
        let reader = &mut self.reader;
        let key = reader.str()?;
        let step = reader.uint()?;
        let version = self.previous.checked_add(step).filter(|_| step > 0).ok_or(Malformed)?;
        self.previous = version;
        let life = if reader.nil() { None } else { Some(Duration::from_millis(reader.uint()?)) };
        let content = if reader.nil() {
            WireContent::Deleted
        } else if reader.true_() {
            WireContent::Expired
        } else if reader.at_bin() {
            WireContent::Value(reader.bin()?)
        } else {
            WireContent::Piece { total: reader.uint()?, offset: reader.uint()?, bytes: reader.bin()? }
        };
        Ok(WireEntry { key, version, life, content })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<WireEntry<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let item = self.read();
        if item.is_err() {
            self.reader = Reader::default();
        }
        Some(item)
    }
}
