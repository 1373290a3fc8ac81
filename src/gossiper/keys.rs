//! The keys of a running node.

#[cfg(all(feature = "service", not(all(test, shuttle))))]
use std::sync::Arc;

use crate::error::Error;
use crate::gossiper::Gossiper;
use crate::keyring::{Encryption, KeyId, Keyring, SecretKey};
use crate::node::SecretKeyInfo;
use crate::sync::{self, AtomicU64, Mutex, Ordering};

/// The keys of a running node for those who protect something else with them: they need no lock of the node's to see that there
/// are others now, and do not keep the node running.
pub(crate) struct KeyWatch {
    /// Rises whenever they change.
    version: AtomicU64,
    keyring: Mutex<Option<Keyring>>,
}

impl KeyWatch {
    pub(super) fn new(keyring: Option<Keyring>) -> KeyWatch {
        KeyWatch { version: AtomicU64::new(0), keyring: Mutex::new(keyring) }
    }

    /// Called under the node's lock, so that the last ones are the node's.
    fn set(&self, keyring: Option<Keyring>) {
        *self.keyring.lock() = keyring;
        self.version.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(all(feature = "service", not(all(test, shuttle))))]
impl KeyWatch {
    /// Whoever reads it before the keys misses no change.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    pub(crate) fn keyring(&self) -> Option<Keyring> {
        self.keyring.lock().clone()
    }
}

impl SecretKey {
    /// A new key, of the system's randomness.
    ///
    /// # Errors
    /// [`Error::Keyring`] if the system has none.
    pub fn generate() -> Result<SecretKey, Error> {
        SecretKey::from_fill(sync::random)
            .map_err(|error| Error::Keyring(format!("the system has no randomness: {error}")))
    }
}

/// Keys can be changed while the node runs. Each change is for this node alone: make it on all of them before the next one.
///
/// ```
/// use grapevine::Gossiper;
/// use grapevine::keyring::{Keyring, SecretKey};
///
/// let (old, new) = (SecretKey::generate()?, SecretKey::generate()?);
/// let node = Gossiper::builder().keyring(Keyring::new(old.clone())).start()?;
///
/// node.add_secret_key(new.clone())?; // on every node, then
/// node.use_secret_key(new.id())?; // on every node, then
/// node.remove_secret_key(old.id())?; // on every node
/// assert_eq!(node.secret_keys()[0].id, new.id());
/// # Ok::<(), grapevine::Error>(())
/// ```
impl Gossiper {
    /// What is held of its keys, that which encrypts before the others; nothing of a node without keys.
    pub fn secret_keys(&self) -> Vec<SecretKeyInfo> {
        self.read(|node, _| node.secret_keys().collect())
    }

    /// What it sends and takes; `None` of a node without keys.
    pub fn encryption(&self) -> Option<Encryption> {
        self.read(|node, _| node.keyring().map(Keyring::encryption))
    }

    /// Its keys themselves.
    pub fn keyring(&self) -> Option<Keyring> {
        self.read(|node, _| node.keyring().cloned())
    }

    /// Gives it other keys, or none any more.
    ///
    /// # Errors
    /// [`Error::Stopped`] and [`Error::ThreadPanicked`].
    pub fn set_keyring(&self, keyring: Option<Keyring>) -> Result<(), Error> {
        self.change_keys(|held| {
            *held = keyring;
            Ok(())
        })
    }

    /// Adds a key, which decrypts from here on. False if it was there. On a node without keys it is the first, and plain datagrams are
    /// sent and taken on: as the first of the three steps of [`Encryption`].
    ///
    /// # Errors
    /// Those of [`Keyring::add`], [`Error::Stopped`] and [`Error::ThreadPanicked`].
    pub fn add_secret_key(&self, key: SecretKey) -> Result<bool, Error> {
        self.change_keys(|held| match held {
            Some(keyring) => keyring.add(key),
            None => {
                *held = Some(Keyring::new(key).with_encryption(Encryption::Accept));
                Ok(true)
            }
        })
    }

    /// Has a key encrypt from here on. False if it did.
    ///
    /// # Errors
    /// Those of [`Keyring::use_key`], [`Error::Keyring`] of a node without keys, [`Error::Stopped`] and
    /// [`Error::ThreadPanicked`].
    pub fn use_secret_key(&self, id: KeyId) -> Result<bool, Error> {
        self.change_keys(|held| held.as_mut().ok_or_else(without_keys)?.use_key(id))
    }

    /// Takes a key away: what is encrypted with it is not understood any more.
    ///
    /// # Errors
    /// Those of [`Keyring::remove`], [`Error::Keyring`] of a node without keys, [`Error::Stopped`] and
    /// [`Error::ThreadPanicked`].
    pub fn remove_secret_key(&self, id: KeyId) -> Result<(), Error> {
        self.change_keys(|held| held.as_mut().ok_or_else(without_keys)?.remove(id))
    }

    /// Says what is sent and taken from here on.
    ///
    /// # Errors
    /// [`Error::Keyring`] of a node without keys, [`Error::Stopped`] and [`Error::ThreadPanicked`].
    pub fn set_encryption(&self, encryption: Encryption) -> Result<(), Error> {
        self.change_keys(|held| {
            let keyring = held.take().ok_or_else(without_keys)?;
            *held = Some(keyring.with_encryption(encryption));
            Ok(())
        })
    }

    /// The same for those who follow its changes, and the cluster's name.
    #[cfg(all(feature = "service", not(all(test, shuttle))))]
    pub(crate) fn watch_keys(&self) -> (Arc<KeyWatch>, String) {
        (self.inner.keys.clone(), self.read(|node, _| node.config().cluster.clone()))
    }

    fn change_keys<R>(&self, change: impl FnOnce(&mut Option<Keyring>) -> Result<R, Error>) -> Result<R, Error> {
        self.write(|node, _, out| {
            let mut keyring = node.keyring().cloned();
            let before = keyring.clone();
            let result = change(&mut keyring)?;
            if keyring != before {
                node.change_keyring(keyring.clone(), out);
                self.inner.keys.set(keyring);
            }
            Ok(result)
        })
    }
}

fn without_keys() -> Error {
    Error::Keyring("this node has none; add a key first".to_owned())
}
