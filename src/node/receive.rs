//! Datagrams that arrive: opened, checked, handed on. Whatever is wrong with one is counted and changes nothing.

use std::net::SocketAddr;

use log::Level;

use crate::event::Event;
use crate::instant::Instant;
use crate::node::guard::once_a_minute;
use crate::node::proof::Path;
use crate::node::{Node, Output};
use crate::peer::Peer;
use crate::state::{Mark, Progress, Row};
use crate::stats::Refusal;
use crate::wire::{Answer, Message};

/// Where a message came from and how to answer it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub(super) peer: Peer,
    pub(super) from: SocketAddr,
    pub(super) generation: u64,
    pub(super) path: Path,
}

impl Node {
    /// Takes a datagram that came from `from`.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], out: &mut Output) {
        self.enter(now);
        self.stats.datagrams_received += 1;
        self.stats.bytes_received += datagram.len() as u64;
        if self.left {
            self.count_farewell(datagram);
            return;
        }
        match self.handle(now, from, datagram, out) {
            Ok(()) => {}
            Err(reason) => self.refuse(now, reason, from, out),
        }
        self.tell_news(now, out);
    }

    fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], out: &mut Output) -> Result<(), Refusal> {
        if datagram.len() > self.config.max_datagram {
            return Err(Refusal::TooLarge);
        }
        let (header, message) = Message::decode(datagram)?;
        if header.cluster != self.config.cluster {
            self.meet_stranger(now, from, header.cluster, &message, datagram.len(), out);
            return Err(Refusal::WrongCluster);
        }
        if header.sender == self.ring.me() {
            // This node's own, by way of an alias among its seeds, or its twin's: then the generation tells.
            let progress = Progress { generation: header.generation, max: 0, floor: 0 };
            let row = Row { peer: header.sender, heartbeat: 0, progress, mark: Mark::None };
            self.learn(now, &row, from, out);
            return Err(Refusal::OwnMessage);
        }
        if header.sender.unreachable_because().is_some() {
            return Err(Refusal::BadAddress);
        }
        let path = self.path_back(now, from, &header, datagram.len());
        let sender = Sender { peer: header.sender, from, generation: header.generation, path };
        let handled = match message {
            Message::Digest(digest) => self.answer_digest(now, &sender, &digest, out),
            Message::CompactDigest(digest) => self.answer_compact_digest(now, &sender, &digest, out),
            Message::Answer(answer) => self.handle_answer(now, &sender, &answer, out),
            Message::Delta(delta) => self.handle_delta(now, &sender, &delta, out),
            Message::Want(want) => self.handle_want(now, &sender, &want, out),
        };
        // Once more, for a sender who was not known before its own message was read.
        self.keep_token(from, &header);
        if let Some(member) = self.ring.member_mut(header.sender) {
            member.bytes_received += datagram.len() as u64;
        }
        // An answer, or the digest of one who has another roster.
        if self.turn_partner == Some(header.sender) && !matches!(message, Message::Delta(_) | Message::Want(_)) {
            self.turn_answers = self.turn_answers.saturating_sub(1);
            if self.turn_answers == 0 {
                self.turn(now, out);
            }
        }
        handled
    }

    /// While this node leaves, answers to its last words are all that matters.
    fn count_farewell(&mut self, datagram: &[u8]) {
        if let Ok((header, Message::Answer(answer))) = Message::decode(datagram) {
            if header.cluster == self.config.cluster && self.take_asked(answer.id) {
                self.farewells_heard += 1;
            }
        }
    }

    /// A node of another cluster. Both sides should notice: a digest is answered, with nothing in the answer, once a
    /// minute at most.
    fn meet_stranger(
        &mut self,
        now: Instant,
        from: SocketAddr,
        cluster: &str,
        message: &Message<'_>,
        len: usize,
        out: &mut Output,
    ) {
        if !once_a_minute(&mut self.last_foreign, now) {
            return;
        }
        out.events.push(Event::WrongCluster { addr: from, cluster: cluster.to_owned() });
        if matches!(message, Message::Digest(_) | Message::CompactDigest(_)) {
            let path = Path { to: from, echo: None, token: None, allowance: len.saturating_mul(3) };
            if self.header(&path).bytes() + 32 <= path.allowance {
                self.send(&path, &Message::Answer(Answer::default()), out);
            }
        }
    }

    /// Counts that something was refused, and says so in the log, once a minute for each reason.
    pub(super) fn refuse(&mut self, now: Instant, reason: Refusal, from: SocketAddr, out: &mut Output) {
        let count = self.stats.refused.count(reason);
        if self.log_limit.allows(now, reason) {
            let level = if reason == Refusal::Unproved { Level::Debug } else { Level::Warn };
            out.log(
                level,
                format!("refused something from {from}: {reason} ({}: {count} since the start)", reason.as_str()),
            );
        }
    }
}
