//! JSON that serde_json does not read as it is written: an object with a name of its own is a text to it, which it reads as JSON
//! once more, as deep as that may be, and the text within that again, until no stack is left: a line of 4 MB ends the process. Nobody
//! else has use for the name, so it is refused wherever it comes from outside.

use std::fmt;

use memchr::memmem;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::service::message::Message;

const PRIVATE: &str = "$serde_json::private::RawValue";

/// Whether a text that is to be read as JSON has no such name. What else may be wrong with it is not looked at.
pub(super) fn check(text: &str) -> Result<(), String> {
    // Most have none, and no other way to write one either.
    let may_have_one = |part: &str| memmem::find(text.as_bytes(), part.as_bytes()).is_some();
    if !may_have_one(&PRIVATE[1..]) && !may_have_one("\\u") {
        return Ok(());
    }
    match serde_json::from_str::<Checked>(text) {
        // Whoever reads it says so, too.
        Err(error) if !error.is_data() => Ok(()),
        checked => checked.map(drop).map_err(|error| error.to_string()),
    }
}

/// The same of a message that was made here.
pub(super) fn check_message(message: &Message) -> Result<(), String> {
    for (name, value) in message {
        check_name(name)?;
        check_value(value)?;
    }
    Ok(())
}

fn check_value(value: &Value) -> Result<(), String> {
    match value {
        Value::Object(object) => check_message(object),
        Value::Array(items) => items.iter().try_for_each(check_value),
        _ => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name == PRIVATE {
        Err(format!("no object may have the name {PRIVATE}, which means something else"))
    } else {
        Ok(())
    }
}

/// A value that was looked through.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Checked, D::Error> {
        deserializer.deserialize_any(Names)
    }
}

struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = Checked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_str<E>(self, _: &str) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Checked, A::Error> {
        while items.next_element::<Checked>()?.is_some() {}
        Ok(Checked)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Checked, A::Error> {
        while let Some(name) = items.next_key::<String>()? {
            check_name(&name).map_err(A::Error::custom)?;
            items.next_value::<Checked>()?;
        }
        Ok(Checked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_of_serde_json_s_own_are_found_however_they_are_written() {
        for name in [PRIVATE, "\\u0024serde_json::private::RawValue", "$serde_json::private::RawValu\\u0065"] {
            for text in [format!(r#"{{"{name}":"1"}}"#), format!(r#"{{"a":[1,{{"b":null,"{name}":"1"}}]}}"#)] {
                assert!(check(&text).unwrap_err().contains("no object may have the name"), "{text}");
            }
        }
        assert!(check_message(json!({"a": [{"$serde_json::private::RawValue": "1"}]}).as_object().unwrap()).is_err());
    }

    #[test]
    fn everything_else_is_left_to_whoever_reads_it() {
        let long = format!("{}\"\\u00e4\"{}", "[".repeat(200), "]".repeat(200));
        let others = [
            r#"{"a":"$serde_json::private::RawValue"}"#,
            r#"{"serde_json::private":1,"\u00e4":[true,-1,1.5,1e300,18446744073709551615]}"#,
            r#"{"$serde_json::private::Number":"1","$serde_json::private::RawValue ":"1"}"#,
            "\"\\u00e4",
            "serde_json::private",
            &long,
        ];
        for text in others {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        assert_eq!(check_message(json!({"a$": [{"$serde_json": "1"}]}).as_object().unwrap()), Ok(()));
    }
}
