//! Keys as they come to the program, which are shown nowhere, whatever place they are given in.

use std::path::Path;

use grapevine::key_file::KeyFile;
use grapevine::keyring::KeyId;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::key_like::{LOOKS_LIKE_A_KEY, is_like_a_key};

/// The file that an argument names, unless the argument is a key itself.
pub fn file(argument: &str, path: &Path) -> Result<KeyFile, Failure> {
    if is_like_a_key(path.as_os_str()) && !path.exists() {
        return Err(Failure::Usage(format!("{argument}: that is no file, and {LOOKS_LIKE_A_KEY}")));
    }
    Ok(KeyFile::new(path))
}

/// The key id that an argument is. What it is otherwise is not shown: it may be a key by mistake.
pub fn key_id(text: &str) -> Result<KeyId, String> {
    text.parse()
        .map_err(|_| "that is no key id: it has eight hexadecimal digits, as `grapevine keyring` lists them".to_owned())
}

/// The texts of a JSON array, see [`text`]. None if it is none, or any is none.
pub fn texts(array: &RawValue) -> Option<Vec<Zeroizing<String>>> {
    let texts: Vec<&RawValue> = serde_json::from_str(array.get()).ok()?;
    texts.into_iter().map(text).collect()
}

/// The text of a JSON string, in memory that is overwritten: serde_json would leave a copy where anything in it is escaped. None if it is
/// no string, or has a character that neither a key nor anything else about keys has.
pub fn text(json: &RawValue) -> Option<Zeroizing<String>> {
    let mut rest = json.get().strip_prefix('"')?.strip_suffix('"')?;
    let mut text = Zeroizing::new(String::with_capacity(rest.len()));
    while let Some(c) = rest.chars().next() {
        let (c, used) = match rest.as_bytes() {
            [b'\\', b'/', ..] => ('/', 2),
            [b'\\', b'u', ..] => (char::from_u32(u32::from_str_radix(rest.get(2..6)?, 16).ok()?)?, 6),
            [b'\\', ..] => return None,
            _ => (c, c.len_utf8()),
        };
        // More than fits, and the text would be moved.
        if !c.is_ascii() {
            return None;
        }
        text.push(c);
        rest = &rest[used..];
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Vec<String>> {
        let array: Box<RawValue> = serde_json::from_str(json).unwrap();
        texts(&array).map(|texts| texts.iter().map(|text| text.to_string()).collect())
    }

    #[test]
    fn texts_are_read_as_json_has_them() {
        assert_eq!(read(r#" [ "ab+/=", "a\u002bb\/\u003D" , "" ] "#).unwrap(), ["ab+/=", "a+b/=", ""]);
        assert_eq!(read("[]").unwrap(), [""; 0]);
        for bad in
            [r#""ab""#, "null", "{}", "[1]", r#"["a", null]"#, r#"[["a"]]"#, r#"["\n"]"#, r#"["ü"]"#, r#"["\u00fc"]"#]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_key_in_the_place_of_a_file_is_not_shown() {
        let key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        for text in [key, &key[1..], &key.replace('c', "/"), &key.replacen('B', "!", 3)] {
            match file("--key-file", Path::new(text)) {
                Err(Failure::Usage(told)) => {
                    assert!(told.starts_with("--key-file: ") && !told.contains(text), "{told}")
                }
                other => panic!("{other:?}"),
            }
            let told = key_id(text).unwrap_err();
            assert!(!told.contains(text), "{told}");
        }
        assert_eq!(file("FILE", Path::new("/etc/grapevine.keys")).unwrap().path(), Path::new("/etc/grapevine.keys"));
        assert!(key_id("0a1b2c3d").is_ok());
    }
}
