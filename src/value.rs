//! What a key holds: any serde type, encoded once as MessagePack and decoded on request.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::Error;
use crate::msgpack;

/// A key of a peer's map.
pub type Key = Arc<str>;

/// Keys that begin so belong to this library: what is built on top of nodes tells there what others need to know, such as the
/// actions that a node offers. Everyone can read them; a program cannot set or delete them.
pub const RESERVED_PREFIX: &str = "grapevine/";

/// A value of a peer's map: MessagePack bytes, cheap to clone. It prints like JSON.
///
/// ```
/// use grapevine::value::Value;
///
/// let value = Value::encode(&("a", 1, [true, false]))?;
/// assert_eq!(value.to_string(), r#"["a",1,[true,false]]"#);
/// let (name, number, flags): (String, u32, [bool; 2]) = value.decode()?;
/// assert_eq!((name.as_str(), number, flags), ("a", 1, [true, false]));
/// # Ok::<(), grapevine::error::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Value(Arc<[u8]>);

impl Value {
    /// Encodes `value`. Structs become maps from field names, so that fields may be added later.
    ///
    /// # Errors
    /// [`Error::Encode`] if the type's own `Serialize` fails, or if it is nested deeper than can be decoded: 63 lists or
    /// maps within each other.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Value, Error> {
        let mut bytes = Vec::new();
        msgpack::write_named(&mut bytes, value).map_err(Error::Encode)?;
        if msgpack::may_be_too_deep(&bytes) {
            msgpack::read_all::<IgnoredAny>(&bytes).map_err(|_| {
                let problem = "it is nested too deep to be decoded; 63 lists or maps within each other are the most";
                Error::Encode(problem.to_owned())
            })?;
        }
        Ok(Value(bytes.into()))
    }

    /// Decodes into `T`.
    ///
    /// # Errors
    /// [`Error::Decode`] if the value is of another type, or was never well-formed at its owner. Nesting deeper than 63
    /// is refused.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        msgpack::read_all(&self.0).map_err(Error::Decode)
    }

    /// The MessagePack bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes bytes as they are; what is no MessagePack fails when it is decoded.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Value {
        Value(bytes.into())
    }
}

impl fmt::Display for Value {
    /// Prints the value as JSON; what has no counterpart there (bytes, odd map keys) in the nearest form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        match msgpack::read_all_seed(&self.0, Json { text: &mut text, keys: 0 }) {
            Ok(()) => f.pad(&text),
            Err(_) => write!(f, "<{} bytes that cannot be decoded>", self.0.len()),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Appends whatever is decoded to a string, as JSON.
struct Json<'t> {
    text: &'t mut String,
    /// Of how many keys within each other it is a part.
    keys: usize,
}

/// A list or map that is a key prints as a string that holds its JSON. If it has such a key itself, that prints as `…`: each further
/// level would double the backslashes, and there is room for 2^31 of them in 90 bytes.
const MAX_KEYS: usize = 1;

impl Json<'_> {
    fn float(&mut self, is_finite: bool, value: &dyn fmt::Debug) {
        self.text.push_str(&if is_finite { format!("{value:?}") } else { "null".to_owned() });
    }

    fn quoted(&mut self, text: &str) {
        self.text.push('"');
        for c in text.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                c if c.is_control() => self.text.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }
}

impl<'de> DeserializeSeed<'de> for Json<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, decoder: D) -> Result<(), D::Error> {
        decoder.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Json<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.text.push_str(if value { "true" } else { "false" });
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.text.push_str(&value.to_string());
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.text.push_str(&value.to_string());
        Ok(())
    }

    fn visit_f32<E>(mut self, value: f32) -> Result<(), E> {
        // As the shortest number that is this one: widened to 64 bits, 0.7 would print as 0.699999988079071.
        self.float(value.is_finite(), &value);
        Ok(())
    }

    fn visit_f64<E>(mut self, value: f64) -> Result<(), E> {
        self.float(value.is_finite(), &value);
        Ok(())
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.quoted(text);
        Ok(())
    }

    fn visit_bytes<E>(mut self, bytes: &[u8]) -> Result<(), E> {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.quoted(&hex);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.text.push_str("null");
        Ok(())
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, decoder: D) -> Result<(), D::Error> {
        decoder.deserialize_any(self)
    }

    fn visit_newtype_struct<D: serde::Deserializer<'de>>(self, decoder: D) -> Result<(), D::Error> {
        // MessagePack's extension types arrive here, as (type, bytes).
        decoder.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if self.keys > MAX_KEYS {
            self.text.push_str("\"…\"");
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        self.text.push('[');
        let start = self.text.len();
        loop {
            let before = self.text.len();
            if before > start {
                self.text.push(',');
            }
            if items.next_element_seed(Json { text: self.text, keys: self.keys })?.is_none() {
                self.text.truncate(before);
                break;
            }
        }
        self.text.push(']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        if self.keys > MAX_KEYS {
            self.text.push_str("\"…\"");
            while items.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        self.text.push('{');
        let mut first = true;
        loop {
            let mut key = String::new();
            if items.next_key_seed(Json { text: &mut key, keys: self.keys + 1 })?.is_none() {
                break;
            }
            if !first {
                self.text.push(',');
            }
            first = false;
            if key.starts_with('"') {
                self.text.push_str(&key);
            } else {
                self.quoted(&key);
            }
            self.text.push(':');
            items.next_value_seed(Json { text: self.text, keys: self.keys })?;
        }
        self.text.push('}');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    fn shown<T: Serialize>(value: T) -> String {
        Value::encode(&value).unwrap().to_string()
    }

    #[test]
    fn prints_like_json() {
        assert_eq!(shown("a\"b\\\n\u{1}ü"), "\"a\\\"b\\\\\\n\\u0001ü\"");
        assert_eq!(shown(()), "null");
        assert_eq!(shown(Option::<u8>::None), "null");
        assert_eq!(shown(1.0), "1.0");
        assert_eq!(shown(0.7f32), "0.7");
        assert_eq!(shown(f64::NAN), "null");
        assert_eq!(shown(-5), "-5");
        assert_eq!(shown(u64::MAX), "18446744073709551615");
        assert_eq!(shown(Vec::<u8>::new()), "[]");
        assert_eq!(shown(BTreeMap::from([(1, vec!["x"]), (2, vec![])])), r#"{"1":["x"],"2":[]}"#);
    }

    /// What can be set can be read.
    #[test]
    fn what_is_nested_too_deep_is_refused_at_once() {
        #[derive(Serialize, Deserialize, PartialEq, Debug)]
        struct Nest(Option<Box<Nest>>, u8);
        let nested = |depth| (1..depth).fold(Nest(None, 1), |inner, _| Nest(Some(Box::new(inner)), 1));
        let value = Value::encode(&nested(63)).unwrap();
        assert_eq!(value.decode::<Nest>().unwrap(), nested(63));
        assert!(value.to_string().starts_with("[[["), "{value}");
        let told = Value::encode(&nested(64)).unwrap_err().to_string();
        assert!(told.contains("63"), "{told}");
    }

    /// Each level of keys that are maps would double the backslashes: 2^31 of them fit 64 levels, or 90 bytes.
    #[test]
    fn maps_that_are_keys_of_maps_do_not_print_without_end() {
        let pairs = BTreeMap::from([((1, "a"), 2)]);
        assert_eq!(shown(pairs), r#"{"[1,\"a\"]":2}"#);
        let nested = |depth| Value::from_bytes([vec![0x81; depth], vec![0xa1, b'"'], vec![0; depth]].concat());
        assert_eq!(nested(1).to_string(), r#"{"\"":0}"#);
        assert_eq!(nested(2).to_string(), r#"{"{\"\\\"\":0}":0}"#);
        assert_eq!(nested(3).to_string(), r#"{"{\"…\":0}":0}"#);
        assert_eq!(nested(30).to_string(), r#"{"{\"…\":0}":0}"#);
    }

    /// Behaviour 11 of the originals: a structured value `{x: 1}` arrives whole.
    #[test]
    fn structures_are_maps_by_name() {
        #[derive(Serialize)]
        struct Old {
            x: u8,
        }
        #[derive(Deserialize)]
        struct New {
            #[serde(default)]
            y: u8,
            x: u8,
        }
        let value = Value::encode(&Old { x: 1 }).unwrap();
        assert_eq!(value.to_string(), r#"{"x":1}"#);
        let new: New = value.decode().unwrap();
        assert_eq!((new.x, new.y), (1, 0));
    }

    #[test]
    fn what_is_no_messagepack_prints_and_fails_to_decode() {
        let value = Value::from_bytes(vec![0xc1, 1, 2]);
        assert_eq!(value.to_string(), "<3 bytes that cannot be decoded>");
        assert!(matches!(value.decode::<u8>(), Err(Error::Decode(_))));
        let deep = Value::from_bytes(vec![0x91; 5000]);
        assert!(deep.to_string().contains("cannot be decoded"));
        assert!(matches!(Value::encode("x").unwrap().decode::<u8>(), Err(Error::Decode(_))));
    }
}
