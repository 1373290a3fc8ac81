//! Whether datagrams are encrypted, and whether plain ones are taken.

use crate::stats::Refusal;
use crate::wire::envelope::NO_KEY;
use crate::wire::keys::Keys;

/// What a node makes of datagrams: with the keys of a cluster, or without any.
#[derive(Clone, Debug, Default)]
pub struct Seal {
    keys: Option<Keys>,
}

impl Seal {
    /// Of a node without keys.
    pub const NONE: Seal = Seal { keys: None };

    /// Of a node with these keys.
    #[cfg(feature = "encryption")]
    pub fn new(keyring: &crate::keyring::Keyring, cluster: &str) -> Seal {
        Seal { keys: Some(Keys::new(keyring, cluster)) }
    }

    /// What [`Header::key_id`](crate::wire::Header) is to be in what is sent.
    pub fn key_id(&self) -> u8 {
        self.keys.as_ref().map_or(NO_KEY, Keys::key_id)
    }

    /// Whether plain datagrams are taken.
    pub fn takes_plain(&self) -> bool {
        self.keys.as_ref().is_none_or(Keys::takes_plain)
    }

    /// Encrypts a datagram that was [encoded](crate::wire::Message::encode) with this key id, at the end of `out`. A nonce must
    /// never come twice: 24 random bytes do not.
    pub fn seal(&self, datagram: &[u8], nonce: &[u8; 24], out: &mut Vec<u8>) {
        if let Some(keys) = &self.keys {
            keys.seal(datagram, nonce, out);
        }
    }

    /// Authenticates and decrypts a datagram into `buffer`: what is in it, and which key it was, counted from the first.
    pub(super) fn open<'a>(
        &self,
        key_id: u8,
        datagram: &[u8],
        buffer: &'a mut Vec<u8>,
    ) -> Result<(&'a [u8], usize), Refusal> {
        self.keys.as_ref().map_or(Err(Refusal::UnknownKey), |keys| keys.open(key_id, datagram, buffer))
    }
}
