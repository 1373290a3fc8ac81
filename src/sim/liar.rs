//! A node that lies: well-formed datagrams of the right cluster, with whatever could do harm in them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;

use crate::config::Config;
use crate::instant::Instant;
use crate::msgpack::Write;
use crate::peer::Peer;
use crate::sim::clock::START_MS;
use crate::sim::dice::{Dice, Purpose};
use crate::sim::intruder::{Intruder, Outbox};
use crate::state::{Content, Delta, Entry, Fingerprint, Mark, Progress, Row};
use crate::value::{Key, Value};
use crate::wire::{
    Answer, Columns, CompactDigest, DeltaMessage, Digest, End, Header, Message, NO_KEY, Opened, Rates, Seal, Want,
    WantMessage,
};
use crate::wire::{put_delta, put_entry, put_row, put_want, run_hash};

/// How often it lies to somebody.
const EVERY: Duration = Duration::from_millis(150);
/// Datagrams that it keeps to send again.
const MAX_RECORDED: usize = 500;
/// Invented peers in one datagram: what fits.
const INVENTED_AT_ONCE: usize = 40;
/// What it says fits this.
const MAX_DATAGRAM: usize = 1_400;

/// What a [`Liar`] lies about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Lie {
    /// To a node, about itself: that it left, is forgotten, beats faster, has other keys.
    OwnState,
    /// Versions, heartbeats, floors, generations, rates and fingerprints near 2⁶⁴, of others and of itself, in every kind of message.
    HugeNumbers,
    /// Peers that do not exist, by the thousand, some of them with heartbeats that advance.
    InventedPeers,
    /// Of third parties: keys that they never wrote, floors that they never had, that they left or are forgotten.
    ThirdParties,
    /// Datagrams that it received earlier, sent again to others and to whoever sent them.
    OldDatagrams,
    /// In the name of another, from its own address or from the other's: digests whose numbers are far ahead, wants, answers.
    Impersonation,
}

impl Lie {
    /// All of them.
    pub const ALL: [Lie; 6] =
        [Lie::OwnState, Lie::HugeNumbers, Lie::InventedPeers, Lie::ThirdParties, Lie::OldDatagrams, Lie::Impersonation];
}

/// An [`Intruder`] that knows the name of the cluster and takes part in it, to lie.
pub struct Liar {
    me: Peer,
    cluster: String,
    seal: Seal,
    lies: Vec<Lie>,
    dice: Rng,
    next: Instant,
    heartbeat: u64,
    /// Whom it knows: those whom it was told to start with, and those it has heard of, with what is known of them.
    known: BTreeMap<Peer, Row>,
    heard: BTreeMap<SocketAddr, Heard>,
    recorded: Vec<(SocketAddr, Vec<u8>)>,
    invented: u32,
}

impl Liar {
    /// One at this address, who knows these nodes from the start, the name of their cluster, and its keys.
    pub fn new(seed: u64, addr: SocketAddr, config: &Config, nodes: &[Peer], lies: &[Lie]) -> Liar {
        let me = Peer::from(addr);
        let unknown = |peer: &Peer| (*peer, row(*peer, START_MS, 0, 0));
        Liar {
            me,
            cluster: config.cluster.clone(),
            #[cfg(feature = "encryption")]
            seal: config.keyring.as_ref().map_or(Seal::NONE, |keyring| Seal::new(keyring, &config.cluster)),
            #[cfg(not(feature = "encryption"))]
            seal: Seal::NONE,
            lies: lies.to_vec(),
            dice: Dice::new(seed, [me.addr().port().into(), 0]).rng(Purpose::Lie),
            next: Instant::ZERO,
            heartbeat: 0,
            known: nodes.iter().map(unknown).collect(),
            heard: BTreeMap::new(),
            recorded: Vec::new(),
            invented: 0,
        }
    }

    fn encode(&mut self, to: SocketAddr, message: &Message<'_>) -> Vec<u8> {
        self.encode_as((self.me, START_MS), to, message)
    }

    /// As if this run of this peer said it.
    fn encode_as(&mut self, (sender, generation): (Peer, u64), to: SocketAddr, message: &Message<'_>) -> Vec<u8> {
        let Heard { receiver, echo, .. } = self.heard.get(&to).copied().unwrap_or_default();
        let key_id = self.seal.key_id();
        let cluster = if key_id == NO_KEY { &self.cluster } else { "" };
        let header = Header { key_id, cluster, speaks: 1, sender, generation, receiver, echo, token: Some(1) };
        let mut datagram = Vec::new();
        message.encode(&header, &mut datagram);
        if key_id == NO_KEY {
            return datagram;
        }
        let (mut nonce, mut sealed) = ([0; 24], Vec::new());
        self.dice.fill(&mut nonce);
        self.seal.seal(&datagram, &nonce, &mut sealed);
        sealed
    }

    /// Says these records as news.
    fn tell(&mut self, to: SocketAddr, rows: &[Row], outbox: &mut Outbox) {
        let mut rows = rows.to_vec();
        rows.sort_unstable_by_key(|row| row.peer);
        rows.dedup_by_key(|row| row.peer);
        let mut records = Vec::new();
        for row in &rows {
            let before = records.len();
            put_row(&mut records, row, START_MS);
            if records.len() > MAX_DATAGRAM - 200 {
                records.truncate(before);
            }
        }
        let id = self.dice.u32(1..);
        let digest = Digest { id, window: None, rates: self.rates(), records: &records, padding: 0 };
        let datagram = self.encode(to, &Message::Digest(digest));
        outbox.send(to, datagram);
    }

    fn rates(&mut self) -> Rates {
        Rates { wanted: self.number(), permitted: self.number() }
    }

    /// A number at which arithmetic could go wrong.
    fn number(&mut self) -> u64 {
        let around = [0, 1, 1 << 31, 1 << 32, 1 << 53, 1 << 63, u64::MAX - 1, u64::MAX];
        let number = self.dice.choice(around).unwrap_or(0);
        number.wrapping_add(self.dice.u64(0..3))
    }

    fn somebody(&mut self) -> Option<Row> {
        let rows: Vec<Row> = self.known.values().copied().collect();
        self.dice.choice(rows)
    }

    fn lie(&mut self, now: Instant, to: SocketAddr, lie: Lie, outbox: &mut Outbox) {
        match lie {
            Lie::OwnState => {
                let Some(about) = self.known.get(&Peer::from(to)).copied() else { return };
                let about = self.distorted(about);
                self.tell(to, &[about], outbox);
                self.forge(to, about, outbox);
            }
            Lie::ThirdParties => {
                let Some(about) = self.somebody() else { return };
                let about = self.distorted(about);
                self.tell(to, &[about], outbox);
                self.forge(to, about, outbox);
            }
            Lie::HugeNumbers => {
                let me = row(self.me, START_MS, self.heartbeat, 1);
                let Some(mut about) = self.somebody().map(|other| if self.dice.bool() { other } else { me }) else {
                    return;
                };
                match self.dice.u8(0..5) {
                    0 => about.heartbeat = self.number(),
                    1 => about.progress.max = self.number(),
                    2 => about.progress.floor = self.number(),
                    3 => about.progress.generation = self.number(),
                    // Up to the edge of what is believed, and beyond.
                    _ => about.progress.generation = START_MS + now.as_micros() / 1000 + self.dice.u64(0..100_000_000),
                }
                self.tell(to, &[about], outbox);
                self.forge(to, about, outbox);
                self.want(to, about, outbox);
            }
            Lie::InventedPeers => {
                let rows: Vec<Row> = (0..INVENTED_AT_ONCE).map(|_| self.invent(now)).collect();
                self.tell(to, &rows, outbox);
            }
            Lie::Impersonation => self.impersonate(to, outbox),
            Lie::OldDatagrams => {
                let Some((from, datagram)) = self.dice.choice(&self.recorded).cloned() else { return };
                let back = self.dice.bool();
                let to = if back { from } else { to };
                match self.dice.bool() {
                    true => outbox.send_as(from, to, datagram),
                    false => outbox.send(to, datagram),
                }
            }
        }
    }

    /// Says something as if it were another.
    fn impersonate(&mut self, to: SocketAddr, outbox: &mut Outbox) {
        let Some(other) = self.somebody().filter(|other| other.peer.addr() != to) else { return };
        let about = self.somebody().map(|row| self.distorted(row)).unwrap_or(other);
        let run = (other.peer, other.progress.generation);
        let mut records = Vec::new();
        put_row(&mut records, &about, run.1);
        let want = Want { owner: about.peer, progress: Progress::default(), unfinished: (0, 0) };
        let mut wants = Vec::new();
        put_want(&mut wants, &want, run.1);
        let Heard { digest, .. } = self.heard.get(&to).copied().unwrap_or_default();
        let (id, rates) = (self.dice.u32(1..), self.rates());
        let message = match self.dice.u8(0..4) {
            0 => Message::Want(WantMessage { want_id: id, credit: self.dice.u8(..), wants: &wants }),
            1 => Message::Answer(Answer { id: digest, want_id: id, credit: 8, wants: &wants, ..Answer::default() }),
            _ => Message::Digest(Digest { id, window: None, rates, records: &records, padding: 0 }),
        };
        let datagram = self.encode_as(run, to, &message);
        match self.dice.bool() {
            true => outbox.send_as(other.peer.addr(), to, datagram),
            false => outbox.send(to, datagram),
        }
    }

    fn distorted(&mut self, mut about: Row) -> Row {
        match self.dice.u8(0..6) {
            0 => about.mark = Mark::Left,
            1 => about.mark = Mark::Forgotten,
            2 => about.heartbeat = about.heartbeat.wrapping_add(self.dice.u64(1..1_000)),
            3 => about.progress.max = about.progress.max.wrapping_add(self.dice.u64(1..50)),
            4 => about.progress.floor = about.progress.max.wrapping_add(self.dice.u64(0..50)),
            _ => about.progress.generation = about.progress.generation.wrapping_add(self.dice.u64(1..100_000)),
        }
        about
    }

    fn invent(&mut self, now: Instant) -> Row {
        // Some again and again, with heartbeats that advance, so that they seem to live.
        self.invented += 1;
        let number = if self.dice.bool() { self.invented } else { self.dice.u32(0..200) };
        let [_, a, b, c] = number.to_be_bytes();
        let peer = Peer::from(SocketAddr::from(([10, 200 | a, b, c], 7_000)));
        row(peer, START_MS, now.as_micros() / 1_000_000, self.dice.u64(0..3))
    }

    /// Says that an owner has written something, in answer to what was asked last.
    fn forge(&mut self, to: SocketAddr, about: Row, outbox: &mut Outbox) {
        let Heard { digest: id, want: want_id, .. } = self.heard.get(&to).copied().unwrap_or_default();
        let Progress { generation, max, floor } = about.progress;
        let from = if self.dice.bool() { max.saturating_sub(1) } else { 0 };
        let next = from.saturating_add(1);
        let version = if self.dice.bool() { max.max(next) } else { next };
        let value = Value::from_bytes([0xa4, b'l', b'i', b'e', b's']);
        let content = if self.dice.u8(0..4) > 0 { Content::Value(value) } else { Content::Deleted };
        let key = Key::from(self.dice.choice(["a", "b", "c", "forged"]).unwrap_or("a"));
        let mut entries = Vec::new();
        put_entry(&mut entries, &key, &Entry::new(version, content, None), from, Instant::ZERO);
        let delta = Delta { generation, from, to: version, floor, max: version.max(max) };
        let mut deltas = Vec::new();
        put_delta(&mut deltas, about.peer, &delta, &entries, START_MS);
        let message = if self.dice.bool() {
            Message::Delta(DeltaMessage { want_id, sequence: 0, end: End::Complete, deltas: &deltas })
        } else {
            Message::Answer(Answer { id, deltas: &deltas, ..Answer::default() })
        };
        outbox.send(to, self.encode(to, &message));
    }

    /// Wants as much as it can get, from wherever.
    fn want(&mut self, to: SocketAddr, about: Row, outbox: &mut Outbox) {
        let want = Want { owner: about.peer, progress: about.progress, unfinished: (self.number(), self.number()) };
        let mut wants = Vec::new();
        put_want(&mut wants, &want, START_MS);
        let message = WantMessage { want_id: self.dice.u32(..), credit: self.dice.u8(..), wants: &wants };
        outbox.send(to, self.encode(to, &Message::Want(message)));
    }

    /// Answers a digest, as was asked, with numbers that nobody has.
    fn answer_digest(&mut self, to: SocketAddr, id: u32, window: Option<(Peer, Peer)>, outbox: &mut Outbox) {
        let mut records = Vec::new();
        if let Some(mut about) = self.somebody() {
            about.heartbeat = self.number();
            put_row(&mut records, &about, START_MS);
        }
        let sum = self.dice.bool().then(|| self.dice.u32(..));
        let answer = Answer {
            id,
            rest: window.filter(|_| self.dice.bool()),
            rate_change: self.number().cast_signed(),
            fingerprint: Some(Fingerprint { max: self.number(), floor: self.number(), sum }),
            records: &records,
            ..Answer::default()
        };
        outbox.send(to, self.encode(to, &Message::Answer(answer)));
    }

    /// Says to somebody who has the same roster that all beat, and have written, as nobody can.
    fn tell_columns(&mut self, columns: &Columns<'_>, records: usize, outbox: &mut Outbox) {
        let Some(to) = self.somebody().map(|row| row.peer.addr()) else { return };
        let (mut heartbeats, mut maxima) = (Vec::new(), Vec::new());
        for _ in 0..records {
            heartbeats.put_int(self.number().cast_signed());
            maxima.put_uint(self.number());
        }
        let base = if self.dice.bool() { columns.base } else { self.number() };
        let tick = if self.dice.bool() { columns.tick } else { self.number() };
        let columns = Columns { base, tick, heartbeats: &heartbeats, ..*columns };
        let message = CompactDigest { id: self.dice.u32(1..), rates: self.rates(), columns, maxima: &maxima };
        outbox.send(to, self.encode(to, &Message::CompactDigest(message)));
    }

    fn note(&mut self, rows: impl Iterator<Item = Row>) {
        for row in rows.filter(|row| row.peer != self.me) {
            self.known.insert(row.peer, row);
            if self.known.len() > 100 {
                self.known.pop_first();
            }
        }
    }
}

/// What the liar knows of one who wrote to it.
#[derive(Clone, Copy, Default)]
struct Heard {
    receiver: u32,
    /// Proves the liar's address to it.
    echo: Option<u64>,
    /// The ids of what it asked last: nothing else is waited for.
    digest: u32,
    want: u32,
}

impl Intruder for Liar {
    fn receive(&mut self, _: Instant, from: SocketAddr, datagram: &[u8], outbox: &mut Outbox) {
        let mut buffer = Vec::new();
        let Ok(Opened { header, message, .. }) = Message::open(datagram, &self.seal, &mut buffer) else { return };
        let heard = self.heard.entry(from).or_default();
        heard.receiver = run_hash(header.sender, header.generation);
        heard.echo = header.token.or(heard.echo);
        match &message {
            Message::Digest(digest) => heard.digest = digest.id,
            Message::CompactDigest(digest) => heard.digest = digest.id,
            Message::Answer(answer) if !answer.wants.is_empty() => heard.want = answer.want_id,
            Message::Want(want) => heard.want = want.want_id,
            Message::Answer(_) | Message::Delta(_) => {}
        }
        let answers_digests = self.lies.contains(&Lie::HugeNumbers) && self.dice.bool();
        if self.recorded.len() < MAX_RECORDED {
            self.recorded.push((from, datagram.to_vec()));
        } else {
            let slot = self.dice.usize(..MAX_RECORDED);
            self.recorded[slot] = (from, datagram.to_vec());
        }
        if answers_digests {
            match &message {
                Message::Digest(digest) => self.answer_digest(from, digest.id, digest.window, outbox),
                Message::CompactDigest(digest) => {
                    self.answer_digest(from, digest.id, Some(digest.columns.window), outbox);
                    self.tell_columns(&digest.columns, digest.maxima().count(), outbox);
                }
                _ => {}
            }
        }
        let base = header.generation;
        let wants: Vec<Want> = match &message {
            Message::Digest(digest) => {
                self.note(digest.rows(base).flatten());
                Vec::new()
            }
            Message::Answer(answer) => {
                self.note(answer.rows(base).flatten());
                answer.wants(base).flatten().collect()
            }
            Message::Want(message) => message.wants(base).flatten().collect(),
            Message::CompactDigest(_) | Message::Delta(_) => Vec::new(),
        };
        if !self.lies.contains(&Lie::ThirdParties) {
            return;
        }
        for want in wants.into_iter().take(3) {
            let Progress { generation, max, floor } = want.progress;
            let more = Progress { generation, max: max.saturating_add(1), floor };
            self.forge(from, Row { peer: want.owner, heartbeat: 0, progress: more, mark: Mark::None }, outbox);
        }
    }

    fn act(&mut self, now: Instant, outbox: &mut Outbox) {
        self.next = now + EVERY;
        // So that the others see it alive and gossip with it.
        self.heartbeat = now.as_micros() / 1_000_000;
        let Some(to) = self.somebody().map(|row| row.peer.addr()) else { return };
        self.tell(to, &[row(self.me, START_MS, self.heartbeat, 1)], outbox);
        if let Some(lie) = self.dice.choice(self.lies.clone()) {
            self.lie(now, to, lie, outbox);
        }
    }

    fn next(&self) -> Instant {
        self.next
    }
}

fn row(peer: Peer, generation: u64, heartbeat: u64, max: u64) -> Row {
    Row { peer, heartbeat, progress: Progress { generation, max, floor: 0 }, mark: Mark::None }
}
