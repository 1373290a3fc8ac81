//! The ids of this node's digests that are not answered yet.

use std::collections::VecDeque;

/// Digests to those who proved themselves or whom this node chose: more than go out in the time of an answer with 16 partners, a dozen
/// windows for each, and news. 4 kB, where nobody answers.
const MOST_OWN: usize = 1_024;
/// Digests that answer what nobody has proved: as many newcomers as ask at once, or somebody who repeats what they once asked. These
/// drive out one another, and none of the others.
const MOST_OFFERED: usize = 256;

/// Each id is drawn from one count, waited for until its answer or until there are too many later ones, and answered once.
#[derive(Debug)]
pub(super) struct OpenDigests {
    last_id: u32,
    own: VecDeque<u32>,
    offered: VecDeque<u32>,
}

impl OpenDigests {
    /// Counts on from `last_id`, which should be drawn: who can guess an id can answer in another's place.
    pub(super) fn new(last_id: u32) -> Self {
        OpenDigests { last_id, own: VecDeque::new(), offered: VecDeque::new() }
    }

    /// The id that the next digest will have.
    pub(super) fn next_id(&self) -> u32 {
        // 0 stands for no digest.
        self.last_id.wrapping_add(1).max(1)
    }

    /// A digest goes out, to somebody who is proved or chosen, or else as an offer. Returns its id.
    pub(super) fn open(&mut self, is_own: bool) -> u32 {
        self.last_id = self.next_id();
        let (ids, most) = if is_own { (&mut self.own, MOST_OWN) } else { (&mut self.offered, MOST_OFFERED) };
        if ids.len() == most {
            ids.pop_front();
        }
        ids.push_back(self.last_id);
        self.last_id
    }

    /// Whether an answer to this digest is waited for.
    pub(super) fn is_open(&self, id: u32) -> bool {
        self.own.contains(&id) || self.offered.contains(&id)
    }

    /// An answer came. Returns whether it was waited for: true once.
    pub(super) fn close(&mut self, id: u32) -> bool {
        [&mut self.own, &mut self.offered].into_iter().any(|ids| {
            let place = ids.iter().position(|other| *other == id);
            place.and_then(|place| ids.remove(place)).is_some()
        })
    }

    /// Nothing is waited for any more.
    pub(super) fn close_all(&mut self) {
        self.own.clear();
        self.offered.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_answered_once() {
        let mut digests = OpenDigests::new(u32::MAX - 1);
        let ids: Vec<u32> = (0..4).map(|n| digests.open(n % 2 == 0)).collect();
        assert_eq!(ids, [u32::MAX, 1, 2, 3], "0 stands for none");
        assert!(!digests.is_open(0) && !digests.is_open(4) && !digests.close(4));
        for id in ids {
            assert!(digests.is_open(id) && digests.close(id));
            assert!(!digests.is_open(id) && !digests.close(id));
        }
        let id = digests.open(true);
        digests.close_all();
        assert!(!digests.is_open(id));
    }

    /// Whoever repeats what newcomers once asked does not have this node forget what it asked itself, and not for ever what it offered.
    #[test]
    fn what_is_offered_drives_out_nothing_else() {
        let mut digests = OpenDigests::new(7);
        let (mut own, mut offered) = (Vec::new(), Vec::new());
        for _ in 0..4 * MOST_OWN {
            own.push(digests.open(true));
            offered.extend((0..255).map(|_| digests.open(false)));
        }
        let open = |ids: &[u32]| ids.iter().copied().filter(|id| digests.is_open(*id)).collect::<Vec<_>>();
        assert_eq!(open(&own), own[own.len() - MOST_OWN..]);
        assert_eq!(open(&offered), offered[offered.len() - MOST_OFFERED..]);
    }
}
