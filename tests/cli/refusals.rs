//! Every error code of the line protocol.

use serde_json::{Value, json};

use crate::harness::conversation::refusal;
use crate::harness::{Agent, Conversation, all_alive, until};

/// Clients at once; one more is refused.
const MAX_CLIENTS: usize = 64;

#[test]
fn bad_request() {
    let agent = Agent::start(&[]);
    let mut talk = agent.connect();
    let cases = [
        (
            json!({}),
            "it does not say what to `do`: one of set, delete, get, keys, state, members, services, stats, subscribe, act, serve, reply, forget, keyring, keyring_add, keyring_use, keyring_remove, keyring_encryption, keyring_off and leave",
        ),
        (json!({"do": null}), "`do` is no string"),
        (json!({"do": ["set"]}), "`do` is no string"),
        (json!({"do": "set", "key": "a"}), "set: missing field `value`"),
        (json!({"do": "set", "value": 1}), "set: missing field `key`"),
        (json!({"do": "set", "key": 1, "value": 1}), "set: invalid type: integer `1`, expected a string"),
        (json!({"do": "set", "key": "a", "value": 1, "ttl_ms": -1}), "set: invalid value: integer `-1`, expected u64"),
        (
            json!({"do": "set", "key": "a", "value": 1, "ttl_ms": 1.5}),
            "set: invalid type: floating point `1.5`, expected u64",
        ),
        (json!({"do": "set", "key": "a", "value": 1, "ttl": 1}), "set: unknown field `ttl`"),
        (json!({"do": "delete"}), "delete: missing field `key`"),
        (json!({"do": "delete", "key": "a", "peer": "127.0.0.1:1"}), "delete: unknown field `peer`"),
        (json!({"do": "get", "peer": "127.0.0.1:1"}), "get: missing field `key`"),
        (json!({"do": "get", "key": "a", "peer": 1}), "get: invalid type"),
        (json!({"do": "get", "key": "a", "peer": "x"}), "`x` is no ADDRESS:PORT"),
        (json!({"do": "keys", "key": "a"}), "keys: unknown field `key`"),
        (json!({"do": "state", "peer": []}), "state: invalid type"),
        (json!({"do": "members", "peer": "127.0.0.1:1"}), "members: unknown field `peer`"),
        (json!({"do": "stats", "x": 1}), "stats: unknown field `x`"),
        (json!({"do": "services", "x": 1}), "services: unknown field `x`"),
        (json!({"do": "subscribe", "prefix": 1}), "subscribe: invalid type"),
        (json!({"do": "subscribe", "key": "a"}), "subscribe: unknown field `key`"),
        (json!({"do": "forget"}), "forget: missing field `peer`"),
        (json!({"do": "forget", "peer": "x"}), "`x` is no ADDRESS:PORT"),
        (json!({"do": "leave", "now": true}), "leave: unknown field `now`"),
    ];
    for (request, wanted) in cases {
        let told = talk.refused("bad_request", request.clone());
        assert!(told.starts_with(wanted), "{request}: {told}");
    }
    // Nothing has happened.
    assert_eq!(talk.done(json!({"do": "state"})), json!({"entries": {}}));
}

#[test]
fn unknown_command() {
    let agent = Agent::start(&[]);
    let mut talk = agent.connect();
    for name in ["", "SET", "set ", "quit"] {
        let told = talk.refused("unknown_command", json!({"do": name, "anything": 1}));
        assert!(told.starts_with(&format!("`{name}` is unknown; there are set, delete, get")), "{told}");
    }
}

/// Each leaves the map as it was.
#[test]
fn keys_and_values_that_are_too_large() {
    let agent = Agent::start(&[]);
    let mut talk = agent.connect();
    talk.done(json!({"do": "set", "key": "a", "value": 1}));
    let told = talk.refused("key_too_long", json!({"do": "set", "key": "ü".repeat(129), "value": 1}));
    assert!(told.starts_with("the key has 258 bytes; at most it may have 256"), "{told}");
    let told = talk.refused("value_too_large", json!({"do": "set", "key": "a", "value": "v".repeat(65_536 - 2)}));
    assert!(told.starts_with("the value has 65537 bytes; at most it may have 65536"), "{told}");
    assert_eq!(talk.done(json!({"do": "state"})), json!({"entries": {"a": {"value": 1, "version": 2}}}));
}

#[test]
fn too_many_keys() {
    const MOST: usize = 65_536;
    let agent = Agent::start(&[]);
    let mut talk = agent.connect();
    let requests: String =
        (0..=MOST).map(|n| format!("{{\"id\":{n},\"do\":\"set\",\"key\":\"{n:x}\",\"value\":0}}\n")).collect();
    talk.send(requests);
    for n in 0..MOST {
        let reply = talk.reply();
        assert_eq!((&reply["id"], &reply["ok"]), (&json!(n), &json!(true)), "{reply}");
    }
    let told = refusal("too_many_keys", &talk.reply());
    assert!(told.starts_with("the map is full with 65536 keys and tombstones"), "{told}");
    // What is there can still be changed; one that is deleted leaves a tombstone for an hour.
    talk.done(json!({"do": "set", "key": "0", "value": 1}));
    talk.done(json!({"do": "delete", "key": "1"}));
    talk.refused("too_many_keys", json!({"do": "set", "key": "new", "value": 0}));
    assert_eq!(talk.done(json!({"do": "keys"}))["keys"].as_array().unwrap().len(), MOST - 1);
}

/// An agent whose only peer cannot confirm that it heard it leave goes on for a while, and says that it has stopped.
#[test]
fn stopped_and_timed_out() {
    let first = Agent::start(&[]);
    let mut second = Agent::join(&first, &["--set", "a=1"]);
    all_alive(&[&first, &second]);
    let (mut leaving, mut other) = (second.connect(), second.connect());
    first.process.pause();
    leaving.send("{\"id\":\"bye\",\"do\":\"leave\"}\n");
    until("it leaves", || other.ask(json!({"do": "delete", "key": "b"}))["error"]["code"] == "stopped");
    for request in [json!({"do": "set", "key": "a", "value": 2}), json!({"do": "delete", "key": "a"})] {
        assert_eq!(other.refused("stopped", request), "the node has stopped");
    }
    // Reading goes on.
    assert_eq!(other.done(json!({"do": "get", "key": "a"}))["value"], 1);
    let reply = leaving.reply();
    assert_eq!(reply["id"], "bye");
    let told = refusal("timed_out", &reply);
    assert!(told.starts_with("too few peers confirmed within 5s"), "{told}");
    // It has ended all the same.
    assert_eq!(second.stdio.event(json!({"event": "stopped"})), json!({"event": "stopped"}));
    assert_eq!(second.process.end().status, Some(0));
}

/// Who comes when there are too many is told so; who comes after one has gone is served.
#[test]
fn too_many_connections() {
    let agent = Agent::start(&[]);
    let mut talks: Vec<Conversation> = (0..MAX_CLIENTS).map(|_| agent.connect()).collect();
    for talk in &mut talks {
        talk.done(json!({"do": "keys"}));
    }
    let told = refusal("too_many_connections", &agent.connect().reply());
    assert_eq!(told, "there are 64 connections already; close one");
    for _ in 0..20 {
        assert_eq!(agent.run(&["members"]).failed(), told);
    }
    // The others go on.
    for talk in &mut talks {
        talk.done(json!({"do": "keys"}));
    }
    talks.pop();
    until("there is room", || agent.run(&["members"]).status == Some(0));
}

/// The codes that take others to be provoked are told by `requests`: `not_found`, `unknown_peer` and `alive`.
#[test]
fn a_refusal_has_a_code_and_a_message_and_nothing_else() {
    let agent = Agent::start(&[]);
    let mut reply = agent.connect().ask(json!({"id": 1, "do": "get", "key": "a"}));
    let message = reply["error"]["message"].take();
    assert_eq!(reply, json!({"id": 1, "error": {"code": "not_found", "message": null}}));
    assert_ne!(message, Value::Null);
}
