//! Walking the ring, window by window, in the order of the addresses.

use std::ops::Bound;

use crate::peer::Peer;
use crate::state::member::{Member, Row, Telling};
use crate::state::ring::{Ring, RosterSum};

impl Ring {
    /// The roster in a window, in short. Of the whole ring it is kept, of a part it is summed up.
    pub fn roster(&self, from: Peer, to: Peer) -> RosterSum {
        if from == to {
            return self.roster;
        }
        let mut sum = RosterSum::default();
        self.rows(from, to, Telling::Roster).for_each(|(_, hash)| sum.add(hash));
        sum
    }

    /// The records that are told to at least this extent, with their roster hashes, from `from` once around the ring
    /// until `to`; the whole ring if they are the same. This node's own is always among them.
    pub fn rows(&self, from: Peer, to: Peer, extent: Telling) -> impl Iterator<Item = (Row, u64)> + '_ {
        let (first, second) = if from < to {
            (self.members.range(from..to), self.members.range(..Peer::LOWEST))
        } else {
            (self.members.range(from..), self.members.range(..to))
        };
        let mut own = in_window(self.me, from, to).then(|| (self.own_row(), self.own_hash));
        let mut others = first
            .chain(second)
            .filter(move |(_, member)| member.telling >= extent)
            .map(|(peer, member)| (member.row(*peer), member.roster_hash))
            .peekable();
        std::iter::from_fn(move || {
            let own_is_next = match (&own, others.peek()) {
                (Some((own, _)), Some((other, _))) => place(own.peer, from) < place(other.peer, from),
                (own, _) => own.is_some(),
            };
            if own_is_next { own.take() } else { others.next() }
        })
    }

    /// Walks the roster in a window in the order of [`Ring::rows`], to change what the roster's hash does not cover.
    /// This node itself comes as `None`.
    pub fn walk_roster(&mut self, from: Peer, to: Peer, mut visit: impl FnMut(Peer, Option<&mut Member>)) {
        let ranges = if from < to {
            [Some((from, Some(to))), None]
        } else {
            [Some((from, None)), Some((Peer::LOWEST, Some(to)))]
        };
        let mut own = in_window(self.me, from, to).then_some(self.me);
        for (low, high) in ranges.into_iter().flatten() {
            let high = high.map_or(Bound::Unbounded, Bound::Excluded);
            for (peer, member) in self.members.range_mut((Bound::Included(low), high)) {
                if member.telling < Telling::Roster {
                    continue;
                }
                if let Some(me) = own.take_if(|me| place(*me, from) < place(*peer, from)) {
                    visit(me, None);
                }
                visit(*peer, Some(member));
            }
        }
        if let Some(me) = own {
            visit(me, None);
        }
    }
}

/// A peer's place on the ring, counted from `from` on.
pub(crate) fn place(peer: Peer, from: Peer) -> (bool, Peer) {
    (peer < from, peer)
}

/// Whether `peer` is in the window from `from` once around the ring until `to`.
pub(crate) fn in_window(peer: Peer, from: Peer, to: Peer) -> bool {
    if from < to { from <= peer && peer < to } else { from <= peer || peer < to }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instant::Instant;
    use crate::state::own::OwnMap;

    fn peer(port: u16) -> Peer {
        Peer::from(std::net::SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn ring(me: u16, others: &[u16]) -> Ring {
        let mut ring = Ring::new(peer(me), OwnMap::new(1), 0);
        for port in others {
            ring.insert(Instant::ZERO, peer(*port), 1, 1);
        }
        ring
    }

    fn ports(ring: &Ring, from: u16, to: u16) -> Vec<u16> {
        ring.rows(peer(from), peer(to), Telling::Roster).map(|(row, _)| row.peer.addr().port()).collect()
    }

    fn walked(ring: &mut Ring, from: u16, to: u16) -> Vec<u16> {
        let mut ports = Vec::new();
        ring.walk_roster(peer(from), peer(to), |peer, _| ports.push(peer.addr().port()));
        ports
    }

    #[test]
    fn windows_go_around_the_ring_and_include_this_node() {
        let mut ring = ring(5, &[1, 3, 7, 9]);
        for from in 0..11 {
            for to in 0..11 {
                assert_eq!(ports(&ring, from, to), walked(&mut ring, from, to), "{from}..{to}");
            }
        }
        assert_eq!(ports(&ring, 1, 1), [1, 3, 5, 7, 9]);
        assert_eq!(ports(&ring, 4, 4), [5, 7, 9, 1, 3]);
        assert_eq!(ports(&ring, 3, 7), [3, 5]);
        assert_eq!(ports(&ring, 8, 4), [9, 1, 3]);
        assert_eq!(ports(&ring, 6, 5), [7, 9, 1, 3]);
        assert_eq!(ports(&ring, 6, 6), [7, 9, 1, 3, 5]);
    }

    #[test]
    fn equal_rosters_have_equal_hashes_whoever_holds_them() {
        let sum = |ring: &Ring| ring.roster(peer(0), peer(0));
        let (a, b) = (ring(1, &[2, 3]), ring(2, &[1, 3]));
        assert_eq!(sum(&a), sum(&b));
        let mut c = b.clone();
        c.change(peer(3), |member| member.replica.begin_generation(2));
        assert_ne!(sum(&a), sum(&c));
    }

    /// The sum that is kept is the sum that there is, whatever happens to the members.
    #[test]
    fn the_roster_is_kept_in_step() {
        let mut ring = ring(5, &[1, 3, 7, 9]);
        let mut dice = fastrand::Rng::with_seed(3);
        for step in 0..2_000 {
            let one = peer(dice.u16(1..20));
            match dice.u8(0..6) {
                0 if one != ring.me() => ring.insert(Instant::ZERO, one, 1, step),
                1 => drop(ring.remove(one)),
                2 => ring.remove_and_remember(one, 5),
                3 => drop(ring.change(one, |member| member.telling = Telling::Nobody)),
                4 => drop(ring.change(one, |member| member.telling = Telling::Roster)),
                _ => drop(ring.change(one, |member| member.replica.begin_generation(step))),
            }
            if step % 100 == 0 {
                ring.renew(step + 2);
            }
            let mut sum = RosterSum::default();
            ring.rows(one, one, Telling::Roster).for_each(|(row, _)| sum.add(row.roster_hash()));
            assert_eq!(ring.roster(one, one), sum);
        }
    }
}
