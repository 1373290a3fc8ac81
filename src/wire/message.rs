//! The messages: digest → answer → delta, and the want that asks on.

use crate::msgpack::Reader;
use crate::peer::Peer;
use crate::state::Fingerprint;
use crate::stats::Refusal;
use crate::wire::envelope::{Header, open};
use crate::wire::seal::Seal;

const DIGEST: u8 = 1;
const COMPACT_DIGEST: u8 = 2;
const ANSWER: u8 = 3;
const DELTA: u8 = 4;
const WANT: u8 = 5;

/// The rates of flow control, in bytes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// At which the sender wants to write.
    pub wanted: u64,
    /// At which it may.
    pub permitted: u64,
}

/// What the sender knows of the peers in a window of the ring, in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest<'a> {
    /// Returned by the answer.
    pub id: u32,
    /// From one place on the ring until another, the whole ring if they are the same. Of the peers in it that are not among
    /// the records the sender knows nothing. Without a window only the records count: news of single owners.
    pub window: Option<(Peer, Peer)>,
    /// For flow control.
    pub rates: Rates,
    /// Member records in the order of the ring from the window's start.
    pub records: &'a [u8],
    /// How many bytes of nothing follow, so that the answer may be longer (three-times rule).
    pub padding: usize,
}

/// What moves while nothing happens, of all the peers in a window, in columns. It says something only to a node that has
/// the same roster there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns<'a> {
    /// The window.
    pub window: (Peer, Peer),
    /// The sum of the records' roster hashes.
    pub roster: u64,
    /// A heartbeat is told as its difference from (base − generation) ÷ tick.
    pub base: u64,
    /// See `base`; in milliseconds, at least 1.
    pub tick: u64,
    /// One signed integer for each record.
    pub heartbeats: &'a [u8],
}

/// A digest for a node that is thought to have the same roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactDigest<'a> {
    /// Returned by the answer.
    pub id: u32,
    /// For flow control.
    pub rates: Rates,
    /// The window, its roster and its heartbeats.
    pub columns: Columns<'a>,
    /// The highest version held of each record's map, one unsigned integer for each.
    pub maxima: &'a [u8],
}

/// The answer to a digest: what the answerer has newer, and what it wants. By default it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The digest's.
    pub id: u32,
    /// The rest of the window, if the records did not all fit.
    pub rest: Option<(Peer, Peer)>,
    /// What flow control adds to the digest's sender's permitted rate, in bytes per second.
    pub rate_change: i64,
    /// What the copy of the asker's map comes to that is held here, of the run from which the digest came.
    pub fingerprint: Option<Fingerprint>,
    /// Newer heartbeats, if the rosters are the same; `None` if none is newer.
    pub columns: Option<Columns<'a>>,
    /// Member records that are newer here, or that the digest lacks.
    pub records: &'a [u8],
    /// Identifies what comes in answer to `wants`.
    pub want_id: u32,
    /// How many datagrams may come in answer to `wants`.
    pub credit: u8,
    /// What the answerer wants.
    pub wants: &'a [u8],
    /// What the answerer has newer.
    pub deltas: &'a [u8],
}

/// Part of what was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaMessage<'a> {
    /// The want's.
    pub want_id: u32,
    /// The place of this datagram among those that answer the want, from 0.
    pub sequence: u8,
    /// Whether it is the last of them.
    pub end: End,
    /// The deltas.
    pub deltas: &'a [u8],
}

/// Whether more follows a delta message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Another datagram follows.
    No,
    /// That was all.
    Complete,
    /// The credit is used up, but not what was wanted.
    CreditUsed,
}

/// What a node wants, in the middle of catching up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantMessage<'a> {
    /// Returned by what comes.
    pub want_id: u32,
    /// How many datagrams may come.
    pub credit: u8,
    /// What is wanted.
    pub wants: &'a [u8],
}

/// A datagram that could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// What it says of its sender.
    pub header: Header<'a>,
    /// What it says.
    pub message: Message<'a>,
    /// Which of the keys it was encrypted with, counted from the first; `None` if it was plain.
    pub key: Option<usize>,
}

/// Any of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Each is what its payload says.
pub enum Message<'a> {
    Digest(Digest<'a>),
    CompactDigest(CompactDigest<'a>),
    Answer(Answer<'a>),
    Delta(DeltaMessage<'a>),
    Want(WantMessage<'a>),
}

impl<'a> Message<'a> {
    /// Appends the datagram to `out`. One with a key id is to be [sealed](Seal::seal) before it is sent.
    pub fn encode(&self, header: &Header<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        header.begin(self.kind(), out);
        match self {
            Message::Digest(digest) => digest.write(out),
            Message::CompactDigest(digest) => digest.write(out),
            Message::Answer(answer) => answer.write(out),
            Message::Delta(delta) => delta.write(out),
            Message::Want(want) => want.write(out),
        }
        header.finish(start, out);
    }

    /// Reads a plain datagram. The sequences in `bin`s are checked when they are walked.
    ///
    /// # Errors
    /// The reason why the datagram cannot be used.
    pub fn decode(datagram: &'a [u8]) -> Result<(Header<'a>, Message<'a>), Refusal> {
        let (kind, header, reader, _) = open(datagram, &Seal::NONE, None)?;
        Message::read(kind, reader).map(|message| (header, message))
    }

    /// Reads a datagram, plain or encrypted, as far as `seal` takes it. An encrypted one is decrypted into `buffer`, which then grows to
    /// its size.
    ///
    /// # Errors
    /// The reason why the datagram cannot be used.
    pub fn open(datagram: &'a [u8], seal: &Seal, buffer: &'a mut Vec<u8>) -> Result<Opened<'a>, Refusal> {
        let (kind, header, reader, key) = open(datagram, seal, Some(buffer))?;
        Message::read(kind, reader).map(|message| Opened { header, message, key })
    }

    fn read(kind: u8, mut reader: Reader<'a>) -> Result<Message<'a>, Refusal> {
        let message = match kind {
            DIGEST => Digest::read(&mut reader).map(Message::Digest),
            COMPACT_DIGEST => CompactDigest::read(&mut reader).map(Message::CompactDigest),
            ANSWER => Answer::read(&mut reader).map(Message::Answer),
            DELTA => DeltaMessage::read(&mut reader).map(Message::Delta),
            WANT => WantMessage::read(&mut reader).map(Message::Want),
            _ => return Err(Refusal::UnknownKind),
        };
        match message {
            Ok(message) if reader.is_empty() => Ok(message),
            _ => Err(Refusal::Malformed),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Message::Digest(_) => DIGEST,
            Message::CompactDigest(_) => COMPACT_DIGEST,
            Message::Answer(_) => ANSWER,
            Message::Delta(_) => DELTA,
            Message::Want(_) => WANT,
        }
    }
}
