//! What really happened in a run: faults that were asked for and never struck prove nothing.

/// Counts of everything that went wrong, on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Happened {
    /// Datagrams sent, by nodes and intruders.
    pub datagrams: u64,
    /// Datagrams lost at random.
    pub lost: u64,
    /// Datagrams that arrived twice.
    pub duplicated: u64,
    /// Datagrams held up so that others overtook them.
    pub reordered: u64,
    /// Datagrams that took longer than on a local network, for whatever reason.
    pub delayed: u64,
    /// Datagrams of which some bits were flipped.
    pub corrupted: u64,
    /// Datagrams that were cut short.
    pub truncated: u64,
    /// Datagrams that came once more after seconds.
    pub replayed: u64,
    /// Datagrams that waited on a slow link.
    pub slowed: u64,
    /// Datagrams lost because a slow link's queue was full.
    pub overflowed: u64,
    /// Datagrams lost to a cut in both directions.
    pub cut: u64,
    /// Datagrams lost to a cut in theirs only.
    pub cut_one_way: u64,
    /// Datagrams to an address where nobody was.
    pub unreachable: u64,
    /// Processes that died without a word.
    pub crashes: u64,
    /// Processes started again at an address that was used before.
    pub restarts: u64,
    /// Those of them whose wall clock was set back.
    pub clocks_set_back: u64,
    /// Those of them that were another program's: of another cluster, or with another map.
    pub replacements: u64,
    /// Nodes that left.
    pub leaves: u64,
    /// Processes that were stopped for a while.
    pub pauses: u64,
    /// Machines that slept for a while, their monotonic clock with them.
    pub sleeps: u64,
    /// Clocks made to run fast or slow.
    pub drifts: u64,
    /// Events that a subscriber missed because it did not read.
    pub events_missed: u64,
    /// Datagrams that an intruder sent.
    pub lies: u64,
    /// Datagrams of nodes that an intruder sent again.
    pub recorded: u64,
    /// Nodes that took a higher generation because of what others told of them.
    pub renewals: u64,
}

impl Happened {
    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Happened) {
        for ((_, mine), (_, theirs)) in self.fields_mut().into_iter().zip(other.fields()) {
            *mine += theirs;
        }
    }

    /// Each count with its name.
    pub fn fields(&self) -> [(&'static str, u64); 25] {
        let mut copy = *self;
        copy.fields_mut().map(|(name, count)| (name, *count))
    }

    fn fields_mut(&mut self) -> [(&'static str, &mut u64); 25] {
        [
            ("datagrams", &mut self.datagrams),
            ("lost", &mut self.lost),
            ("duplicated", &mut self.duplicated),
            ("reordered", &mut self.reordered),
            ("delayed", &mut self.delayed),
            ("corrupted", &mut self.corrupted),
            ("truncated", &mut self.truncated),
            ("replayed", &mut self.replayed),
            ("slowed", &mut self.slowed),
            ("overflowed", &mut self.overflowed),
            ("cut", &mut self.cut),
            ("cut one way", &mut self.cut_one_way),
            ("unreachable", &mut self.unreachable),
            ("crashes", &mut self.crashes),
            ("restarts", &mut self.restarts),
            ("clocks set back", &mut self.clocks_set_back),
            ("replacements", &mut self.replacements),
            ("leaves", &mut self.leaves),
            ("pauses", &mut self.pauses),
            ("sleeps", &mut self.sleeps),
            ("drifts", &mut self.drifts),
            ("events missed", &mut self.events_missed),
            ("lies", &mut self.lies),
            ("recorded", &mut self.recorded),
            ("renewals", &mut self.renewals),
        ]
    }
}
