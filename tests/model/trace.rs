//! How a state was reached, for people.

use std::fmt::{self, Display, Formatter, Write as _};

use grapevine::instant::Instant;
use grapevine::state::{Content, Delta, Map, Progress};
use grapevine::value::Key;

use crate::exchange::Answer;
use crate::explore::{Explorer, Payload, State, Step};
use crate::holder::{Holder, write_of};
use crate::owner::Owner;

impl Explorer {
    /// The way to a state, and what is wrong there or with the last step from it.
    pub fn trace(&mut self, order: &[(State, u32)], place: usize, last: Option<Step>, problem: &str) -> String {
        let mut path = vec![place];
        while let Some(place) = path.last().copied().filter(|place| *place != 0) {
            path.push(order[place].1 as usize);
        }
        path.reverse();
        let mut text = format!("{}, {:?}:\n", self.scenario.name, self.scenario.rules.fault);
        // States on the way have their holders renamed; here everyone keeps the name.
        let mut state = order[0].0;
        for place in &path[1..] {
            let steps = self.successors(&state);
            let found = steps.into_iter().find_map(|(step, after)| {
                let after = after.ok()?;
                (self.canonical(after) == order[*place].0).then_some((step, after))
            });
            let (step, after) = found.unwrap();
            self.describe(&mut text, step, &state, &after);
            state = after;
        }
        let problem = if let Some(step) = last {
            // Of the steps that are wrong from here on, the first: under these names it may be another than `last`.
            let wrong = self.successors(&state).into_iter().find(|(_, after)| after.is_err());
            let (step, problem) = wrong.map_or((step, problem.to_owned()), |(step, after)| (step, after.unwrap_err()));
            self.describe(&mut text, step, &state, &state);
            problem
        } else {
            self.invariants.clear();
            self.converging.clear();
            self.check(&state).err().unwrap_or_else(|| problem.to_owned())
        };
        let _ = writeln!(text, "  WRONG: {problem}");
        text
    }

    pub fn describe(&mut self, text: &mut String, step: Step, before: &State, after: &State) {
        let payload = |number: u32| match &*self.payloads.get(number) {
            Payload::Digest(told) => format!("g{} max {} floor {}", told.generation, told.max, told.floor),
            Payload::Answer(answer) => answer.to_string(),
        };
        let name = |node: usize| {
            if node == 0 { "the owner".to_owned() } else { format!("holder {node}") }
        };
        let line = match step {
            Step::Op(op) => format!("the owner does {op:?}"),
            Step::Tick(at) => format!("the clock of holder {at} moves on"),
            Step::Expire(at) => format!("holder {at} hides what has expired"),
            Step::Restart(at) => format!("holder {at} starts anew"),
            Step::Hears { at, from } => format!("{} hears how far {} is", name(at), name(from)),
            Step::SendsDigest { from, to } => format!("{} sends a digest to {}", name(from), name(to)),
            Step::Exchange { asker, at, answer } => {
                format!("holder {asker} asks {} and takes {}", name(at), payload(answer))
            }
            Step::Asks { asker, at, answer } => {
                format!("holder {asker} asks {}; on its way: {}", name(at), payload(answer))
            }
            Step::OldExchange { digest, answer } => format!(
                "{} answers the old digest ({}) of {}, which takes {}",
                name(digest.to),
                payload(digest.payload),
                name(digest.from),
                payload(answer)
            ),
            Step::OldAsks { digest, answer } => format!(
                "{} answers the old digest ({}) of {}; on its way: {}",
                name(digest.to),
                payload(digest.payload),
                name(digest.from),
                payload(answer)
            ),
            Step::OldHears(digest) => {
                format!(
                    "{} hears the old digest ({}) of {}",
                    name(digest.to),
                    payload(digest.payload),
                    name(digest.from)
                )
            }
            Step::Arrives(message) => {
                format!("at {} arrives, from {}: {}", name(message.to), name(message.from), payload(message.payload))
            }
        };
        let _ = writeln!(text, "- {line}");
        if before.owner != after.owner {
            let _ = writeln!(text, "    owner:    {}", self.owners.get(after.owner));
        }
        for at in 1..=self.scenario.holders {
            if before.holders[at - 1] != after.holders[at - 1] {
                let _ = writeln!(text, "    holder {at}: {}", self.holders.get(after.holders[at - 1]));
            }
        }
    }
}

/// One line about a map, for traces.
fn line(progress: Progress, map: &Map, now: Instant) -> String {
    let mut line = format!("g{} max {} floor {}", progress.generation, progress.max, progress.floor);
    let confirmed: Vec<&Key> = map.after(0).map(|(key, _)| key).collect();
    for (key, entry) in map.iter() {
        let what = match &entry.content {
            Content::Value(value) if entry.readable(now).is_some() => format!("write {}", write_of(value)),
            Content::Value(value) => format!("write {}, past its life", write_of(value)),
            Content::Deleted => "deleted".to_owned(),
            Content::Expired => "expired".to_owned(),
        };
        let held_over = if confirmed.contains(&key) { "" } else { ", held over" };
        line += &format!("  {key}:{} ({what}{held_over})", entry.version);
    }
    line
}

impl Display for Owner {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&line(self.own.progress(), self.own.map(), self.now()))
    }
}

impl Display for Holder {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&line(self.replica.progress(), self.replica.map(), self.now()))
    }
}

impl Display for Answer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Delta { generation, from, to, floor, max } = self.delta;
        write!(f, "g{generation} ({from}, {to}] of {max}, floor {floor}, [")?;
        for entry in &self.entries {
            write!(f, " {}:{} {:?}", entry.key, entry.version, entry.content)?;
        }
        f.write_str(" ]")?;
        match &self.piece {
            Some(piece) => write!(f, " + byte {} of {}:{}", piece.offset, piece.entry.key, piece.entry.version),
            None => Ok(()),
        }
    }
}
