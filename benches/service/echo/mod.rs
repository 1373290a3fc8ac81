//! An echo: what a call costs at least that goes the way that Grapevine's calls go.
//!
//! It carries the very lines of a real call ([`recording`]) over as many connections, each with a thread that reads it and a table of
//! who waits for what, to as many threads that answer. A line's number is at the same place in all of them, and nothing else
//! in them is looked at: no JSON, no pattern, no time-out of a call's own, no repeated id, no counter.

pub mod client;
pub mod recording;
pub mod server;
mod writer;

use std::ops::Range;

/// Where the number of a call is in its lines: `{"id":"abcdefghijkl/000000000001",…`, the second half of the id.
const NUMBER: Range<usize> = 20..32;

fn number(line: &[u8]) -> Option<u64> {
    std::str::from_utf8(line.get(NUMBER)?).ok()?.parse().ok()
}

fn put_number(number: u64, line: &mut [u8]) {
    let mut rest = number;
    for digit in line[NUMBER].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}
