//! Some test programs are built twice: once without keys, and once more, under a name that ends in `_keyed`, where every cluster
//! has a key and requires it. What these tests say to nodes, and hear from them, is then encrypted on the way.

use grapevine::keyring::{Keyring, SecretKey};
use grapevine::wire::{Header, Message, NO_KEY, Opened, Seal};

/// Whether this is such a program.
pub fn is_keyed() -> bool {
    env!("CARGO_CRATE_NAME").ends_with("_keyed")
}

/// The keys of every cluster here, if any.
pub fn keyring() -> Option<Keyring> {
    is_keyed().then(|| Keyring::new(SecretKey::from_bytes(&[0x5a; 32])))
}

/// Encrypted as a node of its cluster would; as it is where there are no keys.
pub fn sealed(datagram: &[u8]) -> Vec<u8> {
    let Some(keyring) = keyring() else { return datagram.to_vec() };
    let mut seal = Seal::new(&keyring, "grapevine");
    let mut out = Vec::new();
    match Message::decode(datagram) {
        Ok((header, message)) => {
            seal = Seal::new(&keyring, header.cluster);
            message.encode(&Header { key_id: seal.key_id(), cluster: "", ..header }, &mut out);
        }
        // Nothing that a node would send: whatever it is, it is encrypted as well.
        Err(_) if datagram.len() >= 8 && datagram.starts_with(b"GV\x01\x00") => {
            out.extend_from_slice(&[b'G', b'V', 1, seal.key_id()]);
            let body = &datagram[4..datagram.len() - 4];
            let told = b"\xa9grapevine";
            match body.windows(told.len()).position(|bytes| bytes == told) {
                // Where the cluster is authenticated it is not told.
                Some(at) => {
                    [&body[..at], &[0xa0], &body[at + told.len()..]].iter().for_each(|part| out.extend_from_slice(part))
                }
                None => out.extend_from_slice(body),
            }
        }
        Err(_) => return datagram.to_vec(),
    }
    // Nobody learns anything from a nonce that comes twice here.
    let mut sealed = Vec::new();
    seal.seal(&out, &[9; 24], &mut sealed);
    sealed
}

/// As it would have been without keys.
pub fn opened(datagram: &[u8], cluster: &str) -> Vec<u8> {
    let seal = keyring().map_or(Seal::NONE, |keyring| Seal::new(&keyring, cluster));
    match Message::open(datagram, &seal, &mut Vec::new()) {
        Ok(Opened { header, message, .. }) if header.key_id != NO_KEY => {
            let mut out = Vec::new();
            message.encode(&Header { key_id: NO_KEY, cluster, ..header }, &mut out);
            out
        }
        _ => datagram.to_vec(),
    }
}
