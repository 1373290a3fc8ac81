//! Keys do not outlive their use: of those that a process had in every way nothing is left in its memory. In a process of its own, for
//! other tests have keys, too.
#![cfg(target_os = "linux")]

#[path = "common/memory.rs"]
mod memory;

use std::fs;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use grapevine::Gossiper;
use grapevine::key_file::{self, KeyFile};
use grapevine::keyring::{Encryption, Keyring, SecretKey};
use grapevine::service::Service;
use hkdf::Hkdf;
use memory::{Needle, search};
use sha2::Sha256;
use tempfile::TempDir;
use zeroize::{Zeroize, Zeroizing};

const LONG: Duration = Duration::from_secs(60);

/// What is looked for of a key: its text, its bytes, and what is derived from it.
fn needles(name: &str, key: &SecretKey) -> Vec<Needle> {
    let text = key.to_base64();
    let mut bytes = Zeroizing::new([0; 32]);
    decode(&text, &mut bytes);
    let mut needles =
        vec![Needle::new(format!("{name} as text"), text.as_bytes()), Needle::new(format!("{name} as bytes"), &*bytes)];
    for used_for in ["datagrams", "services"] {
        let mut derived = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, &*bytes).expand(format!("grapevine 1 {used_for}").as_bytes(), &mut *derived).unwrap();
        needles.push(Needle::new(format!("{name} for {used_for}"), &*derived));
    }
    overwrite_the_stack();
    needles
}

/// What hashing has left here.
#[inline(never)]
fn overwrite_the_stack() {
    let mut below = [0_u8; 64 << 10];
    below.zeroize();
}

/// Base64 without anything left behind.
fn decode(text: &str, bytes: &mut [u8; 32]) {
    let mut bits = Zeroizing::new(0_u32);
    let mut at = 0;
    for (n, byte) in text.bytes().filter(|byte| *byte != b'=').enumerate() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        *bits = *bits << 6 | u32::from(digit);
        if n % 4 > 0 {
            bytes[at] = (*bits >> (6 - n % 4 * 2)) as u8;
            at += 1;
        }
    }
    assert_eq!(at, 32);
}

fn wait(node: &Gossiper, holds: impl FnMut(&Gossiper) -> bool) {
    assert!(node.wait_until(LONG, holds));
}

/// A message and a result.
#[derive(serde::Deserialize, serde::Serialize)]
struct Empty {}

/// Uses keys in every way that there is; what is to be looked for of each.
fn have_keys() -> Vec<Needle> {
    let mut all = Vec::new();
    let mut look_for = |name: &str, key: &SecretKey| {
        all.extend(needles(name, key));
        key.clone()
    };

    let generated = look_for("generated", &SecretKey::generate().unwrap());
    let mut text = SecretKey::generate().unwrap().to_base64();
    let parsed = look_for("parsed", &text.parse().unwrap());
    // Those that are none are dropped again.
    text.replace_range(20..21, "!");
    assert!(text.parse::<SecretKey>().is_err() && text[1..].parse::<SecretKey>().is_err());
    assert!(key_file::parse(text.as_bytes()).is_err());
    text.zeroize();

    let folder = TempDir::new().unwrap();
    let file = KeyFile::new(folder.path().join("keys"));
    let from_file = look_for("from a file", &SecretKey::generate().unwrap());
    let mut ring = Keyring::new(from_file.clone());
    ring.add(parsed.clone()).unwrap();
    file.create(&ring).unwrap();
    assert_eq!(file.load().unwrap(), ring);
    drop(ring.clone());
    drop(format!("{ring:?} {from_file} {:?}", Some(&from_file)));

    // Nodes that speak with each other, and change their keys.
    let interval = Duration::from_millis(50);
    let first = Gossiper::builder().interval(interval).key_file(file.path()).start().unwrap();
    let watch = file.watch(&first, Duration::from_millis(10)).unwrap();
    let seed = first.peer().to_string();
    let second = Gossiper::builder().interval(interval).keyring(ring).seed(seed.clone()).start().unwrap();
    let stranger =
        Gossiper::builder().interval(interval).keyring(Keyring::new(generated.clone())).seed(seed).start().unwrap();
    wait(&second, |node| node.live_peers() == [first.peer()]);
    stranger.set("a", &1).unwrap();
    for n in 0..50 {
        first.set("n", &n).unwrap();
        wait(&second, |node| node.get_from(first.peer(), "n").is_some_and(|value| value.decode::<i32>().unwrap() == n));
    }
    let later = look_for("added later", &SecretKey::generate().unwrap());
    second.add_secret_key(later.clone()).unwrap();
    let changed = watch.change(|held| {
        let mut ring = held.take().unwrap().with_encryption(Encryption::Send);
        ring.add(later.clone())?;
        ring.use_key(later.id())?;
        *held = Some(ring);
        Ok(())
    });
    changed.unwrap();
    second.use_secret_key(later.id()).unwrap();
    for n in 50..100 {
        second.set("n", &n).unwrap();
        wait(&first, |node| node.get_from(second.peer(), "n").is_some_and(|value| value.decode::<i32>().unwrap() == n));
    }
    // Services that call each other, with two keys, one after the other, and one who has neither.
    let service = |ring: &Keyring| {
        let gossip = Gossiper::builder().interval(interval).keyring(ring.clone());
        Service::builder().gossip(gossip).connect_timeout(Duration::from_millis(500))
    };
    let for_calls = look_for("for calls", &SecretKey::generate().unwrap());
    let ring = Keyring::new(for_calls.clone());
    let provider = service(&ring).listen("127.0.0.1:0").start().unwrap();
    provider.add("a:1", |_: Empty| Ok(Empty {})).unwrap();
    let seed = provider.node().peer().to_string();
    let caller = service(&ring).seed(seed).start().unwrap();
    assert!(caller.wait_for("a:1", LONG));
    caller.act::<Empty>("a:1").unwrap();
    let replaced = look_for("replaced for calls", &SecretKey::generate().unwrap());
    for node in [provider.node(), caller.node()] {
        node.add_secret_key(replaced.clone()).unwrap();
    }
    caller.node().use_secret_key(replaced.id()).unwrap();
    for _ in 0..20 {
        caller.act::<Empty>("a:1").unwrap();
    }
    // And a handshake that nobody answers: those of another cluster are led there.
    let addr = provider.local_addr().unwrap();
    let ring = Keyring::new(generated.clone());
    let misled = service(&ring).listen("127.0.0.1:0").advertise(addr).start().unwrap();
    misled.add("b:1", |_: Empty| Ok(Empty {})).unwrap();
    let outsider = service(&ring).seed(misled.node().peer().to_string()).start().unwrap();
    assert!(outsider.wait_for("b:1", LONG));
    assert!(outsider.act::<Empty>("b:1").is_err());
    drop((caller, provider, outsider, misled));

    // By the watched file, and away again.
    let by_watch = look_for("by a watched file", &SecretKey::generate().unwrap());
    let mut ring = file.load().unwrap();
    ring.add(by_watch.clone()).unwrap();
    file.save(&ring).unwrap();
    let deadline = std::time::Instant::now() + LONG;
    while first.secret_keys().len() < 4 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(2));
    }
    first.remove_secret_key(from_file.id()).unwrap();
    fs::write(file.path(), "nonsense").unwrap();
    assert!(file.load().is_err());
    drop(watch);
    second.set_keyring(None).unwrap();
    second.leave(Duration::from_millis(100)).ok();
    stranger.stop();
    all
}

/// A thread that has had a key, and then does nothing that would overwrite what is left of it on its stack.
fn waiting_thread(done: Receiver<()>) -> Vec<Needle> {
    let (sender, needles) = channel();
    std::thread::spawn(move || {
        let text = SecretKey::generate().unwrap().to_base64();
        sender.send(self::needles("of a thread that waits", &text.parse().unwrap())).unwrap();
        assert!(text.parse::<SecretKey>().is_ok());
        drop(text);
        drop(sender);
        let _ = done.recv();
    });
    let found = needles.recv().unwrap();
    // Closed when it waits.
    assert!(needles.recv().is_err());
    found
}

#[test]
fn nothing_is_left_of_keys_that_were_dropped() {
    // On a thread of its own, whose stack stays where it is for others.
    let mut needles = std::thread::spawn(have_keys).join().unwrap();
    let (done, is_done) = channel();
    needles.extend(waiting_thread(is_done));
    assert_eq!(needles.len(), 32);
    let (found, seen) = search("self", &needles);
    drop(done);
    assert!(seen > 1 << 20, "{seen} bytes were looked at");
    println!("{seen} bytes were looked at");
    assert!(found.is_empty(), "{found:#?}");
    // One that is held is found once, where it is with what is derived from it: the search sees what there is.
    let key = SecretKey::generate().unwrap();
    let (found, _) = search("self", &self::needles("held", &key));
    let names: Vec<&str> = found.iter().filter_map(|found| found.split(" at ").next()).collect();
    assert_eq!(names, ["held as bytes", "held for datagrams", "held for services"], "{found:#?}");
    drop(key);
}
