//! JSON as it is written. serde_json's own `Value` is not read here: it takes an object that begins with a name like
//! `$serde_json::private::RawValue` for something else, though a client or a peer may well have such an object.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Any JSON value, read as it is written; of a name that an object has twice the last value counts.
#[derive(Debug)]
pub struct Json(pub Value);

/// Reads a text that is one JSON value.
pub fn parse(text: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(text).map(|Json(value)| value)
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(Builder).map(Json)
    }
}

struct Builder;

impl<'de> Visitor<'de> for Builder {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Json(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Json(value))) = items.next_entry()? {
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_serde_json_reads() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let texts = [
            r#" {"b": [1, -1, 1.5, 1e300, 18446744073709551615, -9223372036854775808, 99999999999999999999, -0, -0.0], "a": {}} "#,
            r#"[null, true, false, "", "\u00e4\ud83c\udf47\n", [], {"a": 1, "b": 2, "a": 3}]"#,
            "1e999",
            "NaN",
            "",
            "1 2",
            "{\"a\":}",
            "{1: 2}",
            "[1,]",
            "\"\u{7f}",
            &deep(127),
            &deep(128),
        ];
        for text in texts {
            let shown = |parsed: serde_json::Result<Value>| {
                parsed.map(|value| value.to_string()).map_err(|error| error.to_string())
            };
            assert_eq!(shown(parse(text.as_bytes())), shown(serde_json::from_str(text)), "{text}");
        }
    }

    #[test]
    fn no_name_means_anything() {
        for name in ["RawValue", "Number"] {
            let text = format!(r#"[{{"$serde_json::private::{name}":"1"}}]"#);
            assert_eq!(parse(text.as_bytes()).unwrap().to_string(), text);
        }
    }
}
