//! Digests of a round: the ring cut into windows that fit a datagram each, in full or in columns.

use crate::msgpack::Write;
use crate::peer::Peer;
use crate::state::{Progress, Ring, Row, Telling};
use crate::wire::{Columns, put_row};

/// The most peers in one compact window. More would fit a datagram, but where two rosters differ it is the whole window
/// that is told in full.
const COMPACT_WINDOW_PEERS: usize = 256;

/// A digest without what differs from partner to partner.
#[derive(Clone, Debug, Default)]
pub struct PreparedDigest {
    window: (Option<Peer>, Option<Peer>),
    records: Vec<u8>,
    roster: u64,
    base: u64,
    tick: u64,
    heartbeats: Vec<u8>,
    maxima: Vec<u8>,
    peers: usize,
}

impl PreparedDigest {
    /// How many peers it tells of.
    pub fn peers(&self) -> usize {
        self.peers
    }

    /// The window; the whole ring if it begins where it ends.
    pub fn window(&self) -> (Peer, Peer) {
        (self.window.0.unwrap_or(Peer::LOWEST), self.window.1.unwrap_or(Peer::LOWEST))
    }

    /// The member records of a full digest.
    pub fn records(&self) -> &[u8] {
        &self.records
    }

    /// The columns of a compact digest.
    pub fn columns(&self) -> Columns<'_> {
        Columns {
            window: self.window(),
            roster: self.roster,
            base: self.base,
            tick: self.tick,
            heartbeats: &self.heartbeats,
        }
    }

    /// The column of highest versions of a compact digest.
    pub fn maxima(&self) -> &[u8] {
        &self.maxima
    }

    /// The size of what is in it.
    pub fn bytes(&self) -> usize {
        self.records.len() + self.heartbeats.len() + self.maxima.len()
    }

    fn begin(&mut self, from: Peer) {
        self.window = (Some(from), Some(from));
        self.records.clear();
        self.heartbeats.clear();
        self.maxima.clear();
        self.roster = 0;
        self.peers = 0;
    }
}

/// The windows of one round, with buffers that are used again.
#[derive(Clone, Debug, Default)]
pub struct DigestSet {
    digests: Vec<PreparedDigest>,
    used: usize,
}

impl DigestSet {
    /// The windows, in the order of the ring.
    pub fn digests(&self) -> &[PreparedDigest] {
        &self.digests[..self.used]
    }

    /// Cuts the ring from `from` until `to` into full windows of at most `room` bytes of records, at most `limit` of them.
    pub fn prepare_full(&mut self, ring: &Ring, from: Peer, to: Peer, room: usize, limit: usize) {
        self.used = 0;
        let base = ring.own().progress().generation;
        let mut row_bytes = Vec::with_capacity(64);
        for (row, _) in ring.rows(from, to, Telling::InFull) {
            row_bytes.clear();
            put_row(&mut row_bytes, &row, base);
            let fits = self.current().is_some_and(|digest| digest.records.len() + row_bytes.len() <= room);
            if !fits && !self.next(row.peer, from, to, limit) {
                return;
            }
            if let Some(digest) = self.current() {
                digest.records.extend_from_slice(&row_bytes);
                digest.peers += 1;
            }
        }
    }

    /// Cuts the ring from `from` until `to` into compact windows of at most `room` bytes of columns, at most `limit` of
    /// them. `tick` is the interval in milliseconds.
    pub fn prepare_compact(&mut self, ring: &Ring, (from, to): (Peer, Peer), tick: u64, room: usize, limit: usize) {
        self.used = 0;
        let own = ring.own_row();
        let base = own.progress.generation.saturating_add(ring.rounds().saturating_mul(tick));
        for (row, hash) in ring.rows(from, to, Telling::Roster) {
            // 9 bytes each are the most that the two integers can take.
            let fits =
                self.current().is_some_and(|digest| digest.peers < COMPACT_WINDOW_PEERS && digest.bytes() + 18 <= room);
            if !fits && !self.next(row.peer, from, to, limit) {
                return;
            }
            if let Some(digest) = self.current() {
                digest.base = base;
                digest.tick = tick;
                digest.roster = digest.roster.wrapping_add(hash);
                digest.heartbeats.put_int(heartbeat_difference(&digest.columns(), row.progress, row.heartbeat));
                digest.maxima.put_uint(row.progress.max);
                digest.peers += 1;
            }
        }
    }

    /// Prepares the news of single owners: as many of their records as fit into `room`, starting with the first.
    /// Returns how many.
    pub fn prepare_news(&mut self, rows: impl Iterator<Item = Row>, base: u64, room: usize) -> usize {
        self.used = 0;
        self.next(Peer::LOWEST, Peer::LOWEST, Peer::LOWEST, 1);
        let mut taken = 0;
        if let Some(digest) = self.current() {
            for row in rows {
                let before = digest.records.len();
                put_row(&mut digest.records, &row, base);
                if digest.records.len() > room {
                    digest.records.truncate(before);
                    break;
                }
                taken += 1;
            }
        }
        taken
    }

    fn current(&mut self) -> Option<&mut PreparedDigest> {
        self.digests[..self.used].last_mut()
    }

    /// Ends the current window where the next one begins, at `peer`; the first begins at `from` and the last ends at
    /// `to`, so that peers that only the other side knows belong to some window. False at the limit.
    fn next(&mut self, peer: Peer, from: Peer, to: Peer, limit: usize) -> bool {
        let begin = if self.used == 0 { from } else { peer };
        if let Some(digest) = self.current() {
            digest.window.1 = Some(peer);
        }
        if self.used == limit {
            return false;
        }
        if self.used == self.digests.len() {
            self.digests.push(PreparedDigest::default());
        }
        self.used += 1;
        if let Some(digest) = self.current() {
            digest.begin(begin);
            digest.window.1 = Some(to);
        }
        true
    }
}

/// How a heartbeat is told in a column.
pub(crate) fn heartbeat_difference(columns: &Columns<'_>, progress: Progress, heartbeat: u64) -> i64 {
    heartbeat.wrapping_sub(columns.expected(progress.generation)).cast_signed()
}

/// The heartbeat that a column tells; the inverse of [`heartbeat_difference`].
pub(crate) fn heartbeat_told(columns: &Columns<'_>, generation: u64, difference: i64) -> u64 {
    columns.expected(generation).wrapping_add(difference.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instant::Instant;
    use crate::state::OwnMap;

    fn peer(port: u16) -> Peer {
        Peer::from(std::net::SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn ring(n: u16) -> Ring {
        let mut ring = Ring::new(peer(1), OwnMap::new(1_000_000), 0);
        for port in 2..=n {
            ring.insert(Instant::ZERO, peer(port), u64::from(port), 1_000_000 + u64::from(port));
        }
        ring
    }

    /// Together the windows cover the ring once, each ends where the next begins, and none is larger than its room.
    #[test]
    fn windows_partition_the_ring() {
        for n in [1, 2, 50, 300] {
            for start in [1, n / 2 + 1] {
                let ring = ring(n);
                let mut set = DigestSet::default();
                set.prepare_full(&ring, peer(start), peer(start), 300, usize::MAX);
                check(&set, peer(start), 300);
                set.prepare_compact(&ring, (peer(start), peer(start)), 1000, 300, usize::MAX);
                check(&set, peer(start), 300);
            }
        }
    }

    fn check(set: &DigestSet, start: Peer, room: usize) {
        let digests = set.digests();
        assert_eq!(digests.first().map(|digest| digest.window().0), Some(start));
        assert_eq!(digests.last().map(|digest| digest.window().1), Some(start));
        for pair in digests.windows(2) {
            assert_eq!(pair[0].window().1, pair[1].window().0);
        }
        assert!(digests.iter().all(|digest| digest.bytes() <= room));
    }

    #[test]
    fn a_limit_leaves_the_last_window_whole() {
        let ring = ring(300);
        let mut set = DigestSet::default();
        set.prepare_full(&ring, peer(1), peer(1), 300, 2);
        assert_eq!(set.digests().len(), 2);
        let (from, to) = set.digests()[1].window();
        let rows = crate::wire::Rows::new(set.digests()[1].records(), 1_000_000).map(Result::unwrap);
        let told: Vec<Peer> = rows.map(|row| row.peer).collect();
        let expected: Vec<Peer> = ring.rows(from, to, Telling::Roster).map(|(row, _)| row.peer).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn quiet_heartbeats_take_a_byte_each_whenever_peers_started() {
        let mut ring = Ring::new(peer(1), OwnMap::new(5_000_000), 95);
        for _ in 0..100 {
            ring.beat();
        }
        for port in 2..=100 {
            // Started `port` hours earlier, one beat a second since.
            let earlier = u64::from(port) * 3_600_000;
            let first = u64::from(port) % 96;
            ring.insert(
                Instant::ZERO,
                peer(port),
                first + 100 + earlier / 1000,
                5_000_000u64.saturating_sub(earlier).max(1),
            );
        }
        let mut set = DigestSet::default();
        let whole = (Peer::LOWEST, Peer::LOWEST);
        set.prepare_compact(&ring, whole, 1000, 1300, usize::MAX);
        let honest =
            ring.rows(whole.0, whole.1, Telling::Roster).filter(|(row, _)| row.progress.generation > 1).count();
        assert!(set.digests()[0].heartbeats.len() <= honest + 9 * (100 - honest));
        let columns = set.digests()[0].columns();
        for ((row, _), difference) in ring.rows(whole.0, whole.1, Telling::Roster).zip(columns.heartbeats()) {
            assert_eq!(heartbeat_told(&columns, row.progress.generation, difference.unwrap()), row.heartbeat);
        }
    }
}
