//! Lines of bounded length from whoever sends them.

use std::io::{self, BufRead, BufReader, Read};

/// The longest request, in bytes.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;

/// Reads lines, and passes over those that are too long without keeping them.
pub struct Lines<R> {
    reader: BufReader<R>,
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
        Lines { reader: BufReader::new(reader), max_bytes, line: Vec::new() }
    }

    /// The next line, the last one also without an end of line; `None` at the end.
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        // A large line was an exception: its memory is not kept for ever.
        self.line.shrink_to(8 << 10);
        let mut too_long = false;
        let mut any = false;
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                break;
            }
            any = true;
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            too_long |= self.line.len() + part.len() > self.max_bytes;
            if too_long {
                self.line.clear();
            } else {
                self.line.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
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
