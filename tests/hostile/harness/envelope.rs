//! What surrounds a message: bytes of strangers, encrypted bytes that somebody with the key made up, and real datagrams that were
//! altered on the way.

use std::net::SocketAddr;
use std::sync::OnceLock;

use grapevine::instant::Instant;
use grapevine::keyring::{Encryption, Keyring, SecretKey};
use grapevine::node::{Node, Output};
use grapevine::wire::{Digest, Header, Message, Rates, SEALED_ENVELOPE_BYTES, Seal, put_row, run_hash};
use grapevine::{Config, Peer};

use super::subject::START_MS;
use super::world::peer;

const CLUSTER: &str = "grapevine";

/// Two keys of which datagrams say the same: both have to be tried.
pub fn keyring() -> Keyring {
    static KEYRING: OnceLock<Keyring> = OnceLock::new();
    let key = |number: u16| {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        SecretKey::from_bytes(&key)
    };
    let find = || {
        let first = key(0);
        let on_the_wire = |key: &SecretKey| Seal::new(&Keyring::new(key.clone()), CLUSTER).key_id();
        let alike = (1..=u16::MAX).map(key).find(|other| on_the_wire(other) == on_the_wire(&first));
        let mut keyring = Keyring::new(first);
        keyring.add(alike.expect("one of some hundred")).expect("room for two");
        keyring
    };
    KEYRING.get_or_init(find).clone()
}

/// Does with the input what its first byte says. Panics if a promise is broken.
pub fn check(input: &[u8]) {
    let Some((what, rest)) = input.split_first() else { return };
    match what % 4 {
        0 => bytes_of_a_stranger(rest),
        1 => encrypted_bytes(rest),
        2 => altered_on_the_way(rest),
        _ => cut_or_extended(rest),
    }
}

/// Whoever has no key changes nothing, hears nothing, and costs no memory.
fn bytes_of_a_stranger(bytes: &[u8]) {
    let mut buffer = Vec::new();
    let opened = Message::open(bytes, &Seal::new(&keyring(), CLUSTER), &mut buffer);
    assert!(opened.is_err(), "nobody can guess a tag");
    for encryption in Encryption::ALL {
        let lenient = Seal::new(&keyring().with_encryption(encryption), CLUSTER);
        let mut buffer = Vec::new();
        let opened = Message::open(bytes, &lenient, &mut buffer);
        assert_eq!(opened.map(|opened| (opened.header, opened.message)), plain(bytes, encryption), "{encryption}");
    }
    refused(bytes);
}

/// What a node at this step makes of bytes that nobody with a key made.
fn plain(bytes: &[u8], encryption: Encryption) -> Result<(Header<'_>, Message<'_>), grapevine::stats::Refusal> {
    let decoded = Message::decode(bytes);
    match (encryption, decoded) {
        (Encryption::Require, _) | (_, Err(_)) => {
            let seal = Seal::new(&keyring().with_encryption(encryption), CLUSTER);
            // For the same reason, whatever it is.
            Err(Message::open(bytes, &seal, &mut Vec::new()).expect_err("a stranger's"))
        }
        (_, Ok(decoded)) => Ok(decoded),
    }
}

/// Whoever has the key can say anything, and breaks nothing either.
fn encrypted_bytes(body: &[u8]) {
    let seal = Seal::new(&keyring(), CLUSTER);
    let mut datagram = Vec::new();
    seal.seal(&[&[b'G', b'V', 1, seal.key_id()], body].concat(), &[7; 24], &mut datagram);
    assert_eq!(datagram.len(), body.len() + SEALED_ENVELOPE_BYTES);
    let mut buffer = Vec::new();
    if let Ok(opened) = Message::open(&datagram, &seal, &mut buffer) {
        assert_eq!((opened.key, opened.header.cluster), (Some(0), ""));
        let mut again = Vec::new();
        opened.message.encode(&opened.header, &mut again);
        assert!(again.len() <= body.len() + 4, "what is read is in its shortest form");
    }
    let (mut node, mut out) = (node(), Output::new());
    node.handle_datagram(Instant::ZERO, peer(3).addr(), &datagram, &mut out);
    assert!(out.datagrams().next().is_none(), "nothing leaves it that is not encrypted");
    out.seal(fill).expect("a nonce");
    for (_, said) in out.datagrams() {
        assert!(Message::open(said, &seal, &mut Vec::new()).is_ok() && Message::decode(said).is_err());
    }
}

/// Of a datagram that was encrypted by a node every bit counts.
fn altered_on_the_way(changes: &[u8]) {
    let real = real();
    let mut datagram = real.clone();
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % datagram.len();
        datagram[at] ^= change[2];
    }
    if datagram != real {
        refused(&datagram);
    }
}

fn cut_or_extended(bytes: &[u8]) {
    let real = real();
    let Some((len, rest)) = bytes.split_first_chunk::<2>() else { return };
    let len = usize::from(u16::from_le_bytes(*len)) % (real.len() + 1);
    let datagram = [&real[..len], rest].concat();
    if datagram != real {
        refused(&datagram);
    }
}

/// A node's own datagram, made for the node of [`node`].
fn real() -> Vec<u8> {
    let seal = Seal::new(&keyring(), CLUSTER);
    let row = grapevine::state::Row {
        peer: peer(3),
        heartbeat: 3,
        progress: grapevine::state::Progress { generation: START_MS, max: 1, floor: 0 },
        mark: grapevine::state::Mark::None,
    };
    let mut records = Vec::new();
    put_row(&mut records, &row, START_MS);
    let header = Header {
        key_id: seal.key_id(),
        cluster: "",
        speaks: 1,
        sender: peer(3),
        generation: START_MS,
        receiver: run_hash(me(), START_MS),
        echo: None,
        token: None,
    };
    let digest = Digest { id: 1, window: None, rates: Rates::default(), records: &records, padding: 40 };
    let (mut plain, mut sealed) = (Vec::new(), Vec::new());
    Message::Digest(digest).encode(&header, &mut plain);
    seal.seal(&plain, &[5; 24], &mut sealed);
    sealed
}

fn me() -> Peer {
    peer(2)
}

fn node() -> Node {
    let config = Config { keyring: Some(keyring()), ..Config::default() };
    Node::new(config, me(), Instant::ZERO, START_MS, 1).expect("a valid configuration")
}

fn fill(nonce: &mut [u8; 24]) -> Result<(), ()> {
    nonce.fill(3);
    Ok(())
}

/// A node that requires encryption takes this for nothing, and says nothing.
fn refused(datagram: &[u8]) {
    let (mut node, mut out) = (node(), Output::new());
    let from: SocketAddr = peer(3).addr();
    node.handle_datagram(Instant::ZERO, from, datagram, &mut out);
    out.seal(fill).expect("a nonce");
    let stats = node.stats();
    assert_eq!((out.datagrams().count(), out.events.len()), (0, 0));
    assert_eq!((stats.refused.total(), stats.encrypted_received, node.ring().len()), (1, 0, 0), "{:?}", stats.refused);
    // The real one is taken.
    node.handle_datagram(Instant::ZERO, from, &real(), &mut out);
    assert_eq!(node.ring().len(), 1);
}
