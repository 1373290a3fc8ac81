//! An answer in the making: what is newer here than in a digest, what is newer there, and what of that fits.

use crate::instant::Instant;
use crate::node::receive::Sender;
use crate::node::{Node, Output};
use crate::peer::Peer;
use crate::reconcile::{Packed, Room, deepest_first, pack_owner, waiting_entries};
use crate::state::{Mark, Progress, Row, Telling, place};
use crate::stats::Refusal;
use crate::wire::{Answer, Columns, Message, Want, put_row, put_want};

/// What an answer takes beside the header and its sequences, at most: ids, rest of the window, rate, fingerprint, credit,
/// lengths.
const ANSWER_BYTES: usize = 5 + 40 + 9 + 23 + 1 + 5 + 2 + 4 * 3;

/// An answer in the making, in buffers that are used again.
#[derive(Default)]
pub(super) struct Draft {
    records: Vec<u8>,
    pub(super) columns: Vec<u8>,
    wants: Vec<u8>,
    deltas: Vec<u8>,
    entries: Vec<u8>,
    wanted: Vec<Peer>,
    /// Who lacks what: the number of waiting entries, and the want that would ask for them.
    waiting: Vec<(usize, Want)>,
    rest: Option<(Peer, Peer)>,
    pub(super) room: usize,
}

impl Draft {
    fn left(&self) -> usize {
        self.room.saturating_sub(self.records.len() + self.columns.len() + self.wants.len() + self.deltas.len())
    }
}

impl Node {
    pub(super) fn draft(&mut self, sender: &Sender, extra: usize) -> Draft {
        let allowed = sender.path.allowance.min(self.config.max_datagram);
        let mut draft = Draft {
            room: allowed.saturating_sub(self.header(&sender.path).bytes() + ANSWER_BYTES + extra),
            records: std::mem::take(&mut self.scratch.records),
            columns: std::mem::take(&mut self.scratch.columns),
            wants: std::mem::take(&mut self.scratch.wants),
            deltas: std::mem::take(&mut self.scratch.deltas),
            entries: std::mem::take(&mut self.scratch.entries),
            ..Draft::default()
        };
        draft.records.clear();
        draft.columns.clear();
        draft.wants.clear();
        draft.deltas.clear();
        draft
    }

    /// Walks this node's records and the digest's side by side: what is newer here, what is newer there.
    pub(super) fn compare(&self, draft: &mut Draft, window: Option<(Peer, Peer)>, theirs: &[Row]) {
        let base = self.generation();
        let Some((from, to)) = window else {
            for row in theirs {
                self.compare_one(draft, row, base);
            }
            // Of single owners there is no rest to ask for.
            draft.rest = None;
            return;
        };
        let mut theirs = theirs.iter().peekable();
        for (mine, _) in self.ring.rows(from, to, Telling::InFull) {
            while let Some(row) = theirs.next_if(|row| place(row.peer, from) < place(mine.peer, from)) {
                self.compare_one(draft, row, base);
            }
            match theirs.next_if(|row| row.peer == mine.peer) {
                Some(row) => self.compare_both(draft, &mine, row, base),
                // What has left or is forgotten is no news to one who never heard of it.
                None if mine.mark == Mark::None => self.put_record(draft, &mine, base),
                None => {}
            }
            if let Some((first, _)) = draft.rest {
                draft.rest = Some((first, to));
                return;
            }
        }
        for row in theirs {
            self.compare_one(draft, row, base);
        }
        draft.rest = draft.rest.map(|(first, _)| (first, to));
    }

    /// A record of theirs for which there may be nothing here that is told to everyone.
    fn compare_one(&self, draft: &mut Draft, theirs: &Row, base: u64) {
        if let Some(mine) = self.ring.row(theirs.peer) {
            self.compare_both(draft, &mine, theirs, base);
        } else if let Some(row) = self.remembered(theirs.peer) {
            // "Send nothing", and to the peer itself, should its clock have gone back: take a higher generation.
            self.put_record(draft, &row, base);
        }
    }

    fn compare_both(&self, draft: &mut Draft, mine: &Row, theirs: &Row, base: u64) {
        let same_run = mine.progress.generation == theirs.progress.generation;
        let newer = mine.progress.generation > theirs.progress.generation
            || same_run
                && (mine.heartbeat > theirs.heartbeat
                    || mine.mark > theirs.mark
                    || mine.progress.floor > theirs.progress.floor && theirs.progress.max >= mine.progress.floor);
        if newer {
            self.put_record(draft, mine, base);
        }
        if theirs.mark != Mark::Forgotten && mine.mark != Mark::Forgotten {
            self.compare_maps(draft, mine, theirs, base);
        }
    }

    pub(super) fn compare_maps(&self, draft: &mut Draft, mine: &Row, theirs: &Row, base: u64) {
        let owner = mine.peer;
        if let Some(from) = mine.progress.answer_from(&theirs.progress) {
            let map = match self.ring.member(owner) {
                Some(member) => member.replica.map(),
                None => self.ring.own().map(),
            };
            draft
                .waiting
                .push((waiting_entries(map, from), Want { owner, progress: theirs.progress, unfinished: (0, 0) }));
        } else if lacks(&mine.progress, &theirs.progress)
            && owner != self.ring.me()
            && !self.catch_up.is_asking_for(owner)
        {
            let before = draft.wants.len();
            put_want(&mut draft.wants, &self.want(owner), base);
            if draft.left() == 0 {
                draft.wants.truncate(before);
            } else {
                draft.wanted.push(owner);
            }
        }
    }

    fn put_record(&self, draft: &mut Draft, row: &Row, base: u64) {
        if draft.rest.is_some() {
            return;
        }
        let before = draft.records.len();
        put_row(&mut draft.records, row, base);
        if draft.left() == 0 {
            draft.records.truncate(before);
            draft.rest = Some((row.peer, row.peer));
        }
    }

    /// Adds wants and deltas as far as there is room, depth first, and sends the answer.
    #[allow(clippy::too_many_arguments)] // The parts of one message.
    pub(super) fn finish_answer(
        &mut self,
        now: Instant,
        sender: &Sender,
        id: u32,
        rates: crate::wire::Rates,
        mut draft: Draft,
        columns: Option<Columns<'_>>,
        out: &mut Output,
    ) {
        // What was shared once is not shared again: the other side would not take its part.
        let rate_change = match sender.is_fresh {
            true => self.flow.share(self.write_rate.get(now), rates.wanted as f64, rates.permitted as f64),
            false => 0.0,
        };
        self.fill_deltas(now, sender, &mut draft);
        let credit = self.catch_up.credit(None).filter(|_| !draft.wanted.is_empty());
        let want_id = self.catch_up.next_id();
        match credit {
            Some(credit) => {
                let wanted = std::mem::take(&mut draft.wanted);
                self.catch_up.begin(now, sender.path.to, sender.path.is_proved(), wanted, credit, 0);
            }
            None => draft.wants.clear(),
        }
        let columns = columns.filter(|_| !draft.columns.is_empty());
        let answer = Answer {
            id,
            rest: draft.rest,
            rate_change: rate_change as i64,
            fingerprint: self.fingerprint_for(sender),
            columns: columns.map(|columns| Columns { heartbeats: &draft.columns, ..columns }),
            records: &draft.records,
            want_id: if credit.is_some() { want_id } else { 0 },
            credit: credit.unwrap_or(0),
            wants: &draft.wants,
            deltas: &draft.deltas,
        };
        if draft.room > 0 {
            self.send(&sender.path, &Message::Answer(answer), out);
        } else {
            self.refuse(now, Refusal::Unproved, sender.from, out);
        }
        let Draft { records, columns, wants, deltas, entries, .. } = draft;
        self.scratch.records = records;
        self.scratch.columns = columns;
        self.scratch.wants = wants;
        self.scratch.deltas = deltas;
        self.scratch.entries = entries;
    }

    fn fill_deltas(&mut self, now: Instant, sender: &Sender, draft: &mut Draft) {
        deepest_first(&mut draft.waiting, &mut self.dice);
        let base = self.generation();
        let empty_datagram_bytes = self.delta_room();
        let room = Room { bytes: draft.left(), empty_datagram_bytes };
        let mut overflowed = false;
        let mut ordinary = false;
        for (_, want) in &mut draft.waiting {
            let behind = want.progress.max > 0;
            let packed = pack_owner(&self.ring, now, want, room, (&mut draft.deltas, &mut draft.entries), base);
            ordinary |= behind;
            overflowed |= packed == Packed::Cut && behind;
        }
        // Only ordinary exchanges tell whether messages hold what is written: a newcomer who fetches whole maps does not, nor does
        // somebody who asks for what was told long ago.
        if ordinary && sender.is_fresh {
            self.flow.message(overflowed);
        }
    }
}

/// Whether something is to be asked for. Not if the other has a later run: whoever learnt of that from its record is at
/// its beginning already, and who refused it would ask for what it does not take.
pub(super) fn lacks(mine: &Progress, theirs: &Progress) -> bool {
    mine.generation == theirs.generation && mine.is_behind(theirs)
}
