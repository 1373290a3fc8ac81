//! How each message is laid out: written and read field by field.

use crate::msgpack::{Malformed, Reader, Write};
use crate::peer::Peer;
use crate::state::Fingerprint;
use crate::wire::deltas::Deltas;
use crate::wire::message::{Answer, Columns, CompactDigest, DeltaMessage, Digest, End, Rates, WantMessage};
use crate::wire::records::{Ints, Rows, Uints, Wants};

impl<'a> Digest<'a> {
    /// Its records; `base` is the generation in the header.
    pub fn rows(&self, base: u64) -> Rows<'a> {
        Rows::new(self.records, base)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put_uint(u64::from(self.id));
        put_window(out, self.window);
        self.rates.write(out);
        out.put_bin(self.records);
        out.put_uint(self.padding as u64);
        out.resize(out.len() + self.padding, 0xc0);
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let digest = Digest {
            id: read_u32(reader)?,
            window: read_window(reader)?,
            rates: Rates::read(reader)?,
            records: reader.bin()?,
            padding: usize::try_from(reader.uint()?).map_err(|_| Malformed)?,
        };
        for _ in 0..digest.padding {
            if !reader.nil() {
                return Err(Malformed);
            }
        }
        Ok(digest)
    }
}

impl<'a> CompactDigest<'a> {
    /// The column of highest versions.
    pub fn maxima(&self) -> Uints<'a> {
        Uints::new(self.maxima)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put_uint(u64::from(self.id));
        self.rates.write(out);
        self.columns.write(out);
        out.put_bin(self.maxima);
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(CompactDigest {
            id: read_u32(reader)?,
            rates: Rates::read(reader)?,
            columns: Columns::read(reader)?,
            maxima: reader.bin()?,
        })
    }
}

impl<'a> Columns<'a> {
    /// The column of heartbeats, as differences from [`Columns::expected`].
    pub fn heartbeats(&self) -> Ints<'a> {
        Ints::new(self.heartbeats)
    }

    /// The heartbeat from which the column tells the difference.
    ///
    /// A peer that has beaten in time since its generation began is at (now − generation) ÷ interval, so the
    /// differences are small whenever peers started. Where clocks disagree they are larger, and still right.
    pub fn expected(&self, generation: u64) -> u64 {
        self.base.saturating_sub(generation) / self.tick.max(1)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_window(out, Some(self.window));
        out.put_uint(self.roster);
        out.put_uint(self.base);
        out.put_uint(self.tick);
        out.put_bin(self.heartbeats);
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Columns {
            window: read_window(reader)?.ok_or(Malformed)?,
            roster: reader.uint()?,
            base: reader.uint()?,
            tick: reader.uint()?,
            heartbeats: reader.bin()?,
        })
    }
}

impl<'a> Answer<'a> {
    /// Its records; `base` is the generation in the header.
    pub fn rows(&self, base: u64) -> Rows<'a> {
        Rows::new(self.records, base)
    }

    /// Its wants; `base` is the generation in the header.
    pub fn wants(&self, base: u64) -> Wants<'a> {
        Wants::new(self.wants, base)
    }

    /// Its deltas; `base` is the generation in the header.
    pub fn deltas(&self, base: u64) -> Deltas<'a> {
        Deltas::new(self.deltas, base)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put_uint(u64::from(self.id));
        put_window(out, self.rest);
        out.put_int(self.rate_change);
        match self.fingerprint {
            Some(Fingerprint { max, floor, sum }) => {
                [max, floor].into_iter().for_each(|n| out.put_uint(n));
                match sum {
                    Some(sum) => out.put_uint(u64::from(sum)),
                    None => out.put_nil(),
                }
            }
            None => out.put_nil(),
        }
        match &self.columns {
            Some(columns) => columns.write(out),
            None => out.put_nil(),
        }
        out.put_bin(self.records);
        out.put_uint(u64::from(self.want_id));
        out.put_uint(u64::from(self.credit));
        out.put_bin(self.wants);
        out.put_bin(self.deltas);
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Answer {
            id: read_u32(reader)?,
            rest: read_window(reader)?,
            rate_change: reader.int()?,
            fingerprint: read_fingerprint(reader)?,
            columns: if reader.nil() { None } else { Some(Columns::read(reader)?) },
            records: reader.bin()?,
            want_id: read_u32(reader)?,
            credit: read_u8(reader)?,
            wants: reader.bin()?,
            deltas: reader.bin()?,
        })
    }
}

impl<'a> DeltaMessage<'a> {
    /// Its deltas; `base` is the generation in the header.
    pub fn deltas(&self, base: u64) -> Deltas<'a> {
        Deltas::new(self.deltas, base)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put_uint(u64::from(self.want_id));
        out.put_uint(u64::from(self.sequence));
        out.put_uint(match self.end {
            End::No => 0,
            End::Complete => 1,
            End::CreditUsed => 2,
        });
        out.put_bin(self.deltas);
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(DeltaMessage {
            want_id: read_u32(reader)?,
            sequence: read_u8(reader)?,
            end: match reader.uint()? {
                0 => End::No,
                1 => End::Complete,
                2 => End::CreditUsed,
                _ => return Err(Malformed),
            },
            deltas: reader.bin()?,
        })
    }
}

impl<'a> WantMessage<'a> {
    /// Its wants; `base` is the generation in the header.
    pub fn wants(&self, base: u64) -> Wants<'a> {
        Wants::new(self.wants, base)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put_uint(u64::from(self.want_id));
        out.put_uint(u64::from(self.credit));
        out.put_bin(self.wants);
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(WantMessage { want_id: read_u32(reader)?, credit: read_u8(reader)?, wants: reader.bin()? })
    }
}

impl Rates {
    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.put_uint(self.wanted);
        out.put_uint(self.permitted);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Rates { wanted: reader.uint()?, permitted: reader.uint()? })
    }
}

fn put_window(out: &mut Vec<u8>, window: Option<(Peer, Peer)>) {
    match window {
        Some((from, to)) => {
            out.put_bin(&from.to_wire());
            out.put_bin(&to.to_wire());
        }
        None => out.put_nil(),
    }
}

fn read_window(reader: &mut Reader<'_>) -> Result<Option<(Peer, Peer)>, Malformed> {
    if reader.nil() {
        return Ok(None);
    }
    let from = Peer::from_wire(reader.bin()?).ok_or(Malformed)?;
    let to = Peer::from_wire(reader.bin()?).ok_or(Malformed)?;
    Ok(Some((from, to)))
}

fn read_fingerprint(reader: &mut Reader<'_>) -> Result<Option<Fingerprint>, Malformed> {
    if reader.nil() {
        return Ok(None);
    }
    let (max, floor) = (reader.uint()?, reader.uint()?);
    let sum = if reader.nil() { None } else { Some(read_u32(reader)?) };
    Ok(Some(Fingerprint { max, floor, sum }))
}

fn read_u32(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    u32::try_from(reader.uint()?).map_err(|_| Malformed)
}

fn read_u8(reader: &mut Reader<'_>) -> Result<u8, Malformed> {
    u8::try_from(reader.uint()?).map_err(|_| Malformed)
}
