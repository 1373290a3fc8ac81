//! Draws that depend on nothing but the seed and on what they are for.
//!
//! A generator that everything drew from in turn would give every later draw another value as soon as one draw more or
//! less is made. Here each datagram and each fault has draws of its own, so that one kind of fault can be masked and the
//! rest of the schedule stays as it was: that is how a failing run is narrowed down.

use std::hash::Hasher;

use fastrand::Rng;
use siphasher::sip::SipHasher13;

/// What a draw is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Boot,
    Loss,
    Duplication,
    Delay,
    Reordering,
    Corruption,
    Truncation,
    Replay,
    Plan,
    Program,
    Lie,
    Nonce,
    Recording,
}

/// Draws for one thing: the datagram, node or fault that these numbers name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64, which: [u64; 2]) -> Dice {
        let mut hasher = SipHasher13::new_with_keys(seed, 0);
        hasher.write_u64(which[0]);
        hasher.write_u64(which[1]);
        Dice(hasher.finish())
    }

    /// A generator for one purpose.
    pub(super) fn rng(self, purpose: Purpose) -> Rng {
        let mut hasher = SipHasher13::new_with_keys(self.0, purpose as u64);
        hasher.write_u8(purpose as u8);
        Rng::with_seed(hasher.finish())
    }

    /// If something happens that has this probability, the generator for how.
    pub(super) fn happens(self, purpose: Purpose, probability: f64) -> Option<Rng> {
        if probability <= 0.0 {
            return None;
        }
        let mut rng = self.rng(purpose);
        (rng.f64() < probability).then_some(rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_for_one_purpose_do_not_move_those_for_another() {
        let draws = |purpose: Purpose| (0..1_000).map(move |n| Dice::new(7, [3, n]).rng(purpose).u64(..));
        let loss: Vec<u64> = draws(Purpose::Loss).collect();
        assert!(draws(Purpose::Loss).eq(loss.iter().copied()), "the same each time");
        assert!(draws(Purpose::Delay).zip(&loss).all(|(delay, loss)| delay != *loss), "and different for each purpose");
        let heads = loss.iter().filter(|draw| **draw % 2 == 0).count();
        assert!((400..600).contains(&heads), "{heads} of 1000");
    }
}
