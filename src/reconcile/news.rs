//! News does not wait for rounds: who wrote or learnt something tells a few partners at once, and again, until a few in a
//! row knew it already.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::instant::Instant;
use crate::peer::Peer;

/// Owners of whom there is news, at most; what does not fit waits for the digests of the next round.
const MAX_OWNERS: usize = 64;
/// News is dropped when so many partners in a row knew it. What each node misses with probability e^-c, if every node tells
/// c random partners, is missed by somebody among many: with 4 one set in a hundred took more than half an interval to
/// reach the last of 100 nodes, with 8 none in 800.
const KNEW_ENOUGH: u8 = 10;
/// And at the latest after so many waves, one interval, after which the digests have told it anyway.
const MAX_WAVES: u8 = 10;
/// Waves whose answers are still waited for.
const REMEMBERED_WAVES: usize = 4;

#[derive(Clone, Copy, Debug, Default)]
struct Spread {
    knew: u8,
    waves: u8,
}

#[derive(Clone, Debug)]
struct Wave {
    first_id: u32,
    partners: u32,
    owners: Vec<Peer>,
}

/// The news that this node is telling.
#[derive(Clone, Debug)]
pub struct News {
    owners: BTreeMap<Peer, Spread>,
    waves: VecDeque<Wave>,
    /// Waves are at least this far apart: a tenth of the interval.
    spacing: Duration,
    last_wave: Option<Instant>,
}

impl News {
    /// Nothing to tell yet.
    pub fn new(interval: Duration) -> Self {
        News { owners: BTreeMap::new(), waves: VecDeque::new(), spacing: interval / 10, last_wave: None }
    }

    /// There is news of this owner.
    pub fn add(&mut self, owner: Peer) {
        if self.owners.len() < MAX_OWNERS || self.owners.contains_key(&owner) {
            self.owners.insert(owner, Spread::default());
        }
    }

    /// There is news of this node's own, which displaces another's if there is no room.
    pub fn add_own(&mut self, me: Peer) {
        if self.owners.len() >= MAX_OWNERS && !self.owners.contains_key(&me) {
            self.owners.pop_first();
        }
        self.add(me);
    }

    /// When the next wave is due.
    pub fn next_wave(&self) -> Option<Instant> {
        if self.owners.is_empty() {
            return None;
        }
        Some(self.last_wave.map_or(Instant::ZERO, |last| last + self.spacing))
    }

    /// The owners of whom there is news, those first who were told least often.
    pub fn owners(&self) -> Vec<Peer> {
        let mut owners: Vec<(u8, Peer)> = self.owners.iter().map(|(owner, spread)| (spread.waves, *owner)).collect();
        owners.sort_unstable();
        owners.into_iter().map(|(_, owner)| owner).collect()
    }

    /// A wave about these owners went to so many partners, in digests with consecutive ids.
    pub fn told(&mut self, now: Instant, first_id: u32, partners: u32, owners: Vec<Peer>) {
        self.last_wave = Some(now);
        for owner in &owners {
            if let Some(spread) = self.owners.get_mut(owner) {
                spread.waves += 1;
                if spread.waves >= MAX_WAVES {
                    self.owners.remove(owner);
                }
            }
        }
        if self.waves.len() == REMEMBERED_WAVES {
            self.waves.pop_front();
        }
        self.waves.push_back(Wave { first_id, partners, owners });
    }

    /// No wave can go out now: the next try is one spacing away.
    pub fn postpone(&mut self, now: Instant) {
        self.last_wave = Some(now);
    }

    /// There is nobody to tell.
    pub fn clear(&mut self) {
        self.owners.clear();
    }

    /// An answer to a digest of a wave came; `wanted` says whether the partner lacked something of an owner.
    pub fn answered(&mut self, id: u32, wanted: impl Fn(Peer) -> bool) {
        let Some(wave) = self.waves.iter().find(|wave| id.wrapping_sub(wave.first_id) < wave.partners) else {
            return;
        };
        for owner in &wave.owners {
            let Some(spread) = self.owners.get_mut(owner) else {
                continue;
            };
            spread.knew = if wanted(*owner) { 0 } else { spread.knew + 1 };
            if spread.knew >= KNEW_ENOUGH {
                self.owners.remove(owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> Peer {
        Peer::from(std::net::SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    #[test]
    fn the_first_wave_is_at_once_and_the_next_a_tenth_of_the_interval_later() {
        let mut news = News::new(Duration::from_secs(1));
        assert_eq!(news.next_wave(), None);
        news.add(peer(1));
        assert_eq!(news.next_wave(), Some(Instant::ZERO));
        news.told(at(500), 1, 3, news.owners());
        assert_eq!(news.next_wave(), Some(at(600)));
    }

    #[test]
    fn ends_when_enough_in_a_row_knew_it() {
        let mut news = News::new(Duration::from_secs(1));
        news.add(peer(1));
        news.told(at(0), 10, 3, news.owners());
        news.answered(10, |_| false);
        news.answered(11, |_| true);
        news.answered(12, |_| false);
        // Since one lacked it, one knew it.
        news.told(at(100), 13, KNEW_ENOUGH.into(), news.owners());
        for id in 14..12 + u32::from(KNEW_ENOUGH) {
            news.answered(id, |_| false);
            assert!(news.next_wave().is_some());
        }
        news.answered(99, |_| false);
        assert!(news.next_wave().is_some(), "not an answer to a wave");
        news.answered(13, |_| false);
        assert_eq!(news.next_wave(), None);
    }

    #[test]
    fn ends_although_nobody_answers() {
        let mut news = News::new(Duration::from_secs(1));
        news.add(peer(1));
        let mut waves = 0;
        while let Some(due) = news.next_wave() {
            news.told(due, waves * 3, 3, news.owners());
            waves += 1;
        }
        assert_eq!(waves, u32::from(MAX_WAVES));
    }

    #[test]
    fn is_bounded_and_has_room_for_ones_own() {
        let mut news = News::new(Duration::from_secs(1));
        for port in 1..1000 {
            news.add(peer(port));
        }
        news.add_own(peer(5000));
        assert_eq!(news.owners().len(), MAX_OWNERS);
        assert!(news.owners().contains(&peer(5000)));
    }
}
