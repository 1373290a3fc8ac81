//! A node that is watched: whatever is done to it, its promises are checked afterwards.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use grapevine::config::Config;
use grapevine::instant::Instant;
use grapevine::node::{Node, Output};
use grapevine::wire::{Answer, DeltaMessage, Digest, End, Header, Message, Rates, put_row, run_hash};
use grapevine::{Peer, Value};

use super::promises::{self, Before};
use super::view::View;

/// The wall clock when every node starts: some day in 2024, in milliseconds since 1970.
pub const START_MS: u64 = 1_720_000_000_000;

/// Whoever has it ask for something.
const STRANGER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 9);

/// A datagram on its way.
#[derive(Clone, Debug)]
pub struct Datagram {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

/// Something that happens to a node from outside.
#[derive(Clone, Debug)]
pub enum Act {
    /// A datagram arrives.
    Datagram(SocketAddr, Vec<u8>),
    /// Its program sets a key, with a life or without.
    Set(String, Value, Option<Duration>),
    /// Its program deletes a key.
    Delete(String),
    /// It leaves.
    Leave,
    /// Its seeds' addresses are told.
    Seeds(Vec<SocketAddr>),
    /// It was stopped until now: none of its timers ran.
    Wake,
}

impl Act {
    pub fn datagram(&self) -> Option<&Vec<u8>> {
        match self {
            Act::Datagram(_, bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// How to bring a node into a state again: everything that ever happened to it, and when.
#[derive(Clone, Debug)]
pub struct Script {
    pub config: Config,
    pub me: Peer,
    pub seed: u64,
    pub acts: Vec<(Instant, Act)>,
    pub end: Instant,
}

pub struct Subject {
    pub node: Node,
    pub now: Instant,
    /// What it sent since it was asked last.
    pub sent: Vec<Datagram>,
    /// Everything that happened to it.
    pub script: Script,
    /// Whether the promises are looked at.
    pub watched: bool,
    view: View,
    out: Output,
    last_renewal: Option<Instant>,
    last_digest: u32,
    last_want: u32,
}

impl Subject {
    pub fn new(config: Config, me: Peer, now: Instant, seed: u64) -> Subject {
        let unix_ms = START_MS + now.as_micros() / 1000;
        let node = Node::new(config.clone(), me, now, unix_ms, seed).expect("a valid configuration");
        Subject {
            view: View::new(&node),
            node,
            now,
            sent: Vec::new(),
            script: Script { config, me, seed, acts: Vec::new(), end: now },
            watched: true,
            out: Output::new(),
            last_renewal: None,
            last_digest: 0,
            last_want: 0,
        }
    }

    /// A node to which happened what the script says, from the time zero on.
    pub fn replay(script: &Script) -> Subject {
        let mut subject = Subject::new(script.config.clone(), script.me, Instant::ZERO, script.seed);
        subject.watched = false;
        for (at, act) in &script.acts {
            subject.act(*at, act);
        }
        subject.pass_until(script.end);
        subject.watched = true;
        subject
    }

    /// What stands for this run of it in datagrams that are made for it.
    pub fn run_hash(&self) -> u32 {
        run_hash(self.script.me, self.node.generation())
    }

    /// When one of its timers is due.
    pub fn due(&self) -> Instant {
        self.node.next_gossip().min(self.node.next_detect()).max(self.now)
    }

    /// Has something happen at a time, after all timers that are due before.
    pub fn act(&mut self, at: Instant, act: &Act) {
        if !matches!(act, Act::Wake) {
            self.pass_until(at);
        }
        self.now = self.now.max(at);
        if self.watched {
            self.script.acts.push((at, act.clone()));
        }
        let (now, out) = (self.now, &mut self.out);
        match act {
            Act::Datagram(from, bytes) => return self.receive(*from, bytes),
            Act::Set(key, value, life) => {
                let _ = self.node.set(now, key, value.clone(), life.map(|life| now + life), out);
            }
            Act::Delete(key) => drop(self.node.delete(now, key, out)),
            Act::Leave => self.node.leave(now, out),
            Act::Seeds(addrs) => self.node.seed_resolved(now, 0, addrs, out),
            Act::Wake => {}
        }
        self.collect();
    }

    /// A datagram that is made for nobody in particular, made for this run of this node instead, and an answer for what it asked:
    /// what it does not wait for it does not read.
    pub fn made_for_it(&mut self, datagram: Vec<u8>) -> Vec<u8> {
        let Ok((header, message)) = Message::decode(&datagram) else { return datagram };
        let message = match message {
            Message::Answer(answer) => Message::Answer(Answer { id: self.draw_digest(), ..answer }),
            Message::Delta(delta) => {
                let owner = delta.deltas(header.generation).flatten().next().map(|part| part.owner);
                Message::Delta(DeltaMessage { want_id: self.draw_want(owner), ..delta })
            }
            asking => asking,
        };
        let receiver = if header.receiver == 0 { self.run_hash() } else { header.receiver };
        let mut made = Vec::new();
        message.encode(&Header { receiver, ..header }, &mut made);
        made
    }

    /// The id of its last digest, unless that was answered: then it is asked by somebody who knows nobody, which it answers with one.
    fn draw_digest(&mut self) -> u32 {
        if self.last_digest == 0 {
            self.receive(STRANGER, &first_digest(&self.script.config, Peer::from(STRANGER), 0, &[]));
        }
        self.last_digest
    }

    /// The id of a want: somebody claims to have more of this owner, or else of any other. If nothing of that is asked for, all of it
    /// is under way already: then the id of its last want.
    fn draw_want(&mut self, owner: Option<Peer>) -> u32 {
        let mut rows: Vec<_> = self.node.ring().members().map(|(peer, member)| member.row(peer)).collect();
        rows.sort_by_key(|row| Some(row.peer) != owner);
        for mut row in rows {
            row.heartbeat = 0;
            row.progress.max = row.progress.max.max(row.progress.floor).saturating_add(1_000);
            let mut records = Vec::new();
            put_row(&mut records, &row, START_MS);
            let claim = first_digest(&self.script.config, Peer::from(STRANGER), self.run_hash(), &records);
            let before = self.last_want;
            self.receive(STRANGER, &claim);
            if self.last_want != before {
                break;
            }
        }
        self.last_want
    }

    fn note_what_answers(&mut self, datagram: &[u8]) {
        match Message::decode(datagram).map(|(_, message)| message) {
            Ok(Message::Answer(answer)) if answer.id == self.last_digest => self.last_digest = 0,
            Ok(Message::Delta(delta)) if delta.want_id == self.last_want && delta.end != End::No => self.last_want = 0,
            _ => {}
        }
    }

    fn note_what_it_asks(&mut self) {
        for (_, bytes) in self.out.datagrams() {
            match Message::decode(bytes).map(|(_, message)| message) {
                Ok(Message::Digest(digest)) => self.last_digest = digest.id,
                Ok(Message::CompactDigest(digest)) => self.last_digest = digest.id,
                Ok(Message::Want(want)) => self.last_want = want.want_id,
                Ok(Message::Answer(answer)) if !answer.wants.is_empty() => self.last_want = answer.want_id,
                _ => {}
            }
        }
    }

    /// Takes a datagram now, and checks what becomes of it.
    pub fn receive(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.note_what_answers(datagram);
        if !self.watched {
            self.node.handle_datagram(self.now, from, datagram, &mut self.out);
            return self.collect();
        }
        let before = Before::of(&self.node, from, datagram.len());
        self.node.handle_datagram(self.now, from, datagram, &mut self.out);
        promises::of_a_datagram(&self.node, self.now, &before, datagram, &self.out);
        let drawn = before.drawn(&self.node, &self.out);
        assert!(
            drawn <= 3 * datagram.len() || self.has_proved(from, datagram),
            "{drawn} bytes for {} to an address that is not proved",
            datagram.len()
        );
        self.collect();
    }

    /// Lets time pass: its timers run when they are due.
    pub fn pass(&mut self, duration: Duration) {
        self.pass_until(self.now + duration);
    }

    pub fn pass_until(&mut self, end: Instant) {
        let (start, mut calls) = (self.now, 0);
        while self.due() <= end {
            self.now = self.due();
            self.timers();
            calls += 1;
        }
        self.now = self.now.max(end);
        if self.watched {
            promises::of_timers(self.node.config(), self.now - start, calls);
            promises::of_the_state(&self.node, self.now);
        }
    }

    fn timers(&mut self) {
        if self.node.next_detect() <= self.now {
            self.node.detect(self.now, &mut self.out);
        } else {
            self.node.gossip(self.now, &mut self.out);
        }
        self.collect();
    }

    /// Whether a program that only listens to the events knows what one knows that only reads the state.
    pub fn check_the_view(&mut self) {
        self.node.detect(self.now, &mut self.out);
        self.collect();
        self.view.check(&self.node, self.now);
    }

    /// Whether the datagram returns the token that this node gives to that address, of this hour or the one before.
    fn has_proved(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        let Some(echo) = Message::decode(datagram).ok().and_then(|(header, _)| header.echo) else { return false };
        // Its twin with the same secret tells it.
        let Script { config, me, seed, .. } = &self.script;
        let hour = Duration::from_secs(3_600);
        [self.now, self.now - hour].into_iter().any(|at| {
            let mut twin = Subject::new(config.clone(), *me, at, *seed);
            twin.receive(from, &first_digest(config, Peer::from(from), 0, &[]));
            let token =
                |datagram: &Datagram| Message::decode(&datagram.bytes).ok().and_then(|(header, _)| header.token);
            twin.sent.iter().find_map(token) == Some(echo)
        })
    }

    fn collect(&mut self) {
        if self.watched {
            promises::of_generations(&self.node, self.now, self.view.generation, &mut self.last_renewal);
        }
        self.view.follow(&self.node, &self.out.events);
        self.note_what_it_asks();
        for (to, bytes) in self.out.datagrams().filter(|_| self.watched) {
            promises::of_what_is_sent(&self.node, bytes);
            self.sent.push(Datagram { from: self.script.me.addr(), to, bytes: bytes.to_vec() });
        }
        self.out.clear();
    }
}

fn first_digest(config: &Config, sender: Peer, receiver: u32, records: &[u8]) -> Vec<u8> {
    let (cluster, generation) = (&config.cluster, START_MS);
    let header = Header { key_id: 0, cluster, speaks: 1, sender, generation, receiver, echo: None, token: None };
    let digest = Digest { id: 1, window: None, rates: Rates::default(), records, padding: 500 };
    let mut datagram = Vec::new();
    Message::Digest(digest).encode(&header, &mut datagram);
    datagram
}
