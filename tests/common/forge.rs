//! Datagrams that no node would send.

use std::net::SocketAddr;

use grapevine::Peer;
use grapevine::instant::Instant;
use grapevine::state::{Content, Delta, Entry, Mark, Progress, Row};
use grapevine::value::{Key, Value};
use grapevine::wire::{
    Answer, Columns, CompactDigest, DeltaMessage, Digest, End, Header, Message, Rates, Want, WantMessage,
};
use grapevine::wire::{WireContent, put_delta, put_entry, put_row, put_want};

/// Who the datagrams claim to come from.
#[derive(Clone, Copy)]
pub struct Forger<'a> {
    pub cluster: &'a str,
    pub sender: Peer,
    pub generation: u64,
    pub echo: Option<u64>,
    /// For which run its datagrams are made, by its hash; 0 for nobody in particular.
    pub receiver: u32,
}

impl Forger<'static> {
    /// Somebody at `10.9.9.9:9` who knows the cluster's name.
    pub fn new() -> Self {
        Forger {
            cluster: "grapevine",
            sender: peer("10.9.9.9:9"),
            generation: super::net::START_MS,
            echo: None,
            receiver: 0,
        }
    }
}

impl Forger<'_> {
    pub fn addr(&self) -> SocketAddr {
        self.sender.addr()
    }

    pub fn encode(&self, message: &Message<'_>) -> Vec<u8> {
        let header = Header {
            key_id: 0,
            cluster: self.cluster,
            speaks: 1,
            sender: self.sender,
            generation: self.generation,
            receiver: self.receiver,
            echo: self.echo,
            token: None,
        };
        let mut out = Vec::new();
        message.encode(&header, &mut out);
        out
    }

    /// A digest of the whole ring with these records, padded so that there may be a full answer.
    pub fn digest(&self, rows: &[Row]) -> Vec<u8> {
        self.digest_of(Some((rows[0].peer, rows[0].peer)), rows, 800)
    }

    /// A digest of these records only, as news is told.
    pub fn news(&self, rows: &[Row]) -> Vec<u8> {
        self.digest_of(None, rows, 0)
    }

    pub fn digest_of(&self, window: Option<(Peer, Peer)>, rows: &[Row], padding: usize) -> Vec<u8> {
        let records = &self.records(rows);
        self.encode(&Message::Digest(Digest { id: 7, window, rates: Rates::default(), records, padding }))
    }

    pub fn compact(&self, columns: Columns<'_>, maxima: &[u8]) -> Vec<u8> {
        self.encode(&Message::CompactDigest(CompactDigest { id: 7, rates: Rates::default(), columns, maxima }))
    }

    /// An answer to no digest in particular, with these records and deltas.
    pub fn answer(&self, rows: &[Row], deltas: &[u8]) -> Vec<u8> {
        let records = &self.records(rows);
        self.encode(&Message::Answer(Answer { records, deltas, ..Answer::default() }))
    }

    /// Deltas for no want in particular.
    pub fn delta(&self, deltas: &[u8]) -> Vec<u8> {
        self.encode(&Message::Delta(DeltaMessage { want_id: 0, sequence: 0, end: End::Complete, deltas }))
    }

    pub fn want(&self, credit: u8, wants: &[Want]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for want in wants {
            put_want(&mut bytes, want, self.generation);
        }
        self.encode(&Message::Want(WantMessage { want_id: 7, credit, wants: &bytes }))
    }

    pub fn records(&self, rows: &[Row]) -> Vec<u8> {
        let mut records = Vec::new();
        for row in rows {
            put_row(&mut records, row, self.generation);
        }
        records
    }

    /// One owner's delta with these keys, versions and values.
    pub fn part(&self, owner: Peer, delta: Delta, entries: &[(&str, u64, &str)]) -> Vec<u8> {
        let (mut bytes, mut before) = (Vec::new(), delta.from);
        for (key, version, value) in entries {
            let entry = Entry::new(*version, Content::Value(Value::encode(value).unwrap()), None);
            put_entry(&mut bytes, &Key::from(*key), &entry, before, Instant::ZERO);
            before = *version;
        }
        let mut out = Vec::new();
        put_delta(&mut out, owner, &delta, &bytes, self.generation);
        out
    }
}

/// A datagram written byte by byte: the sender as any bytes, the message as any body.
pub fn raw(sender: &[u8], kind: u64, body: &[u8]) -> Vec<u8> {
    let mut out = b"GV\x01\x00".to_vec();
    rmp::encode::write_uint(&mut out, kind).unwrap();
    rmp::encode::write_str(&mut out, "grapevine").unwrap();
    rmp::encode::write_uint(&mut out, 1).unwrap();
    rmp::encode::write_bin(&mut out, sender).unwrap();
    rmp::encode::write_uint(&mut out, super::net::START_MS).unwrap();
    out.extend_from_slice(&[0, 0xc0, 0xc0]);
    out.extend_from_slice(body);
    out.extend_from_slice(&[0; 4]);
    mend(&mut out);
    out
}

/// The body of a digest, without a window, with these bytes for records.
pub fn digest_body(records: &[u8]) -> Vec<u8> {
    let mut body = vec![7, 0xc0, 0, 0];
    rmp::encode::write_bin(&mut body, records).unwrap();
    body.push(0);
    body
}

/// The body of a delta message with these bytes for deltas.
pub fn delta_body(deltas: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0, 1];
    rmp::encode::write_bin(&mut body, deltas).unwrap();
    body
}

pub fn peer(addr: &str) -> Peer {
    addr.parse().unwrap()
}

pub fn row(peer: Peer, generation: u64, heartbeat: u64, max: u64) -> Row {
    Row { peer, heartbeat, progress: Progress { generation, max, floor: 0 }, mark: Mark::None }
}

/// Complete from one version to another, of an owner that is as far as that.
pub fn delta(generation: u64, from: u64, to: u64) -> Delta {
    Delta { generation, from, to, floor: 0, max: to }
}

/// Keys, versions and values of an owner in the deltas of a message to which it was answered with.
pub fn told(datagram: &[u8], owner: Peer) -> Vec<(String, u64, String)> {
    let (header, message) = Message::decode(datagram).unwrap();
    let deltas = match &message {
        Message::Answer(answer) => answer.deltas(header.generation),
        Message::Delta(delta) => delta.deltas(header.generation),
        _ => return Vec::new(),
    };
    let parts = deltas.map(Result::unwrap).filter(|part| part.owner == owner);
    let entries = parts.flat_map(|part| part.entries.map(Result::unwrap).collect::<Vec<_>>());
    let shown = |content: WireContent<'_>| match content {
        WireContent::Value(bytes) => Value::from_bytes(bytes).to_string(),
        other => format!("{other:?}"),
    };
    entries.map(|entry| (entry.key.to_owned(), entry.version, shown(entry.content))).collect()
}

/// The records in a message.
pub fn rows(datagram: &[u8]) -> Vec<Row> {
    let (header, message) = Message::decode(datagram).unwrap();
    match &message {
        Message::Digest(digest) => digest.rows(header.generation).map(Result::unwrap).collect(),
        Message::Answer(answer) => answer.rows(header.generation).map(Result::unwrap).collect(),
        _ => Vec::new(),
    }
}

/// What a message asks for.
pub fn wants(datagram: &[u8]) -> Vec<Want> {
    let (header, message) = Message::decode(datagram).unwrap();
    match &message {
        Message::Answer(answer) => answer.wants(header.generation).map(Result::unwrap).collect(),
        Message::Want(want) => want.wants(header.generation).map(Result::unwrap).collect(),
        _ => Vec::new(),
    }
}

/// The id of the digest or want in a message that asks for something.
pub fn asked(datagram: &[u8]) -> Option<u32> {
    match Message::decode(datagram).ok()?.1 {
        Message::Digest(digest) => Some(digest.id),
        Message::CompactDigest(digest) => Some(digest.id),
        Message::Want(want) => Some(want.want_id),
        Message::Answer(answer) => Some(answer.want_id).filter(|_| !answer.wants.is_empty()),
        Message::Delta(_) => None,
    }
}

/// An answer or delta for nothing in particular, as one for what has this id. Others stay as they are.
pub fn in_answer_to(id: u32, datagram: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match Message::decode(datagram) {
        Ok((header, Message::Answer(answer))) if answer.id == 0 => {
            Message::Answer(Answer { id, ..answer }).encode(&header, &mut out);
        }
        Ok((header, Message::Delta(delta))) if delta.want_id == 0 => {
            Message::Delta(DeltaMessage { want_id: id, ..delta }).encode(&header, &mut out);
        }
        _ => return datagram.to_vec(),
    }
    out
}

/// A plain datagram that was made for nobody in particular, made for this run instead. Others stay as they are.
pub fn made_for(receiver: u32, datagram: &[u8]) -> Vec<u8> {
    match Message::decode(datagram) {
        Ok((header, message)) if header.receiver == 0 => {
            let mut out = Vec::new();
            message.encode(&Header { receiver, ..header }, &mut out);
            out
        }
        _ => datagram.to_vec(),
    }
}

/// Computes the checksum anew after something was changed before it.
pub fn mend(datagram: &mut [u8]) {
    if let Some(end) = datagram.len().checked_sub(4) {
        let checksum = grapevine::wire::checksum(&datagram[..end]);
        datagram[end..].copy_from_slice(&checksum);
    }
}
