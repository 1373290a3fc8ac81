//! Which of many patterns a message runs: Seneca's rules, those of its matcher `patrun` 7.3.
//!
//! From the message's alphabetically first key on, the walk takes the pattern's branch for that key where it can: the one with the very
//! value, otherwise the first glob that agrees, in the order in which globs first came to this place. Where it cannot it skips the key.
//! So an earlier key decides before a longer pattern does. What it has found when it gets no further is the answer; only if it has found
//! nothing it goes back to the last branch that it took, and skips that key instead.
//!
//! Where this is not what `patrun` does:
//! - A glob is tried even if a branch that was preferred to it came to nothing: with `x:1,y:1` and `x:*,y:2` the message
//!   `{x:1,y:2}` runs the second, and not nothing. Such globs are tried last, so `patrun` and this never answer with different patterns.
//! - An object or list agrees with a glob as the text that it is to JavaScript, and not with every glob.
//! - A message without a key, or with null for it, agrees with no pattern for that key; `undefined` and `null` are texts as others.
//! - `constructor`, `toString` and such keys and values are as others, and the empty key too.
//! - A pattern that was removed is no branch any more.
//! - The order of globs may be [one that everybody has](Matcher::most_specific_globs_first).

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::compare::{as_compared, glob_agrees, is_glob, specificity};
use super::pattern::{Pattern, key_order};

/// Patterns, each with something, of which a message selects one.
///
/// [`find`](Matcher::find) looks at each branch of the trie twice at most, never at more of them than all patterns have pairs: some 0.1 s
/// in the worst case, 4,000 patterns of 63 globs each that a message agrees with and a 64th pair that it does not; 70 ns to find one
/// of 2,000 patterns of two pairs. The message's own length counts through the look-ups of its keys alone.
pub(crate) struct Matcher<T> {
    root: Node<T>,
    len: usize,
    glob_order: GlobOrder,
}

#[derive(Clone, Copy)]
enum GlobOrder {
    Insertion,
    Specificity,
}

/// Where the walk is after some pairs: the pattern of just those, and every way on, in the order of the keys.
struct Node<T> {
    entry: Option<(Pattern, T)>,
    choices: Vec<Choice<T>>,
}

struct Choice<T> {
    key: Box<str>,
    exact: BTreeMap<Box<str>, Node<T>>,
    /// The preferred first.
    globs: Vec<(Box<str>, Node<T>)>,
}

impl<T> Matcher<T> {
    /// Globs for the same key are tried in the order in which they came, as in Seneca.
    pub(crate) fn new() -> Matcher<T> {
        Matcher { root: Node::new(), len: 0, glob_order: GlobOrder::Insertion }
    }

    /// Globs for the same key are tried from the one that fixes most characters on, so that all who have the same patterns find the
    /// same ones, in whatever order they heard of them.
    pub(crate) fn most_specific_globs_first() -> Matcher<T> {
        Matcher { glob_order: GlobOrder::Specificity, ..Matcher::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns what the pattern had before.
    pub(crate) fn insert(&mut self, pattern: Pattern, item: T) -> Option<T> {
        let mut node = &mut self.root;
        for (key, value) in pattern.pairs() {
            node = node.choice_or_new(key).next_or_new(value, self.glob_order);
        }
        let previous = node.entry.replace((pattern, item));
        self.len += usize::from(previous.is_none());
        previous.map(|(_, item)| item)
    }

    pub(crate) fn remove(&mut self, pattern: &Pattern) -> Option<T> {
        let (_, item) = self.root.remove(&mut pattern.pairs())?;
        self.len -= 1;
        Some(item)
    }

    pub(crate) fn get_mut(&mut self, pattern: &Pattern) -> Option<&mut T> {
        let mut node = &mut self.root;
        for (key, value) in pattern.pairs() {
            let place = node.place(key).ok()?;
            node = node.choices.get_mut(place)?.next_mut(value)?;
        }
        node.entry.as_mut().map(|(_, item)| item)
    }

    /// The pattern that a message runs.
    pub(crate) fn find(&self, message: &Map<String, Value>) -> Option<(&Pattern, &T)> {
        let mut walk = Walk { message, globs_left: false, thorough: false };
        let mut found = walk.from(&self.root, None);
        if found.is_none() && walk.globs_left {
            walk.thorough = true;
            found = walk.from(&self.root, None);
        }
        found.map(|(pattern, item)| (pattern, item))
    }

    /// All of them, in the order in which they would be tried, but the shorter of two before the longer.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Pattern, &T)> {
        let mut ahead = vec![&self.root];
        let mut nodes = std::iter::from_fn(move || {
            let node = ahead.pop()?;
            for choice in node.choices.iter().rev() {
                ahead.extend(choice.globs.iter().rev().map(|(_, next)| next));
                ahead.extend(choice.exact.values().rev());
            }
            Some(node)
        });
        std::iter::from_fn(move || nodes.find_map(|node| node.entry.as_ref())).map(|(pattern, item)| (pattern, item))
    }
}

impl<T> Default for Matcher<T> {
    fn default() -> Matcher<T> {
        Matcher::new()
    }
}

struct Walk<'m> {
    message: &'m Map<String, Value>,
    /// Whether a branch was taken where globs that follow it were not tried.
    globs_left: bool,
    /// Whether those are tried.
    thorough: bool,
}

impl Walk<'_> {
    /// The recursion is as deep as the longest pattern has pairs: 64.
    fn from<'t, T>(&mut self, node: &'t Node<T>, found: Option<&'t (Pattern, T)>) -> Option<&'t (Pattern, T)> {
        let found = node.entry.as_ref().or(found);
        for choice in &node.choices {
            let Some(text) = self.message.get(&*choice.key).and_then(as_compared) else { continue };
            for (next, globs_left) in choice.branches(text) {
                let further = self.from(next, found);
                if further.is_some() {
                    return further;
                }
                if !self.thorough {
                    self.globs_left |= globs_left;
                    break;
                }
            }
        }
        found
    }
}

impl<T> Node<T> {
    fn new() -> Node<T> {
        Node { entry: None, choices: Vec::new() }
    }

    fn place(&self, key: &str) -> Result<usize, usize> {
        self.choices.binary_search_by(|choice| key_order(&choice.key, key))
    }

    fn choice_or_new(&mut self, key: &str) -> &mut Choice<T> {
        let place = self.place(key).unwrap_or_else(|place| {
            self.choices.insert(place, Choice { key: key.into(), exact: BTreeMap::new(), globs: Vec::new() });
            place
        });
        &mut self.choices[place]
    }

    fn remove<'p>(&mut self, pairs: &mut impl Iterator<Item = (&'p str, &'p str)>) -> Option<(Pattern, T)> {
        let Some((key, value)) = pairs.next() else { return self.entry.take() };
        let place = self.place(key).ok()?;
        let choice = self.choices.get_mut(place)?;
        let next = choice.next_mut(value)?;
        let removed = next.remove(pairs)?;
        if next.is_empty() {
            choice.forget(value);
        }
        if choice.exact.is_empty() && choice.globs.is_empty() {
            self.choices.remove(place);
        }
        Some(removed)
    }

    fn is_empty(&self) -> bool {
        self.entry.is_none() && self.choices.is_empty()
    }
}

impl<T> Choice<T> {
    /// Every branch that agrees, the preferred first, and whether globs follow it.
    fn branches(&self, text: Cow<'_, str>) -> impl Iterator<Item = (&Node<T>, bool)> {
        let exact = self.exact.get(&*text).map(|next| (next, !self.globs.is_empty()));
        let globs = self.globs.iter().enumerate().filter_map(move |(place, (glob, next))| {
            glob_agrees(glob, &text).then_some((next, place + 1 < self.globs.len()))
        });
        exact.into_iter().chain(globs)
    }

    fn next_mut(&mut self, value: &str) -> Option<&mut Node<T>> {
        if is_glob(value) {
            self.globs.iter_mut().find(|(glob, _)| **glob == *value).map(|(_, next)| next)
        } else {
            self.exact.get_mut(value)
        }
    }

    fn next_or_new(&mut self, value: &str, order: GlobOrder) -> &mut Node<T> {
        if !is_glob(value) {
            return self.exact.entry(value.into()).or_insert_with(Node::new);
        }
        let place = self.globs.iter().position(|(glob, _)| **glob == *value).unwrap_or_else(|| {
            let rank = |glob: &str| (Reverse(specificity(glob)), glob.to_owned());
            let place = match order {
                GlobOrder::Insertion => self.globs.len(),
                GlobOrder::Specificity => self.globs.partition_point(|(glob, _)| rank(glob) < rank(value)),
            };
            self.globs.insert(place, (value.into(), Node::new()));
            place
        });
        &mut self.globs[place].1
    }

    fn forget(&mut self, value: &str) {
        self.exact.remove(value);
        self.globs.retain(|(glob, _)| **glob != *value);
    }
}

#[cfg(test)]
mod tests;
