//! The first two messages: answering digests, and what answers say.

use crate::instant::Instant;
use crate::msgpack::Write;
use crate::node::deltas::Wishes;
use crate::node::learn::{Judging, advance_member};
use crate::node::proof::Path;
use crate::node::receive::Sender;
use crate::node::rounds::DIGEST_BYTES;
use crate::node::{Node, OPEN_DIGESTS, Output};
use crate::peer::{Peer, PeerState};
use crate::reconcile::{Packed, Room, heartbeat_difference, heartbeat_told, pack_owner};
use crate::state::{Mark, Member, Progress, Row, Telling, in_window, place};
use crate::stats::Refusal;
use crate::wire::{Answer, Columns, CompactDigest, Digest, Message, Want, put_row, put_want};

/// What an answer takes beside the header and its sequences, at most: ids, rest of the window, rate, credit, lengths.
const ANSWER_BYTES: usize = 5 + 40 + 9 + 1 + 5 + 2 + 4 * 3;
/// What the columns in an answer take beside the heartbeats.
const COLUMNS_BYTES: usize = 40 + 27 + 3;
/// Waiting entries are counted up to this to rank owners: a datagram holds no more small ones.
const COUNTED_ENTRIES: usize = 128;
/// Where rosters differ, the part of the ring that a compact digest covered is told in full in so many datagrams.
const MISMATCH_DATAGRAMS: usize = 4;

/// An answer in the making, in buffers that are used again.
#[derive(Default)]
struct Draft {
    records: Vec<u8>,
    columns: Vec<u8>,
    wants: Vec<u8>,
    deltas: Vec<u8>,
    entries: Vec<u8>,
    wanted: Vec<Peer>,
    /// Who lacks what: the number of waiting entries, and the want that would ask for them.
    waiting: Vec<(usize, Want)>,
    rest: Option<(Peer, Peer)>,
    room: usize,
}

impl Draft {
    fn left(&self) -> usize {
        self.room.saturating_sub(self.records.len() + self.columns.len() + self.wants.len() + self.deltas.len())
    }
}

impl Node {
    pub(super) fn answer_digest(
        &mut self,
        now: Instant,
        sender: &Sender,
        digest: &Digest<'_>,
        out: &mut Output,
    ) -> Result<(), Refusal> {
        let mut rows = std::mem::take(&mut self.scratch.rows);
        let result = self.read_rows(digest, sender.generation, &mut rows);
        if result.is_ok() {
            for row in &rows {
                self.learn(now, row, sender.from, out);
            }
            let mut draft = self.draft(sender, 0);
            self.compare(&mut draft, digest.window, &rows);
            self.finish_answer(now, sender, digest.id, digest.rates, draft, None, out);
        }
        self.scratch.rows = rows;
        result
    }

    pub(super) fn answer_compact_digest(
        &mut self,
        now: Instant,
        sender: &Sender,
        digest: &CompactDigest<'_>,
        out: &mut Output,
    ) -> Result<(), Refusal> {
        let (from, to) = digest.columns.window;
        if !self.same_roster(&digest.columns) {
            self.stats.roster_mismatches += 1;
            let path = self.tell_of_later_run(sender, out);
            self.send_part(path, (from, to), MISMATCH_DATAGRAMS, out);
            return Ok(());
        }
        if digest.maxima().any(|max| max.is_err()) || digest.maxima().count() != digest.columns.heartbeats().count() {
            return Err(Refusal::Malformed);
        }
        let mut draft = self.draft(sender, COLUMNS_BYTES);
        let mut differing = std::mem::take(&mut self.scratch.rows);
        differing.clear();
        let mut maxima = digest.maxima();
        let mut newer = false;
        let (own_row, columns) = (self.ring.own_row(), digest.columns);
        self.exchange_heartbeats(now, &columns, out, |peer, member, told| {
            let row = member.as_ref().map_or(own_row, |member| member.row(peer));
            newer |= row.heartbeat > told;
            draft.columns.put_int(heartbeat_difference(&columns, row.progress, row.heartbeat));
            let max = maxima.next().and_then(Result::ok).unwrap_or(row.progress.max);
            if max != row.progress.max {
                differing.push(Row { heartbeat: 0, progress: Progress { max, ..row.progress }, ..row });
            }
        });
        let base = self.generation();
        for theirs in &differing {
            if theirs.peer == own_row.peer && theirs.progress.max > own_row.progress.max {
                self.learn(now, theirs, sender.from, out);
            }
            if let Some(mine) = self.ring.row(theirs.peer) {
                self.compare_maps(&mut draft, &mine, theirs, base);
            }
        }
        self.scratch.rows = differing;
        if !newer || draft.columns.len() > draft.room {
            draft.columns.clear();
        }
        self.finish_answer(now, sender, digest.id, digest.rates, draft, Some(columns), out);
        Ok(())
    }

    pub(super) fn handle_answer(
        &mut self,
        now: Instant,
        sender: &Sender,
        answer: &Answer<'_>,
        out: &mut Output,
    ) -> Result<(), Refusal> {
        let base = sender.generation;
        let rows_are_well = answer.rows(base).all(|row| row.is_ok());
        let wants_are_well = answer.wants(base).all(|want| want.is_ok());
        if !rows_are_well || !wants_are_well || !answer.deltas(base).are_well_formed() {
            return Err(Refusal::Malformed);
        }
        let asked = self.take_asked(answer.id);
        if asked {
            self.flow.shared(answer.rate_change as f64);
            self.news.answered(answer.id, |owner| answer.wants(base).flatten().any(|want| want.owner == owner));
        }
        for row in answer.rows(base).flatten() {
            self.learn(now, &row, sender.from, out);
        }
        if let Some(columns) = answer.columns.filter(|columns| self.same_roster(columns)) {
            self.exchange_heartbeats(now, &columns, out, |_, _, _| ());
        }
        let mut wishes = Wishes::default();
        self.apply_deltas(now, sender, answer.deltas(base), None, &mut wishes, out);
        self.serve(now, sender, answer.want_id, answer.credit, answer.wants(base).flatten(), out);
        for row in answer.rows(base).flatten() {
            let mine = self.ring.member(row.peer).map(|member| member.replica.progress());
            if mine.is_some_and(|mine| lacks(&mine, &row.progress)) && row.mark != Mark::Forgotten {
                wishes.add(row.peer);
            }
        }
        self.wish(now, sender.path, wishes, None, 0, out);
        if let (true, Some(rest)) = (asked, answer.rest) {
            self.send_part(sender.path, rest, 1, out);
        }
        Ok(())
    }

    /// Reads a digest's records into `rows`: each peer once, and in the order of the ring within the window, if there is one.
    fn read_rows(&self, digest: &Digest<'_>, base: u64, rows: &mut Vec<Row>) -> Result<(), Refusal> {
        rows.clear();
        for row in digest.rows(base) {
            let row = row.map_err(|_| Refusal::Malformed)?;
            let is_well = match digest.window {
                Some((from, to)) => {
                    let ordered = rows.last().is_none_or(|last| place(last.peer, from) < place(row.peer, from));
                    ordered && in_window(row.peer, from, to)
                }
                None => rows.iter().all(|other| other.peer != row.peer),
            };
            if !is_well {
                return Err(Refusal::Malformed);
            }
            rows.push(row);
        }
        Ok(())
    }

    fn draft(&mut self, sender: &Sender, extra: usize) -> Draft {
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
    fn compare(&self, draft: &mut Draft, window: Option<(Peer, Peer)>, theirs: &[Row]) {
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

    fn compare_maps(&self, draft: &mut Draft, mine: &Row, theirs: &Row, base: u64) {
        let owner = mine.peer;
        if let Some(from) = mine.progress.answer_from(&theirs.progress) {
            let map = match self.ring.member(owner) {
                Some(member) => member.replica.map(),
                None => self.ring.own().map(),
            };
            let waiting = map.after(from).take(COUNTED_ENTRIES).count();
            draft.waiting.push((waiting, Want { owner, progress: theirs.progress, unfinished: (0, 0) }));
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
    fn finish_answer(
        &mut self,
        now: Instant,
        sender: &Sender,
        id: u32,
        rates: crate::wire::Rates,
        mut draft: Draft,
        columns: Option<Columns<'_>>,
        out: &mut Output,
    ) {
        let rate_change = self.flow.share(self.write_rate.get(now), rates.wanted as f64, rates.permitted as f64);
        self.fill_deltas(now, &mut draft);
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

    fn fill_deltas(&mut self, now: Instant, draft: &mut Draft) {
        // Depth first: the owner with the most waiting entries first, ties at random (van Renesse et al. 2008,
        // section 3.2).
        self.dice.shuffle(&mut draft.waiting);
        draft.waiting.sort_by_key(|(waiting, _)| std::cmp::Reverse(*waiting));
        let base = self.generation();
        let empty_datagram_bytes = self.delta_room();
        let used = draft.room - draft.left();
        let room = Room { bytes: draft.room.saturating_sub(used), empty_datagram_bytes };
        let mut overflowed = false;
        let mut ordinary = false;
        for (_, want) in &mut draft.waiting {
            let behind = want.progress.max > 0;
            let packed = pack_owner(&self.ring, now, want, room, (&mut draft.deltas, &mut draft.entries), base);
            ordinary |= behind;
            overflowed |= packed == Packed::Cut && behind;
        }
        // Only ordinary exchanges tell whether messages hold what is written: a newcomer who fetches whole maps does not.
        if ordinary {
            self.flow.message(overflowed);
        }
    }

    /// Tells the sender if a later run of it is known here, also where that is told to nobody else or only remembered: it has
    /// to take a higher generation before it is listened to. Returns what the path allows afterwards.
    fn tell_of_later_run(&mut self, sender: &Sender, out: &mut Output) -> Path {
        let mut path = sender.path;
        let held = self.ring.row(sender.peer);
        let later = held.or_else(|| self.remembered(sender.peer));
        let Some(row) = later.filter(|row| row.progress.generation > sender.generation) else { return path };
        let mut records = std::mem::take(&mut self.scratch.records);
        records.clear();
        put_row(&mut records, &row, self.generation());
        if self.header(&path).bytes() + DIGEST_BYTES + records.len() <= path.allowance {
            let id = self.new_digest_id();
            let message =
                Message::Digest(Digest { id, window: None, rates: self.rates(), records: &records, padding: 0 });
            path.allowance = path.allowance.saturating_sub(self.send(&path, &message, out));
        }
        self.scratch.records = records;
        path
    }

    /// What is remembered of a peer that was forgotten.
    fn remembered(&self, peer: Peer) -> Option<Row> {
        let (generation, heartbeat) = self.ring.forgotten(peer)?;
        Some(Row { peer, heartbeat, progress: Progress { generation, max: 0, floor: 0 }, mark: Mark::Forgotten })
    }

    fn same_roster(&self, columns: &Columns<'_>) -> bool {
        let (from, to) = columns.window;
        let roster = self.ring.roster(from, to);
        let told = columns.heartbeats().try_fold(0, |count, difference| difference.map(|_| count + 1));
        roster.hash == columns.roster && told == Ok(roster.peers)
    }

    /// Takes the heartbeats of a column, whose roster was found to be the same, and shows each peer afterwards, with the
    /// heartbeat that was told.
    fn exchange_heartbeats(
        &mut self,
        now: Instant,
        columns: &Columns<'_>,
        out: &mut Output,
        mut show: impl FnMut(Peer, Option<&Member>, u64),
    ) {
        let (from, to) = columns.window;
        let mut told = columns.heartbeats();
        let mut came_alive: Vec<(Peer, PeerState)> = Vec::new();
        let own = self.ring.own_row();
        let mut own_told = 0;
        let judging = Judging { judge: &self.judge, catching_up: self.guard.is_catching_up(now) };
        self.ring.walk_roster(from, to, |peer, member| {
            let Some(Ok(difference)) = told.next() else { return };
            let Some(member) = member else {
                own_told = heartbeat_told(columns, own.progress.generation, difference);
                show(peer, None, own_told);
                return;
            };
            let heartbeat = heartbeat_told(columns, member.replica.progress().generation, difference);
            if let Some(old) = advance_member(member, now, heartbeat, judging) {
                came_alive.push((peer, old));
            }
            show(peer, Some(member), heartbeat);
        });
        for (peer, old) in came_alive {
            self.came_alive(now, peer, old, out);
        }
        if own_told > own.heartbeat {
            self.learn(now, &Row { heartbeat: own_told, ..own }, own.peer.addr(), out);
        }
    }

    /// Whether this is an answer to a digest of this node; true once.
    pub(super) fn take_asked(&mut self, id: u32) -> bool {
        let slot = &mut self.asked[id as usize % OPEN_DIGESTS];
        let asked = id != 0 && *slot == id;
        if asked {
            *slot = 0;
        }
        asked
    }
}

/// Whether something is to be asked for. Not if the other has a later run: whoever learnt of that from its record is at
/// its beginning already, and who refused it would ask for what it does not take.
fn lacks(mine: &Progress, theirs: &Progress) -> bool {
    mine.generation == theirs.generation && mine.is_behind(theirs)
}
