//! Calls of actions between agents with keys, and of programs that have none.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use grapevine::keyring::{Keyring, SecretKey};
use serde_json::json;
use tempfile::TempDir;

use super::key_file;
use crate::harness::{Agent, LONG, until};

const REQUEST: &[u8] = b"{\"id\":\"a/1\",\"kind\":\"act\",\"origin\":\"x\",\"time\":{\"client_sent\":1},\"act\":{\"role\":\"a\"},\"sync\":true}\n";

/// What a program without keys is answered at this address; nothing if the connection is closed.
fn plain_answer(addr: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(REQUEST).unwrap();
    let mut line = String::new();
    // One that is refused may be reset, for nobody reads what it said.
    let _ = BufReader::new(&stream).read_line(&mut line);
    line
}

#[test]
fn calls_are_encrypted_and_plain_ones_are_taken_on_purpose() {
    let folder = TempDir::new().unwrap();
    let file = key_file(&folder, "cluster.keys", &Keyring::new(SecretKey::generate().unwrap()));
    let file = file.path().to_str().unwrap();
    let serve = ["--serve", "role:a=echo '{\"b\":1}'"];
    let listen = ["--key-file", file, "--listen", "127.0.0.1:0", "--listen-plain", "127.0.0.1:0"];
    let server = Agent::start(&[&listen[..], &serve[..]].concat());
    let caller = Agent::join(&server, &["--key-file", file]);
    let mut talk = caller.connect();
    until("the pattern is known", || !talk.done(json!({"do": "services"}))["services"].as_array().unwrap().is_empty());
    assert_eq!(talk.done(json!({"do": "act", "message": "role:a"}))["result"], json!({"b": 1}));

    let at = |name: &str| server.ready[name].as_str().unwrap().to_owned();
    assert_eq!(plain_answer(&at("listen")), "", "an encrypted address does not answer");
    assert!(plain_answer(&at("listen_plain")).contains("{\"b\":1}"));
    let stats = server.connect().done(json!({"do": "stats"}));
    assert_eq!(stats["stats"]["service"]["refused"]["plain_connection"], 1, "{stats}");
}
