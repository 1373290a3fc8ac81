//! With the feature `encryption`: by the keyring of the node.

use std::io;
use std::sync::Arc;

use crate::gossiper::{Gossiper, KeyWatch};
use crate::keyring::{Encryption, KeyId, Keyring, SecretKey};
use crate::service::keys::{Answer, Hello, MAGIC, MESSAGE_BYTES, PREAMBLE_BYTES, Refused, noise};

pub(in crate::service) use crate::service::keys::noise::Session;

const VERSION: u8 = 1;

/// The keys of the node, as they are at any time.
#[derive(Clone)]
pub(in crate::service) struct Keys {
    watch: Arc<KeyWatch>,
    cluster: Arc<str>,
}

/// What protects a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum Protection {
    Plain,
    Key(KeyId),
}

/// A handshake that was begun.
pub(in crate::service) struct Initiator {
    handshake: noise::Initiator,
    key: KeyId,
}

impl Keys {
    pub(in crate::service) fn of(node: &Gossiper) -> Keys {
        let (watch, cluster) = node.watch_keys();
        Keys { watch, cluster: cluster.into() }
    }

    /// Rises whenever the keys change.
    pub(in crate::service) fn version(&self) -> u64 {
        self.watch.version()
    }

    /// What this program's own calls are protected with now.
    pub(in crate::service) fn for_calls(&self) -> Protection {
        self.watch.keyring().as_ref().and_then(calling).map_or(Protection::Plain, |key| Protection::Key(key.id()))
    }

    /// Whether calls from others are taken now that are protected so.
    pub(in crate::service) fn take(&self, protection: Protection) -> bool {
        match (self.watch.keyring(), protection) {
            (None, protection) => protection == Protection::Plain,
            (Some(keyring), Protection::Plain) => keyring.encryption() != Encryption::Require,
            (Some(keyring), Protection::Key(id)) => keyring.keys().any(|key| key.id() == id),
        }
    }

    /// Begins a handshake; `None` if calls are made in plain.
    pub(in crate::service) fn initiate(&self) -> io::Result<Option<(Initiator, Hello)>> {
        let keyring = self.watch.keyring();
        let Some(key) = keyring.as_ref().and_then(calling) else { return Ok(None) };
        let [g, v] = MAGIC;
        let preamble = [g, v, VERSION, key.id().on_the_wire()];
        let (handshake, message) = noise::initiate(key.for_services(), &self.prologue(preamble))?;
        let mut hello = [0; PREAMBLE_BYTES + MESSAGE_BYTES];
        hello[..PREAMBLE_BYTES].copy_from_slice(&preamble);
        hello[PREAMBLE_BYTES..].copy_from_slice(&message);
        Ok(Some((Initiator { handshake, key: key.id() }, hello)))
    }

    /// Whether a handshake that begins so can be answered.
    pub(in crate::service) fn check(&self, [_, _, version, key]: [u8; PREAMBLE_BYTES]) -> Result<(), Refused> {
        if version != VERSION {
            return Err(Refused("unknown_version", "it speaks another version of the protocol"));
        }
        let Some(keyring) = self.watch.keyring() else {
            return Err(Refused("no_keys", "it is encrypted, and this node has no keys"));
        };
        if keyring.keys().all(|known| known.id().on_the_wire() != key) {
            let problem = "encrypted with a key that is not held here; give all nodes of the cluster the same keys";
            return Err(Refused("unknown_key", problem));
        }
        Ok(())
    }

    /// Answers a handshake.
    pub(in crate::service) fn respond(
        &self,
        preamble: [u8; PREAMBLE_BYTES],
        message: &Answer,
    ) -> Result<(Answer, Session, Protection), Refused> {
        self.check(preamble)?;
        let (keyring, prologue) = (self.watch.keyring(), self.prologue(preamble));
        let keys = keyring.iter().flat_map(Keyring::keys).filter(|key| key.id().on_the_wire() == preamble[3]);
        let answers = keys.filter_map(|key| {
            let (answer, session) = noise::respond(key.for_services(), &prologue, message)?;
            Some((answer, session, Protection::Key(key.id())))
        });
        let problem = "whoever began the handshake has another key, or another cluster's name";
        answers.into_iter().next().ok_or(Refused("unauthentic_handshake", problem))
    }

    /// What both sides have to agree on, though it is not told.
    fn prologue(&self, preamble: [u8; PREAMBLE_BYTES]) -> Vec<u8> {
        [&preamble, self.cluster.as_bytes()].concat()
    }
}

impl Initiator {
    /// `None` if the answer is not of somebody with the same key and the same cluster's name.
    pub(in crate::service) fn finish(self, answer: &Answer) -> Option<(Session, Protection)> {
        Some((self.handshake.finish(answer)?, Protection::Key(self.key)))
    }
}

/// The key with which calls are made.
fn calling(keyring: &Keyring) -> Option<&SecretKey> {
    (keyring.encryption() != Encryption::Accept).then(|| keyring.first())
}
