//! Whether the copies of this node's map that others hold are what it wrote.
//!
//! Versions alone cannot tell: who says that a node wrote something else at the version that it writes next is believed, and
//! the real entry of that version is then never asked for. So each answer tells the asker what the copy of its own map comes
//! to, and whoever sees that it is not what it wrote takes a higher generation, as for any other lie about itself: everyone
//! then fetches the map anew. A partner in each of `fanout` exchanges a round is checked.

use std::collections::VecDeque;
use std::net::SocketAddr;

use log::Level;

use crate::instant::Instant;
use crate::node::receive::Sender;
use crate::node::{Node, Output};
use crate::state::Fingerprint;

/// Others are behind by what was written since they asked; further back than this a copy is not checked.
const MAX_RECENT: usize = 64;

/// What this node's own map came to at its latest versions.
#[derive(Debug, Default)]
pub(super) struct Fingerprints {
    recent: VecDeque<Fingerprint>,
}

impl Fingerprints {
    /// The map has changed, and comes to this now.
    pub(super) fn note(&mut self, own: Fingerprint) {
        if self.recent.len() == MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(own);
    }

    /// A new run begins, whose versions say something else.
    pub(super) fn clear(&mut self) {
        self.recent.clear();
    }

    /// Whether a copy that comes to this is none of the map as it ever was; false if that is not known any more.
    fn differs(&self, own: Fingerprint, copy: Fingerprint) -> bool {
        if copy.max > own.max {
            // It waits for what was never written, and would have no sum for ever.
            return true;
        }
        let same = |known: &&Fingerprint| (known.max, known.floor) == (copy.max, copy.floor);
        let known = [&own].into_iter().chain(self.recent.iter().rev()).find(same);
        copy.sum.is_some() && known.is_some_and(|known| known.sum != copy.sum)
    }
}

impl Node {
    /// What is held here of the map of someone who asks, if it is of the run that asks.
    pub(super) fn fingerprint_for(&self, sender: &Sender) -> Option<Fingerprint> {
        let replica = self.ring.member(sender.peer).map(|member| &member.replica);
        replica.filter(|replica| replica.progress().generation == sender.generation)?.fingerprint()
    }

    /// Compares what another holds of this node's map, as the answer to a digest of this run told, with what was written.
    pub(super) fn check_fingerprint(
        &mut self,
        now: Instant,
        from: SocketAddr,
        copy: Option<Fingerprint>,
        out: &mut Output,
    ) {
        let own = self.ring.own().fingerprint();
        if self.left || !copy.is_some_and(|copy| self.fingerprints.differs(own, copy)) {
            return;
        }
        // If a minute has not passed since the last time: it will be told again.
        if let Some(generation) = self.renew(now, self.generation()) {
            let text = format!("{from} holds a map of this node's that it never wrote; took generation {generation}");
            out.log(Level::Warn, text);
        }
    }
}
