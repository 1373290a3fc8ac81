//! Everything is kept once and named by a number; and a hasher for numbers.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;

pub struct Interner<T> {
    numbers: HashMap<Rc<T>, u32>,
    pub all: Vec<Rc<T>>,
}

impl<T: Eq + Hash> Interner<T> {
    pub fn new() -> Self {
        Interner { numbers: HashMap::new(), all: Vec::new() }
    }

    pub fn number(&mut self, value: T) -> u32 {
        let next = u32::try_from(self.all.len()).unwrap();
        let value = Rc::new(value);
        let number = *self.numbers.entry(value.clone()).or_insert(next);
        if number == next {
            self.all.push(value);
        }
        number
    }

    pub fn get(&self, number: u32) -> Rc<T> {
        self.all[number as usize].clone()
    }
}

/// States and numbers need no protection from an adversary, and most of the time goes into hashing them.
#[derive(Default)]
pub struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ self.0 >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ mixed >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

pub type Map<K, V> = HashMap<K, V, BuildHasherDefault<Mixer>>;
pub type Set<K> = HashSet<K, BuildHasherDefault<Mixer>>;
