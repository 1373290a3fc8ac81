//! The explorer: breadth first over all states, each visited once whichever of the holders is called 1, 2 or 3.
//!
//! Owners, holders and payloads are kept once each and named by numbers. A state is a few numbers, and a shipped function
//! runs once for each different (holder, payload); all the rest is looked up.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;

use grapevine::state::Progress;

use crate::world::{Answer, Budget, Holder, Op, Owner, Room, Rules, Source, flicker, invariant, is_complete, told};

pub const MAX_HOLDERS: usize = 3;
pub const MAX_SLOTS: usize = 3;
/// How many rounds, in each of which every node exchanges with every other until nothing more comes, may pass before all
/// are equal.
const ROUNDS: usize = 2;
/// How many answers one exchange may take: more than a map of two keys can need.
const ANSWERS: usize = 12;
/// No holder, no message.
const NOTHING: u32 = u32::MAX;

/// What is explored.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub holders: usize,
    /// Messages that wait in the network. They stay until another takes their place, so each may arrive never, late, or
    /// more than once, in any order. Besides, any exchange may happen at once, without waiting there.
    pub slots: usize,
    pub budget: Budget,
    /// How often the clock of each holder moves on.
    pub ticks: u8,
    /// How often each holder starts anew, or gives up a transfer.
    pub restarts: u8,
    pub rules: Rules,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    owner: u32,
    holders: [u32; MAX_HOLDERS],
    net: [u32; MAX_SLOTS],
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let State { owner, holders: [a, b, c], net: [x, y, z] } = *self;
        for (high, low) in [(owner, a), (b, c), (x, y), (z, 0)] {
            hasher.write_u64(u64::from(high) << 32 | u64::from(low));
        }
    }
}

/// A message is the number of its payload, and who sent it to whom; 0 is the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message {
    payload: u32,
    from: usize,
    to: usize,
}

impl Message {
    const NONE: u32 = u32::MAX;

    fn pack(self) -> u32 {
        assert!(self.payload < 1 << 28);
        self.payload << 4 | (self.from as u32) << 2 | self.to as u32
    }

    fn unpack(packed: u32) -> Option<Message> {
        let node = |shift: u32| (packed >> shift & 3) as usize;
        (packed != Message::NONE).then(|| Message { payload: packed >> 4, from: node(2), to: node(0) })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Payload {
    Digest(Progress),
    Answer(Answer),
}

/// What a step is, for traces.
#[derive(Clone, Copy, Debug)]
enum Step {
    Op(Op),
    Tick(usize),
    Expire(usize),
    Restart(usize),
    Abandon(usize),
    Hears {
        at: usize,
        from: usize,
    },
    SendsDigest {
        from: usize,
        to: usize,
    },
    /// The asker's digest is answered and the answer taken, at once.
    Exchange {
        asker: usize,
        at: usize,
        answer: u32,
    },
    /// The asker's digest is answered at once; the answer waits.
    Asks {
        asker: usize,
        at: usize,
        answer: u32,
    },
    /// A waiting digest is answered, and the answer taken at once.
    OldExchange {
        digest: Message,
        answer: u32,
    },
    /// A waiting digest is answered; the answer waits.
    OldAsks {
        digest: Message,
        answer: u32,
    },
    OldHears(Message),
    Arrives(Message),
}

/// What was found.
pub struct Report {
    pub states: usize,
    /// Different (owner, holders) from which it was tried whether all become equal.
    pub positions: usize,
    pub violation: Option<String>,
}

struct Interner<T> {
    numbers: HashMap<Rc<T>, u32>,
    all: Vec<Rc<T>>,
}

impl<T: Eq + Hash> Interner<T> {
    fn new() -> Self {
        Interner { numbers: HashMap::new(), all: Vec::new() }
    }

    fn number(&mut self, value: T) -> u32 {
        let next = u32::try_from(self.all.len()).unwrap();
        let value = Rc::new(value);
        let number = *self.numbers.entry(value.clone()).or_insert(next);
        if number == next {
            self.all.push(value);
        }
        number
    }

    fn get(&self, number: u32) -> Rc<T> {
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

type Map<K, V> = HashMap<K, V, BuildHasherDefault<Mixer>>;
type Set<K> = HashSet<K, BuildHasherDefault<Mixer>>;
/// The number of the holder that comes of it, or what was wrong.
type Outcome = Result<u32, Rc<str>>;
type Successors = Vec<(Step, Result<State, String>)>;

pub struct Explorer {
    scenario: Scenario,
    owners: Interner<Owner>,
    holders: Interner<Holder>,
    payloads: Interner<Payload>,
    ops: Map<u32, Rc<[(Op, u32)]>>,
    answers: Map<(bool, u32, u32), Rc<[u32]>>,
    taken: Map<(u32, u32), Outcome>,
    heard: Map<(u32, u32), Outcome>,
    caught_up: Map<((bool, u32), u32, Room), Outcome>,
    invariants: Set<(u32, u32)>,
    converging: Set<(u32, [u32; MAX_HOLDERS])>,
}

impl Explorer {
    pub fn new(scenario: Scenario) -> Self {
        assert!(scenario.holders <= MAX_HOLDERS && scenario.slots <= MAX_SLOTS);
        Explorer {
            scenario,
            owners: Interner::new(),
            holders: Interner::new(),
            payloads: Interner::new(),
            ops: Map::default(),
            answers: Map::default(),
            taken: Map::default(),
            heard: Map::default(),
            caught_up: Map::default(),
            invariants: Set::default(),
            converging: Set::default(),
        }
    }

    /// Visits every state that can be reached, or stops at the first one that is wrong.
    pub fn explore(&mut self) -> Report {
        let start = self.start();
        let mut visited = Set::default();
        // In the order of their visits, each with the place of the one that it was reached from.
        let mut order: Vec<(State, u32)> = vec![(start, 0)];
        visited.insert(start);
        let mut next = 0;
        while let Some((state, _)) = order.get(next).copied() {
            let mut wrong = self.check(&state).err().map(|problem| (None, problem));
            for (step, after) in self.successors(&state) {
                match after {
                    Ok(after) if after == state => {}
                    Ok(after) => {
                        let after = self.canonical(after);
                        if visited.insert(after) {
                            order.push((after, u32::try_from(next).unwrap()));
                        }
                    }
                    Err(problem) => wrong = wrong.or(Some((Some(step), problem))),
                }
            }
            if let Some((step, problem)) = wrong {
                let (states, positions) = (order.len(), self.converging.len());
                return Report { states, positions, violation: Some(self.trace(&order, next, step, &problem)) };
            }
            next += 1;
        }
        Report { states: order.len(), positions: self.converging.len(), violation: None }
    }

    fn start(&mut self) -> State {
        let owner = self.owners.number(Owner::new(self.scenario.budget));
        let mut holders = [NOTHING; MAX_HOLDERS];
        for (index, holder) in holders[..self.scenario.holders].iter_mut().enumerate() {
            let refuses = self.scenario.rules.one_refuses && index == 0;
            *holder = self.holders.number(Holder::new(self.scenario.ticks, self.scenario.restarts, refuses));
        }
        State { owner, holders, net: [Message::NONE; MAX_SLOTS] }
    }

    /// Of all states that differ only in which holder is called what, the smallest.
    fn canonical(&self, mut state: State) -> State {
        self.drop_dead(&mut state);
        const ORDERS: [[usize; MAX_HOLDERS]; 6] = [[0, 1, 2], [1, 0, 2], [0, 2, 1], [2, 1, 0], [1, 2, 0], [2, 0, 1]];
        let orders = match self.scenario.holders {
            1 => &ORDERS[..1],
            2 => &ORDERS[..2],
            _ => &ORDERS[..],
        };
        let mut smallest: Option<State> = None;
        for order in orders {
            let mut other = state;
            for (old, new) in order.iter().enumerate() {
                other.holders[*new] = state.holders[old];
            }
            // Most orders are ruled out by the holders alone.
            if smallest.is_some_and(|smallest| smallest.holders < other.holders) {
                continue;
            }
            let renamed = |node: usize| if node == 0 { 0 } else { order[node - 1] + 1 };
            for slot in &mut other.net {
                if let Some(message) = Message::unpack(*slot) {
                    *slot = Message { from: renamed(message.from), to: renamed(message.to), ..message }.pack();
                }
            }
            other.net.sort_unstable();
            smallest = Some(smallest.map_or(other, |smallest| smallest.min(other)));
        }
        smallest.unwrap()
    }

    /// Drops messages that can never again do anything: answers of a run older than the one known where they go.
    fn drop_dead(&self, state: &mut State) {
        for slot in &mut state.net {
            let Some(message) = Message::unpack(*slot).filter(|message| message.to != 0) else {
                continue;
            };
            let holder = &self.holders.all[state.holders[message.to - 1] as usize];
            let Payload::Answer(answer) = &*self.payloads.all[message.payload as usize] else {
                continue;
            };
            if answer.delta.generation < holder.replica.progress().generation && holder.restarts_left == 0 {
                *slot = Message::NONE;
            }
        }
    }

    // ---- what can happen ----

    fn successors(&mut self, state: &State) -> Successors {
        let mut all = Vec::new();
        for (op, owner) in self.ops(state.owner).iter() {
            all.push((Step::Op(*op), Ok(State { owner: *owner, ..*state })));
        }
        for at in 1..=self.scenario.holders {
            self.alone(state, at, &mut all);
            for other in (0..=self.scenario.holders).filter(|other| *other != at) {
                self.between(state, at, other, &mut all);
            }
        }
        for message in state.net.iter().filter_map(|packed| Message::unpack(*packed)) {
            self.waiting(state, message, &mut all);
        }
        all
    }

    /// What a holder does by itself.
    fn alone(&mut self, state: &State, at: usize, all: &mut Successors) {
        let holder = self.holders.get(state.holders[at - 1]);
        if let Some(ticked) = holder.tick() {
            let number = self.holders.number(ticked);
            all.push((Step::Tick(at), Ok(with(state, at, number))));
        }
        if holder.has_expired() {
            let outcome = holder.expire(&self.scenario.rules).map(|expired| self.holders.number(expired));
            all.push((Step::Expire(at), outcome.map(|number| with(state, at, number))));
        }
        if let Some(new) = holder.restart() {
            let number = self.holders.number(new);
            all.push((Step::Restart(at), Ok(with(state, at, number))));
        }
        if let Some(outcome) = holder.abandon(&self.scenario.rules) {
            let outcome = outcome.map(|after| self.holders.number(after));
            all.push((Step::Abandon(at), outcome.map(|number| with(state, at, number))));
        }
    }

    /// What a holder and another node do with each other at once, and the messages that they send.
    fn between(&mut self, state: &State, at: usize, other: usize, all: &mut Successors) {
        let digest = self.told(state, other);
        let hears = self.hears(state, at, digest);
        all.push((Step::Hears { at, from: other }, hears));
        if other == 0 {
            self.send(state, Message { payload: digest, from: 0, to: at }, Step::SendsDigest { from: 0, to: at }, all);
        }
        let digest = self.told(state, at);
        let step = Step::SendsDigest { from: at, to: other };
        self.send(state, Message { payload: digest, from: at, to: other }, step, all);
        let Ok(heard) = self.hears(state, other, digest) else {
            return;
        };
        for answer in self.answers(&heard, other, digest).iter().copied() {
            all.push((Step::Exchange { asker: at, at: other, answer }, self.takes(&heard, at, answer)));
            let message = Message { payload: answer, from: other, to: at };
            self.send(&heard, message, Step::Asks { asker: at, at: other, answer }, all);
        }
    }

    /// What a waiting message does when it arrives. It goes on waiting, for it may have been duplicated.
    fn waiting(&mut self, state: &State, message: Message, all: &mut Successors) {
        let payload = self.payloads.get(message.payload);
        match &*payload {
            Payload::Answer(_) => {
                all.push((Step::Arrives(message), self.takes(state, message.to, message.payload)));
            }
            Payload::Digest(_) => {
                let heard = match self.hears(state, message.to, message.payload) {
                    Ok(heard) => heard,
                    Err(problem) => {
                        all.push((Step::OldHears(message), Err(problem)));
                        return;
                    }
                };
                all.push((Step::OldHears(message), Ok(heard)));
                if message.from == 0 {
                    return;
                }
                for answer in self.answers(&heard, message.to, message.payload).iter().copied() {
                    let step = Step::OldExchange { digest: message, answer };
                    all.push((step, self.takes(&heard, message.from, answer)));
                    let reply = Message { payload: answer, from: message.to, to: message.from };
                    self.send(&heard, reply, Step::OldAsks { digest: message, answer }, all);
                }
            }
        }
    }

    /// Puts a message into the network. Where it is full, another one is lost.
    fn send(&mut self, state: &State, message: Message, step: Step, all: &mut Successors) {
        let packed = message.pack();
        let slots = self.scenario.slots;
        if state.net.contains(&packed) {
            return;
        }
        let free = state.net[..slots].iter().position(|slot| *slot == Message::NONE);
        for slot in free.map_or(0..slots, |free| free..free + 1) {
            let mut after = *state;
            after.net[slot] = packed;
            after.net.sort_unstable();
            all.push((step, Ok(after)));
        }
    }

    // ---- the shipped functions, each run once for the same arguments ----

    fn ops(&mut self, owner: u32) -> Rc<[(Op, u32)]> {
        if let Some(ops) = self.ops.get(&owner) {
            return ops.clone();
        }
        let after = self.owners.get(owner).ops(&self.scenario.rules);
        let ops: Rc<[(Op, u32)]> = after.into_iter().map(|(op, after)| (op, self.owners.number(after))).collect();
        self.ops.insert(owner, ops.clone());
        ops
    }

    fn told(&mut self, state: &State, node: usize) -> u32 {
        let progress = if node == 0 {
            told(Source::Owner(&self.owners.get(state.owner)), &self.scenario.rules)
        } else {
            told(Source::Holder(&self.holders.get(state.holders[node - 1])), &self.scenario.rules)
        };
        self.payloads.number(Payload::Digest(progress))
    }

    /// `at` hears the record of another node; for the owner there is nothing in it.
    fn hears(&mut self, state: &State, at: usize, digest: u32) -> Result<State, String> {
        if at == 0 {
            return Ok(*state);
        }
        let holder = state.holders[at - 1];
        let outcome = self.heard_by(holder, digest);
        self.moved(state, at, outcome)
    }

    fn heard_by(&mut self, holder: u32, digest: u32) -> Outcome {
        if let Some(outcome) = self.heard.get(&(holder, digest)) {
            return outcome.clone();
        }
        let Payload::Digest(told) = *self.payloads.get(digest) else { unreachable!() };
        let after = self.holders.get(holder).hear(&told, &self.scenario.rules);
        let outcome = after.map(|after| self.holders.number(after)).map_err(Rc::from);
        self.heard.insert((holder, digest), outcome.clone());
        outcome
    }

    fn answers(&mut self, state: &State, at: usize, digest: u32) -> Rc<[u32]> {
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

    fn takes(&mut self, state: &State, at: usize, answer: u32) -> Result<State, String> {
        let holder = state.holders[at - 1];
        let outcome = self.taken_by(holder, answer);
        self.moved(state, at, outcome)
    }

    fn taken_by(&mut self, holder: u32, answer: u32) -> Outcome {
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
    fn moved(&mut self, state: &State, at: usize, outcome: Outcome) -> Result<State, String> {
        let number = outcome.map_err(|problem| format!("holder {at} {problem}"))?;
        let before = state.holders[at - 1];
        if number != before {
            self.flicker(state.owner, before, number).map_err(|problem| format!("holder {at} {problem}"))?;
        }
        Ok(with(state, at, number))
    }

    fn flicker(&self, owner: u32, before: u32, after: u32) -> Result<(), String> {
        let owner = &self.owners.all[owner as usize];
        let (before, after) = (&self.holders.all[before as usize], &self.holders.all[after as usize]);
        flicker(owner, before, after, &self.scenario.rules)
    }

    // ---- what must hold ----

    fn check(&mut self, state: &State) -> Result<(), String> {
        for (index, holder) in state.holders[..self.scenario.holders].iter().enumerate() {
            if self.invariants.insert((state.owner, *holder)) {
                let (owner, holder) = (self.owners.get(state.owner), self.holders.get(*holder));
                invariant(&owner, &holder).map_err(|problem| format!("holder {} {problem}", index + 1))?;
            }
        }
        let mut holders = state.holders;
        holders.sort_unstable();
        if self.converging.insert((state.owner, holders)) {
            self.converges(state.owner, &holders[..self.scenario.holders])?;
        }
        Ok(())
    }

    /// From here on the network is reliable: do all become equal?
    fn converges(&mut self, owner: u32, holders: &[u32]) -> Result<(), String> {
        let far = self.owners.get(owner);
        let held = |explorer: &Self| -> Vec<_> { holders.iter().map(|holder| explorer.holders.get(*holder)).collect() };
        // The owner is dead. Somebody has everything; where there is nothing to have, only the owner could say so.
        let survivors = held(self).iter().any(|holder| !holder.refuses && is_complete(&far, holder).is_ok());
        for room in [1, Room::MAX] {
            if survivors {
                self.equal_after_rounds(owner, holders, false, room).map_err(|p| format!("without the owner: {p}"))?;
            }
            let (_, equal) = self.equal_after_rounds(owner, holders, true, room)?;
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
    ) -> Result<(usize, Vec<u32>), String> {
        let mut now = holders.to_vec();
        let far = self.owners.get(owner);
        for round in 0..=ROUNDS {
            let problem = now.iter().find_map(|holder| is_complete(&far, &self.holders.get(*holder)).err());
            match problem {
                None => return Ok((round, now)),
                Some(problem) if round == ROUNDS => {
                    return Err(format!(
                        "after {ROUNDS} rounds with at most {room} entries in an answer one {problem}"
                    ));
                }
                Some(_) => {}
            }
            for asker in 0..now.len() {
                for other in (0..now.len()).filter(|other| *other != asker) {
                    now[asker] = self.catches_up(owner, (false, now[other]), now[asker], room)?;
                }
            }
            for asker in now.iter_mut().filter(|_| owner_lives) {
                *asker = self.catches_up(owner, (true, owner), *asker, room)?;
            }
        }
        unreachable!()
    }

    /// `asker` hears the other's record, and asks on until nothing more comes.
    fn catches_up(&mut self, owner: u32, other: (bool, u32), asker: u32, room: Room) -> Result<u32, String> {
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

    fn catch_up(&mut self, (is_owner, other): (bool, u32), asker: u32, room: Room) -> Outcome {
        let rules = self.scenario.rules;
        let owner = is_owner.then(|| self.owners.get(other));
        let mut server = if is_owner { None } else { Some(other) };
        let mut asker = asker;
        for _ in 0..ANSWERS {
            let told_asker = told(Source::Holder(&self.holders.get(asker)), &rules);
            if let Some(server) = &mut server {
                let digest = self.payloads.number(Payload::Digest(told_asker));
                *server = self.heard_by(*server, digest)?;
            }
            let holder = server.map(|server| self.holders.get(server));
            let source = match (&owner, &holder) {
                (Some(owner), _) => Source::Owner(owner),
                (None, Some(holder)) => Source::Holder(holder),
                (None, None) => unreachable!(),
            };
            let digest = self.payloads.number(Payload::Digest(told(source, &rules)));
            let before = asker;
            asker = self.heard_by(asker, digest)?;
            let holder = self.holders.get(asker);
            if let Some(answer) = source.answer(&told(Source::Holder(&holder), &rules), &holder, room, &rules) {
                let answer = self.payloads.number(Payload::Answer(answer));
                asker = self.taken_by(asker, answer)?;
            }
            if asker == before {
                break;
            }
        }
        Ok(asker)
    }

    // ---- what it looked like ----

    /// The way to a state, and what is wrong there or with the last step from it.
    fn trace(&mut self, order: &[(State, u32)], place: usize, last: Option<Step>, problem: &str) -> String {
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

    fn describe(&mut self, text: &mut String, step: Step, before: &State, after: &State) {
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
            Step::Abandon(at) => format!("holder {at} gives up the transfer"),
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

fn with(state: &State, at: usize, number: u32) -> State {
    let mut after = *state;
    after.holders[at - 1] = number;
    after
}
