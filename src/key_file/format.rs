//! The text of a key file. What is wrong with one is told by the numbers of its lines: no part of them is shown.

use zeroize::Zeroizing;

use crate::keyring::{Encryption, Keyring, MAX_KEYS, SecretKey};

/// What comes first in a file that was written here.
const HEAD: &str = "\
# Keys of a Grapevine cluster; nobody else may read this file. The first key encrypts, all of them decrypt.
";
/// The word before what is sent and taken.
const ENCRYPTION: &[u8] = b"encryption";
/// Well above what is written before the keys, and for each of them.
const HEAD_BYTES: usize = 256;
const LINE_BYTES: usize = 64;

/// The keys that a text names, or what is wrong with it.
pub(super) fn read(text: &[u8]) -> Result<Keyring, String> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut keys: Vec<(usize, SecretKey)> = Vec::new();
    let mut encryption: Option<(usize, Encryption)> = None;
    for (n, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
        if line.is_empty() {
            continue;
        }
        if let Some(step) = step(line) {
            if let Some((before, _)) = encryption {
                return Err(format!(
                    "line {n} says `encryption` once more, after line {before}; take one of them away"
                ));
            }
            let step = std::str::from_utf8(step).ok().and_then(|step| step.parse().ok());
            encryption =
                Some((n, step.ok_or_else(|| format!("line {n} has to be `encryption` and accept, send or require"))?));
            continue;
        }
        let key: Option<SecretKey> = std::str::from_utf8(line).ok().and_then(|line| line.parse().ok());
        let key = key.ok_or_else(|| {
            format!(
                "line {n} is no key: a key is 32 random bytes in base64, 44 characters, as `grapevine keygen` prints them; comments \
                 begin with #"
            )
        })?;
        if let Some((before, _)) = keys.iter().find(|(_, other)| *other == key) {
            return Err(format!("line {n} has the key of line {before} once more; take one of them away"));
        }
        if keys.len() >= MAX_KEYS {
            return Err(format!(
                "line {n} is one key too many: {MAX_KEYS} are the most; take those away that nobody uses any more"
            ));
        }
        keys.push((n, key));
    }
    let mut keys = keys.into_iter().map(|(_, key)| key);
    let first =
        keys.next().ok_or_else(|| "it holds no key; write one into it, as `grapevine keygen` prints it".to_owned())?;
    let mut keyring = Keyring::new(first).with_encryption(encryption.map_or(Encryption::Require, |(_, step)| step));
    keys.try_for_each(|key| keyring.add(key).map(drop)).map_err(|error| error.to_string())?;
    Ok(keyring)
}

/// What follows the word `encryption`, where a line begins with that.
fn step(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(ENCRYPTION)?;
    match rest.first() {
        Some(byte) if !byte.is_ascii_whitespace() => None,
        _ => Some(rest.trim_ascii()),
    }
}

/// The text that names these keys.
pub(super) fn write(keyring: &Keyring) -> Zeroizing<String> {
    // As long as it can get: what grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(HEAD_BYTES + MAX_KEYS * LINE_BYTES));
    for part in [HEAD, "encryption ", keyring.encryption().as_str(), "\n"] {
        text.push_str(part);
    }
    for key in keyring.keys() {
        text.push_str(&key.to_base64());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SecretKey {
        SecretKey::from_bytes(&[byte; 32])
    }

    fn text(byte: u8) -> String {
        key(byte).to_base64().to_string()
    }

    fn problem(text: impl AsRef<[u8]>) -> String {
        read(text.as_ref()).unwrap_err()
    }

    #[test]
    fn what_is_written_is_read() {
        for encryption in Encryption::ALL {
            let mut keyring = Keyring::new(key(0)).with_encryption(encryption);
            assert_eq!(read(write(&keyring).as_bytes()).unwrap(), keyring);
            for byte in 1..MAX_KEYS as u8 {
                keyring.add(key(byte)).unwrap();
            }
            let text = write(&keyring);
            assert!(text.len() <= HEAD_BYTES + MAX_KEYS * LINE_BYTES && text.ends_with("=\n"), "{}", text.len());
            let same = read(text.as_bytes()).unwrap();
            assert!(same.keys().eq(keyring.keys()) && same.encryption() == encryption);
        }
    }

    #[test]
    fn a_file_may_be_written_by_hand() {
        let (one, two) = (text(1), text(2));
        let mut both = Keyring::new(key(1));
        both.add(key(2)).unwrap();
        let sending = both.clone().with_encryption(Encryption::Send);
        for (written, read_as) in [
            (format!("{one}\n{two}\n"), &both),
            (format!("{one}\n{two}"), &both),
            (format!("\u{feff}# comment\r\n\r\n  {one}\t# since May\r\n\t{two}  \r\n#"), &both),
            (format!("encryption require\n{one}\n{two}"), &both),
            (format!("{one}\n  encryption \t send # soon require\n{two}"), &sending),
        ] {
            assert_eq!(read(written.as_bytes()).unwrap(), *read_as, "{written}");
        }
        // Of base64 it could be the beginning.
        let odd = format!("encryption{}=", &one[10..43]);
        assert_eq!(read(odd.as_bytes()).unwrap().first().to_base64().as_str(), odd);
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line() {
        let (one, two) = (text(1), text(2));
        for nothing in ["", "\n\n", "# only this\n", "encryption send\n"] {
            assert!(problem(nothing).starts_with("it holds no key; "), "{nothing}");
        }
        for bad in ["secret", &one[1..], &format!("{one}{two}"), &format!("{one} {two}"), &one.replace('=', "!")] {
            let told = problem(format!("{one}\n# comment\n{bad}\n"));
            assert!(told.starts_with("line 3 is no key: ") && told.contains("keygen"), "{told}");
            assert!(!told.contains(bad), "{told}");
        }
        assert!(problem([one.as_bytes(), b"\n\xff\xfe\0\n"].concat()).starts_with("line 2 is no key: "));
        assert!(problem(format!("{one}\n\n{two}\n{one}\n")).starts_with("line 4 has the key of line 1 once more; "));
        let twice = format!("encryption send\n{one}\nencryption send\n");
        assert!(problem(twice).starts_with("line 3 says `encryption` once more, after line 1; "));
        for step in ["", " ", " always", " send now", " Send", "\t\u{fc}"] {
            let told = problem(format!("{one}\nencryption{step}\n"));
            assert_eq!(told, "line 2 has to be `encryption` and accept, send or require");
        }
        let many: String = (0..=MAX_KEYS as u8).map(|byte| text(byte) + "\n").collect();
        assert!(problem(many).starts_with("line 9 is one key too many: 8 are the most; "));
    }
}
