//! The test vectors of docs/PROTOCOL.md: each is what this library writes, and is read back as the same message.

use std::collections::BTreeMap;

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use grapevine::instant::Instant;
use grapevine::keyring::{Encryption, Keyring, SecretKey};
use grapevine::peer::Peer;
use grapevine::state::{Content, Delta, Entry, Fingerprint, Map, Mark, OwnMap, Progress, Row};
use grapevine::stats::Refusal;
use grapevine::value::{Key, Value};
use grapevine::wire::{
    Answer, Columns, CompactDigest, DeltaMessage, Digest, End, Header, Message, Opened, Rates, Seal, Want, WantMessage,
    put_delta, put_entry, put_row, put_want, run_hash,
};

const GENERATION: u64 = 1_760_000_000_000;

fn peer(text: &str) -> Peer {
    text.parse().unwrap()
}

fn header() -> Header<'static> {
    Header {
        key_id: 0,
        cluster: "grapevine",
        speaks: 1,
        sender: peer("127.0.0.1:9000"),
        generation: GENERATION,
        receiver: run_hash(peer("[2001:db8::1]:9001"), GENERATION - 5_000),
        echo: None,
        token: Some(0x1122_3344_5566_7788),
    }
}

fn own_row() -> Row {
    let progress = Progress { generation: GENERATION, max: 2, floor: 0 };
    Row { peer: peer("127.0.0.1:9000"), heartbeat: 7, progress, mark: Mark::None }
}

fn other_row() -> Row {
    let progress = Progress { generation: GENERATION - 5000, max: 300, floor: 12 };
    Row { peer: peer("[2001:db8::1]:9001"), heartbeat: 12, progress, mark: Mark::Left }
}

/// The entries of a map that went through a set, a set with a life and a delete.
fn entries() -> Vec<u8> {
    let mut own = OwnMap::new(GENERATION);
    let now = Instant::ZERO;
    let keys: [Key; 3] = ["a".into(), "b".into(), "c".into()];
    own.set(&keys[0], Value::encode("hello").unwrap(), None);
    own.set(&keys[1], Value::encode(&1).unwrap(), Some(Instant::from_micros(4_000_000)));
    own.set(&keys[2], Value::encode(&true).unwrap(), None);
    own.delete(now, "c");
    let mut out = Vec::new();
    let mut previous = 0;
    let map: &Map = own.map();
    for (key, entry) in map.after(0) {
        put_entry(&mut out, key, entry, previous, now);
        previous = entry.version;
    }
    out
}

fn piece() -> Vec<u8> {
    let value = Value::from_bytes(vec![0x90, 0x91, 0x92, 0x93]);
    let entry = entry_of(Content::Value(value), 6);
    let mut out = Vec::new();
    grapevine::wire::put_piece(&mut out, &"big".into(), &entry, 5, Instant::ZERO, 1, 3);
    out
}

fn entry_of(content: Content, version: u64) -> Entry {
    Entry::new(version, content, None)
}

/// Encodes the messages of the document, by the names under which they stand there.
fn vectors() -> BTreeMap<&'static str, Vec<u8>> {
    let mut vectors = BTreeMap::new();
    let mut add = |name, message: Message<'_>| {
        let mut out = Vec::new();
        message.encode(&header(), &mut out);
        assert_eq!(Message::decode(&out), Ok((header(), message)), "{name}");
        vectors.insert(name, out);
    };
    let rates = Rates { wanted: 0, permitted: 1_048_576 };

    let mut records = Vec::new();
    put_row(&mut records, &own_row(), GENERATION);
    put_row(&mut records, &other_row(), GENERATION);
    let whole = (peer("127.0.0.1:9000"), peer("127.0.0.1:9000"));
    add("digest", Message::Digest(Digest { id: 1, window: Some(whole), rates, records: &records, padding: 3 }));

    let mut news = Vec::new();
    put_row(&mut news, &own_row(), GENERATION);
    add("news", Message::Digest(Digest { id: 2, window: None, rates, records: &news, padding: 0 }));

    let columns = Columns {
        window: whole,
        roster: own_row().roster_hash().wrapping_add(other_row().roster_hash()),
        base: GENERATION + 7_000,
        tick: 1_000,
        heartbeats: &[0x00, 0x00],
    };
    let maxima = [0x02, 0xcd, 0x01, 0x2c];
    add("compact digest", Message::CompactDigest(CompactDigest { id: 3, rates, columns, maxima: &maxima }));

    let mut wants = Vec::new();
    let progress = Progress { generation: GENERATION - 5000, max: 299, floor: 12 };
    put_want(&mut wants, &Want { owner: peer("[2001:db8::1]:9001"), progress, unfinished: (300, 1_000) }, GENERATION);
    let delta = Delta { generation: GENERATION, from: 0, to: 5, floor: 0, max: 6 };
    let mut deltas = Vec::new();
    put_delta(&mut deltas, peer("127.0.0.1:9000"), &delta, &entries(), GENERATION);
    let answer = Answer {
        id: 3,
        rest: Some((peer("10.0.0.1:1"), peer("127.0.0.1:9000"))),
        rate_change: -500,
        fingerprint: Some(Fingerprint { max: 6, floor: 0, sum: Some(0x0102_0304) }),
        columns: Some(columns),
        records: &news,
        want_id: 9,
        credit: 8,
        wants: &wants,
        deltas: &deltas,
    };
    add("answer", Message::Answer(answer));

    let delta = Delta { generation: GENERATION, from: 5, to: 5, floor: 0, max: 6 };
    let mut deltas = Vec::new();
    put_delta(&mut deltas, peer("127.0.0.1:9000"), &delta, &piece(), GENERATION);
    let message = DeltaMessage { want_id: 9, sequence: 0, end: End::CreditUsed, deltas: &deltas };
    add("delta", Message::Delta(message));
    let want = Message::Want(WantMessage { want_id: 9, credit: 8, wants: &wants });
    add("want", want);
    vectors.insert("encrypted want", encrypted(&want));
    vectors
}

/// The keyring of the document, of one key: the bytes from 0 to 31.
fn keyring() -> Keyring {
    Keyring::new(SecretKey::from_bytes(&std::array::from_fn(|n| n as u8)))
}

/// With the nonce of the document: the bytes from 0x40 to 0x57.
fn encrypted(message: &Message<'_>) -> Vec<u8> {
    let seal = Seal::new(&keyring(), "grapevine");
    let header = Header { key_id: seal.key_id(), cluster: "", ..header() };
    let mut out = Vec::new();
    message.encode(&header, &mut out);
    let nonce = std::array::from_fn(|n| 0x40 + n as u8);
    let plain = std::mem::take(&mut out);
    seal.seal(&plain, &nonce, &mut out);
    let mut buffer = Vec::new();
    assert_eq!(Message::open(&out, &seal, &mut buffer), Ok(Opened { header, message: *message, key: Some(0) }));
    assert_eq!(Message::decode(&out), Err(Refusal::UnknownKey));
    out
}

/// The hexadecimal blocks of the document: a fence with ```` ```hex NAME ```` and spaces and line breaks at will.
fn documented() -> BTreeMap<String, Vec<u8>> {
    let text = include_str!("../docs/PROTOCOL.md");
    let mut blocks = BTreeMap::new();
    for part in text.split("```hex ").skip(1) {
        let (name, rest) = part.split_once('\n').unwrap();
        let (hex, _) = rest.split_once("```").unwrap();
        let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        blocks.insert(name.to_owned(), digits.chunks(2).map(byte).collect());
    }
    blocks
}

fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    bytes.chunks(24).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_document_holds_what_the_library_writes() {
    let documented = documented();
    let vectors = vectors();
    let differs = |(name, bytes): &(&&str, &Vec<u8>)| documented.get(**name) != Some(bytes);
    let wrong: Vec<String> =
        vectors.iter().filter(differs).map(|(name, bytes)| format!("```hex {name}\n{}\n```\n", hex(bytes))).collect();
    assert!(wrong.is_empty(), "docs/PROTOCOL.md should have:\n{}", wrong.concat());
    assert_eq!(documented.len(), vectors.len(), "a block of the document that nothing checks");
}

/// Rewrites the version, the key id or the kind of a good datagram, mends the checksum and says what becomes of it.
fn altered(offset: usize, to: u8) -> Refusal {
    let mut datagram = vectors()["want"].clone();
    datagram[offset] = to;
    let end = datagram.len() - 4;
    let checksum = grapevine::wire::checksum(&datagram[..end]);
    datagram[end..].copy_from_slice(&checksum);
    Message::decode(&datagram).unwrap_err()
}

/// Another implementation derives the same keys, opens what is sealed here, and seals what is opened here.
#[test]
fn another_implementation_agrees() {
    let key: Vec<u8> = (0..32).collect();
    let derived = |info: &str, len: usize| {
        let mut out = vec![0; len];
        hkdf::Hkdf::<sha2::Sha256>::new(None, &key).expand(info.as_bytes(), &mut out).unwrap();
        out
    };
    let id: String = derived("grapevine 1 key id", 4).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(id, keyring().first().id().to_string());
    let cipher = XChaCha20Poly1305::new_from_slice(&derived("grapevine 1 datagrams", 32)).unwrap();
    let (sealed, plain) = (&vectors()["encrypted want"], &vectors()["want"]);
    let (associated, nonce) = ([&sealed[..4], b"grapevine"].concat(), XNonce::from_slice(&sealed[4..28]));
    let mut body = sealed[28..sealed.len() - 16].to_vec();
    let tag = Tag::from_slice(&sealed[sealed.len() - 16..]);
    cipher.decrypt_in_place_detached(nonce, &associated, &mut body, tag).unwrap();
    // Less the head, the checksum and the cluster.
    assert_eq!([&[5, 0xa9], &b"grapevine"[..], &body[2..]].concat(), plain[4..plain.len() - 4]);

    let seal = Seal::new(&keyring(), "grapevine");
    for len in [2, 63, 64, 65, 500, 1_356] {
        let body: Vec<u8> = [5, 0xa0].into_iter().chain((0..=255).cycle()).take(len).collect();
        let mut ours = Vec::new();
        seal.seal(&[&sealed[..4], &body].concat(), &[len as u8; 24], &mut ours);
        let mut theirs = body.clone();
        let nonce = XNonce::from_slice(&ours[4..28]);
        let tag = cipher.encrypt_in_place_detached(nonce, &associated, &mut theirs).unwrap();
        assert_eq!(ours[28..], [&theirs[..], &tag[..]].concat(), "{len} bytes");
    }
}

/// The key id that the document tells, of the document's key.
#[test]
fn the_key_id_is_as_documented() {
    let text = include_str!("../docs/PROTOCOL.md");
    assert!(text.contains(&format!("`{}`", keyring().first().id())), "{}", keyring().first().id());
}

/// A plain datagram is not taken where encryption is required; an encrypted one of another cluster with the same key, or of another
/// key, nowhere.
#[test]
fn what_is_taken_depends_on_keys_cluster_and_step() {
    let (plain, sealed) = (&vectors()["want"], &vectors()["encrypted want"]);
    let open = |datagram: &[u8], seal: &Seal| Message::open(datagram, seal, &mut Vec::new()).map(|_| ());
    for step in Encryption::ALL {
        let seal = Seal::new(&keyring().with_encryption(step), "grapevine");
        let required = step == Encryption::Require;
        assert_eq!(open(plain, &seal), if required { Err(Refusal::Unencrypted) } else { Ok(()) }, "{step}");
        assert_eq!(open(sealed, &seal), Ok(()), "{step}");
        assert_eq!(seal.key_id() == 0, step == Encryption::Accept);
    }
    assert_eq!(open(sealed, &Seal::new(&keyring(), "another")), Err(Refusal::Unauthentic));
    let other = Keyring::new(SecretKey::from_bytes(&[1; 32]));
    assert_eq!(open(sealed, &Seal::new(&other, "grapevine")), Err(Refusal::UnknownKey));
    assert_eq!(open(sealed, &Seal::NONE), Err(Refusal::UnknownKey));
    let mut both = other.clone();
    both.add(keyring().first().clone()).unwrap();
    assert_eq!(Message::open(sealed, &Seal::new(&both, "grapevine"), &mut Vec::new()).unwrap().key, Some(1));
}

#[test]
fn other_versions_keys_and_kinds_are_told_apart() {
    assert_eq!(altered(0, b'X'), Refusal::Foreign);
    assert_eq!(altered(2, 2), Refusal::UnknownVersion);
    assert_eq!(altered(3, 1), Refusal::UnknownKey);
    assert_eq!(altered(4, 99), Refusal::UnknownKind);
}

/// Every single-bit error is found: corruption must not pass as news.
#[test]
fn a_flipped_bit_is_found() {
    let seal = Seal::new(&keyring(), "grapevine");
    for bytes in vectors().values() {
        let is_refused =
            |bad: &[u8]| Message::open(bad, &seal, &mut Vec::new()).is_err() && Message::decode(bad).is_err();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(is_refused(&bad), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(is_refused(&bytes[..len]), "cut to {len}");
        }
    }
}
