//! Authenticated encryption of datagrams: XChaCha20-Poly1305 with random nonces.

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};

use crate::keyring::{Encryption, KeyId, Keyring};
use crate::stats::Refusal;
use crate::wire::envelope::{HEAD_BYTES, MAGIC, NO_KEY, NONCE_BYTES, PROTOCOL_VERSION, SEALED_ENVELOPE_BYTES};

/// The keys of a cluster, ready for use.
#[derive(Clone)]
pub(super) struct Keys {
    keys: Vec<Key>,
    encryption: Encryption,
}

#[derive(Clone)]
struct Key {
    id: KeyId,
    cipher: XChaCha20Poly1305,
    /// Authenticated with every datagram: its head, and the cluster, which is not told.
    associated: Vec<u8>,
}

impl Keys {
    pub(super) fn new(keyring: &Keyring, cluster: &str) -> Keys {
        let keys = keyring.keys().map(|key| {
            let cipher = XChaCha20Poly1305::new(key.for_datagrams().into());
            let rest = [PROTOCOL_VERSION, key.id().on_the_wire()];
            Key { id: key.id(), cipher, associated: [&MAGIC[..], &rest[..], cluster.as_bytes()].concat() }
        });
        Keys { keys: keys.collect(), encryption: keyring.encryption() }
    }

    pub(super) fn key_id(&self) -> u8 {
        match self.encryption {
            Encryption::Accept => NO_KEY,
            Encryption::Send | Encryption::Require => self.keys.first().map_or(NO_KEY, |key| key.id.on_the_wire()),
        }
    }

    pub(super) fn takes_plain(&self) -> bool {
        self.encryption != Encryption::Require
    }

    pub(super) fn seal(&self, datagram: &mut [u8], nonce: &[u8; NONCE_BYTES]) {
        let (Some(key), Some(len)) = (self.keys.first(), datagram.len().checked_sub(SEALED_ENVELOPE_BYTES)) else {
            return;
        };
        let (told, rest) = datagram[HEAD_BYTES..].split_at_mut(NONCE_BYTES);
        told.copy_from_slice(nonce);
        let (body, tag) = rest.split_at_mut(len);
        // It fails for more than 256 GiB alone; the tag is then wrong.
        if let Ok(made) = key.cipher.encrypt_in_place_detached(XNonce::from_slice(nonce), &key.associated, body) {
            tag.copy_from_slice(&made);
        }
    }

    pub(super) fn open<'a>(
        &self,
        key_id: u8,
        datagram: &[u8],
        buffer: &'a mut Vec<u8>,
    ) -> Result<(&'a [u8], usize), Refusal> {
        let len = datagram.len().checked_sub(SEALED_ENVELOPE_BYTES).ok_or(Refusal::Foreign)?;
        let (nonce, rest) = datagram[HEAD_BYTES..].split_at(NONCE_BYTES);
        let (sealed, tag) = rest.split_at(len);
        let mut refusal = Refusal::UnknownKey;
        for (n, key) in self.keys.iter().enumerate().filter(|(_, key)| key.id.on_the_wire() == key_id) {
            refusal = Refusal::Unauthentic;
            buffer.clear();
            buffer.extend_from_slice(sealed);
            let (nonce, tag) = (XNonce::from_slice(nonce), Tag::from_slice(tag));
            if key.cipher.decrypt_in_place_detached(nonce, &key.associated, buffer, tag).is_ok() {
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
