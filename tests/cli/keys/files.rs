//! `keygen`, and key files: those that agents refuse to start with, and those that are spoilt and repaired while they run.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use grapevine::key_file::KeyFile;
use grapevine::keyring::{Encryption, SecretKey};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;
use tempfile::TempDir;

use super::{file_of, key_file, keys_of, new_key, ring, set_mode, told};
use crate::harness::agent::agent_command;
use crate::harness::{Agent, Ended, Process, program, run, until};

const REQUIRE: Encryption = Encryption::Require;

/// Tries to start an agent with this key file; it must leave nothing behind.
fn start(file: &Path) -> Ended {
    let folder = TempDir::new().unwrap();
    let control = folder.path().join("control");
    let mut command = agent_command(&[]);
    let ended = Process::start(command.arg("--control").arg(&control).arg("--key-file").arg(file)).end();
    assert!(!control.exists(), "{ended:?}");
    ended
}

#[test]
fn keys_are_made() {
    let ended = run(&["keygen"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let text = String::from_utf8(ended.out).unwrap();
    let key: SecretKey = text.strip_suffix('\n').unwrap().parse().unwrap();
    assert_eq!(ended.err, format!("key id {key}\n"));
    assert_ne!(String::from_utf8(run(&["keygen"]).out).unwrap(), text, "another one each time");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("keys");
    let keygen = ["keygen", "--output", path.to_str().unwrap()];
    let ended = run(&keygen);
    assert_eq!((ended.status, &*ended.out), (Some(0), &b""[..]), "{ended:?}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let made = KeyFile::new(&path).load().unwrap();
    assert_eq!(ended.err, format!("key id {}\n", made.first()));
    assert_eq!(made.encryption(), REQUIRE);
    // It is no key file's end.
    let told = run(&keygen).failed();
    assert!(told.contains("it is there already, and is not overwritten; choose another name"), "{told}");
    assert_eq!(KeyFile::new(&path).load().unwrap(), made);
    let link = folder.path().join("link");
    symlink("nothing", &link).unwrap();
    run(&["keygen", "--output", link.to_str().unwrap()]).failed();
    assert_eq!(folder.path().read_dir().unwrap().count(), 2);
    Agent::start(&["--key-file", path.to_str().unwrap()]).run(&["keyring"]).done();
}

#[test]
fn files_that_are_refused() {
    let folder = TempDir::new().unwrap();
    let key = new_key().to_base64().to_string();
    for mode in [0o640, 0o644, 0o660, 0o604, 0o606] {
        let file = file_of(&folder, &key, mode);
        let told = start(&file).failed();
        let wanted = format!(
            "the key file {} cannot be used: others than its owner may use it, for its mode is 0{mode:o}; `chmod 600` it",
            file.display()
        );
        assert_eq!(told, wanted);
    }
    for (text, wanted) in [
        ("", "it holds no key; "),
        ("# nothing\n\n", "it holds no key; "),
        (&*format!("\n{}\n", &key[1..]), "line 2 is no key: "),
        (&*format!("{key}\n{key}\n"), "line 2 has the key of line 1 once more; "),
        (&*format!("{key}\nencryption always"), "line 2 has to be `encryption` and accept, send or require"),
        (&*"#".repeat(65_537), "it has 65537 bytes"),
    ] {
        let told = start(&file_of(&folder, text, 0o600)).failed();
        assert!(told.contains(&format!("cannot be used: {wanted}")), "{told}");
        assert!(!told.contains(&key[1..20]), "{told}");
    }
    let missing = folder.path().join("missing");
    assert!(start(&missing).failed().ends_with("there is none; `grapevine keygen --output` makes one"));
    let pipe = folder.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let link = folder.path().join("link");
    symlink(&pipe, &link).unwrap();
    for no_file in [folder.path(), &pipe, &link, Path::new("/dev/null")] {
        assert!(start(no_file).failed().ends_with("cannot be used: it is no file"), "{}", no_file.display());
    }
    let told = start(Path::new(&key)).misused();
    assert!(told.starts_with("--key-file: that is no file, and looks like a key: ") && !told.contains(&key), "{told}");
}

/// Where there is no place for it, an error that shows what it is about would show it.
#[test]
fn a_key_among_the_arguments_is_not_shown() {
    let key = new_key().to_base64().to_string();
    let given = |mark: &str| format!("{mark}{key}");
    let interval = given("--interval=");
    let wrong: [&[&str]; 7] = [
        &[&key],
        &["keyring", &key],
        &["agent", &key],
        &["agent", &interval],
        &["agent", "--bind", &key],
        &["agent", "--listen", "127.0.0.1:0", "--pin", &key],
        &["set", "a", "1", "--ttl", &key],
    ];
    for args in wrong {
        let ended = run(args);
        assert!(ended.status == Some(2) && !ended.err.is_empty() && !ended.err.contains(&key[..8]), "{ended:?}");
    }
    let told = run(wrong[0]).misused();
    assert!(told.starts_with("an argument or variable looks like a key: "), "{told}");
    let ended = Process::start(program(&["agent"]).env("GRAPEVINE_INTERVAL", &key)).end();
    assert!(!ended.misused().contains(&key[..8]));
    assert!(run(&["keyring", "frob"]).refused().contains("frob"));
    // Others that are as long are shown.
    let host = "my-grapevine-node-0.example-cluster.com:9000";
    assert!(run(&["leave", host]).refused().contains(host));
}

#[test]
fn the_environment_names_it() {
    let folder = TempDir::new().unwrap();
    let file = key_file(&folder, "keys", &ring(&[&new_key()], REQUIRE));
    let agent = Agent::start_after(&[], |command| {
        command.env("GRAPEVINE_KEY_FILE", file.path());
    });
    assert_eq!(keys_of(&mut agent.connect()), told(&file.load().unwrap()));
    let agent = Agent::start_after(&[], |command| {
        command.env("GRAPEVINE_KEY_FILE", "");
    });
    assert_eq!(keys_of(&mut agent.connect()).0.len(), 0);
    // An option wins.
    let option = ["--key-file", file.path().to_str().unwrap()];
    let with_option = Agent::start_after(&option, |command| {
        command.env("GRAPEVINE_KEY_FILE", "/nowhere/keys");
    });
    assert_eq!(keys_of(&mut with_option.connect()), told(&file.load().unwrap()));
    // An empty variable counts as not set below `keyring`, too.
    let mut keyring = program(&["keyring", "off", "--control", agent.control.to_str().unwrap()]);
    Process::start(keyring.env("GRAPEVINE_CONTROL", "")).end().done();
}

/// As a container's secrets are mounted: a link by way of a folder that is exchanged.
#[test]
fn links_are_followed_to_where_they_lead_by_now() {
    let folder = TempDir::new().unwrap();
    let (one, two) = (ring(&[&new_key()], REQUIRE), ring(&[&new_key()], REQUIRE));
    for (name, keyring) in [("1", &one), ("2", &two)] {
        fs::create_dir(folder.path().join(name)).unwrap();
        KeyFile::new(folder.path().join(name).join("keys")).create(keyring).unwrap();
    }
    let data = folder.path().join("data");
    symlink("1", &data).unwrap();
    symlink("data/keys", folder.path().join("keys")).unwrap();
    let agent = Agent::start(&["--key-file", folder.path().join("keys").to_str().unwrap()]);
    assert_eq!(keys_of(&mut agent.connect()), told(&one));
    symlink("2", folder.path().join("next")).unwrap();
    fs::rename(folder.path().join("next"), &data).unwrap();
    let mut talk = agent.connect();
    until("the other file is read", || keys_of(&mut talk) == told(&two));
}

/// The keys stay, the log says why once, and what is repaired is taken in.
#[test]
fn a_file_that_is_spoilt_while_the_agent_runs() {
    let folder = TempDir::new().unwrap();
    let old = ring(&[&new_key()], REQUIRE);
    let file = key_file(&folder, "keys", &old);
    let path = file.path();
    let agent = Agent::start(&["--key-file", path.to_str().unwrap()]);
    let mut talk = agent.connect();
    let secret = new_key().to_base64().to_string();
    let cases: [(&dyn Fn(), &str); 5] = [
        (&|| fs::write(path, format!("# new\n{}", &secret[1..])).unwrap(), "line 2 is no key: "),
        (&|| fs::write(path, "").unwrap(), "it holds no key; "),
        (&|| set_mode(path, 0o640), "others than its owner may use it, for its mode is 0640; "),
        (&|| fs::remove_file(path).unwrap(), "there is none; "),
        (&|| fs::create_dir(path).unwrap(), "it is no file"),
    ];
    for (spoil, why) in &cases {
        spoil();
        agent.logs(why);
        assert_eq!(keys_of(&mut talk), told(&old));
    }
    fs::remove_dir(path).unwrap();
    let new = ring(&[&new_key()], Encryption::Send);
    file.save(&new).unwrap();
    until("it is repaired", || keys_of(&mut talk) == told(&new));
    agent.logs("can be used again");
    talk.done(json!({"do": "keyring_encryption", "encryption": "require"}));
    assert_eq!(file.load().unwrap(), new.with_encryption(REQUIRE));
    let log = agent.terminate().err;
    for (_, why) in cases {
        let times = log.matches(&format!("cannot be used, and the keys stay as they are: {why}")).count();
        // Once for each; and there was none for another moment, before it was saved.
        assert!(times == 1 || why.starts_with("there is none") && times == 2, "{why}: {log}");
    }
    assert!(!log.contains(&secret[1..20]), "{log}");
}

/// The folder for it cannot be written to: nothing changes.
#[test]
fn a_file_that_cannot_be_written() {
    let folder = TempDir::new().unwrap();
    let inner = TempDir::new_in(folder.path()).unwrap();
    let (old, new) = (new_key(), new_key());
    let file = key_file(&inner, "keys", &ring(&[&old, &new], REQUIRE));
    let agent = Agent::start(&["--key-file", file.path().to_str().unwrap()]);
    // Not by permissions, which say nothing to root: no name may be longer than that of the file is made.
    let mut talk = agent.connect();
    let long = inner.path().join("k".repeat(250));
    fs::copy(file.path(), &long).unwrap();
    let other = Agent::start(&["--key-file", long.to_str().unwrap()]);
    let mut other_talk = other.connect();
    let before = keys_of(&mut other_talk);
    let message = other_talk.refused("key_file_refused", json!({"do": "keyring_use", "key_id": new.to_string()}));
    assert!(message.contains("it cannot be written: "), "{message}");
    assert_eq!(keys_of(&mut other_talk), before);
    talk.done(json!({"do": "keyring_use", "key_id": new.to_string()}));
    assert_eq!(file.load().unwrap(), ring(&[&new, &old], REQUIRE));
}
