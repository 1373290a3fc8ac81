//! The first two messages: answering digests, and what answers say.

use crate::instant::Instant;
use crate::msgpack::Write;
use crate::node::deltas::Wishes;
use crate::node::draft::lacks;
use crate::node::learn::{Judging, advance_member};
use crate::node::proof::Path;
use crate::node::receive::Sender;
use crate::node::rounds::DIGEST_BYTES;
use crate::node::{Node, Output};
use crate::peer::{Peer, PeerState};
use crate::reconcile::{heartbeat_difference, heartbeat_told};
use crate::state::{Mark, Member, Progress, Row, in_window, place};
use crate::stats::Refusal;
use crate::wire::{Answer, Columns, CompactDigest, Digest, Message, put_row};

/// What the columns in an answer take beside the heartbeats.
const COLUMNS_BYTES: usize = 40 + 27 + 3;
/// Where rosters differ, the part of the ring that a compact digest covered is told in full in so many datagrams.
const MISMATCH_DATAGRAMS: usize = 4;

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
        self.open_digests.close(answer.id);
        self.flow.shared(answer.rate_change as f64);
        self.check_fingerprint(now, sender.from, answer.fingerprint, out);
        self.news.answered(answer.id, |owner| answer.wants(base).flatten().any(|want| want.owner == owner));
        for row in answer.rows(base).flatten() {
            self.learn(now, &row, sender.from, out);
        }
        if let Some(columns) = answer.columns.filter(|columns| self.same_roster(columns)) {
            self.exchange_heartbeats(now, &columns, out, |_, _, _| ());
        }
        let mut wishes = Wishes::default();
        self.apply_deltas(now, sender, answer.deltas(base), None, &mut wishes, out);
        let path = self.serve(now, sender, answer.want_id, answer.credit, answer.wants(base).flatten(), out);
        for row in answer.rows(base).flatten() {
            let mine = self.ring.member(row.peer).map(|member| member.replica.progress());
            if mine.is_some_and(|mine| lacks(&mine, &row.progress)) && row.mark != Mark::Forgotten {
                wishes.add(row.peer);
            }
        }
        let path = self.wish(now, path, wishes, None, 0, out);
        if let Some(rest) = answer.rest {
            self.send_part(path, rest, 1, out);
        }
        Ok(())
    }

    /// Reads a digest's records into `rows`: each peer once, and in the order of the ring within the window, if there is one.
    fn read_rows(&self, digest: &Digest<'_>, base: u64, rows: &mut Vec<Row>) -> Result<(), Refusal> {
        rows.clear();
        for row in digest.rows(base) {
            rows.push(row.map_err(|_| Refusal::Malformed)?);
        }
        if digest.window.is_none() {
            // In any order, so in this one, which shows who is named twice.
            rows.sort_unstable_by_key(|row| row.peer);
        }
        let (from, to) = digest.window.unwrap_or((Peer::LOWEST, Peer::LOWEST));
        let is_ordered = rows.windows(2).all(|pair| place(pair[0].peer, from) < place(pair[1].peer, from));
        let is_within = rows.iter().all(|row| in_window(row.peer, from, to));
        if is_ordered && is_within { Ok(()) } else { Err(Refusal::Malformed) }
    }

    /// Tells the sender if a later run of it is known here, also where that is told to nobody else or only remembered: it has
    /// to take a higher generation before it is listened to. Returns what the path allows afterwards.
    pub(super) fn tell_of_later_run(&mut self, sender: &Sender, out: &mut Output) -> Path {
        let mut path = sender.path;
        let held = self.ring.row(sender.peer);
        let later = held.or_else(|| self.remembered(sender.peer));
        let Some(row) = later.filter(|row| row.progress.generation > sender.generation) else { return path };
        let mut records = std::mem::take(&mut self.scratch.records);
        records.clear();
        put_row(&mut records, &row, self.generation());
        if self.header(&path).bytes() + DIGEST_BYTES + records.len() <= path.allowance {
            let id = self.open_digests.open(path.is_proved());
            let message =
                Message::Digest(Digest { id, window: None, rates: self.rates(), records: &records, padding: 0 });
            path.spend(self.send(&path, &message, out));
        }
        self.scratch.records = records;
        path
    }

    /// What is remembered of a peer that was forgotten.
    pub(super) fn remembered(&self, peer: Peer) -> Option<Row> {
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
}
