//! Bytes that are a value, perhaps: decoding and printing them.

use std::collections::BTreeMap;

use grapevine::Value;

/// What a byte may become as text at most: as a control character of a key that is part of a key.
const MOST_PER_BYTE: usize = 32;

/// Panics if a value of these bytes does.
pub fn check(bytes: &[u8]) {
    let value = Value::from_bytes(bytes);
    let text = value.to_string();
    assert!(text.len() <= 64 + MOST_PER_BYTE * bytes.len(), "{} characters for {} bytes", text.len(), bytes.len());
    let _ = (value.decode::<u64>(), value.decode::<f32>(), value.decode::<String>(), value.decode::<Vec<u8>>());
    let _ = (value.decode::<BTreeMap<String, i8>>(), value.decode::<(Option<char>, bool)>());
    let any = value.decode::<serde::de::IgnoredAny>();
    if text.ends_with("that cannot be decoded>") {
        return;
    }
    assert!(any.is_ok(), "{text} was printed, and {any:?}");
    let json: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text} is no JSON: {error}"));
    // What was printed can be set anew, and read.
    if let Ok(again) = Value::encode(&json) {
        assert!(serde_json::from_str::<serde_json::Value>(&again.to_string()).is_ok(), "{again}");
    }
}
