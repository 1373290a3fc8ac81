//! Whom to gossip with: the choice of the originals and of Cassandra.

use fastrand::Rng;

use crate::peer::Peer;

/// Whom a node may gossip with.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// Peers that are alive.
    pub alive: &'a [Peer],
    /// Peers that have failed, and are still tried.
    pub failed: &'a [Peer],
    /// Peers that were heard of and never seen alive.
    pub known: &'a [Peer],
    /// How many seeds there are.
    pub seeds: usize,
}

/// Whom a node gossips with in one round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partners {
    /// Live ones, all different.
    pub alive: Vec<Peer>,
    /// A failed one and a merely known one, in case they are back or were there all along.
    pub others: Vec<Peer>,
    /// The index of a seed.
    pub seed: Option<usize>,
}

/// Chooses `fanout` live partners; a failed one with probability failed ÷ (live + 1); one that is merely known; and a
/// seed with probability seeds ÷ (live + failed), always when none is alive, so that two halves find each other again.
pub fn choose(candidates: Candidates<'_>, fanout: usize, dice: &mut Rng, partners: &mut Partners) {
    let Candidates { alive, failed, known, seeds } = candidates;
    choose_alive(alive, fanout, dice, &mut partners.alive);
    partners.others.clear();
    if dice.f64() * (alive.len() + 1) as f64 <= failed.len() as f64 {
        partners.others.extend(dice.choice(failed));
    }
    partners.others.extend(dice.choice(known));
    let try_seed = alive.is_empty() || dice.f64() * ((alive.len() + failed.len()) as f64) < seeds as f64;
    partners.seed = (try_seed && seeds > 0).then(|| dice.usize(..seeds));
}

/// Chooses up to `fanout` different ones.
pub fn choose_alive(alive: &[Peer], fanout: usize, dice: &mut Rng, chosen: &mut Vec<Peer>) {
    chosen.clear();
    if alive.len() <= fanout {
        chosen.extend_from_slice(alive);
        return;
    }
    // Floyd's sampling: `fanout` draws, whatever the number of peers.
    for last in alive.len() - fanout..alive.len() {
        let drawn = alive[dice.usize(..=last)];
        chosen.push(if chosen.contains(&drawn) { alive[last] } else { drawn });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(ports: std::ops::Range<u16>) -> Vec<Peer> {
        ports.map(|port| Peer::from(std::net::SocketAddr::from(([127, 0, 0, 1], port)))).collect()
    }

    fn run(alive: &[Peer], failed: &[Peer], known: &[Peer], seeds: usize, rounds: usize) -> Vec<Partners> {
        let mut dice = Rng::with_seed(7);
        let candidates = Candidates { alive, failed, known, seeds };
        (0..rounds)
            .map(|_| {
                let mut partners = Partners::default();
                choose(candidates, 3, &mut dice, &mut partners);
                partners
            })
            .collect()
    }

    #[test]
    fn live_partners_are_different_and_evenly_chosen() {
        let alive = peers(1..21);
        let mut counts = vec![0; alive.len()];
        for partners in run(&alive, &[], &[], 0, 20_000) {
            let mut chosen = partners.alive;
            chosen.sort_unstable();
            chosen.dedup();
            assert_eq!(chosen.len(), 3);
            for peer in chosen {
                counts[alive.iter().position(|other| *other == peer).unwrap()] += 1;
            }
        }
        assert!(counts.iter().all(|count| (2_700..3_300).contains(count)), "{counts:?}");
    }

    #[test]
    fn failed_peers_are_tried_in_proportion() {
        let tried = run(&peers(1..10), &peers(20..25), &[], 0, 10_000).iter().filter(|p| !p.others.is_empty()).count();
        assert!((4_700..5_300).contains(&tried), "5 failed of 9 + 1: {tried}");
    }

    /// "Seeds are never chosen in 10,000 rounds": how Grapevine failed.
    #[test]
    fn seeds_are_tried_always_when_none_is_alive_and_else_in_proportion() {
        assert!(run(&[], &peers(1..3), &[], 2, 1_000).iter().all(|partners| partners.seed.is_some()));
        let tried = run(&peers(1..20), &peers(20..21), &[], 1, 10_000).iter().filter(|p| p.seed.is_some()).count();
        assert!((400..600).contains(&tried), "1 seed of 19 + 1: {tried}");
        assert!(run(&[], &[], &[], 0, 100).iter().all(|partners| partners.seed.is_none()));
    }

    #[test]
    fn one_known_peer_is_tried_in_each_round() {
        assert!(run(&peers(1..5), &[], &peers(50..60), 0, 100).iter().all(|partners| partners.others.len() == 1));
    }
}
