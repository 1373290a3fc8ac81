//! What is left of a secret in the memory of a process, this one or another.

use std::fs;
use std::os::unix::fs::FileExt;

/// A secret that is looked for, kept in a form that is none itself.
pub struct Needle {
    name: String,
    masked: Vec<u8>,
}

const MASK: u8 = 0x5a;
/// So much is looked at in one piece.
const PIECE_BYTES: usize = 1 << 20;

impl Needle {
    /// Of bytes that somebody else overwrites.
    pub fn new(name: impl Into<String>, secret: &[u8]) -> Needle {
        let mut masked = Vec::with_capacity(secret.len());
        masked.extend(secret.iter().map(|byte| byte ^ MASK));
        Needle { name: name.into(), masked }
    }

    /// Where it is in a piece of memory, in which every byte was masked.
    fn find(&self, masked: &[u8]) -> Vec<usize> {
        let first = self.masked[0];
        let starts = masked.iter().enumerate().filter(|(_, byte)| **byte == first).map(|(at, _)| at);
        starts.filter(|at| masked[*at..].starts_with(&self.masked)).collect()
    }
}

/// A part of a process's memory.
struct Mapping {
    start: u64,
    end: u64,
    name: String,
}

/// The private parts that can be read.
fn mappings(process: &str) -> Vec<Mapping> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let mappings = maps.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (range, mode) = (words.next()?, words.next()?);
        let (start, end) = range.split_once('-')?;
        let name = words.nth(3).unwrap_or_default().to_owned();
        let is_memory = mode.starts_with('r')
            && mode.ends_with('p')
            && !["[vvar]", "[vsyscall]", "[vvar_vclock]"].contains(&&*name);
        let number = |hex| u64::from_str_radix(hex, 16).unwrap();
        is_memory.then(|| Mapping { start: number(start), end: number(end), name })
    });
    mappings.collect()
}

/// Every place where any of these is, and how many bytes were looked at. The process is a number, or `self`.
pub fn search(process: &str, needles: &[Needle]) -> (Vec<String>, u64) {
    let memory = fs::File::open(format!("/proc/{process}/mem")).unwrap();
    let longest = needles.iter().map(|needle| needle.masked.len()).max().unwrap();
    let mut piece = vec![0; PIECE_BYTES];
    // It is not read itself: what was masked once and is masked again would be found.
    let own = piece.as_ptr() as u64..piece.as_ptr() as u64 + PIECE_BYTES as u64;
    let own = if process == "self" { own } else { 0..0 };
    let (mut found, mut seen) = (Vec::new(), 0);
    let parts = mappings(process).into_iter().flat_map(|Mapping { start, end, name }| {
        let before = Mapping { start, end: end.min(own.start.max(start)), name: name.clone() };
        [before, Mapping { start: start.max(own.end.min(end)), end, name }]
    });
    for Mapping { start, end, name } in parts {
        let mut at = start;
        while at < end {
            let len = (end - at).min(PIECE_BYTES as u64) as usize;
            let Ok(count) = memory.read_at(&mut piece[..len], at) else { break };
            piece[..count].iter_mut().for_each(|byte| *byte ^= MASK);
            for needle in needles {
                let places = needle.find(&piece[..count]);
                found.extend(
                    places
                        .iter()
                        .map(|place| format!("{} at {:x} in {start:x} {name}", needle.name, at + *place as u64)),
                );
            }
            seen += count as u64;
            if count < len || count <= longest || at + count as u64 >= end {
                break;
            }
            // What lies across two pieces is whole in one of them.
            at += (count - longest) as u64;
        }
    }
    // A mapping that grows while it is listed is listed twice.
    found.sort_unstable();
    found.dedup();
    (found, seen)
}
