//! Reading a command line: words, options, and values of options.

use std::collections::VecDeque;
use std::fmt::Display;
use std::str::FromStr;

use crate::Outcome;

/// What is left of a command line. `--name value` and `--name=value` are the same.
pub struct Arguments {
    words: VecDeque<String>,
}

impl Arguments {
    /// All of these.
    pub fn new(words: impl IntoIterator<Item = String>) -> Self {
        let mut split = VecDeque::new();
        for word in words {
            match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => split.extend([name.to_owned(), value.to_owned()]),
                _ => split.push_back(word),
            }
        }
        Arguments { words: split }
    }

    /// Takes the next word if it is this one.
    pub fn take_word(&mut self, word: &str) -> bool {
        let is_next = self.words.front().is_some_and(|next| next == word);
        if is_next {
            self.words.pop_front();
        }
        is_next
    }

    /// The next word, whatever it is.
    pub fn next_word(&mut self) -> Option<String> {
        self.words.pop_front()
    }

    /// The value that follows `option`.
    ///
    /// # Errors
    /// If there is none, or it is of another kind.
    pub fn value<T>(&mut self, option: &str) -> Outcome<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.next_word().ok_or_else(|| format!("{option} needs a value"))?;
        text.parse().map_err(|error| format!("{option} cannot be `{text}`: {error}").into())
    }
}
