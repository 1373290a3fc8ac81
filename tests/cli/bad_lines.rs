//! What is no request: each is answered, and the conversation and everybody else's go on.

use std::io::Write;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::harness::agent::threads;
use crate::harness::conversation::refusal;
use crate::harness::{Agent, Conversation, until};

/// The longest request, in bytes.
const MAX_REQUEST: usize = 1 << 20;

/// Sends a line that is none of the protocol's: the message of the answer, after which the next request is answered.
fn refused(talk: &mut Conversation, line: impl AsRef<[u8]>) -> String {
    talk.send([line.as_ref(), b"\n"].concat());
    let reply = talk.reply();
    assert_eq!(reply["id"], Value::Null);
    let told = refusal("bad_request", &reply);
    talk.done(json!({"do": "keys"}));
    told
}

#[test]
fn lines_that_are_no_objects() {
    let agent = Agent::start(&[]);
    let mut talk = agent.connect();
    let lines = [
        "",
        " ",
        "x",
        "{",
        "}",
        "{}}",
        "{\"do\":\"keys\"} {\"do\":\"keys\"}",
        "null",
        "1",
        "\"text\"",
        "[]",
        "[{\"do\":\"keys\"}]",
        "{\"do\":\"keys\"",
        "{'do':'keys'}",
        "{\"do\":\"keys\",}",
        "{do:keys}",
        "{\"do\":\"a\tb\"}",
        "{\"do\":\"keys\",\"id\":NaN}",
        "\u{feff}{\"do\":\"keys\"}",
        "GET / HTTP/1.1\r",
    ];
    for line in lines {
        let told = refused(&mut talk, line);
        assert!(told.starts_with("the line is no JSON object: "), "{line}: {told}");
    }
}

#[test]
fn lines_that_are_no_text() {
    let agent = Agent::start(&[]);
    let mut talk = agent.connect();
    let every_byte: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
    let lines: [&[u8]; 6] = [
        b"\0",
        b"\xff\xfe",
        b"{\"do\":\"set\",\"key\":\"\xff\",\"value\":1}",
        b"{\"do\":\"set\",\"key\":\"k\",\"value\":\"\xc3\"}",
        b"{\"do\":\"\xed\xa0\x80\"}",
        &every_byte,
    ];
    for line in lines {
        refused(&mut talk, line);
    }
    // A datagram of the gossip, a key exchange of TLS, an archive.
    for start in
        [&b"GV\x01\x00\x01\xa9grapevine"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PK\x03\x04\x14\0"]
    {
        refused(&mut talk, [start, &every_byte.repeat(40)].concat());
    }
    assert_eq!(talk.done(json!({"do": "state"})), json!({"entries": {}}));
}

#[test]
fn lines_that_are_nested_too_deep() {
    let agent = Agent::start(&[]);
    let mut talk = agent.connect();
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let set = |depth: usize| format!("{{\"id\":null,\"do\":\"set\",\"key\":\"k\",\"value\":{}}}", nested(depth));
    // What a map may hold.
    talk.send(set(63) + "\n");
    assert_eq!(talk.reply()["ok"], true);
    assert!(refused(&mut talk, set(64)).contains("nested too deep"));
    for depth in [200, 100_000, 500_000] {
        assert!(refused(&mut talk, set(depth)).contains("recursion limit"), "{depth}");
        refused(&mut talk, "[".repeat(depth));
        refused(&mut talk, "{\"a\":".repeat(depth / 5));
        refused(&mut talk, format!("{{\"id\":{}", "[".repeat(depth)));
    }
}

#[test]
fn lines_that_are_too_long() {
    let mut agent = Agent::start(&["--stdio"]);
    let mut other = agent.connect();
    let mut socket = agent.connect();
    for talk in [&mut socket, &mut agent.stdio] {
        // The longest that is read, and one byte more.
        let request = "{\"id\":\"long\",\"do\":\"keys\"}";
        let request = request.to_owned() + &" ".repeat(MAX_REQUEST - request.len());
        talk.send(request.clone() + "\n");
        assert_eq!(talk.reply()["ok"], true);
        assert_eq!(refused(talk, request + " "), "the line is longer than 1048576 bytes");
        // Ten times as long, also where it is full of what would be requests.
        for filling in [&b"x"[..], b"\0", b"\xff", b"[", b"{\"do\":\"leave\"}"] {
            let line = filling.repeat((10 << 20) / filling.len());
            assert_eq!(refused(talk, line), "the line is longer than 1048576 bytes");
        }
        other.done(json!({"do": "keys"}));
    }
}

/// Clients that go in the middle of a line, or of a reply, leave nothing behind.
#[test]
fn many_half_lines() {
    let agent = Agent::start(&["--set", &format!("large={}", "x".repeat(60_000))]);
    let mut talk = agent.connect();
    talk.done(json!({"do": "keys"}));
    let before = threads(&agent.process);
    for n in 0..200 {
        let mut stream = UnixStream::connect(&agent.control).unwrap();
        let halves = ["", "{", "{\"do\":\"set\",\"key\":\"k\",\"val", "{\"do\":\"state\"}\n{\"do\":\"sub", "\n\n\n"];
        stream.write_all(halves[n % halves.len()].as_bytes()).unwrap();
    }
    // In pieces as small as they can be a line is a line.
    for byte in b"{\"id\":1,\"do\":\"keys\"}\n" {
        talk.send([*byte]);
    }
    assert_eq!(talk.reply(), json!({"id": 1, "ok": true, "keys": ["large"]}));
    until("their threads have ended", || threads(&agent.process) <= before);
}

/// The last line needs no end, and the replies come before the end.
#[test]
fn who_says_no_more_is_still_answered() {
    let agent = Agent::start(&[]);
    let mut talk = agent.connect();
    talk.send("{\"id\":1,\"do\":\"set\",\"key\":\"a\",\"value\":1}\r\n{\"id\":2,\"do\":\"get\",\"key\":\"a\"}");
    talk.close();
    assert_eq!(talk.reply(), json!({"id": 1, "ok": true, "version": 2}));
    assert_eq!(talk.reply(), json!({"id": 2, "ok": true, "value": 1, "version": 2}));
    assert_eq!(talk.next_event(), None, "the end");
}

/// The same field twice, and fields that look like the program's own.
#[test]
fn lines_that_are_odd() {
    let agent = Agent::start(&[]);
    let mut talk = agent.connect();
    talk.send("{\"id\":1,\"id\":2,\"do\":\"keys\",\"do\":\"members\"}\n");
    let reply = talk.reply();
    assert!(reply["id"] == 2 && reply["members"].is_array(), "{reply}");
    talk.send("  {\"id\":3,\"\\u0064o\":\"k\\u0065ys\"}  \t\r\n");
    assert_eq!(talk.reply(), json!({"id": 3, "ok": true, "keys": []}));
    for name in ["do", "id", "event", "__proto__", "$serde_json::private::Number"] {
        let value = json!({name: "[1]"});
        talk.done(json!({"do": "set", "key": "k", "value": value}));
        assert_eq!(talk.done(json!({"do": "get", "key": "k"}))["value"], value);
    }
}
