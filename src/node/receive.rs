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
use crate::wire::{Answer, CompactDigest, Digest, Header, Message, Opened, WantMessage, run_hash};

/// Where a message came from and how to answer it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub(super) peer: Peer,
    pub(super) from: SocketAddr,
    pub(super) generation: u64,
    pub(super) path: Path,
    /// Whether this was made for this run and comes for the first time, as far as that can be told. What is not fresh may have been
    /// recorded: it proves nothing, shares no rates, and is not answered with more than anybody would be.
    pub(super) is_fresh: bool,
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
        let mut buffer = std::mem::take(&mut self.scratch.opened);
        let opened = Message::open(datagram, &self.seal, &mut buffer);
        let handled = opened.and_then(|opened| self.handle_opened(now, from, &opened, datagram.len(), out));
        self.scratch.opened = buffer;
        handled
    }

    fn handle_opened(
        &mut self,
        now: Instant,
        from: SocketAddr,
        opened: &Opened<'_>,
        len: usize,
        out: &mut Output,
    ) -> Result<(), Refusal> {
        let Opened { header, message, key } = opened;
        self.stats.encrypted_received += u64::from(key.is_some());
        #[cfg(feature = "encryption")]
        key.iter().for_each(|key| self.count_decrypted(*key));
        if key.is_none() && header.cluster != self.config.cluster {
            self.meet_stranger(now, from, header.cluster, message, len, out);
            return Err(Refusal::WrongCluster);
        }
        let me = self.ring.me();
        if header.sender == me && header.generation == self.generation() {
            // By way of an alias among its seeds, or reflected.
            return Err(Refusal::OwnMessage);
        }
        if header.sender.unreachable_because().is_some() {
            return Err(Refusal::BadAddress);
        }
        let for_this_run = header.receiver == run_hash(me, self.generation());
        let proved = header.echo.is_some_and(|echo| self.proof.is_proved(now, from, echo));
        let is_awaited = self.is_awaited(now, message);
        let is_fresh = for_this_run && is_awaited && self.is_fresh(from, header, message, proved);
        let path = match is_fresh {
            true => self.path_back(now, from, header, len, proved),
            false => self.unproved_path_back(now, from, header, len),
        };
        let sender = Sender { peer: header.sender, from, generation: header.generation, path, is_fresh };
        if !for_this_run {
            return self.introduce(&sender, header.receiver, message, out);
        }
        if header.sender == me {
            self.meet_twin(now, &sender, out);
            return Err(Refusal::OwnMessage);
        }
        if !is_awaited {
            return Err(Refusal::NotAsked);
        }
        let sent_before = self.stats.bytes_sent;
        let (was_alone, was_known) = (self.ring.is_empty(), self.knows_run(header));
        let handled = match message {
            Message::Digest(digest) => self.answer_digest(now, &sender, digest, out),
            Message::CompactDigest(digest) => self.answer_compact_digest(now, &sender, digest, out),
            Message::Answer(answer) => self.handle_answer(now, &sender, answer, out),
            Message::Delta(delta) => self.handle_delta(now, &sender, delta, out),
            Message::Want(want) => self.handle_want(now, &sender, want, out),
        };
        if !was_known {
            // Perhaps its own message made it known.
            self.keep_token(from, header);
            self.is_first(from, header, message, proved);
        }
        if let Some(member) = self.ring.member_mut(header.sender) {
            member.bytes_received += len as u64;
        }
        if was_alone && !self.ring.is_empty() {
            // Now that it is known for whom, the question that could not be answered before; with what is left of the allowance.
            let mut path = path;
            path.spend((self.stats.bytes_sent - sent_before) as usize);
            self.send_part(path, (me, me), 1, out);
        }
        // An answer, or the digest of one who has another roster.
        let ends_a_part = is_fresh && !matches!(message, Message::Delta(_) | Message::Want(_));
        if self.turn_partner == Some(header.sender) && ends_a_part {
            self.turn_answers = self.turn_answers.saturating_sub(1);
            if self.turn_answers == 0 {
                self.turn(now, out);
            }
        }
        handled
    }

    /// While this node leaves, answers to its last words are all that matters.
    fn count_farewell(&mut self, datagram: &[u8]) {
        let mut buffer = std::mem::take(&mut self.scratch.opened);
        if let Ok(Opened { header, message: Message::Answer(answer), key }) =
            Message::open(datagram, &self.seal, &mut buffer)
        {
            let is_ours = key.is_some() || header.cluster == self.config.cluster;
            if is_ours && self.open_digests.close(answer.id) {
                self.farewells_heard += 1;
            }
        }
        self.scratch.opened = buffer;
    }

    /// Whether a message asks for something, or answers what this node asked and waits for.
    fn is_awaited(&self, now: Instant, message: &Message<'_>) -> bool {
        match message {
            Message::Answer(answer) => self.open_digests.is_open(answer.id),
            Message::Delta(delta) => self.catch_up.is_awaited(now, delta.want_id),
            Message::Digest(_) | Message::CompactDigest(_) | Message::Want(_) => true,
        }
    }

    /// Whether a message that was made for this run, and that is waited for if it answers something, comes for the first time, as far
    /// as that can be told.
    fn is_fresh(&mut self, from: SocketAddr, header: &Header<'_>, message: &Message<'_>, proved: bool) -> bool {
        // What was asked is answered once, also by one of whom nothing else is known yet.
        self.is_first(from, header, message, proved) || matches!(message, Message::Answer(_))
    }

    /// Whether a run that is known, at an address that is proved, asks for something for the first time: that is noted. Of others
    /// it cannot be told, and what they say is not noted: or anybody could count on in a peer's name.
    fn is_first(&mut self, from: SocketAddr, header: &Header<'_>, message: &Message<'_>, proved: bool) -> bool {
        if !proved || !self.knows_run(header) {
            return false;
        }
        let Some(member) = self.ring.member_mut(header.sender) else { return false };
        let asked = match Peer::from(from) == header.sender {
            true => &mut member.asked,
            false => &mut **member.asked_elsewhere.get_or_insert_default(),
        };
        match message {
            Message::Digest(Digest { id, .. }) | Message::CompactDigest(CompactDigest { id, .. }) => {
                asked.digests.is_first(*id)
            }
            Message::Want(WantMessage { want_id, .. }) => asked.wants.is_first(*want_id),
            Message::Answer(Answer { want_id, wants, .. }) => wants.is_empty() || asked.wants.is_first(*want_id),
            Message::Delta(_) => true,
        }
    }

    fn knows_run(&self, header: &Header<'_>) -> bool {
        let member = self.ring.member(header.sender);
        member.is_some_and(|member| member.replica.progress().generation == header.generation)
    }

    /// Somebody wrote to nobody in particular, because it does not know who is here, or to another node or another run. That
    /// may be a recording, so nothing is learnt from it; but whoever asks is told what there is, and for whom to ask again.
    fn introduce(
        &mut self,
        sender: &Sender,
        receiver: u32,
        message: &Message<'_>,
        out: &mut Output,
    ) -> Result<(), Refusal> {
        if matches!(message, Message::Digest(_) | Message::CompactDigest(_)) {
            let path = self.tell_of_later_run(sender, out);
            // From its own place on, so that its answer tells of itself.
            self.send_part(path, (sender.peer, sender.peer), 1, out);
        }
        if receiver == 0 { Ok(()) } else { Err(Refusal::NotForThisRun) }
    }

    /// Another program has this node's address, and knows of this one.
    fn meet_twin(&mut self, now: Instant, twin: &Sender, out: &mut Output) {
        self.tell_of_later_run(twin, out);
        let progress = Progress { generation: twin.generation, max: 0, floor: 0 };
        let row = Row { peer: twin.peer, heartbeat: 0, progress, mark: Mark::None };
        self.learn(now, &row, twin.from, out);
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
            let path = Path { to: from, receiver: 0, echo: None, token: None, allowance: len.saturating_mul(3) };
            if self.header(&path).bytes() + 32 <= path.allowance {
                self.send(&path, &Message::Answer(Answer::default()), out);
            }
        }
    }

    /// Counts that something was refused, and says so in the log, once a minute for each reason.
    pub(super) fn refuse(&mut self, now: Instant, reason: Refusal, from: SocketAddr, out: &mut Output) {
        let count = self.stats.refused.count(reason);
        if self.log_limit.allows(now, reason) {
            // What is to be expected where nodes join and restart is no reason to warn.
            let is_usual = matches!(reason, Refusal::Unproved | Refusal::NotForThisRun | Refusal::NotAsked);
            let level = if is_usual { Level::Debug } else { Level::Warn };
            out.log(
                level,
                format!("refused something from {from}: {reason} ({}: {count} since the start)", reason.as_str()),
            );
        }
    }
}
