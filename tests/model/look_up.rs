//! The functions that ship, each run once for the same arguments.

use std::rc::Rc;

use crate::exchange::{Source, told};
use crate::explore::{Explorer, Outcome, Payload, State, with};
use crate::owner::Op;
use crate::properties::flicker;

impl Explorer {
    pub fn ops(&mut self, owner: u32) -> Rc<[(Op, u32)]> {
        if let Some(ops) = self.ops.get(&owner) {
            return ops.clone();
        }
        let after = self.owners.get(owner).ops(&self.scenario.rules);
        let ops: Rc<[(Op, u32)]> = after.into_iter().map(|(op, after)| (op, self.owners.number(after))).collect();
        self.ops.insert(owner, ops.clone());
        ops
    }

    pub fn told(&mut self, state: &State, node: usize) -> u32 {
        let progress = if node == 0 {
            told(Source::Owner(&self.owners.get(state.owner)), &self.scenario.rules)
        } else {
            told(Source::Holder(&self.holders.get(state.holders[node - 1])), &self.scenario.rules)
        };
        self.payloads.number(Payload::Digest(progress))
    }

    /// `at` hears the record of another node; for the owner there is nothing in it.
    pub fn hears(&mut self, state: &State, at: usize, digest: u32) -> Result<State, String> {
        if at == 0 {
            return Ok(*state);
        }
        let holder = state.holders[at - 1];
        let outcome = self.heard_by(holder, digest);
        self.moved(state, at, outcome)
    }

    pub fn heard_by(&mut self, holder: u32, digest: u32) -> Outcome {
        if let Some(outcome) = self.heard.get(&(holder, digest)) {
            return outcome.clone();
        }
        let Payload::Digest(told) = *self.payloads.get(digest) else { unreachable!() };
        let after = self.holders.get(holder).hear(&told, &self.scenario.rules);
        let outcome = after.map(|after| self.holders.number(after)).map_err(Rc::from);
        self.heard.insert((holder, digest), outcome.clone());
        outcome
    }

    pub fn answers(&mut self, state: &State, at: usize, digest: u32) -> Rc<[u32]> {
        let number = if at == 0 { state.owner } else { state.holders[at - 1] };
        let key = (at == 0, number, digest);
        if let Some(answers) = self.answers.get(&key) {
            return answers.clone();
        }
        let Payload::Digest(asker) = *self.payloads.get(digest) else { unreachable!() };
        let rules = self.scenario.rules;
        let answers = if at == 0 {
            Source::Owner(&self.owners.get(number)).answers(&asker, &rules)
        } else {
            Source::Holder(&self.holders.get(number)).answers(&asker, &rules)
        };
        let answers: Rc<[u32]> = answers.into_iter().map(|a| self.payloads.number(Payload::Answer(a))).collect();
        self.answers.insert(key, answers.clone());
        answers
    }

    pub fn takes(&mut self, state: &State, at: usize, answer: u32) -> Result<State, String> {
        let holder = state.holders[at - 1];
        let outcome = self.taken_by(holder, answer);
        self.moved(state, at, outcome)
    }

    pub fn taken_by(&mut self, holder: u32, answer: u32) -> Outcome {
        if let Some(outcome) = self.taken.get(&(holder, answer)) {
            return outcome.clone();
        }
        let payload = self.payloads.get(answer);
        let Payload::Answer(answer_taken) = &*payload else { unreachable!() };
        let after = self.holders.get(holder).take(answer_taken, &self.scenario.rules);
        let outcome = after.map(|after| self.holders.number(after)).map_err(Rc::from);
        self.taken.insert((holder, answer), outcome.clone());
        outcome
    }

    /// A holder became another one: did a reader lose a key that the owner had all the time?
    pub fn moved(&mut self, state: &State, at: usize, outcome: Outcome) -> Result<State, String> {
        let number = outcome.map_err(|problem| format!("holder {at} {problem}"))?;
        let before = state.holders[at - 1];
        if number != before {
            self.flicker(state.owner, before, number).map_err(|problem| format!("holder {at} {problem}"))?;
        }
        Ok(with(state, at, number))
    }

    pub fn flicker(&self, owner: u32, before: u32, after: u32) -> Result<(), String> {
        let owner = &self.owners.all[owner as usize];
        let (before, after) = (&self.holders.all[before as usize], &self.holders.all[after as usize]);
        flicker(owner, before, after, &self.scenario.rules)
    }
}
