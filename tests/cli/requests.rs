//! Every request of the line protocol with its reply, over the control socket and over standard input and output.

use std::net::UdpSocket;

use serde_json::{Value, json};

use crate::harness::conversation::refusal;
use crate::harness::{Agent, Conversation, all_alive, has, until};

/// Both ways to talk to an agent.
fn both(mut check: impl FnMut(&Agent, &mut Conversation)) {
    let agent = Agent::start(&[]);
    check(&agent, &mut agent.connect());
    let mut agent = Agent::start(&["--stdio"]);
    let silent = Conversation::over_stdio(&mut agent.process);
    let mut stdio = std::mem::replace(&mut agent.stdio, silent);
    check(&agent, &mut stdio);
}

#[test]
fn keys_of_the_own_map() {
    both(|agent, talk| {
        let exact = |talk: &mut Conversation, request: Value, reply: Value| assert_eq!(talk.ask(request), reply);
        let set = json!({"id": 1, "do": "set", "key": "a", "value": {"x": [1, 2.5, null, "ü"]}});
        exact(talk, set.clone(), json!({"id": 1, "ok": true, "version": 2}));
        // What it is already is no change.
        exact(talk, set, json!({"id": 1, "ok": true, "version": 2}));
        exact(
            talk,
            json!({"id": 2, "do": "set", "key": "b", "value": null}),
            json!({"id": 2, "ok": true, "version": 3}),
        );
        let value = json!({"id": 3, "ok": true, "value": {"x": [1, 2.5, null, "ü"]}, "version": 2});
        exact(talk, json!({"id": 3, "do": "get", "key": "a"}), value.clone());
        exact(talk, json!({"id": 3, "do": "get", "key": "a", "peer": agent.peer}), value);
        exact(talk, json!({"id": 4, "do": "keys"}), json!({"id": 4, "ok": true, "keys": ["a", "b"]}));
        let entries =
            json!({"a": {"value": {"x": [1, 2.5, null, "ü"]}, "version": 2}, "b": {"value": null, "version": 3}});
        exact(talk, json!({"id": 5, "do": "state"}), json!({"id": 5, "ok": true, "entries": entries}));
        exact(talk, json!({"id": 6, "do": "delete", "key": "a"}), json!({"id": 6, "ok": true, "version": 4}));
        exact(talk, json!({"id": 7, "do": "keys", "peer": agent.peer}), json!({"id": 7, "ok": true, "keys": ["b"]}));
        exact(talk, json!({"id": 8, "do": "delete", "key": "b"}), json!({"id": 8, "ok": true, "version": 5}));
        exact(talk, json!({"id": 9, "do": "state", "peer": agent.peer}), json!({"id": 9, "ok": true, "entries": {}}));
        assert_eq!(
            talk.refused("not_found", json!({"do": "get", "key": "a"})),
            format!("{} has no key `a`", agent.peer)
        );
    });
}

#[test]
fn values_of_every_type_come_back_as_they_were() {
    both(|_, talk| {
        let values = [
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(i64::MIN),
            json!(u64::MAX),
            json!(0.1),
            json!(-1.5e300),
            json!(1.0),
            json!(""),
            json!("ü €😀 \" \\ \n \r \t \u{0} \u{1b} \u{7f} \u{9b} \u{feff} \u{2028}"),
            json!([]),
            json!({}),
            json!([[[]], {"": {"a": [null]}}]),
            json!({"event": "stopped", "id": 1, "ok": false, "error": {"code": "stopped"}}),
        ];
        for value in values {
            talk.done(json!({"do": "set", "key": "key", "value": value}));
            let read = talk.done(json!({"do": "get", "key": "key"}));
            assert_eq!(read["value"], value);
            assert_eq!(read["value"].to_string(), value.to_string());
        }
        // The longest key and value that there may be, and a key of any text.
        let (key, value) = ("ü".repeat(128), json!("v".repeat(65_536 - 3)));
        talk.done(json!({"do": "set", "key": key, "value": value}));
        assert_eq!(talk.done(json!({"do": "get", "key": key}))["value"], value);
        for key in ["", "\u{0}\n\u{1b}\"\\", "{\"a\":1}"] {
            talk.done(json!({"do": "set", "key": key, "value": key}));
            assert_eq!(talk.done(json!({"do": "get", "key": key}))["value"], key);
        }
    });
}

#[test]
fn keys_with_a_life() {
    both(|_, talk| {
        talk.done(json!({"do": "set", "key": "long", "value": 1, "ttl_ms": 60_000}));
        let ttl = talk.done(json!({"do": "get", "key": "long"}))["ttl_ms"].as_u64().unwrap();
        assert!((1..=60_000).contains(&ttl), "{ttl}");
        let entries = talk.done(json!({"do": "state"}))["entries"].clone();
        let ttl = entries["long"]["ttl_ms"].as_u64().unwrap();
        assert!((1..=60_000).contains(&ttl), "{ttl}");
        // It is given another life, and one without end.
        talk.done(json!({"do": "set", "key": "long", "value": 1, "ttl_ms": u64::MAX}));
        assert!(talk.done(json!({"do": "get", "key": "long"}))["ttl_ms"].as_u64().unwrap() > 1 << 50);
        talk.done(json!({"do": "set", "key": "long", "value": 1, "ttl_ms": null}));
        assert_eq!(talk.done(json!({"do": "get", "key": "long"})).get("ttl_ms"), None);
        talk.done(json!({"do": "set", "key": "short", "value": 1, "ttl_ms": 20}));
        until("it ends", || talk.ask(json!({"do": "get", "key": "short"}))["error"]["code"] == "not_found");
        talk.done(json!({"do": "set", "key": "none", "value": 1, "ttl_ms": 0}));
        talk.refused("not_found", json!({"do": "get", "key": "none"}));
    });
}

/// The id in every type of JSON, also in replies that refuse.
#[test]
fn ids_are_repeated() {
    both(|_, talk| {
        let ids = [
            json!(null),
            json!(false),
            json!(0),
            json!(-7),
            json!(u64::MAX),
            json!(1.5),
            json!(""),
            json!("ü\n\"\u{1b}"),
            json!([1, [2, {}]]),
            json!({"z": {"a": null}, "a": 1}),
        ];
        for id in ids {
            let reply = talk.ask(json!({"id": id, "do": "keys"}));
            assert_eq!(reply["id"].to_string(), id.to_string());
            assert_eq!(reply["ok"], true);
            refusal("unknown_command", &talk.ask(json!({"id": id, "do": "nothing"})));
            refusal("bad_request", &talk.ask(json!({"id": id, "do": 1})));
            refusal("bad_request", &talk.ask(json!({"id": id, "do": "get"})));
            refusal("not_found", &talk.ask(json!({"id": id, "do": "get", "key": "nothing"})));
        }
        // Who gives none gets none.
        talk.send("{\"do\":\"keys\"}\n");
        assert_eq!(talk.reply(), json!({"id": null, "ok": true, "keys": []}));
    });
}

#[test]
fn members_and_counters() {
    both(|agent, talk| {
        let other = Agent::join(agent, &["--set", "a=1", "--set", "b=2"]);
        all_alive(&[agent, &other]);
        agent.reads(&other.peer, "b", &json!(2));
        let members = talk.members();
        assert_eq!(members.len(), 2);
        let own = json!({"peer": agent.peer, "generation": agent.generation(), "state": "alive", "phi": 0.0, "version": 1,
                         "keys": 0, "self": true});
        assert!(has(&members[0], &own), "{members:?}");
        let others = json!({"peer": other.peer, "generation": other.generation(), "state": "alive", "version": 3, "keys": 2,
                            "self": false});
        assert!(has(&members[1], &others), "{members:?}");
        assert!(members[1]["phi"].as_f64().unwrap() >= 0.0);
        for field in ["heartbeat", "age_ms", "bytes_received", "bytes_sent"] {
            assert!(members[1][field].is_u64(), "{field}: {members:?}");
        }
        assert!(members[1]["bytes_sent"].as_u64().unwrap() > 0);

        let stats = talk.done(json!({"do": "stats"}))["stats"].clone();
        assert!(
            has(&stats, &json!({"peers": 1, "alive": 1, "own_keys": 0, "send_errors": 0, "events_missed": 0})),
            "{stats}"
        );
        let counters = stats.as_object().unwrap();
        for (name, count) in counters {
            let is_count = count.is_u64() || ["refused", "dropped_by_kernel", "service"].contains(&name.as_str());
            assert!(is_count, "{name}: {count}");
        }
        let refused = counters["refused"].as_object().unwrap();
        assert!(refused.contains_key("wrong_cluster") && refused.values().all(Value::is_u64), "{stats}");
        assert!(
            stats["datagrams_sent"].as_u64().unwrap() > 0 && stats["bytes_received"].as_u64().unwrap() > 0,
            "{stats}"
        );
    });
}

/// A peer has its states one after the other, and is gone.
#[test]
fn peers_fail_and_are_forgotten() {
    both(|agent, talk| {
        let other = Agent::join(agent, &["--set", "a=1"]);
        all_alive(&[agent, &other]);
        let peer = other.peer.clone();
        agent.reads(&peer, "a", &json!(1));
        assert!(talk.refused("alive", json!({"do": "forget", "peer": peer})).contains(&peer));
        other.crash();
        agent.sees(&peer, json!({"state": "failed"}));
        // What it wrote is still there.
        assert_eq!(talk.done(json!({"do": "get", "peer": peer, "key": "a"}))["value"], 1);
        assert_eq!(talk.done(json!({"do": "forget", "peer": peer})), json!({}));
        assert_eq!(talk.members().len(), 1);
        for request in ["forget", "keys", "state"] {
            let told = talk.refused("unknown_peer", json!({"do": request, "peer": peer}));
            assert_eq!(told, format!("no peer {peer} is known here"));
        }
        talk.refused("unknown_peer", json!({"do": "get", "peer": peer, "key": "a"}));
    });
}

/// A peer that was heard of, and has given no evidence yet that it is alive.
#[test]
fn a_peer_is_known_before_it_is_alive() {
    // The next heartbeat comes in ten seconds.
    let first = Agent::start(&["--interval", "10s"]);
    let second = Agent::join(&first, &["--interval", "10s"]);
    let seen = first.sees(&second.peer, json!({"generation": second.generation()}));
    assert!(has(&seen, &json!({"state": "known", "self": false})), "{seen}");
    assert_eq!(seen.get("age_ms"), None, "{seen}");
}

#[test]
fn addresses_are_read_in_any_spelling() {
    both(|agent, talk| {
        let port = agent.peer.rsplit_once(':').unwrap().1;
        talk.done(json!({"do": "set", "key": "a", "value": 1}));
        let long = format!("[::ffff:127.0.0.1]:{port}");
        assert_eq!(talk.done(json!({"do": "get", "key": "a", "peer": long}))["value"], 1);
        talk.refused("unknown_peer", json!({"do": "keys", "peer": "[::1]:1"}));
        for nobody in ["", "localhost:9000", "127.0.0.1", "127.0.0.1:99999", "::1:9000", " 127.0.0.1:1"] {
            let told = talk.refused("bad_request", json!({"do": "keys", "peer": nobody}));
            assert!(told.contains("ADDRESS:PORT"), "{told}");
        }
    });
}

/// Addresses of IPv6 are in brackets.
#[test]
fn agents_find_each_other_over_ipv6() {
    // Containers are often without it; then there is nothing to test.
    if UdpSocket::bind("[::1]:0").is_err() {
        return;
    }
    let first = Agent::start(&["--bind", "[::1]:0", "--set", "a=1"]);
    assert!(first.peer.starts_with("[::1]:"), "{}", first.peer);
    let second = Agent::join(&first, &["--bind", "[::1]:0"]);
    second.reads(&first.peer, "a", &json!(1));
}

/// Requests need not wait for replies, which come in their order.
#[test]
fn requests_may_follow_each_other_at_once() {
    both(|_, talk| {
        let requests: String =
            (0..500).map(|n| format!("{{\"id\":{n},\"do\":\"set\",\"key\":\"k\",\"value\":{n}}}\n")).collect();
        talk.send(requests);
        for n in 0..500 {
            assert_eq!(talk.reply(), json!({"id": n, "ok": true, "version": n + 2}));
        }
    });
}

/// A number that no number type holds comes back digit by digit.
#[test]
fn ids_are_repeated_as_they_were_written() {
    let agent = Agent::start(&[]);
    let mut talk = agent.connect();
    for id in ["123456789012345678901234567890", "1e999", "0.10", "[1, {\"b\":2,\"a\":1}]", "\"\\u0041\""] {
        talk.send(format!("{{\"do\":\"keys\",\"id\":{id}}}\n"));
        let line = talk.raw_line();
        assert!(line.starts_with(&format!("{{\"id\":{id},\"ok\":true")), "{line}");
    }
    // Any white space between its parts is still white space.
    talk.send("{\"do\":\"keys\",\"id\":[1,\t2]}\n");
    assert_eq!(talk.reply()["id"], json!([1, 2]));
}
