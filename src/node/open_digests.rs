//! The ids of this node's digests that are not answered yet.

/// Digests of this node's own accord whose answers are waited for: the partners of five rounds, with 15 windows each.
const OWN: usize = 256;
/// Digests that answer what nobody has proved: as many newcomers as ask at once, or somebody who repeats what they once asked. These
/// drive out one another, and none of this node's own.
const OFFERED: usize = 256;

/// Each id is drawn from one count, waited for until its answer or so many later ones, and answered once.
#[derive(Debug)]
pub(super) struct OpenDigests {
    last_id: u32,
    own: Ids<OWN>,
    offered: Ids<OFFERED>,
}

impl OpenDigests {
    /// Counts on from `last_id`, which should be drawn: who can guess an id can answer in another's place.
    pub(super) fn new(last_id: u32) -> Self {
        OpenDigests { last_id, own: Ids([0; OWN]), offered: Ids([0; OFFERED]) }
    }

    /// The id that the next digest will have.
    pub(super) fn next_id(&self) -> u32 {
        // 0 stands for no digest.
        self.last_id.wrapping_add(1).max(1)
    }

    /// A digest goes out, of this node's own accord or to somebody who has not proved itself. Returns its id.
    pub(super) fn open(&mut self, is_own: bool) -> u32 {
        self.last_id = self.next_id();
        match is_own {
            true => self.own.put(self.last_id),
            false => self.offered.put(self.last_id),
        }
        self.last_id
    }

    /// Whether an answer to this digest is waited for.
    pub(super) fn is_open(&self, id: u32) -> bool {
        self.own.has(id) || self.offered.has(id)
    }

    /// An answer came. Returns whether it was waited for: true once.
    pub(super) fn close(&mut self, id: u32) -> bool {
        self.own.take(id) || self.offered.take(id)
    }

    /// Nothing is waited for any more.
    pub(super) fn close_all(&mut self) {
        self.own.0.fill(0);
        self.offered.0.fill(0);
    }
}

/// The place of an id is its remainder; the later of two drives out the earlier.
#[derive(Debug)]
struct Ids<const N: usize>([u32; N]);

impl<const N: usize> Ids<N> {
    fn put(&mut self, id: u32) {
        self.0[id as usize % N] = id;
    }

    fn has(&self, id: u32) -> bool {
        id != 0 && self.0[id as usize % N] == id
    }

    fn take(&mut self, id: u32) -> bool {
        let had = self.has(id);
        if had {
            self.0[id as usize % N] = 0;
        }
        had
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
    fn what_is_offered_drives_out_nothing_of_its_own() {
        let mut digests = OpenDigests::new(7);
        let own = digests.open(true);
        let offered: Vec<u32> = (0..1_000).map(|_| digests.open(false)).collect();
        assert!(digests.is_open(own));
        let open: Vec<u32> = offered.iter().copied().filter(|id| digests.is_open(*id)).collect();
        assert_eq!(open, offered[1_000 - OFFERED..]);
    }
}
