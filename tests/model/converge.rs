//! What must hold in every state.

use crate::exchange::{Room, Source, told};
use crate::explore::{Explorer, Node, Outcome, Payload, State};
use crate::holder::Holder;
use crate::properties::{invariant, is_complete};

/// How many rounds, in each of which every node exchanges with every other until nothing more comes, may pass before
/// all are equal.
const ROUNDS: usize = 2;
/// How many answers one exchange may take: more than a map of two keys can need.
const ANSWERS: usize = 12;

impl Explorer {
    pub fn check(&mut self, state: &State) -> Result<(), String> {
        for (index, holder) in state.holders[..self.scenario.holders].iter().enumerate() {
            if self.invariants.insert((state.owner, *holder)) {
                let (owner, holder) = (self.owners.get(state.owner), self.holders.get(*holder));
                invariant(&owner, &holder).map_err(|problem| format!("holder {} {problem}", index + 1))?;
            }
        }
        let mut holders = state.holders;
        holders.sort_unstable();
        if self.converging.insert((state.owner, holders)) {
            let converges = self.converges(state.owner, &holders[..self.scenario.holders]);
            converges.map_err(|problem| format!("if the network is reliable from here on: {problem}"))?;
        }
        Ok(())
    }

    /// From here on the network is reliable: do all become equal?
    fn converges(&mut self, owner: u32, holders: &[u32]) -> Result<(), String> {
        let far = self.owners.get(owner);
        let all = holders.iter().map(|holder| self.holders.get(*holder));
        let somebody_has_all = all.into_iter().any(|holder| !holder.refuses && is_complete(&far, &holder).is_ok());
        for room in [1, Room::MAX] {
            if somebody_has_all {
                self.equal_after_rounds(owner, holders, false, room).map_err(|p| format!("without the owner: {p}"))?;
            }
            let equal = self.equal_after_rounds(owner, holders, true, room)?;
            // Much later, every life has ended; and later still, the tombstones of that are collected.
            let much_later = self.owners.get(owner).much_later();
            let later: Result<Vec<Holder>, String> =
                equal.iter().map(|holder| self.holders.get(*holder).much_later(&self.scenario.rules)).collect();
            let later: Vec<u32> = later?.into_iter().map(|holder| self.holders.number(holder)).collect();
            let mut collected = much_later.clone();
            let much_later = self.owners.number(much_later);
            self.equal_after_rounds(much_later, &later, true, room).map_err(|p| format!("much later: {p}"))?;
            collected.collect_all();
            let collected = self.owners.number(collected);
            self.equal_after_rounds(collected, &later, true, room).map_err(|p| format!("after collecting: {p}"))?;
        }
        Ok(())
    }

    /// Every node exchanges with every other, the owner last, so that half-finished copies have every chance to mislead
    /// one another.
    fn equal_after_rounds(
        &mut self,
        owner: u32,
        holders: &[u32],
        owner_lives: bool,
        room: Room,
    ) -> Result<Vec<u32>, String> {
        let mut now = holders.to_vec();
        let far = self.owners.get(owner);
        for round in 0..=ROUNDS {
            let problem = now.iter().find_map(|holder| is_complete(&far, &self.holders.get(*holder)).err());
            match problem {
                None => return Ok(now),
                Some(problem) if round == ROUNDS => {
                    return Err(format!("after {ROUNDS} rounds one {problem}"));
                }
                Some(_) => {}
            }
            for asker in 0..now.len() {
                for other in (0..now.len()).filter(|other| *other != asker) {
                    now[asker] = self.catches_up(owner, Node::Holder(now[other]), now[asker], room)?;
                }
            }
            for asker in now.iter_mut().filter(|_| owner_lives) {
                *asker = self.catches_up(owner, Node::Owner(owner), *asker, room)?;
            }
        }
        unreachable!()
    }

    /// `asker` hears the other's record and asks on until nothing more comes. The other does not hear of it: who is
    /// asked for more is told nothing but how far the asker is.
    fn catches_up(&mut self, owner: u32, other: Node, asker: u32, room: Room) -> Result<u32, String> {
        let key = (other, asker, room);
        let outcome = match self.caught_up.get(&key) {
            Some(outcome) => outcome.clone(),
            None => {
                let outcome = self.catch_up(other, asker, room);
                self.caught_up.insert(key, outcome.clone());
                outcome
            }
        };
        let after = outcome.map_err(|problem| format!("in catching up: {problem}"))?;
        self.flicker(owner, asker, after).map(|()| after)
    }

    fn catch_up(&mut self, other: Node, asker: u32, room: Room) -> Outcome {
        let rules = self.scenario.rules;
        let (owner, holder);
        let source = match other {
            Node::Owner(number) => {
                owner = self.owners.get(number);
                Source::Owner(&owner)
            }
            Node::Holder(number) => {
                holder = self.holders.get(number);
                Source::Holder(&holder)
            }
        };
        let record = self.payloads.number(Payload::Digest(told(source, &rules)));
        let mut asker = self.heard_by(asker, record)?;
        for _ in 0..ANSWERS {
            let before = self.holders.get(asker);
            let Some(answer) = source.answer(&told(Source::Holder(&before), &rules), &before, room, &rules) else {
                break;
            };
            let answer = self.payloads.number(Payload::Answer(answer));
            asker = self.taken_by(asker, answer)?;
        }
        Ok(asker)
    }
}
