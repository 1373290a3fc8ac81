//! MessagePack, the one encoding: values, and what is in a datagram. The only file that names `rmp_serde` and `rmp`.
//!
//! Sequences on the wire are never MessagePack arrays: they are objects one after the other in a `bin`, which
//! [`Reader`] walks. There is no count to lie about, so decoding reserves nothing and ends where the bytes end.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed};

/// How deep a value may nest. rmp_serde's own default of 1,024 costs a megabyte of stack.
const MAX_DEPTH: usize = 64;

/// What is wrong with bytes, or with a value that cannot be encoded, in words.
pub(crate) type Problem = String;

/// Appends `item` to `out`, with structs as maps from field names, so that a program with another order of fields, or
/// with more of them, reads it too.
pub(crate) fn write_named<T: Serialize + ?Sized>(out: &mut Vec<u8>, item: &T) -> Result<(), Problem> {
    rmp_serde::encode::write_named(out, item).map_err(|error| error.to_string())
}

/// Decodes the whole of `bytes`: trailing bytes are an error, which `rmp_serde::from_slice` lets pass.
pub(crate) fn read_all<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    read_all_seed(bytes, PhantomData)
}

/// [`read_all`] for a type that needs a seed to be decoded.
pub(crate) fn read_all_seed<'de, S: DeserializeSeed<'de>>(bytes: &[u8], seed: S) -> Result<S::Value, Problem> {
    let mut rest = bytes;
    let mut decoder = rmp_serde::Deserializer::new(&mut rest);
    decoder.set_max_depth(MAX_DEPTH);
    let value = seed.deserialize(&mut decoder).map_err(|error| error.to_string())?;
    if rest.is_empty() { Ok(value) } else { Err(format!("{} bytes follow the value", rest.len())) }
}

/// Whether `bytes`, if they are well-formed, could be nested deeper than is decoded: each level takes a byte at least.
pub(crate) fn may_be_too_deep(bytes: &[u8]) -> bool {
    bytes.len() >= MAX_DEPTH
}

/// Writing single objects into a growing buffer; a `Vec` takes every write.
pub(crate) trait Write {
    fn put_uint(&mut self, value: u64);
    fn put_int(&mut self, value: i64);
    fn put_bin(&mut self, bytes: &[u8]);
    fn put_str(&mut self, text: &str);
    fn put_nil(&mut self);
    fn put_bool(&mut self, value: bool);
}

impl Write for Vec<u8> {
    fn put_uint(&mut self, value: u64) {
        // The commonest by far: columns are made of them.
        if value < 128 {
            self.push(value as u8);
            return;
        }
        let _ = rmp::encode::write_uint(self, value);
    }

    fn put_int(&mut self, value: i64) {
        if (-32..128).contains(&value) {
            self.push(value as u8);
            return;
        }
        let _ = rmp::encode::write_sint(self, value);
    }

    fn put_bin(&mut self, bytes: &[u8]) {
        let _ = rmp::encode::write_bin(self, bytes);
    }

    fn put_str(&mut self, text: &str) {
        let _ = rmp::encode::write_str(self, text);
    }

    fn put_nil(&mut self) {
        let _ = rmp::encode::write_nil(self);
    }

    fn put_bool(&mut self, value: bool) {
        let _ = rmp::encode::write_bool(self, value);
    }
}

/// Something that is not what it should be was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Walks objects that follow one another, borrowing from the bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn uint(&mut self) -> Result<u64, Malformed> {
        // The commonest by far: one byte below 128.
        if let Some((&small @ 0..=127, rest)) = self.rest.split_first() {
            self.rest = rest;
            return Ok(u64::from(small));
        }
        rmp::decode::read_int(&mut self.rest).map_err(|_| Malformed)
    }

    pub(crate) fn int(&mut self) -> Result<i64, Malformed> {
        if let Some((&small @ (0..=127 | 0xe0..=0xff), rest)) = self.rest.split_first() {
            self.rest = rest;
            return Ok(i64::from(i8::from_be_bytes([small])));
        }
        rmp::decode::read_int(&mut self.rest).map_err(|_| Malformed)
    }

    pub(crate) fn bin(&mut self) -> Result<&'a [u8], Malformed> {
        let len = rmp::decode::read_bin_len(&mut self.rest).map_err(|_| Malformed)?;
        self.take(len)
    }

    pub(crate) fn str(&mut self) -> Result<&'a str, Malformed> {
        let len = rmp::decode::read_str_len(&mut self.rest).map_err(|_| Malformed)?;
        std::str::from_utf8(self.take(len)?).map_err(|_| Malformed)
    }

    /// Whether the next object is nil, which is then passed over.
    pub(crate) fn nil(&mut self) -> bool {
        self.marker(0xc0)
    }

    /// Whether the next object is `true`, which is then passed over.
    pub(crate) fn true_(&mut self) -> bool {
        self.marker(0xc3)
    }

    /// Whether the next object is a `bin`; nothing is passed over.
    pub(crate) fn at_bin(&self) -> bool {
        matches!(self.rest.first(), Some(0xc4..=0xc6))
    }

    fn marker(&mut self, marker: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == marker => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn take(&mut self, len: u32) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(len).map_err(|_| Malformed)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_bytes_are_an_error() {
        assert_eq!(read_all::<u8>(&[7]), Ok(7));
        assert!(read_all::<u8>(&[7, 7]).unwrap_err().contains("1 bytes follow"));
        assert!(read_all::<u8>(&[]).is_err());
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_full_stack() {
        #[derive(serde::Deserialize, Debug)]
        struct Nest(#[allow(dead_code)] Vec<Nest>);
        let mut bytes = vec![0x91; 100_000];
        bytes.push(0x90);
        assert!(read_all::<Nest>(&bytes).is_err());
    }

    #[test]
    fn integers_survive_the_trip() {
        for value in [0, 1, 127, 128, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            let mut out = Vec::new();
            out.put_uint(value);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.uint(), Ok(value));
            assert!(reader.is_empty());
        }
        for value in [0, -1, -32, -33, 127, 128, -128, -129, i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            out.put_int(value);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.int(), Ok(value));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn a_length_that_lies_is_malformed() {
        assert_eq!(Reader::new(&[0xc6, 0xff, 0xff, 0xff, 0xff, 1]).bin(), Err(Malformed));
        assert_eq!(Reader::new(&[0xdb, 0xff, 0xff, 0xff, 0xff, 1]).str(), Err(Malformed));
        assert_eq!(Reader::new(&[0xa2, 0xff, 0xfe]).str(), Err(Malformed), "not UTF-8");
        assert_eq!(Reader::new(&[]).uint(), Err(Malformed));
    }
}
