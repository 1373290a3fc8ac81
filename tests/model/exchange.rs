//! What passes between nodes: how far they say they are, and answers, made by the functions that ship.
//!
//! Nothing in this check decides anything about versions or floors by itself. Where a [`Fault`] is planted, what
//! passes is falsified here, and in [`Holder::take`] and [`Holder::hear`].

use std::time::Duration;

use grapevine::instant::Instant;
use grapevine::state::{Content, Delta, DeltaEntry, Entry, Progress};
use grapevine::value::Key;

use crate::holder::Holder;
use crate::owner::Owner;
use crate::rules::{Fault, Rules};

/// An answer under way: a delta with its entries, and perhaps a piece of the value that follows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Answer {
    pub delta: Delta,
    pub entries: Vec<DeltaEntry>,
    pub piece: Option<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Piece {
    pub entry: DeltaEntry,
    pub total: usize,
    pub offset: usize,
    pub bytes: Vec<u8>,
}

/// Who is asked.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    Owner(&'a Owner),
    Holder(&'a Holder),
}

/// How far a node says it is.
pub fn told(node: Source<'_>, rules: &Rules) -> Progress {
    let mut progress = match node {
        Source::Owner(owner) => owner.own.progress(),
        Source::Holder(holder) => holder.replica.progress(),
    };
    if let Source::Holder(Holder { before: Some(before), .. }) = node {
        match rules.fault {
            Fault::TellsOldMaximum => progress.max = before.replica.progress().max,
            Fault::TellsSendersMaximum => progress.max = before.senders_max,
            _ => {}
        }
    }
    let owner = matches!(node, Source::Owner(_));
    if rules.fault == Fault::FloorNotTold || rules.fault == Fault::CollectsWithoutFloor && owner {
        progress.floor = 0;
    }
    progress
}

/// How much fits an answer: so many entries.
pub type Room = usize;

impl Source<'_> {
    fn now(&self) -> Instant {
        match self {
            Source::Owner(owner) => owner.now(),
            Source::Holder(holder) => holder.now(),
        }
    }

    /// The answer to `asker` with at most `room` entries; and the entry that follows, if it has to come in pieces.
    fn offer(&self, asker: &Progress, room: Room, rules: &Rules) -> Option<(Answer, Option<Piece>)> {
        let (mut progress, mut map, mut last) = match self {
            Source::Owner(owner) => (owner.own.progress(), owner.own.map(), owner.own.progress().max),
            Source::Holder(holder) => (holder.replica.progress(), holder.replica.map(), holder.replica.last_servable()),
        };
        let mut asker = *asker;
        match (rules.fault, self) {
            (Fault::CollectsWithoutFloor, Source::Owner(_)) => progress.floor = 0,
            (Fault::AnswererIgnoresAskersFloor, _) => asker.floor = 0,
            (Fault::ServedFromBelowTheFloor, _) if asker.in_transfer() => asker.floor = asker.floor.min(progress.max),
            (Fault::ServesHeldOver, Source::Holder(Holder { before: Some(before), .. })) => {
                (progress.max, map, last) = (before.senders_max, before.replica.map(), before.senders_max);
            }
            _ => {}
        }
        let is_big = |key: &Key, entry: &Entry| matches!(entry.content, Content::Value(_)) && rules.is_big(key);
        let mut entries: Vec<DeltaEntry> = Vec::new();
        let offer = progress.offer(map, last, &asker, |key, entry| {
            let fits = entries.len() < room && !is_big(key, entry);
            if fits {
                entries.push(travelling(key, entry, self.now(), entry.content.clone()));
            }
            fits
        })?;
        let mut delta = offer.delta;
        match (rules.fault, self) {
            (Fault::LeavesOutTheFirst, _) if entries.len() > 1 => drop(entries.remove(0)),
            (Fault::HidesHorizon, Source::Holder(_)) => delta.max = last,
            _ => {}
        }
        let piece = offer.cut.filter(|(key, entry)| is_big(key, entry)).and_then(|(key, entry)| {
            let Content::Value(value) = &entry.content else {
                return None;
            };
            let bytes = value.as_bytes().to_vec();
            // The receiver does not look at the content that comes with a piece.
            let entry = travelling(key, entry, self.now(), Content::Deleted);
            Some(Piece { entry, total: bytes.len(), offset: 0, bytes })
        });
        Some((Answer { delta, entries, piece: None }, piece))
    }

    /// Everything that may be sent to one who told `asker`: cut after no entry, after one or at the end, and what an
    /// answer of several datagrams holds in the later ones, for each of which the earlier ones count as arrived.
    pub fn answers(&self, asker: &Progress, rules: &Rules) -> Vec<Answer> {
        let mut askers = vec![*asker];
        let mut answers: Vec<Answer> = Vec::new();
        let mut next = 0;
        while let Some(asker) = askers.get(next).copied() {
            next += 1;
            for room in [0, 1, Room::MAX] {
                let Some((answer, piece)) = self.offer(&asker, room, rules) else {
                    continue;
                };
                let mut arrived =
                    Progress { generation: answer.delta.generation, max: answer.delta.to, floor: answer.delta.floor };
                if asker.generation == arrived.generation {
                    arrived.floor = arrived.floor.max(asker.floor);
                }
                note(&mut askers, arrived);
                if let Some(piece) = piece {
                    note(&mut askers, Progress { max: piece.entry.version, ..arrived });
                    for offset in 0..piece.total {
                        let piece = Piece { offset, bytes: vec![piece.bytes[offset]], ..piece.clone() };
                        note(&mut answers, Answer { piece: Some(piece), ..answer.clone() });
                    }
                }
                note(&mut answers, answer);
            }
        }
        answers
    }

    /// The one answer that an asker gets when nothing goes wrong.
    pub fn answer(&self, asker: &Progress, holder: &Holder, room: Room, rules: &Rules) -> Option<Answer> {
        let (mut answer, piece) = self.offer(asker, room, rules)?;
        answer.piece = piece.map(|mut piece| {
            let unfinished = holder.replica.unfinished().filter(|unfinished| unfinished.version == piece.entry.version);
            piece.offset = unfinished.map_or(0, |unfinished| unfinished.bytes.len());
            piece.bytes = vec![piece.bytes[piece.offset]];
            piece
        });
        Some(answer)
    }
}

fn note<T: PartialEq>(all: &mut Vec<T>, one: T) {
    if !all.contains(&one) {
        all.push(one);
    }
}

fn travelling(key: &Key, entry: &Entry, now: Instant, content: Content) -> DeltaEntry {
    let life = entry.life(now);
    // A value whose life has ended is told as expired, as the wire does it.
    let ended = matches!(content, Content::Value(_)) && life == Some(Duration::ZERO);
    let content = if ended { Content::Expired } else { content };
    DeltaEntry { key: key.clone(), version: entry.version, content, life }
}
