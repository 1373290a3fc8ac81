//! Authenticated encryption of datagrams: XChaCha20-Poly1305 with random nonces.

use std::sync::Arc;

use orion::hazardous::aead::xchacha20poly1305::{self, Nonce, SecretKey};

use crate::keyring::{Encryption, KeyId, Keyring};
use crate::stats::Refusal;
use crate::wire::envelope::{
    HEAD_BYTES, MAGIC, NO_KEY, NONCE_BYTES, PROTOCOL_VERSION, SEALED_ENVELOPE_BYTES, TAG_BYTES,
};

/// The keys of a cluster, ready for use.
#[derive(Clone)]
pub(super) struct Keys {
    /// Each in a place of its own: what is moved leaves a copy of the key behind.
    keys: Vec<Arc<Key>>,
    encryption: Encryption,
}

struct Key {
    id: KeyId,
    secret: SecretKey,
    /// Authenticated with every datagram: its head, and the cluster, which is not told.
    associated: Vec<u8>,
}

impl Keys {
    pub(super) fn new(keyring: &Keyring, cluster: &str) -> Keys {
        let keys = keyring.keys().filter_map(|key| {
            let head = [&MAGIC[..], &[PROTOCOL_VERSION, key.id().on_the_wire()]].concat();
            // It fails for another size alone.
            let secret = SecretKey::from_slice(key.for_datagrams()).ok()?;
            Some(Arc::new(Key { id: key.id(), secret, associated: [&head, cluster.as_bytes()].concat() }))
        });
        Keys { keys: keys.collect(), encryption: keyring.encryption() }
    }

    pub(super) fn key_id(&self) -> u8 {
        match self.encryption {
            Encryption::Accept => NO_KEY,
            // There always is one; without any nothing would be sent.
            Encryption::Send | Encryption::Require => self.keys.first().map_or(1, |key| key.id.on_the_wire()),
        }
    }

    pub(super) fn takes_plain(&self) -> bool {
        self.encryption != Encryption::Require
    }

    pub(super) fn seal(&self, datagram: &[u8], nonce: &[u8; NONCE_BYTES], out: &mut Vec<u8>) {
        let Some(((head, body), key)) = datagram.split_at_checked(HEAD_BYTES).zip(self.keys.first()) else { return };
        out.extend_from_slice(head);
        out.extend_from_slice(nonce);
        let start = out.len();
        out.resize(start + body.len() + TAG_BYTES, 0);
        // Neither fails for these sizes; if they did, what is sent would be zeros.
        if let Ok(nonce) = Nonce::from_slice(nonce) {
            let _ = xchacha20poly1305::seal(&key.secret, &nonce, body, Some(&key.associated), &mut out[start..]);
        }
    }

    pub(super) fn open<'a>(
        &self,
        key_id: u8,
        datagram: &[u8],
        buffer: &'a mut Vec<u8>,
    ) -> Result<(&'a [u8], usize), Refusal> {
        let len = datagram.len().checked_sub(SEALED_ENVELOPE_BYTES).ok_or(Refusal::Foreign)?;
        let (nonce, sealed) = datagram[HEAD_BYTES..].split_at(NONCE_BYTES);
        let nonce = Nonce::from_slice(nonce).map_err(|_| Refusal::Foreign)?;
        buffer.resize(len, 0);
        let mut refusal = Refusal::UnknownKey;
        for (n, key) in self.keys.iter().enumerate().filter(|(_, key)| key.id.on_the_wire() == key_id) {
            refusal = Refusal::Unauthentic;
            if xchacha20poly1305::open(&key.secret, &nonce, sealed, Some(&key.associated), buffer).is_ok() {
                return Ok((buffer, n));
            }
        }
        Err(refusal)
    }
}

/// Without the keys.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<KeyId> = self.keys.iter().map(|key| key.id).collect();
        f.debug_struct("Keys").field("ids", &ids).field("encryption", &self.encryption).finish()
    }
}
