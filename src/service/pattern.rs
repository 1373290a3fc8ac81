//! Patterns: the pairs that a message must have for an action to run.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::compare::{agrees, covers};
use super::text;

/// The most pairs of a pattern.
pub(crate) const MAX_PAIRS: usize = 64;
/// The longest key of a pattern, in bytes.
pub(crate) const MAX_KEY_BYTES: usize = 256;
/// The longest value of a pattern, in bytes.
pub(crate) const MAX_VALUE_BYTES: usize = 256;

/// What a message must have for an action to run: keys, and for each a text or a glob.
///
/// Written as Seneca's relaxed JSON. Values are compared as text, the way JavaScript turns them into it: `1` agrees with `"1"` and
/// `1.0`, `true` with `"true"`. In a value `*` stands for any text and `?` for one UTF-16 unit (a character, or half of a rare one);
/// `**` and `*?` stand for the two themselves. A glob needs its key to be there. Case counts, and a key that is null is not there.
/// A value of more than 1,024 bytes agrees with no glob but `*`.
///
/// A pattern has 64 pairs at most, each key and value 256 bytes. A pair whose value is null, or whose key ends in `$`, is left out,
/// as in Seneca. Without pairs a pattern agrees with every message.
///
/// ```
/// use grapevine::service::Pattern;
/// use serde_json::json;
///
/// let pattern: Pattern = "role:api,cmd:get*,version:2".parse()?;
/// assert_eq!(pattern.to_string(), "cmd:get*,role:api,version:2");
///
/// let message = json!({ "role": "api", "cmd": "getUser", "version": "2", "id": 17 });
/// assert!(pattern.matches(message.as_object().unwrap()));
///
/// let pin = "role:*,zone:eu".parse()?;
/// assert_eq!(pattern.pinned_by(&pin).unwrap().to_string(), "cmd:get*,role:api,version:2,zone:eu");
/// # Ok::<(), grapevine::service::PatternError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<[(Box<str>, Box<str>)]>);

impl Pattern {
    /// Each key with the text or glob for its value, in the order of the keys.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Whether a message has all the keys, with values that agree.
    pub fn matches(&self, message: &Map<String, Value>) -> bool {
        self.pairs().all(|(key, pattern)| message.get(key).is_some_and(|value| agrees(pattern, value)))
    }

    /// The part of this pattern that lies inside of a pin: with the pin's pairs added, and each key that both have narrowed to what both
    /// allow. `None` if no message could agree with both; also for two globs neither of which includes the other, like `a*` and
    /// `*b`, and where the result would have more than 64 pairs.
    pub fn pinned_by(&self, pin: &Pattern) -> Option<Pattern> {
        let mut pairs = self.0.to_vec();
        for (key, allowed) in pin.0.iter() {
            match pairs.iter_mut().find(|(mine, _)| mine == key) {
                Some((_, value)) if covers(allowed, value) => {}
                Some((_, value)) if covers(value, allowed) => *value = allowed.clone(),
                Some(_) => return None,
                None => pairs.push((key.clone(), allowed.clone())),
            }
        }
        (pairs.len() <= MAX_PAIRS).then(|| Pattern::sorted(pairs))
    }

    fn sorted(mut pairs: Vec<(Box<str>, Box<str>)>) -> Pattern {
        pairs.sort_by(|(one, _), (other, _)| key_order(one, other));
        Pattern(pairs.into())
    }

    fn of(message: &Map<String, Value>) -> Result<Pattern, PatternError> {
        let mut pairs = Vec::new();
        for (key, value) in message.iter().filter(|(key, value)| !value.is_null() && !key.ends_with('$')) {
            let name =
                || if key.len() <= MAX_KEY_BYTES { format!("`{key}`") } else { format!("of {} bytes", key.len()) };
            let text = match value {
                Value::Array(_) | Value::Object(_) => {
                    let kind = if value.is_array() { "a list" } else { "an object" };
                    return Err(PatternError(format!(
                        "the value of the key {} is {kind}; only text, numbers, true and false can be compared",
                        name()
                    )));
                }
                value => as_text(value).unwrap_or_default(),
            };
            if key.len() > MAX_KEY_BYTES {
                return Err(PatternError(format!("a key has {} bytes; {MAX_KEY_BYTES} are the most", key.len())));
            }
            if text.len() > MAX_VALUE_BYTES {
                let (name, bytes) = (name(), text.len());
                return Err(PatternError(format!(
                    "the value of the key {name} has {bytes} bytes; {MAX_VALUE_BYTES} are the most"
                )));
            }
            pairs.push((key.as_str().into(), text.into()));
        }
        if pairs.len() > MAX_PAIRS {
            return Err(PatternError(format!("it has {} pairs; {MAX_PAIRS} are the most", pairs.len())));
        }
        Ok(Pattern::sorted(pairs))
    }
}

pub(crate) use super::compare::as_text;

/// JavaScript's order of text, by UTF-16 units, in which Seneca walks the keys.
pub(crate) fn key_order(one: &str, other: &str) -> Ordering {
    one.encode_utf16().cmp(other.encode_utf16())
}

impl fmt::Display for Pattern {
    /// In the canonical form, `cmd:add,role:api`: by the order of the keys, with quotes where they are needed to read it again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (key, value) in self.pairs() {
            f.write_str(separator)?;
            text::write_key(f, key)?;
            f.write_str(":")?;
            text::write_value(f, value)?;
            separator = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({self})")
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Pattern, PatternError> {
        Pattern::of(&parse(text)?)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Why something is no pattern, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError(String);

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is no pattern: {}", self.0)
    }
}

impl std::error::Error for PatternError {}

/// What a pattern can be given as: text, a JSON object, or both, where the text's pairs replace the object's.
pub trait IntoPattern {
    /// The pattern.
    ///
    /// # Errors
    /// [`PatternError`] if it cannot be read, or has more or longer pairs than a pattern can have.
    fn into_pattern(self) -> Result<Pattern, PatternError>;
}

impl IntoPattern for Pattern {
    fn into_pattern(self) -> Result<Pattern, PatternError> {
        Ok(self)
    }
}

impl IntoPattern for &Pattern {
    fn into_pattern(self) -> Result<Pattern, PatternError> {
        Ok(self.clone())
    }
}

impl IntoPattern for &str {
    fn into_pattern(self) -> Result<Pattern, PatternError> {
        self.parse()
    }
}

impl IntoPattern for String {
    fn into_pattern(self) -> Result<Pattern, PatternError> {
        self.parse()
    }
}

impl IntoPattern for &String {
    fn into_pattern(self) -> Result<Pattern, PatternError> {
        self.parse()
    }
}

impl IntoPattern for Value {
    fn into_pattern(self) -> Result<Pattern, PatternError> {
        (&self).into_pattern()
    }
}

impl IntoPattern for &Value {
    fn into_pattern(self) -> Result<Pattern, PatternError> {
        Pattern::of(object(self)?)
    }
}

impl IntoPattern for (&str, Value) {
    fn into_pattern(self) -> Result<Pattern, PatternError> {
        (self.0, &self.1).into_pattern()
    }
}

impl IntoPattern for (&str, &Value) {
    fn into_pattern(self) -> Result<Pattern, PatternError> {
        let mut pairs = object(self.1)?.clone();
        pairs.extend(parse(self.0)?);
        Pattern::of(&pairs)
    }
}

fn parse(text: &str) -> Result<Map<String, Value>, PatternError> {
    text::parse(text).map_err(|error| PatternError(error.to_string()))
}

fn object(value: &Value) -> Result<&Map<String, Value>, PatternError> {
    let problem = "a JSON object is expected, like {\"role\": \"api\", \"cmd\": \"add\"}, not another kind of value";
    value.as_object().ok_or_else(|| PatternError(problem.to_owned()))
}

#[cfg(test)]
mod tests;
