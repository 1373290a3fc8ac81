//! One pre-shared key, and what is derived from it.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use orion::hazardous::kdf::hkdf::sha256::{expand, extract};
use orion::util::secure_cmp;
use zeroize::{Zeroize, Zeroizing};

use crate::error::Error;

/// The size of a key.
const KEY_BYTES: usize = 32;
/// What stands for a key as text: base64 with padding.
const TEXT_BYTES: usize = 44;
/// What the derivation leaves on the stack is well within this.
const STACK_BYTES: usize = 8 << 10;

/// A pre-shared key of a cluster: 32 bytes that nobody else knows. Who has it is a member.
///
/// Clones share one place in memory, which is overwritten when the last one is dropped. It is never printed: `Debug` and `Display`
/// show its [id](SecretKey::id). As text it is base64, as `grapevine keygen` or `openssl rand -base64 32` make one:
///
/// ```
/// use grapevine::keyring::SecretKey;
///
/// let key = SecretKey::generate()?;
/// let same: SecretKey = key.to_base64().parse()?;
/// assert_eq!(same, key);
/// assert!(!format!("{key:?}").contains(key.to_base64().as_str()));
/// assert!("a pass phrase".parse::<SecretKey>().is_err());
/// # Ok::<(), grapevine::Error>(())
/// ```
#[derive(Clone)]
pub struct SecretKey(Arc<Secret>);

/// It is made in its place, so that no move leaves a copy behind.
#[derive(Default)]
struct Secret {
    key: Zeroizing<[u8; KEY_BYTES]>,
    datagrams: Zeroizing<[u8; KEY_BYTES]>,
    services: Zeroizing<[u8; KEY_BYTES]>,
    id: KeyId,
}

/// What a key is called: eight hexadecimal digits, which tell nothing else of it. Of each datagram the first two of them can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 4]);

impl SecretKey {
    /// The key that `fill` writes: 32 bytes that nobody can guess, as from the system's own randomness. It is no place for a pass
    /// phrase, which can be tried out by whoever has a single datagram.
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn from_fill<E>(fill: impl FnOnce(&mut [u8; KEY_BYTES]) -> Result<(), E>) -> Result<SecretKey, E> {
        let mut secret = Arc::<Secret>::default();
        if let Some(secret) = Arc::get_mut(&mut secret) {
            fill(&mut secret.key)?;
            derive(secret);
            overwrite_the_stack();
        }
        Ok(SecretKey(secret))
    }

    /// The key of these bytes, which nobody can guess. They stay where they are: to overwrite them is the caller's.
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> SecretKey {
        let Ok(key) = SecretKey::from_fill(|key| {
            key.copy_from_slice(bytes);
            Ok::<(), Infallible>(())
        });
        key
    }

    /// What it is called where it must not be shown.
    pub fn id(&self) -> KeyId {
        self.0.id
    }

    /// The key as text, for a key file. What holds it is overwritten when it is dropped.
    pub fn to_base64(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(vec![0; TEXT_BYTES]);
        let encoded = Base64::encode(&*self.0.key, &mut text).unwrap_or_default();
        Zeroizing::new(encoded.to_owned())
    }

    /// What seals datagrams.
    pub(crate) fn for_datagrams(&self) -> &[u8; KEY_BYTES] {
        &self.0.datagrams
    }

    /// The pre-shared key of service connections.
    #[cfg(all(feature = "service", not(all(test, shuttle))))]
    pub(crate) fn for_services(&self) -> &[u8; KEY_BYTES] {
        &self.0.services
    }
}

/// HKDF with SHA-256 (RFC 5869), without a salt: no key is used for two things.
fn derive(secret: &mut Secret) {
    // Nothing of this fails for these sizes; if it did, nobody could guess what stands there either.
    (*secret.datagrams, *secret.services) = (*secret.key, *secret.key);
    let Ok(derivation) = extract(&[], &*secret.key) else { return };
    let uses: [(&str, &mut [u8]); 3] = [
        ("grapevine 1 datagrams", &mut *secret.datagrams),
        ("grapevine 1 services", &mut *secret.services),
        ("grapevine 1 key id", &mut secret.id.0),
    ];
    for (name, output) in uses {
        let _ = expand(&derivation, Some(name.as_bytes()), output);
    }
}

/// Hashing leaves the key in places below that have no owner any more.
#[inline(never)]
pub(crate) fn overwrite_the_stack() {
    let mut below = [0_u8; STACK_BYTES];
    below.zeroize();
}

impl FromStr for SecretKey {
    type Err = Error;

    /// Of base64, with padding.
    fn from_str(text: &str) -> Result<SecretKey, Error> {
        // The text itself is not told: most of it may be right.
        let problem = || {
            let len = text.len();
            let problem = format!(
                "a text of {len} characters is no key: a key is 32 random bytes in base64, {TEXT_BYTES} characters, as \
                 `grapevine keygen` prints them"
            );
            Error::Keyring(problem)
        };
        SecretKey::from_fill(|key| {
            let decoded = Base64::decode(text, key).map_err(|_| problem())?;
            if decoded.len() == KEY_BYTES { Ok(()) } else { Err(problem()) }
        })
    }
}

impl PartialEq for SecretKey {
    /// How long it takes tells nothing of a key.
    fn eq(&self, other: &SecretKey) -> bool {
        secure_cmp(&*self.0.key, &*other.0.key).is_ok()
    }
}

impl Eq for SecretKey {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.0.id)
    }
}

impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.id.fmt(f)
    }
}

impl KeyId {
    /// What stands for it in datagrams, where 0 means that no key protects them. Keys of one ring may have the same.
    pub(crate) fn on_the_wire(self) -> u8 {
        self.0[0].max(1)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:08x}", u32::from_be_bytes(self.0)))
    }
}

impl FromStr for KeyId {
    type Err = Error;

    fn from_str(text: &str) -> Result<KeyId, Error> {
        let digits = Some(text).filter(|text| text.len() == 8 && text.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        // It may be a key by mistake, which is not to be shown.
        let problem = || Error::Keyring("that is no key id: it has eight hexadecimal digits, like 0a1b2c3d".to_owned());
        number.map(|number| KeyId(number.to_be_bytes())).ok_or_else(problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SecretKey {
        SecretKey::from_bytes(&[byte; 32])
    }

    #[test]
    fn a_key_is_44_characters_of_base64() {
        let text = key(7).to_base64();
        assert_eq!(text.as_str(), "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
        assert_eq!(text.parse::<SecretKey>().unwrap(), key(7));
        for bad in [
            "",
            "BwcHBw==",
            "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc",
            &format!("{}\n", text.as_str()),
            &"A".repeat(64),
        ] {
            let error = bad.parse::<SecretKey>().unwrap_err().to_string();
            assert!(error.contains(&format!("{} characters", bad.len())), "{error}");
            assert!(error.contains("keygen") && (bad.is_empty() || !error.contains(bad)), "{error}");
        }
    }

    #[test]
    fn what_is_derived_differs_and_tells_nothing_of_the_rest() {
        let (one, other) = (key(1), key(2));
        assert_ne!(one.id(), other.id());
        assert_ne!(one.for_datagrams(), other.for_datagrams());
        let parts = [&*one.0.key, &*one.0.datagrams, &*one.0.services];
        for (n, part) in parts.iter().enumerate() {
            assert!(parts[n + 1..].iter().all(|other| other != part));
            assert!(part.iter().any(|byte| *byte != 0));
        }
    }

    #[test]
    fn a_key_is_never_printed() {
        let key = key(9);
        let text = key.to_base64();
        let id = key.id().to_string();
        for printed in [format!("{key:?}"), format!("{key:#?}"), format!("{key}"), format!("{:?}", Some(&key))] {
            assert!(printed.contains(&id) && !printed.contains(text.as_str()), "{printed}");
            assert!(!printed.contains("9, 9") && !printed.contains("0909"), "{printed}");
        }
        assert_eq!(id.parse::<KeyId>().unwrap(), key.id());
        assert!(text.parse::<KeyId>().unwrap_err().to_string().contains("eight hexadecimal digits"));
        assert!(!text.parse::<KeyId>().unwrap_err().to_string().contains(text.as_str()));
    }
}
