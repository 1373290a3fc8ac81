//! The commands and requests about keys: what they reply, what they refuse, and what they save.

use std::io::Write;

use grapevine::keyring::{Encryption, MAX_KEYS};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{key_file, new_key, ring, set_mode};
use crate::harness::conversation::refusal;
use crate::harness::{Agent, Ended, Process, program, until};

const REQUIRE: Encryption = Encryption::Require;

/// Runs a command that talks to the agent, with this on its standard input.
fn run_with(agent: &Agent, args: &[&str], input: &str) -> Ended {
    let control = ["--control", agent.control.to_str().unwrap()];
    let mut process = Process::start(&mut program(&[args, &control].concat()));
    process.input.take().unwrap().write_all(input.as_bytes()).unwrap();
    process.end()
}

#[test]
fn requests_change_keys_and_tell_them() {
    let (one, two) = (new_key(), new_key());
    let agent = Agent::start(&[]);
    let mut talk = agent.connect();
    let none = json!({"keyring": []});
    assert_eq!(talk.done(json!({"do": "keyring"})), none);
    let key = |id: &str, encrypts: bool| json!({"key_id": id, "encrypts": encrypts, "decrypted": 0});
    let (first, second) = (one.to_string(), two.to_string());
    let reply = |keyring: Value, step: &str| json!({"keyring": keyring, "encryption": step, "saved": false});
    // As other languages escape what JSON need not have escaped.
    let text = one.to_base64().replace('/', "\\/").replace('+', "\\u002B").replace('=', "\\u003d");
    talk.send(format!("{{\"id\":7,\"do\":\"keyring_add\",\"secret_keys\":[\"{text}\"]}}\n"));
    let mut added = talk.reply();
    assert_eq!((added["id"].take(), added["ok"].take()), (json!(7), json!(true)), "{added}");
    assert_eq!(added["keyring"], json!([key(&first, true)]));
    assert_eq!(added["encryption"], "accept");
    // Keys that are there already are no change.
    let both = json!([one.to_base64().as_str(), two.to_base64().as_str()]);
    let step = talk.done(json!({"do": "keyring_add", "secret_keys": both}));
    assert_eq!(step, reply(json!([key(&first, true), key(&second, false)]), "accept"));
    for step in ["send", "require", "require", "send", "accept"] {
        let told = talk.done(json!({"do": "keyring_encryption", "encryption": step}));
        assert_eq!(told["encryption"], step);
    }
    let step = talk.done(json!({"do": "keyring_use", "key_id": second}));
    assert_eq!(step, reply(json!([key(&second, true), key(&first, false)]), "accept"));
    talk.done(json!({"do": "keyring_use", "key_id": second.to_uppercase()}));
    let step = talk.done(json!({"do": "keyring_remove", "key_id": first}));
    assert_eq!(step, reply(json!([key(&second, true)]), "accept"));
    assert_eq!(talk.done(json!({"do": "keyring_off"})), json!({"keyring": [], "saved": false}));
    talk.done(json!({"do": "keyring_off"}));
    assert_eq!(talk.done(json!({"do": "keyring"})), none);
}

/// Each leaves the keys as they were.
#[test]
fn requests_that_are_refused() {
    let (one, two) = (new_key(), new_key());
    let folder = TempDir::new().unwrap();
    let file = key_file(&folder, "keys", &ring(&[&one, &two], REQUIRE));
    let agent = Agent::start(&["--key-file", file.path().to_str().unwrap()]);
    let mut talk = agent.connect();
    let before = talk.done(json!({"do": "keyring"}));
    let text = one.to_base64();
    let text = text.as_str();
    let no_array = "keyring_add: `secret_keys` is no array of keys in base64";
    let no_id = "keyring_use: that is no key id: it has eight hexadecimal digits";
    let no_step = "keyring_encryption: `encryption` is one of accept, send and require";
    for (request, wanted) in [
        (json!({"do": "keyring", "key_id": text}), "keyring: it has a field too many"),
        (json!({"do": "keyring_add"}), "keyring_add: it has no `secret_keys`"),
        (json!({"do": "keyring_add", "secret_keys": text}), no_array),
        (json!({"do": "keyring_add", "secret_keys": []}), no_array),
        (json!({"do": "keyring_add", "secret_keys": [1]}), no_array),
        (json!({"do": "keyring_add", "secret_keys": [text, "ü"]}), no_array),
        (
            json!({"do": "keyring_add", "secret_keys": [text, &text[1..]]}),
            "keyring_add: number 2 of `secret_keys` is no key",
        ),
        (json!({"do": "keyring_add", "secret_keys": [text], text: 1}), "keyring_add: it has a field too many"),
        (json!({"do": "keyring_use", "key_id": text}), no_id),
        (json!({"do": "keyring_use", "key_id": 12345678}), "keyring_use: `key_id` is no text that could be one"),
        (json!({"do": "keyring_use"}), "keyring_use: it has no `key_id`"),
        (json!({"do": "keyring_remove", "id": 1}), "keyring_remove: it has no `key_id`"),
        (json!({"do": "keyring_encryption", "encryption": text}), no_step),
        (json!({"do": "keyring_encryption", "encryption": true}), no_step),
        (json!({"do": "keyring_off", "now": true}), "keyring_off: it has a field too many"),
    ] {
        let told = talk.refused("bad_request", request.clone());
        assert!(told.starts_with(wanted), "{request}: {told}");
        assert!(!told.contains(&text[1..20]), "{told}");
    }
    talk.refused("unknown_command", json!({"do": "keyring_"}));
    let id = one.to_string();
    let many: Vec<String> = (0..MAX_KEYS).map(|_| new_key().to_base64().to_string()).collect();
    for (request, wanted) in [
        (json!({"do": "keyring_use", "key_id": "00000000"}), "it holds no key 00000000, but "),
        (json!({"do": "keyring_remove", "key_id": "00000000"}), "it holds no key 00000000, but "),
        (json!({"do": "keyring_remove", "key_id": id}), "encrypts; use another one first"),
        (json!({"do": "keyring_off"}), "go first to `send`, then to `accept`, on all nodes, and then `off`"),
        (json!({"do": "keyring_add", "secret_keys": many}), "it holds 8 keys, which are the most"),
    ] {
        let told = talk.refused("keyring_refused", request.clone());
        assert!(told.contains(wanted), "{request}: {told}");
    }
    assert_eq!(talk.done(json!({"do": "keyring"})), before);
    let told = Agent::start(&[]).connect().refused("keyring_refused", json!({"do": "keyring_use", "key_id": id}));
    assert!(told.ends_with("this node has no keys; add one first"), "{told}");
    // A file that was spoilt, and one that cannot be written.
    std::fs::write(file.path(), "nonsense").unwrap();
    until("it is noticed", || {
        let told = refusal("key_file_refused", &talk.ask(json!({"do": "keyring_use", "key_id": two.to_string()})));
        told.contains("line 1 is no key") && told.ends_with("it is to be repaired before keys are changed")
    });
    assert_eq!(talk.done(json!({"do": "keyring"})), before);
}

#[test]
fn keys_are_listed_and_changed_by_commands() {
    let (one, two) = (new_key(), new_key());
    let folder = TempDir::new().unwrap();
    let file = key_file(&folder, "keys", &ring(&[&one], REQUIRE));
    let given = key_file(&folder, "given", &ring(&[&two], Encryption::Send));
    let path = file.path().display();
    let agent = Agent::start(&["--key-file", file.path().to_str().unwrap()]);
    let listed = |rows: &[(String, &str)], step: &str| {
        let rows: String = rows.iter().map(|(id, usage)| format!("{id}  {usage}          0\n")).collect();
        format!("KEY ID    USE       DECRYPTED\n{rows}encryption {step}\nkey file {path}\n")
    };
    let (first, second) = (one.to_string(), two.to_string());
    assert_eq!(agent.run(&["keyring"]).done(), listed(&[(first.clone(), "encrypts")], "require"));
    let both = [(first.clone(), "encrypts"), (second.clone(), "decrypts")];
    assert_eq!(agent.run(&["keyring", "add", given.path().to_str().unwrap()]).done(), listed(&both, "require"));
    assert_eq!(file.load().unwrap(), ring(&[&one, &two], REQUIRE));
    let turned = [(second.clone(), "encrypts"), (first.clone(), "decrypts")];
    assert_eq!(agent.run(&["keyring", "use", &second]).done(), listed(&turned, "require"));
    assert_eq!(agent.run(&["keyring", "encryption", "send"]).done(), listed(&turned, "send"));
    assert_eq!(agent.run(&["keyring", "remove", &first]).done(), listed(&turned[..1], "send"));
    assert_eq!(file.load().unwrap(), ring(&[&two], Encryption::Send));
    let json: Value = serde_json::from_str(&agent.run(&["keyring", "--json"]).done()).unwrap();
    let wanted = json!({"ok": true, "keyring": [{"key_id": second, "encrypts": true, "decrypted": 0}],
        "encryption": "send", "key_file": path.to_string()});
    assert_eq!(json, wanted);
    let json: Value = serde_json::from_str(&agent.run(&["keyring", "use", &second, "--json"]).done()).unwrap();
    assert_eq!(json["saved"], true);
    agent.run(&["keyring", "encryption", "accept"]).done();
    let told = agent.run(&["keyring", "off"]).done();
    let wanted = format!(
        "no keys: what this agent sends and takes is plain\nkey file {path}\nthe key file stays as it is: take it away from the agent, or it has these keys again\n"
    );
    assert_eq!(told, wanted);
    // From standard input, and to one that has none and no file.
    let agent = Agent::start(&[]);
    let told = agent.run(&["keyring"]).done();
    assert_eq!(told, "no keys: what this agent sends and takes is plain\n");
    let told = run_with(&agent, &["keyring", "add", "-"], one.to_base64().as_str()).done();
    let wanted = format!(
        "KEY ID    USE       DECRYPTED\n{first}  encrypts          0\nencryption accept\nthis lasts until the agent ends, for it has no key file\n"
    );
    assert_eq!(told, wanted);
}

#[test]
fn commands_that_cannot_be_meant_so() {
    let key = new_key();
    let text = key.to_base64().to_string();
    let folder = TempDir::new().unwrap();
    let file = key_file(&folder, "keys", &ring(&[&key], REQUIRE));
    let agent = Agent::start(&["--key-file", file.path().to_str().unwrap()]);
    // A key where something else belongs is not shown.
    for args in [&["keyring", "use", &text][..], &["keyring", "remove", &text[..20]], &["keyring", "add", &text]] {
        let told = agent.run(args).misused();
        assert!(!told.contains(&text[..20]), "{told}");
    }
    agent.run(&["keyring", "encryption", "always"]).refused();
    for args in [&["keyring", "use"][..], &["keyring", "add"], &["keyring", "stray"], &["keyring", "off", "now"]] {
        agent.run(args).refused();
    }
    let given = folder.path().join("given");
    let told = agent.run(&["keyring", "add", given.to_str().unwrap()]).failed();
    assert!(told.contains("there is none"), "{told}");
    std::fs::write(&given, &text[1..]).unwrap();
    set_mode(&given, 0o644);
    let told = agent.run(&["keyring", "add", given.to_str().unwrap()]).failed();
    assert!(told.contains("`chmod 600` it"), "{told}");
    set_mode(&given, 0o600);
    let told = agent.run(&["keyring", "add", given.to_str().unwrap()]).failed();
    assert!(told.contains("line 1 is no key") && !told.contains(&text[1..20]), "{told}");
    for (input, wanted) in [("", "it holds no key"), (&*format!("# a\n{}", &text[1..]), "line 2 is no key")] {
        let told = run_with(&agent, &["keyring", "add", "-"], input).failed();
        assert!(told.starts_with("standard input cannot be used: ") && told.contains(wanted), "{told}");
    }
    let told = agent.run(&["keyring", "remove", &key.to_string()]).failed();
    assert!(told.ends_with("encrypts; use another one first"), "{told}");
    // With JSON the reply comes, too.
    let mut ended = agent.run(&["keyring", "off", "--json"]);
    let reply: Value = serde_json::from_slice(&std::mem::take(&mut ended.out)).unwrap();
    assert_eq!(reply["error"]["code"], "keyring_refused");
    ended.failed();
    assert_eq!(file.load().unwrap(), ring(&[&key], REQUIRE));
}
