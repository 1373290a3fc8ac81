//! The line protocol's words for pre-shared keys: of each its id, never itself.

use grapevine::Gossiper;
use grapevine::keyring::Encryption;
use grapevine::node::SecretKeyInfo;
use serde::Serialize;

use super::Reply;

/// A key as `keyring` tells it.
#[derive(Debug, Serialize)]
pub struct SecretKeyLine {
    key_id: String,
    encrypts: bool,
    /// Datagrams that it has decrypted since it was added.
    decrypted: u64,
}

impl From<SecretKeyInfo> for SecretKeyLine {
    fn from(info: SecretKeyInfo) -> SecretKeyLine {
        SecretKeyLine { key_id: info.id.to_string(), encrypts: info.encrypts, decrypted: info.decrypted }
    }
}

impl Reply {
    /// The keys of a node, which are kept in this file.
    pub fn keyring(node: &Gossiper, file: Option<String>) -> Reply {
        let keyring = node.secret_keys().into_iter().map(SecretKeyLine::from).collect();
        let encryption = node.encryption().map(Encryption::as_str);
        Reply { keyring: Some(keyring), encryption, key_file: file, ..Reply::default() }
    }
}
