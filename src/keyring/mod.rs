//! Pre-shared keys: who has one is a member, reads and is believed; who has none learns nothing and changes nothing.
//!
//! What they protect datagrams with is in docs/PROTOCOL.md; what that is worth, and what not, in docs/SECURITY.md.

mod secret;

#[cfg(all(feature = "service", not(all(test, shuttle))))]
pub(crate) use secret::overwrite_the_stack;
pub use secret::{KeyId, SecretKey};

use crate::error::Error;

/// Keys that a ring can hold: to replace one takes two.
pub const MAX_KEYS: usize = 8;

/// The keys of a cluster. The first one encrypts; any of them decrypts.
///
/// To replace a key without a lost round, take three steps, each on all nodes before the next one:
/// [add](Keyring::add) the new key, [use](Keyring::use_key) it, [remove](Keyring::remove) the old one.
///
/// ```
/// use grapevine::Gossiper;
/// use grapevine::keyring::{Keyring, SecretKey};
/// use std::time::Duration;
///
/// let keyring = Keyring::new(SecretKey::generate()?);
/// let first = Gossiper::builder().keyring(keyring.clone()).start()?;
/// let second = Gossiper::builder().keyring(keyring).seed(first.peer().to_string()).start()?;
/// let stranger = Gossiper::builder().seed(first.peer().to_string()).start()?;
///
/// assert!(second.wait_until(Duration::from_secs(10), |node| node.live_peers() == [first.peer()]));
/// assert!(stranger.peers().is_empty());
/// # Ok::<(), grapevine::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    first: SecretKey,
    others: Vec<SecretKey>,
    encryption: Encryption,
}

/// What a node that has keys sends and takes.
///
/// A cluster that runs without keys gets them in three steps, each on all nodes before the next one: `Accept`, `Send`,
/// `Require`; and loses them in the other direction. Nodes that are one step apart understand each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encryption {
    /// It sends plain datagrams, and takes encrypted ones too. Nobody is kept out.
    Accept,
    /// It sends encrypted datagrams, and takes plain ones too. Nobody is kept out, and whoever asks is not answered in plain.
    Send,
    /// It sends encrypted datagrams, and takes no others.
    #[default]
    Require,
}

impl Encryption {
    /// All of them, in the order of the steps.
    pub const ALL: [Encryption; 3] = [Encryption::Accept, Encryption::Send, Encryption::Require];

    /// Its name, in small letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Encryption::Accept => "accept",
            Encryption::Send => "send",
            Encryption::Require => "require",
        }
    }
}

impl std::fmt::Display for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Encryption {
    type Err = Error;

    fn from_str(text: &str) -> Result<Encryption, Error> {
        let found = Encryption::ALL.into_iter().find(|encryption| encryption.as_str() == text);
        found.ok_or_else(|| Error::Keyring("encryption is one of accept, send and require".to_owned()))
    }
}

impl Keyring {
    /// A ring of one key, with which every datagram has to be encrypted.
    pub fn new(key: SecretKey) -> Keyring {
        Keyring { first: key, others: Vec::new(), encryption: Encryption::Require }
    }

    /// The same keys, of which something else is sent and taken.
    #[must_use]
    pub fn with_encryption(mut self, encryption: Encryption) -> Keyring {
        self.encryption = encryption;
        self
    }

    /// What is sent and taken.
    pub fn encryption(&self) -> Encryption {
        self.encryption
    }

    /// The key that encrypts.
    pub fn first(&self) -> &SecretKey {
        &self.first
    }

    /// The keys, that which encrypts before the others.
    pub fn keys(&self) -> impl Iterator<Item = &SecretKey> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Adds a key that decrypts. False if it is there already.
    ///
    /// # Errors
    /// [`Error::Keyring`] if there are [`MAX_KEYS`].
    pub fn add(&mut self, key: SecretKey) -> Result<bool, Error> {
        if self.keys().any(|other| *other == key) {
            return Ok(false);
        }
        if self.keys().count() >= MAX_KEYS {
            let problem = format!("it holds {MAX_KEYS} keys, which are the most; remove one that nobody uses any more");
            return Err(Error::Keyring(problem));
        }
        self.others.push(key);
        Ok(true)
    }

    /// Has a key of the ring encrypt from here on. False if it does already.
    ///
    /// # Errors
    /// [`Error::Keyring`] if it is not in the ring.
    pub fn use_key(&mut self, id: KeyId) -> Result<bool, Error> {
        if self.first.id() == id {
            return Ok(false);
        }
        let place = self.place(id)?;
        std::mem::swap(&mut self.first, &mut self.others[place]);
        Ok(true)
    }

    /// Takes a key out of the ring: what is encrypted with it is not understood any more.
    ///
    /// # Errors
    /// [`Error::Keyring`] if it is not in the ring, or encrypts.
    pub fn remove(&mut self, id: KeyId) -> Result<(), Error> {
        if self.first.id() == id {
            return Err(Error::Keyring(format!("the key {id} encrypts; use another one first")));
        }
        let place = self.place(id)?;
        self.others.remove(place);
        Ok(())
    }

    /// Where a key is that does not encrypt.
    fn place(&self, id: KeyId) -> Result<usize, Error> {
        self.others.iter().position(|key| key.id() == id).ok_or_else(|| {
            let ids: Vec<String> = self.keys().map(SecretKey::to_string).collect();
            Error::Keyring(format!("it holds no key {id}, but {}", ids.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SecretKey {
        SecretKey::from_bytes(&[byte; 32])
    }

    #[test]
    fn a_key_is_replaced_in_three_steps() {
        let (old, new) = (key(1), key(2));
        let mut ring = Keyring::new(old.clone());
        assert!(ring.add(new.clone()).unwrap());
        assert!(!ring.add(new.clone()).unwrap());
        assert_eq!(ring.first(), &old);
        assert!(ring.use_key(new.id()).unwrap());
        assert!(!ring.use_key(new.id()).unwrap());
        assert!(ring.keys().eq([&new, &old]));
        let error = ring.remove(new.id()).unwrap_err().to_string();
        assert!(error.contains(&new.id().to_string()) && error.contains("use another one first"), "{error}");
        ring.remove(old.id()).unwrap();
        assert!(ring.keys().eq([&new]));
        let error = ring.remove(old.id()).unwrap_err().to_string();
        assert!(error.contains(&format!("but {}", new.id())), "{error}");
        assert!(ring.use_key(old.id()).is_err());
    }

    #[test]
    fn a_ring_has_a_limit() {
        let mut ring = Keyring::new(key(0));
        for byte in 1..MAX_KEYS as u8 {
            assert!(ring.add(key(byte)).unwrap());
        }
        assert!(ring.add(key(99)).unwrap_err().to_string().contains("8 keys"));
    }

    #[test]
    fn steps_have_names() {
        for encryption in Encryption::ALL {
            assert_eq!(encryption.to_string().parse::<Encryption>().unwrap(), encryption);
        }
        assert!("always".parse::<Encryption>().is_err());
        assert!(Encryption::Accept < Encryption::Send && Encryption::Send < Encryption::Require);
    }
}
