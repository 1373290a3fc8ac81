//! Sequences in a `bin`: member records, wants, columns of integers.

use crate::msgpack::{Malformed, Reader, Write};
use crate::peer::Peer;
use crate::state::{Mark, Progress, Row};

/// Appends a member record. `base` is the generation in the message's header.
pub fn put_row(out: &mut Vec<u8>, row: &Row, base: u64) {
    put_owner(out, row.peer, row.progress.generation, base);
    out.put_uint(row.heartbeat);
    out.put_uint(row.progress.max);
    out.put_uint(row.progress.floor);
    out.put_uint(row.mark as u64);
}

/// Walks member records; ends after the first malformed one.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    reader: Reader<'a>,
    base: u64,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(bytes: &'a [u8], base: u64) -> Self {
        Rows { reader: Reader::new(bytes), base }
    }

    fn read(&mut self) -> Result<Row, Malformed> {
        let (peer, generation) = read_owner(&mut self.reader, self.base)?;
        Ok(Row {
            peer,
            heartbeat: self.reader.uint()?,
            progress: Progress { generation, max: self.reader.uint()?, floor: self.reader.uint()? },
            mark: match self.reader.uint()? {
                0 => Mark::None,
                1 => Mark::Left,
                2 => Mark::Forgotten,
                _ => return Err(Malformed),
            },
        })
    }
}

/// What a node wants of one owner: everything after its progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The owner.
    pub owner: Peer,
    /// How far the asker's copy is.
    pub progress: Progress,
    /// The version of the value of which the asker has pieces, and how many bytes of it; (0, 0) for none.
    pub unfinished: (u64, u64),
}

/// Appends a want. `base` is the generation in the message's header.
pub fn put_want(out: &mut Vec<u8>, want: &Want, base: u64) {
    put_owner(out, want.owner, want.progress.generation, base);
    out.put_uint(want.progress.max);
    out.put_uint(want.progress.floor);
    out.put_uint(want.unfinished.0);
    out.put_uint(want.unfinished.1);
}

/// Walks wants; ends after the first malformed one.
#[derive(Clone, Debug)]
pub struct Wants<'a> {
    reader: Reader<'a>,
    base: u64,
}

impl<'a> Wants<'a> {
    pub(crate) fn new(bytes: &'a [u8], base: u64) -> Self {
        Wants { reader: Reader::new(bytes), base }
    }

    fn read(&mut self) -> Result<Want, Malformed> {
        let (owner, generation) = read_owner(&mut self.reader, self.base)?;
        Ok(Want {
            owner,
            progress: Progress { generation, max: self.reader.uint()?, floor: self.reader.uint()? },
            unfinished: (self.reader.uint()?, self.reader.uint()?),
        })
    }
}

/// A column of unsigned integers.
#[derive(Clone, Debug)]
pub struct Uints<'a>(Reader<'a>);

impl<'a> Uints<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Uints(Reader::new(bytes))
    }
}

/// A column of signed integers.
#[derive(Clone, Debug)]
pub struct Ints<'a>(Reader<'a>);

impl<'a> Ints<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Ints(Reader::new(bytes))
    }
}

/// Makes an iterator of a reader: `Err` for what is malformed, and then the end.
macro_rules! walks {
    ($walker:ident, $item:ty, $self:ident => $reader:expr, $read:expr) => {
        impl Iterator for $walker<'_> {
            type Item = Result<$item, Malformed>;

            fn next(&mut self) -> Option<Self::Item> {
                let $self = self;
                if $reader.is_empty() {
                    return None;
                }
                let item = $read;
                if item.is_err() {
                    $reader = Reader::default();
                }
                Some(item)
            }
        }
    };
}

walks!(Rows, Row, this => this.reader, this.read());
walks!(Wants, Want, this => this.reader, this.read());
walks!(Uints, u64, this => this.0, this.0.uint());
walks!(Ints, i64, this => this.0, this.0.int());

pub(super) fn put_owner(out: &mut Vec<u8>, owner: Peer, generation: u64, base: u64) {
    out.put_bin(&owner.to_wire());
    out.put_int(generation.wrapping_sub(base).cast_signed());
}

pub(super) fn read_owner(reader: &mut Reader<'_>, base: u64) -> Result<(Peer, u64), Malformed> {
    let owner = Peer::from_wire(reader.bin()?).ok_or(Malformed)?;
    let generation = base.wrapping_add(reader.int()?.cast_unsigned());
    Ok((owner, generation))
}
