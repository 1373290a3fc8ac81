//! Messages: JSON objects, in the forms in which a program has them.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::service::error::ActError;
use crate::service::pattern::Pattern;
use crate::service::text;

/// A JSON object: what actions are called with.
pub type Message = Map<String, Value>;

/// What can be a message: `"role:api,cmd:add,left:2"`, a JSON object, or a text and anything that serializes to an object. Where
/// both name a key the text's value wins, as in Seneca.
///
/// ```
/// use grapevine::service::IntoMessage;
/// use serde_json::json;
///
/// let numbers = json!({"left": 2, "right": 3});
/// let message = ("role:api,cmd:add", &numbers).into_message()?;
/// assert_eq!(message, "role:api,cmd:add,left:2,right:3".into_message()?);
/// # Ok::<(), grapevine::service::ActError>(())
/// ```
pub trait IntoMessage {
    /// The message.
    ///
    /// # Errors
    /// [`ActError::InvalidMessage`] if it is none.
    fn into_message(self) -> Result<Message, ActError>;
}

impl IntoMessage for Message {
    fn into_message(self) -> Result<Message, ActError> {
        Ok(self)
    }
}

impl IntoMessage for &Message {
    fn into_message(self) -> Result<Message, ActError> {
        Ok(self.clone())
    }
}

impl IntoMessage for Value {
    fn into_message(self) -> Result<Message, ActError> {
        match self {
            Value::Object(message) => Ok(message),
            other => Err(ActError::InvalidMessage(format!("it is no object, but {}", kind_of(&other)))),
        }
    }
}

impl IntoMessage for &Value {
    fn into_message(self) -> Result<Message, ActError> {
        self.clone().into_message()
    }
}

impl IntoMessage for &str {
    fn into_message(self) -> Result<Message, ActError> {
        text::parse(self).map_err(|error| ActError::InvalidMessage(error.to_string()))
    }
}

impl IntoMessage for &String {
    fn into_message(self) -> Result<Message, ActError> {
        self.as_str().into_message()
    }
}

impl IntoMessage for String {
    fn into_message(self) -> Result<Message, ActError> {
        self.as_str().into_message()
    }
}

impl IntoMessage for &Pattern {
    fn into_message(self) -> Result<Message, ActError> {
        Ok(self.pairs().map(|(key, value)| (key.to_owned(), Value::from(value))).collect())
    }
}

impl<T: Serialize> IntoMessage for (&str, T) {
    fn into_message(self) -> Result<Message, ActError> {
        let (text, object) = self;
        let object = serde_json::to_value(object).map_err(|error| ActError::InvalidMessage(error.to_string()))?;
        let mut message = object.into_message()?;
        message.extend(text.into_message()?);
        Ok(message)
    }
}

pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A message as people read it, and as Seneca shows it: `{ role: 'api', left: 2 }`, cut where it gets long.
pub(super) fn shown(message: &Message) -> String {
    const MOST: usize = 1_000;
    let mut shown = String::new();
    show_object(message, 0, MOST, &mut shown);
    shown
}

fn show(value: &Value, depth: usize, most: usize, shown: &mut String) {
    if shown.len() > most {
        return;
    }
    match value {
        Value::Array(array) if array.is_empty() => shown.push_str("[]"),
        Value::Object(object) => show_object(object, depth, most, shown),
        // So deep JavaScript shows things.
        Value::Array(_) if depth > 2 => shown.push_str("[Array]"),
        Value::Array(array) => {
            let mut separator = "[ ";
            for value in array {
                if shown.len() > most {
                    return shown.push_str(", ...");
                }
                shown.push_str(separator);
                show(value, depth + 1, most, shown);
                separator = ", ";
            }
            shown.push_str(" ]");
        }
        Value::String(text) => show_cut(text, most, shown),
        other => shown.push_str(&other.to_string()),
    }
}

fn show_object(object: &Message, depth: usize, most: usize, shown: &mut String) {
    if object.is_empty() {
        return shown.push_str("{}");
    }
    if depth > 2 {
        return shown.push_str("[Object]");
    }
    let mut separator = "{ ";
    for (key, value) in object {
        if shown.len() > most {
            return shown.push_str(", ...");
        }
        shown.push_str(separator);
        show_key(key, most, shown);
        shown.push_str(": ");
        show(value, depth + 1, most, shown);
        separator = ", ";
    }
    shown.push_str(" }");
}

fn show_key(key: &str, most: usize, shown: &mut String) {
    let is_name = key.len() <= most
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !key.starts_with(|c: char| c.is_ascii_digit());
    if is_name && !key.is_empty() { shown.push_str(key) } else { show_cut(key, most, shown) }
}

fn show_cut(text: &str, most: usize, shown: &mut String) {
    let cut = text.char_indices().nth(most).map_or(text, |(at, _)| &text[..at]);
    show_text(cut, if cut.len() < text.len() { "..." } else { "" }, shown);
}

/// In the quotes that need no escapes within, as Node.js chooses them.
fn show_text(text: &str, rest: &str, shown: &mut String) {
    let quotes = ['\'', '"', '`'].into_iter().find(|quote| !text.contains(*quote));
    let quote = quotes.filter(|quote| *quote != '`' || !text.contains("${")).unwrap_or('\'');
    shown.push(quote);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            '\r' => shown.push_str("\\r"),
            '\u{8}' => shown.push_str("\\b"),
            '\u{c}' => shown.push_str("\\f"),
            '\\' => shown.push_str("\\\\"),
            '\'' if quote == '\'' => shown.push_str("\\'"),
            c if c.is_control() => shown.push_str(&format!("\\x{:02X}", u32::from(c))),
            c => shown.push(c),
        }
    }
    shown.push_str(rest);
    shown.push(quote);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_message_is_shown_as_node_shows_it() {
        let shown = |message: Value| shown(message.as_object().unwrap());
        assert_eq!(shown(json!({})), "{}");
        assert_eq!(
            shown(json!({ "a": { "b": { "c": { "d": 1 } }, "e": [] } })),
            "{ a: { b: { c: [Object] }, e: [] } }"
        );
        assert_eq!(
            shown(json!({ "my-key": 1, "ä": 2, "": 3, "1a": 4, "_a1": 5 })),
            "{ 'my-key': 1, 'ä': 2, '': 3, '1a': 4, _a1: 5 }"
        );
        let texts = [
            ("it's", r#"{ a: "it's" }"#),
            ("\"x\"", r#"{ a: '"x"' }"#),
            ("'\"", r#"{ a: `'"` }"#),
            ("'\"`", r#"{ a: '\'"`' }"#),
            ("'\"${", r#"{ a: '\'"${' }"#),
            ("\n\\\u{1b}", r#"{ a: '\n\\\x1B' }"#),
        ];
        for (text, expected) in texts {
            assert_eq!(shown(json!({ "a": text })), expected);
        }
        assert_eq!(shown(json!({ "a": "x".repeat(2_000) })).len(), 1_000 + "{ a: '...' }".len());
        assert_eq!(shown(json!({ "x".repeat(2_000): 1, "b": 2 })), format!("{{ '{}...': , ...", "x".repeat(1_000)));
    }
}
