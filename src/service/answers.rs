//! Answers that were given, for requests that come again: a Seneca client of version 0.9 sends its first act anew, with the same
//! id, whenever it connects again, and it must not be done twice.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use siphasher::sip128::SipHasher13;

use crate::service::lock::Mutex;
use crate::service::outbox::Outbox;
use crate::sync;

/// Answers that are kept, whatever their size.
const MOST: usize = 4_096;
/// All of them together; a larger one is not kept.
const BYTES: usize = 16 << 20;
/// Connections that wait for one that is not there yet.
const WAITING: usize = 16;

/// A request's name, as a number by a secret function: nobody can find two names with the same one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(u128);

pub(super) enum Seen {
    /// It is new, and to be done.
    New,
    /// It is being done, or was, and whoever asks again gets the same answer.
    Again,
}

pub(super) struct Answers {
    state: Mutex<State>,
    hasher: SipHasher13,
}

#[derive(Default)]
struct State {
    answers: HashMap<Key, Answer>,
    oldest: VecDeque<Key>,
    bytes: usize,
}

enum Answer {
    Awaited(Vec<Weak<Outbox>>),
    /// Nothing, if nobody waited for it.
    Given(Arc<Vec<u8>>),
}

impl Answers {
    pub(super) fn new() -> Answers {
        let hasher = SipHasher13::new_with_keys(sync::unpredictable(), sync::unpredictable());
        Answers { state: Mutex::default(), hasher }
    }

    pub(super) fn key(&self, name: &str) -> Key {
        Key(self.hasher.hash(name.as_bytes()).as_u128())
    }

    pub(super) fn see(&self, key: Key, outbox: &Arc<Outbox>) -> Seen {
        let mut state = self.state.lock();
        let answer = match state.answers.get_mut(&key) {
            None => {
                state.answers.insert(key, Answer::Awaited(Vec::new()));
                return Seen::New;
            }
            Some(Answer::Awaited(waiting)) => {
                waiting.retain(|outbox| outbox.upgrade().is_some_and(|outbox| !outbox.is_closed()));
                // Who comes back so often waits on the connection that came last.
                if waiting.len() >= WAITING {
                    waiting.remove(0);
                }
                waiting.push(Arc::downgrade(outbox));
                return Seen::Again;
            }
            Some(Answer::Given(answer)) => answer.clone(),
        };
        drop(state);
        if !answer.is_empty() {
            outbox.send_or_close(&answer);
        }
        Seen::Again
    }

    /// Keeps an answer, and gives it to those who asked again meanwhile.
    pub(super) fn give(&self, key: Key, answer: Arc<Vec<u8>>) {
        let mut state = self.state.lock();
        let before = if answer.len() <= BYTES / 16 {
            state.bytes += answer.len();
            state.oldest.push_back(key);
            state.answers.insert(key, Answer::Given(answer.clone()))
        } else {
            state.answers.remove(&key)
        };
        while state.bytes > BYTES || state.oldest.len() > MOST {
            let Some(oldest) = state.oldest.pop_front() else { break };
            if let Some(Answer::Given(answer)) = state.answers.remove(&oldest) {
                state.bytes -= answer.len();
            }
        }
        drop(state);
        give_to_all(before, &answer);
    }

    /// For a request that was refused, and may be done when it comes again later.
    pub(super) fn forget(&self, key: Key, answer: &[u8]) {
        let before = self.state.lock().answers.remove(&key);
        give_to_all(before, answer);
    }
}

/// To those who asked again meanwhile; nothing if nobody waited for it first.
fn give_to_all(awaited: Option<Answer>, answer: &[u8]) {
    if let Some(Answer::Awaited(waiting)) = awaited
        && !answer.is_empty()
    {
        waiting.iter().filter_map(Weak::upgrade).for_each(|outbox| outbox.send_or_close(answer));
    }
}
