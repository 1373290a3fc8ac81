//! What an agent's memory holds of keys that it does not have any more.

use std::io::Write;
use std::os::unix::net::UnixStream;

use grapevine::keyring::{Encryption, SecretKey};
use serde_json::json;

use super::{Cluster, new_key, ring};
use crate::harness::memory::{Needle, search};
use crate::harness::{Process, program};

fn base64(key: &SecretKey) -> Needle {
    Needle::new(format!("base64 of {key}"), key.to_base64().as_bytes())
}

/// Its keys come by its file, by commands, by requests good and bad, and go again.
#[test]
fn keys_that_were_removed_are_gone_from_memory() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let keys: Vec<SecretKey> = (0..4).map(|_| new_key()).collect();
    let [first, by_file, by_command, by_request] = &keys[..] else { unreachable!() };
    let require = |keys: &[&SecretKey]| ring(keys, Encryption::Require);
    let mut cluster = Cluster::start(2, Some(&require(&[first])));
    // The other one understands whatever comes.
    cluster.file(1).save(&require(&[first, by_file, by_command, by_request])).unwrap();
    let other = &mut cluster.talks[1];
    crate::harness::until("the other one has all keys", || super::keys_of(other).0.len() == 4);
    cluster.file(0).save(&require(&[first, by_file])).unwrap();
    let text = |key: &SecretKey| key.to_base64().to_string();
    let agent = &cluster.agents[0];
    let mut process =
        Process::start(&mut program(&["keyring", "add", "-", "--control", agent.control.to_str().unwrap()]));
    crate::harness::until("the file is taken in", || super::keys_of(&mut agent.connect()).0.len() == 2);
    process.input.take().unwrap().write_all(text(by_command).as_bytes()).unwrap();
    process.end().done();
    let mut talk = agent.connect();
    talk.done(json!({"do": "keyring_add", "secret_keys": [text(by_request)]}));
    for key in [by_file, by_command, by_request] {
        talk.done(json!({"do": "keyring_use", "key_id": key.to_string()}));
        talk.done(json!({"do": "keyring_use", "key_id": first.to_string()}));
        let text = text(key);
        talk.refused("bad_request", json!({"do": "keyring_add", "secret_keys": [text, 1]}));
        talk.refused("bad_request", json!({"do": "keyring_use", "key_id": text}));
        talk.refused("bad_request", json!({"do": "keyring_add", "secret_keys": text, "more": text}));
        talk.send(format!("{{\"do\":\"keyring_add\",\"secret_keys\":[\"{text}\"],}}\n"));
        assert_eq!(talk.reply()["error"]["code"], "bad_request");
        talk.send(format!(
            "{{\"do\":\"keyring_add\",\"more\":\"{}\",\"secret_keys\":[\"{text}\"]}}\n",
            "x".repeat(100_000)
        ));
        assert_eq!(talk.reply()["error"]["code"], "bad_request");
        // A client that goes in the middle of a line.
        let mut stream = UnixStream::connect(&agent.control).unwrap();
        write!(stream, "{{\"do\":\"keyring_add\",\"secret_keys\":[\"{text}\"").unwrap();
        drop(stream);
    }
    for key in [by_file, by_command, by_request] {
        talk.done(json!({"do": "keyring_remove", "key_id": key.to_string()}));
    }
    cluster.settle();
    let agent = &cluster.agents[0];
    let id = agent.process.id().to_string();
    let needles: Vec<Needle> = keys.iter().map(base64).collect();
    let (found, seen) = search(&id, &needles);
    assert!(seen > 1 << 20, "{seen} bytes were looked at");
    assert_eq!(found, [""; 0]);
    // What it holds as a value is found: the search sees what there is.
    let mut talk = agent.connect();
    talk.done(json!({"do": "set", "key": "k", "value": text(by_request)}));
    assert!(!search(&id, &needles[3..]).0.is_empty());
    cluster.end();
}
