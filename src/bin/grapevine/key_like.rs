//! What looks like a key, and is shown to nobody: somebody put it where no key belongs.

use std::ffi::{OsStr, OsString};

/// What is about as long as a key could be one, also with a few characters that no key has.
const KEY_CHARACTERS: std::ops::RangeInclusive<usize> = 40..=48;
const WRONG_CHARACTERS: usize = 3;

/// What a message says instead of the thing itself.
pub const LOOKS_LIKE_A_KEY: &str =
    "looks like a key: keys are not given on the command line, where others see them, but in files";

pub fn is_like_a_key(text: &OsStr) -> bool {
    let bytes = text.as_encoded_bytes();
    let is_wrong = |byte: &u8| !byte.is_ascii_alphanumeric() && !b"+/=-_".contains(byte);
    // An address has other marks than a slip of the hand makes.
    let is_name = bytes.iter().any(|byte| b".:".contains(byte));
    KEY_CHARACTERS.contains(&bytes.len())
        && !is_name
        && bytes.iter().filter(|byte| is_wrong(byte)).count() <= WRONG_CHARACTERS
}

/// Whether a message shows such an argument of this process, or such a variable of its.
pub fn is_shown_in(message: &str) -> bool {
    let variables = std::env::vars_os();
    let variables =
        variables.filter(|(name, _)| name.as_encoded_bytes().starts_with(b"GRAPEVINE_")).map(|(_, value)| value);
    std::env::args_os().skip(1).chain(variables).any(|given| shows(message, &given))
}

/// All of what was given, or what follows an equals sign or comma in it.
fn shows(message: &str, given: &OsString) -> bool {
    let Some(given) = given.to_str() else { return false };
    let after = |mark| given.split_once(mark).map(|(_, after)| after);
    let parts = [Some(given), after('=')].into_iter().flatten().chain(given.split([',', ';']));
    parts.filter(|part| is_like_a_key(OsStr::new(part))).any(|part| message.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_what_is_said_and_nothing_else() {
        let key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        for given in
            [key.to_owned(), format!("--ttl={key}"), format!("name={key}"), format!("a,{key}"), key[1..].to_owned()]
        {
            assert!(shows(&format!("invalid value '{key}'"), &given[..].into()), "{given}");
            assert!(!shows("invalid value", &given[..].into()), "{given}");
        }
        let address = "my-grapevine-node-0.example-cluster.com:9000";
        assert!(!shows(address, &address.into()));
        assert!(!is_like_a_key(OsStr::new("role:shop,cmd:price")) && !is_like_a_key(OsStr::new("")));
    }
}
