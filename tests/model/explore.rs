//! The explorer: breadth first over all states, each visited once whichever of the holders is called 1, 2 or 3.
//!
//! Owners, holders and payloads are kept once each and named by numbers. A state is a few numbers, and a shipped
//! function runs once for each different (holder, payload); all the rest is looked up.

use std::hash::{Hash, Hasher};
use std::rc::Rc;

use grapevine::state::Progress;

use crate::exchange::{Answer, Room};
use crate::holder::Holder;
use crate::numbers::{Interner, Map, Set};
use crate::owner::{Op, Owner};
use crate::rules::{MAX_HOLDERS, MAX_SLOTS, Scenario};

/// No holder.
pub const NOBODY: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct State {
    pub owner: u32,
    pub holders: [u32; MAX_HOLDERS],
    pub net: [u32; MAX_SLOTS],
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let State { owner, holders: [a, b, c], net: [x, y, z] } = *self;
        for (high, low) in [(owner, a), (b, c), (x, y), (z, 0)] {
            hasher.write_u64(u64::from(high) << 32 | u64::from(low));
        }
    }
}

/// Somebody, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    Owner(u32),
    Holder(u32),
}

/// A message is the number of its payload, and who sent it to whom; 0 is the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub payload: u32,
    pub from: usize,
    pub to: usize,
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
pub enum Payload {
    Digest(Progress),
    Answer(Answer),
}

/// What a step is, for traces.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Op(Op),
    Tick(usize),
    Expire(usize),
    Restart(usize),
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

/// The number of the holder that comes of it, or what was wrong.
pub type Outcome = Result<u32, Rc<str>>;
pub type Successors = Vec<(Step, Result<State, String>)>;

pub struct Explorer {
    pub scenario: Scenario,
    pub owners: Interner<Owner>,
    pub holders: Interner<Holder>,
    pub payloads: Interner<Payload>,
    pub ops: Map<u32, Rc<[(Op, u32)]>>,
    pub answers: Map<(bool, u32, u32), Rc<[u32]>>,
    pub taken: Map<(u32, u32), Outcome>,
    pub heard: Map<(u32, u32), Outcome>,
    pub caught_up: Map<(Node, u32, Room), Outcome>,
    pub invariants: Set<(u32, u32)>,
    pub converging: Set<(u32, [u32; MAX_HOLDERS])>,
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
        let owner = self.owners.number(Owner::new(&self.scenario));
        let mut holders = [NOBODY; MAX_HOLDERS];
        for (index, holder) in holders[..self.scenario.holders].iter_mut().enumerate() {
            let refuses = self.scenario.rules.one_refuses && index == 0;
            *holder = self.holders.number(Holder::new(self.scenario.ticks, self.scenario.restarts, refuses));
        }
        State { owner, holders, net: [Message::NONE; MAX_SLOTS] }
    }

    /// Of all states that differ only in which holder is called what, the smallest.
    pub fn canonical(&self, mut state: State) -> State {
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

    pub fn successors(&mut self, state: &State) -> Successors {
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
        for server in with_and_without(state, &heard) {
            for answer in self.answers(&server, other, digest).iter().copied() {
                all.push((Step::Exchange { asker: at, at: other, answer }, self.takes(&server, at, answer)));
                let message = Message { payload: answer, from: other, to: at };
                self.send(&server, message, Step::Asks { asker: at, at: other, answer }, all);
            }
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
                for server in with_and_without(state, &heard) {
                    for answer in self.answers(&server, message.to, message.payload).iter().copied() {
                        let step = Step::OldExchange { digest: message, answer };
                        all.push((step, self.takes(&server, message.from, answer)));
                        let reply = Message { payload: answer, from: message.to, to: message.from };
                        self.send(&server, reply, Step::OldAsks { digest: message, answer }, all);
                    }
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
}

/// Who is asked hears how far the asker is if a digest says it, and not if a mere request for more does.
fn with_and_without(state: &State, heard: &State) -> impl Iterator<Item = State> + use<> {
    [Some(*heard), Some(*state).filter(|state| state != heard)].into_iter().flatten()
}

pub fn with(state: &State, at: usize, number: u32) -> State {
    let mut after = *state;
    after.holders[at - 1] = number;
    after
}
