//! Somebody on the network who has no key, hears everything, and sends it again: later, to others, back to where it came from.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;

use crate::instant::Instant;
use crate::sim::dice::{Dice, Purpose};
use crate::sim::intruder::{Intruder, Outbox};

/// How often it sends something again.
const EVERY: Duration = Duration::from_millis(100);
/// Datagrams that it keeps; of more than these any is as likely to be kept as any other.
const MAX_RECORDED: usize = 2_000;

/// An [`Intruder`] that records what it overhears, of whatever age, and sends it again.
pub struct Recorder {
    dice: Rng,
    next: Instant,
    recorded: Vec<Recorded>,
    heard: usize,
    everyone: BTreeSet<SocketAddr>,
}

struct Recorded {
    at: Instant,
    from: SocketAddr,
    to: SocketAddr,
    datagram: Vec<u8>,
}

impl Recorder {
    /// One that draws from this seed what it does.
    pub fn new(seed: u64) -> Recorder {
        Recorder {
            dice: Dice::new(seed, [0, 0]).rng(Purpose::Recording),
            next: Instant::ZERO,
            recorded: Vec::new(),
            heard: 0,
            everyone: BTreeSet::new(),
        }
    }
}

impl Intruder for Recorder {
    fn receive(&mut self, _: Instant, _: SocketAddr, _: &[u8], _: &mut Outbox) {}

    fn overhear(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        self.everyone.insert(from);
        self.heard += 1;
        let recorded = Recorded { at: now, from, to, datagram: datagram.to_vec() };
        if self.recorded.len() < MAX_RECORDED {
            self.recorded.push(recorded);
        } else if let Some(slot) = self.recorded.get_mut(self.dice.usize(..self.heard)) {
            *slot = recorded;
        }
    }

    fn act(&mut self, now: Instant, outbox: &mut Outbox) {
        self.next = now + EVERY;
        let Some(Recorded { at, from, to, datagram }) = self.dice.choice(&self.recorded) else { return };
        let anybody = self.dice.choice(&self.everyone).copied();
        let to = match self.dice.u8(0..4) {
            0 | 1 => *to,
            2 => *from,
            _ => anybody.unwrap_or(*to),
        };
        let from = match self.dice.u8(0..4) {
            0 => outbox.addr(),
            1 => self.dice.choice(&self.everyone).copied().unwrap_or(*from),
            _ => *from,
        };
        outbox.resend(*at, from, to, datagram.clone());
    }

    fn next(&self) -> Instant {
        self.next
    }
}
