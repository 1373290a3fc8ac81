//! What a node counts.

use std::fmt;

/// Why (part of) a datagram was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// Larger than `max_datagram`.
    TooLarge,
    /// Not a datagram of this protocol: too short, or it starts otherwise.
    Foreign,
    /// The checksum does not match: corrupted on the way.
    Checksum,
    /// Another version of the protocol.
    UnknownVersion,
    /// A key id that is not held here.
    UnknownKey,
    /// Its authentication tag does not match: altered, forged, or of another cluster that has the same key.
    Unauthentic,
    /// Not encrypted, and this node requires it.
    Unencrypted,
    /// A kind of message that this version does not have.
    UnknownKind,
    /// The structure is wrong.
    Malformed,
    /// Of another cluster.
    WrongCluster,
    /// Made for another node or for another run of this one: misdirected, late, or recorded and sent again.
    NotForThisRun,
    /// An answer that nobody here waits for, or not any more: doubled on the way, very late, or recorded and sent again.
    NotAsked,
    /// It claims to come from this node itself: an alias of its own address among the seeds, or a reflection.
    OwnMessage,
    /// It names an address that cannot be a peer's.
    BadAddress,
    /// It would have changed this node's own map.
    OwnState,
    /// A generation more than a day ahead of this node's clock.
    FutureGeneration,
    /// A new peer while the table of peers is full of better ones.
    TooManyPeers,
    /// A key longer than the limit: noted as passed, not held.
    KeyTooLong,
    /// A value larger than the limit: noted as passed, not held.
    ValueTooLarge,
    /// An entry of a map that is full: noted as passed, not held.
    MapFull,
    /// An answer was cut short because the address had not proved itself (three-times rule).
    Unproved,
}

impl Refusal {
    /// All of them, in the order of their counters.
    pub const ALL: [Refusal; 21] = [
        Refusal::TooLarge,
        Refusal::Foreign,
        Refusal::Checksum,
        Refusal::UnknownVersion,
        Refusal::UnknownKey,
        Refusal::Unauthentic,
        Refusal::Unencrypted,
        Refusal::UnknownKind,
        Refusal::Malformed,
        Refusal::WrongCluster,
        Refusal::NotForThisRun,
        Refusal::NotAsked,
        Refusal::OwnMessage,
        Refusal::BadAddress,
        Refusal::OwnState,
        Refusal::FutureGeneration,
        Refusal::TooManyPeers,
        Refusal::KeyTooLong,
        Refusal::ValueTooLarge,
        Refusal::MapFull,
        Refusal::Unproved,
    ];

    /// Its name, for logs and figures. What it means and what to do is its `Display`.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::TooLarge => "too_large",
            Refusal::Foreign => "foreign",
            Refusal::Checksum => "checksum",
            Refusal::UnknownVersion => "unknown_version",
            Refusal::UnknownKey => "unknown_key",
            Refusal::Unauthentic => "unauthentic",
            Refusal::Unencrypted => "unencrypted",
            Refusal::UnknownKind => "unknown_kind",
            Refusal::Malformed => "malformed",
            Refusal::WrongCluster => "wrong_cluster",
            Refusal::NotForThisRun => "not_for_this_run",
            Refusal::NotAsked => "not_asked",
            Refusal::OwnMessage => "own_message",
            Refusal::BadAddress => "bad_address",
            Refusal::OwnState => "own_state",
            Refusal::FutureGeneration => "future_generation",
            Refusal::TooManyPeers => "too_many_peers",
            Refusal::KeyTooLong => "key_too_long",
            Refusal::ValueTooLarge => "value_too_large",
            Refusal::MapFull => "map_full",
            Refusal::Unproved => "unproved",
        }
    }
}

/// What happened, and what to do about it where it is not to be expected.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::TooLarge => "longer than `max_datagram`; give all nodes the same",
            Refusal::Foreign => "not a datagram of this protocol",
            Refusal::Checksum => "the checksum does not match: corrupted on the way",
            Refusal::UnknownVersion => "a version of the protocol that is not spoken here; upgrade the older node",
            Refusal::UnknownKey => {
                "encrypted with a key that is not held here; give all nodes of the cluster the same keys"
            }
            Refusal::Unauthentic => "altered on the way, forged, or of another cluster with the same key",
            Refusal::Unencrypted => "not encrypted, which this node requires; give the sender a key of this cluster",
            Refusal::UnknownKind => "a kind of message that is not known here; upgrade the older node",
            Refusal::Malformed => "a message that is not well-formed",
            Refusal::WrongCluster => "of another cluster; check `cluster` and the seeds on both sides",
            Refusal::NotForThisRun => "made for another node, or for another run of this one",
            Refusal::NotAsked => "an answer that nobody here waits for, or not any more",
            Refusal::OwnMessage => "this node's own message; take its address out of its seeds",
            Refusal::BadAddress => "it names an address that nobody can have; check `advertise` there",
            Refusal::OwnState => "it would have changed this node's own map",
            Refusal::FutureGeneration => {
                "a generation more than a day ahead of the clock; one of the wall clocks is wrong, here or there"
            }
            Refusal::TooManyPeers => "a new peer beyond `limits.peers`; raise the limit on every node",
            Refusal::KeyTooLong => "a key longer than `limits.key_bytes`; give all nodes the same limits",
            Refusal::ValueTooLarge => "a value larger than `limits.value_bytes`; give all nodes the same limits",
            Refusal::MapFull => "an entry beyond what `limits` leave a map; give all nodes the same limits",
            Refusal::Unproved => "an answer is shortened until the address has proved itself",
        })
    }
}

/// Counters of refusals, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused([u64; Refusal::ALL.len()]);

impl Refused {
    /// How often for this reason.
    pub fn get(&self, reason: Refusal) -> u64 {
        self.0[reason as usize]
    }

    /// How often in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Each reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.iter().map(|reason| (*reason, self.get(*reason)))
    }

    pub(crate) fn count(&mut self, reason: Refusal) -> u64 {
        let counter = &mut self.0[reason as usize];
        *counter = counter.saturating_add(1);
        *counter
    }
}

/// Counters of one node since its start, and a few sizes.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Gossip rounds run.
    pub rounds: u64,
    /// Datagrams handed to the socket.
    pub datagrams_sent: u64,
    /// Their bytes, without UDP and IP headers.
    pub bytes_sent: u64,
    /// Datagrams taken from the socket.
    pub datagrams_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Of the datagrams received, those that were encrypted with a key of this node's.
    pub encrypted_received: u64,
    /// The socket refused to send so often.
    pub send_errors: u64,
    /// The socket failed to receive so often.
    pub receive_errors: u64,
    /// Datagrams that the kernel dropped because the receive buffer was full; `None` where the system does not tell.
    pub dropped_by_kernel: Option<u64>,
    /// Refused datagrams, or parts of them, by reason.
    pub refused: Refused,
    /// Delta messages that did not fit onto what is held: lost or reordered datagrams before them.
    pub gaps: u64,
    /// Requests of the catch-up that were repeated because nothing came.
    pub retries: u64,
    /// Answers that found another roster and sent a full digest instead.
    pub roster_mismatches: u64,
    /// Times that this node found that it had been paused.
    pub pauses: u64,
    /// Events that slow subscribers missed, over all of them.
    pub events_missed: u64,
    /// Peers held, this node not counted.
    pub peers: usize,
    /// Of these, alive.
    pub alive: usize,
    /// Keys and tombstones in this node's own map.
    pub own_keys: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        let mut refused = Refused::default();
        for (i, reason) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
            for _ in 0..=i {
                refused.count(reason);
            }
        }
        for (i, (_, count)) in refused.iter().enumerate() {
            assert_eq!(count, i as u64 + 1);
        }
    }
}
