//! The keys of a node: which there are, and what came with each.

use std::sync::Arc;

use log::Level;

use crate::keyring::{KeyId, Keyring};
use crate::node::{Node, Output};
use crate::wire::Seal;

/// A key of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretKeyInfo {
    /// What it is called.
    pub id: KeyId,
    /// Whether it encrypts what this node sends, if that is encrypted.
    pub encrypts: bool,
    /// How many datagrams it has decrypted since it was added here. Where this does not rise any more on any node the key may go.
    pub decrypted: u64,
}

impl Node {
    /// Its keys, if it has any.
    pub fn keyring(&self) -> Option<&Keyring> {
        self.config.keyring.as_ref()
    }

    /// Gives it other keys, or none: what it sends from here on is encrypted as they say, and what it takes is.
    pub fn set_keyring(&mut self, keyring: Option<Keyring>) {
        let seal = keyring.as_ref().map_or(Seal::NONE, |keyring| Seal::new(keyring, &self.config.cluster));
        let ids = keyring.iter().flat_map(Keyring::keys).map(|key| key.id());
        self.decrypted = ids.map(|id| (id, self.decrypted_with(id))).collect();
        // A flood of forgeries is not to cost an allocation each.
        self.scratch.opened.reserve(self.config.max_datagram);
        self.seal = Arc::new(seal);
        self.config.keyring = keyring;
    }

    /// [`Node::set_keyring`], told in the log.
    pub(crate) fn change_keyring(&mut self, keyring: Option<Keyring>, out: &mut Output) {
        self.set_keyring(keyring);
        let text = match self.keyring() {
            None => "this node has no keys any more".to_owned(),
            Some(keyring) => {
                let ids: Vec<String> = keyring.keys().map(|key| key.id().to_string()).collect();
                format!("this node has other keys: {} (encryption: {})", ids.join(", "), keyring.encryption())
            }
        };
        out.log(Level::Info, text);
    }

    /// Its keys, that which encrypts before the others.
    pub fn secret_keys(&self) -> impl Iterator<Item = SecretKeyInfo> + '_ {
        let keys = self.decrypted.iter().enumerate();
        keys.map(|(n, (id, decrypted))| SecretKeyInfo { id: *id, encrypts: n == 0, decrypted: *decrypted })
    }

    /// A datagram came that was encrypted with the so manyeth key.
    pub(super) fn count_decrypted(&mut self, key: usize) {
        if let Some((_, decrypted)) = self.decrypted.get_mut(key) {
            *decrypted += 1;
        }
    }

    fn decrypted_with(&self, id: KeyId) -> u64 {
        self.decrypted.iter().find(|(other, _)| *other == id).map_or(0, |(_, decrypted)| *decrypted)
    }
}
