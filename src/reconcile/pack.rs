//! Filling datagrams with deltas, depth first, cut at the byte budget.

use std::cmp::Reverse;

use fastrand::Rng;

use crate::instant::Instant;
use crate::state::{Content, Entry, Map, Progress, Ring};
use crate::value::Key;
use crate::wire::{DELTA_HEAD_BYTES, ENTRY_HEAD_BYTES, Want, entry_bytes, put_delta, put_entry, put_piece};

/// A piece of a value smaller than this is not worth its head; it waits for the next datagram.
const MIN_PIECE_BYTES: usize = 128;
/// Waiting entries are counted up to this to rank owners: a datagram holds no more small ones.
const COUNTED_ENTRIES: usize = 128;

/// How much space there is for deltas.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// In this datagram, together with what is in it already.
    pub bytes: usize,
    /// In a datagram with nothing else in it: what does not fit there has to travel in pieces.
    pub empty_datagram_bytes: usize,
}

/// What became of packing one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// Everything that is wanted of it is in the datagram, or there was nothing.
    All,
    /// There is more; the want was moved forward past what is in the datagram.
    Cut,
}

/// How many entries of a map wait for a copy that holds everything up to `from`; counted only as far as ranking needs it.
pub fn waiting_entries(map: &Map, from: u64) -> usize {
    map.after(from).take(COUNTED_ENTRIES).count()
}

/// Depth first: brings the owner with the most waiting entries to the front, ties at random (van Renesse et al. 2008,
/// section 3.2).
pub fn deepest_first<T>(waiting: &mut [(usize, T)], dice: &mut Rng) {
    dice.shuffle(waiting);
    waiting.sort_by_key(|(entries, _)| Reverse(*entries));
}

/// Packs what `want` lacks of its owner into `out`, up to `room`, and moves `want` forward as if it had arrived.
///
/// `entries` is a buffer to work in. `base` is the generation in the message's header.
pub fn pack_owner(
    ring: &Ring,
    now: Instant,
    want: &mut Want,
    room: Room,
    (out, entries): (&mut Vec<u8>, &mut Vec<u8>),
    base: u64,
) -> Packed {
    let (progress, map, last) = if want.owner == ring.me() {
        let own = ring.own();
        (own.progress(), own.map(), own.progress().max)
    } else {
        match ring.member(want.owner) {
            Some(member) => (member.replica.progress(), member.replica.map(), member.replica.last_servable()),
            None => return Packed::All,
        }
    };
    pack(progress, map, last, now, want, room, (out, entries), base)
}

#[allow(clippy::too_many_arguments)] // Only `pack_owner` calls it, to have one code path for both kinds of map.
fn pack(
    progress: Progress,
    map: &Map,
    last: u64,
    now: Instant,
    want: &mut Want,
    room: Room,
    (out, entries): (&mut Vec<u8>, &mut Vec<u8>),
    base: u64,
) -> Packed {
    let Some(space) = room.bytes.checked_sub(out.len() + DELTA_HEAD_BYTES) else {
        let servable = Progress { max: last, ..progress };
        return if servable.answer_from(&want.progress).is_some() { Packed::Cut } else { Packed::All };
    };
    entries.clear();
    let mut previous = None;
    let offer = progress.offer(map, last, &want.progress, |key, entry| {
        let fits = entries.len() + entry_bytes(key, entry) <= space;
        if fits {
            let before = previous.unwrap_or_else(|| start(&progress, last, &want.progress));
            put_entry(entries, key, entry, before, now);
            previous = Some(entry.version);
        }
        fits
    });
    let Some(offer) = offer else { return Packed::All };
    let delta = offer.delta;
    let mut piece = None;
    if let Some((key, entry)) = offer.cut {
        let whole = entry_bytes(key, entry) + DELTA_HEAD_BYTES <= room.empty_datagram_bytes;
        if !whole {
            let same = want.progress.generation == delta.generation && want.unfinished.0 == entry.version;
            let offset = if same { want.unfinished.1 } else { 0 };
            piece = put_one_piece(entries, key, entry, delta.to, now, offset, space);
        }
    }
    if delta.to == delta.from && piece.is_none() && offer.cut.is_some() {
        return Packed::Cut;
    }
    put_delta(out, want.owner, &delta, entries, base);
    let adopted = want.progress.generation == delta.generation && want.progress.floor > delta.floor;
    want.progress.generation = delta.generation;
    want.progress.max = delta.to;
    if !adopted {
        want.progress.floor = delta.floor;
    }
    match piece {
        Some((version, _, true)) => {
            want.progress.max = version;
            want.unfinished = (0, 0);
        }
        Some((version, end, false)) => want.unfinished = (version, end),
        None => {}
    }
    if want.progress.max >= last { Packed::All } else { Packed::Cut }
}

fn start(progress: &Progress, last: u64, asker: &Progress) -> u64 {
    Progress { max: last, ..*progress }.answer_from(asker).unwrap_or(0)
}

/// Puts the piece from `offset` on that fits; returns the version, where the piece ends, and whether that is the end.
fn put_one_piece(
    entries: &mut Vec<u8>,
    key: &Key,
    entry: &Entry,
    previous: u64,
    now: Instant,
    offset: u64,
    space: usize,
) -> Option<(u64, u64, bool)> {
    let Content::Value(value) = &entry.content else {
        return None;
    };
    let total = value.as_bytes().len();
    let offset = usize::try_from(offset).ok().filter(|offset| *offset < total).unwrap_or(0);
    let room = space.checked_sub(entries.len() + ENTRY_HEAD_BYTES + key.len())?;
    let end = total.min(offset + room);
    if end < total && end - offset < MIN_PIECE_BYTES.min(room.max(1)) || room < MIN_PIECE_BYTES && !entries.is_empty() {
        return None;
    }
    if end == offset {
        return None;
    }
    put_piece(entries, key, entry, previous, now, offset, end);
    Some((entry.version, end as u64, end == total))
}
