//! Files that are refused, those that are written, and those that are changed while a node runs.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use super::*;
use crate::keyring::{Encryption, SecretKey};

const LOOK: Duration = Duration::from_millis(10);

fn key() -> SecretKey {
    SecretKey::generate().unwrap()
}

fn file_in(folder: &TempDir) -> KeyFile {
    KeyFile::new(folder.path().join("keys"))
}

/// Writes it in place.
fn write(file: &KeyFile, text: impl AsRef<[u8]>) {
    if !file.path().exists() {
        file.create(&Keyring::new(key())).unwrap();
    }
    fs::write(file.path(), text).unwrap();
}

fn refused(file: &KeyFile) -> String {
    let told = file.load().unwrap_err().to_string();
    let before = format!("the key file {} cannot be used: ", file.path().display());
    told.strip_prefix(&before).unwrap_or_else(|| panic!("{told}")).to_owned()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_is_saved_is_loaded_and_nobody_else_s() {
    let folder = TempDir::new().unwrap();
    let file = file_in(&folder);
    let mut keyring = Keyring::new(key()).with_encryption(Encryption::Send);
    file.create(&keyring).unwrap();
    assert_eq!(file.load().unwrap(), keyring);
    let mode = || fs::metadata(file.path()).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(), 0o600);
    let told = file.create(&Keyring::new(key())).unwrap_err().to_string();
    assert!(told.contains("it is there already, and is not overwritten"), "{told}");
    assert_eq!(file.load().unwrap(), keyring);
    keyring.add(key()).unwrap();
    // Whatever it was before.
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
    file.save(&keyring).unwrap();
    assert_eq!((file.load().unwrap(), mode()), (keyring, 0o600));
    assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    let nowhere = KeyFile::new(folder.path().join("none/keys"));
    for told in [nowhere.save(&Keyring::new(key())).unwrap_err(), nowhere.create(&Keyring::new(key())).unwrap_err()] {
        assert!(told.to_string().contains("it cannot be written: "), "{told}");
    }
}

#[test]
fn links_are_followed() {
    let folder = TempDir::new().unwrap();
    let file = file_in(&folder);
    file.create(&Keyring::new(key())).unwrap();
    let link = KeyFile::new(folder.path().join("link"));
    symlink("keys", link.path()).unwrap();
    assert_eq!(link.load().unwrap(), file.load().unwrap());
    let other = Keyring::new(key());
    link.save(&other).unwrap();
    assert_eq!(file.load().unwrap(), other);
    assert!(link.path().symlink_metadata().unwrap().is_symlink());
}

#[test]
fn what_is_no_key_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = file_in(&folder);
    assert!(refused(&file).starts_with("there is none; "));
    file.create(&Keyring::new(key())).unwrap();
    for mode in [0o640, 0o644, 0o660, 0o604, 0o620, 0o601, 0o777] {
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        let told = refused(&file);
        assert!(told.contains(&format!("its mode is 0{mode:o}; `chmod 600` it")), "{told}");
    }
    for mode in [0o600, 0o700] {
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        file.load().unwrap();
    }
    write(&file, "");
    assert!(refused(&file).starts_with("it holds no key; "));
    write(&file, "\nsecret\n");
    assert!(refused(&file).starts_with("line 2 is no key: "));
    let comments = "#".repeat(64 << 10);
    write(&file, &comments);
    assert!(refused(&file).starts_with("it holds no key; "));
    write(&file, comments + "#");
    assert!(refused(&file).starts_with("it has 65537 bytes, and a key file at most 65536; "));
    assert_eq!(refused(&KeyFile::new(folder.path())), "it is no file");
    let pipe = KeyFile::new(folder.path().join("pipe"));
    mknodat(CWD, pipe.path(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert_eq!(refused(&pipe), "it is no file");
    assert_eq!(refused(&KeyFile::new("/dev/null")), "it is no file");
    let told = Gossiper::builder().key_file(pipe.path()).start().unwrap_err().to_string();
    assert!(told.ends_with("it is no file"), "{told}");
}

#[test]
fn a_change_is_taken_in_and_a_bad_one_is_not() {
    let folder = TempDir::new().unwrap();
    let file = file_in(&folder);
    let (old, new) = (Keyring::new(key()), Keyring::new(key()));
    file.create(&old).unwrap();
    let node = Gossiper::builder().start().unwrap();
    let _watch = file.watch(&node, LOOK).unwrap();
    assert_eq!(node.keyring(), Some(old.clone()));
    file.save(&new).unwrap();
    until("the new key is used", || node.keyring() == Some(new.clone()));
    // In place, with the same length.
    write(&file, format!("{}\n", old.first().to_base64().as_str()));
    until("the old key is used", || node.keyring() == Some(old.clone()));
    for bad in ["nonsense", ""] {
        write(&file, bad);
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
        write(&file, format!("{}\n", new.first().to_base64().as_str()));
        assert_eq!(node.keyring(), Some(old.clone()));
        // To allow others nothing is a change as well.
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        until("it is repaired", || node.keyring() == Some(new.clone()));
        file.save(&old).unwrap();
        until("the old key is used", || node.keyring() == Some(old.clone()));
    }
    fs::remove_file(file.path()).unwrap();
    file.create(&new).unwrap();
    until("it is there again", || node.keyring() == Some(new.clone()));
}

#[test]
fn keys_are_changed_in_the_file_too() {
    let folder = TempDir::new().unwrap();
    let file = file_in(&folder);
    let (old, new) = (key(), key());
    file.create(&Keyring::new(old.clone())).unwrap();
    let node = Gossiper::builder().key_file(file.path()).start().unwrap();
    let watch = file.watch(&node, LOOK).unwrap();
    let ring = |held: &mut Option<Keyring>| held.take().ok_or(Error::Stopped);
    let change = |change: &dyn Fn(&mut Keyring) -> Result<(), Error>| {
        watch.change(|held| {
            let mut keyring = ring(held)?;
            let result = change(&mut keyring);
            *held = Some(keyring);
            result
        })
    };
    change(&|keyring| keyring.add(new.clone()).map(drop)).unwrap();
    assert_eq!(Some(file.load().unwrap()), node.keyring());
    change(&|keyring| keyring.use_key(new.id()).map(drop)).unwrap();
    change(&|keyring| keyring.remove(old.id())).unwrap();
    assert_eq!(node.keyring(), Some(Keyring::new(new.clone())));
    assert_eq!(Some(file.load().unwrap()), node.keyring());
    assert!(change(&|keyring| keyring.remove(new.id())).is_err());
    assert_eq!(Some(file.load().unwrap()), node.keyring());
    // What somebody else has just written is not written over.
    write(&file, "nonsense");
    let told = change(&|keyring| keyring.add(old.clone()).map(drop)).unwrap_err().to_string();
    assert!(told.contains("try again") || told.contains("repaired"), "{told}");
    until("it was looked at", || {
        let told = change(&|keyring| keyring.add(old.clone()).map(drop)).unwrap_err().to_string();
        told.contains("line 1 is no key") && told.ends_with("it is to be repaired before keys are changed")
    });
    assert_eq!(fs::read(file.path()).unwrap(), b"nonsense");
    assert_eq!(node.keyring(), Some(Keyring::new(new.clone())));
    write(&file, format!("{}\n", old.to_base64().as_str()));
    until("it is repaired", || node.keyring() == Some(Keyring::new(old.clone())));
    // A node without keys leaves the file as it is.
    watch.change(|held| Ok(held.take())).unwrap();
    assert_eq!((node.keyring(), file.load().unwrap()), (None, Keyring::new(old)));
}

/// The watch is no handle of the node, and ends with it, whichever goes first.
#[test]
fn a_watch_ends_when_it_is_dropped_or_the_node_stops() {
    static LOOKS: AtomicUsize = AtomicUsize::new(0);
    let folder = TempDir::new().unwrap();
    let file = file_in(&folder);
    let (old, new) = (Keyring::new(key()), Keyring::new(key()));
    file.create(&old).unwrap();
    let node = Gossiper::builder().start().unwrap();
    let started = Instant::now();
    let hour = Duration::from_secs(3600);
    drop(file.watch(&node, hour).unwrap());
    let watch = file.watch(&node, hour).unwrap();
    let events = node.subscribe();
    // The last handle.
    drop(node);
    assert_eq!(events.iter().last().map(|event| event.kind()), Some(crate::EventKind::Stopped));
    drop(watch);
    let node = Gossiper::builder().start().unwrap();
    let watch = file.watch(&node, Duration::ZERO).unwrap();
    node.stop();
    file.save(&new).unwrap();
    assert!(matches!(watch.change(|_| Ok(LOOKS.fetch_add(1, Ordering::SeqCst))), Err(Error::Stopped)));
    drop(watch);
    assert!(matches!(file.watch(&node, LOOK), Err(Error::Stopped)));
    assert_eq!((node.keyring(), LOOKS.load(Ordering::SeqCst)), (Some(old), 0));
    assert!(started.elapsed() < hour / 60);
}
