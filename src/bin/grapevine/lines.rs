//! Lines of bounded length from whoever sends them.

use std::io::{self, Read};
use std::ops::Range;

use zeroize::Zeroize;

/// The longest request, in bytes.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;
/// What is read at once; as much as makes standard input pass by its own buffer.
const BUFFER_BYTES: usize = 8 << 10;

/// Reads lines, and passes over those that are too long without keeping them. Keys may be among what it reads: nothing is left of a line
/// once the next one is asked for.
pub struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// What was read into it and not used yet; the rest is zero.
    unused: Range<usize>,
    max_bytes: usize,
    line: Vec<u8>,
}

/// One line, without its end.
#[derive(Debug, PartialEq)]
pub enum Line<'a> {
    Bytes(&'a [u8]),
    TooLong,
}

impl<R: Read> Lines<R> {
    pub fn new(reader: R, max_bytes: usize) -> Self {
        let line = Vec::with_capacity(BUFFER_BYTES.min(max_bytes));
        Lines { reader, buffer: vec![0; BUFFER_BYTES], unused: 0..0, max_bytes, line }
    }

    /// The next line, the last one also without an end of line; `None` at the end.
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        wipe(&mut self.line);
        // A large line was an exception: its memory is not kept for ever.
        self.line.shrink_to(BUFFER_BYTES);
        let mut too_long = false;
        let mut any = false;
        loop {
            if self.unused.is_empty() {
                match self.reader.read(&mut self.buffer) {
                    Ok(0) => break,
                    Ok(count) => self.unused = 0..count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                }
            }
            any = true;
            let chunk = &mut self.buffer[self.unused.clone()];
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = &mut chunk[..end.unwrap_or(self.unused.len())];
            too_long |= self.line.len() + part.len() > self.max_bytes;
            if too_long {
                wipe(&mut self.line);
            } else {
                append(&mut self.line, part);
            }
            self.unused.start += part.len() + usize::from(end.is_some());
            part.zeroize();
            if end.is_some() {
                break;
            }
        }
        Ok(match (any, too_long) {
            (false, _) => None,
            (true, true) => Some(Line::TooLong),
            (true, false) => Some(Line::Bytes(&self.line)),
        })
    }
}

impl<R> Drop for Lines<R> {
    fn drop(&mut self) {
        wipe(&mut self.line);
        self.buffer.zeroize();
    }
}

/// Only what is in it: beyond that it was wiped before.
fn wipe(line: &mut Vec<u8>) {
    line.as_mut_slice().zeroize();
    line.clear();
}

/// Where there is no room for more it moves, and leaves nothing behind.
fn append(line: &mut Vec<u8>, part: &[u8]) {
    if line.capacity() - line.len() < part.len() {
        let mut larger = Vec::with_capacity((line.len() + part.len()).max(line.capacity() * 2));
        larger.extend_from_slice(line);
        wipe(line);
        *line = larger;
    }
    line.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1_000;

    fn read(input: &[u8]) -> Vec<Option<Vec<u8>>> {
        let mut lines = Lines::new(input, MAX);
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(match line {
                Line::Bytes(bytes) => Some(bytes.to_vec()),
                Line::TooLong => None,
            });
        }
        all
    }

    #[test]
    fn lines_end_where_they_end() {
        assert_eq!(read(b""), []);
        assert_eq!(read(b"a\n\nb"), [Some(b"a".to_vec()), Some(Vec::new()), Some(b"b".to_vec())]);
        assert_eq!(read(b"a\n"), [Some(b"a".to_vec())]);
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let most = vec![b'x'; MAX];
        let input = [&most[..], b"\n", &most, b"y\nz\n", &vec![b'w'; 1 << 20], b"\nend"].concat();
        assert_eq!(read(&input), [Some(most), None, Some(b"z".to_vec()), None, Some(b"end".to_vec())]);
        assert_eq!(read(&vec![b'x'; MAX + 1]), [None]);
    }
}
