//! Every event of the line protocol with its fields, as agents print them and as clients are told.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::harness::{Agent, Conversation, all_alive, is_keyed, until};

/// The names of a line's fields, in their order.
fn fields(line: &Value) -> Vec<&str> {
    line.as_object().unwrap().keys().map(String::as_str).collect()
}

/// An agent and a client that is told everything.
fn followed(agent: &Agent) -> Conversation {
    let mut talk = agent.connect();
    assert_eq!(talk.done(json!({"do": "subscribe"})), json!({}));
    talk
}

#[test]
fn ready_comes_first() {
    let agent = Agent::start(&["--cluster", "blue"]);
    let ready = json!({"event": "ready", "peer": agent.peer, "generation": agent.generation(), "cluster": "blue",
                       "control": agent.control});
    assert_eq!(agent.ready, ready);
    assert!(agent.peer.starts_with("127.0.0.1:") && !agent.peer.ends_with(":0"), "{ready}");
    // Milliseconds since 1970.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    assert!((now - 600_000..=now).contains(&agent.generation()), "{ready}");
}

#[test]
fn a_peer_comes_and_leaves() {
    let mut first = Agent::start(&[]);
    let mut client = followed(&first);
    let mut second = Agent::join(&first, &[]);
    let (peer, generation) = (second.peer.clone(), second.generation());
    // Each sees the other come; clients and standard output are told the same.
    let seen = second.stdio.event(json!({"event": "peer_alive", "peer": first.peer}));
    assert_eq!(seen, json!({"event": "peer_alive", "peer": first.peer, "generation": first.generation()}));
    for talk in [&mut first.stdio, &mut client] {
        for name in ["new_peer", "peer_alive"] {
            let event = talk.event(json!({"event": name}));
            assert_eq!(event, json!({"event": name, "peer": peer, "generation": generation}));
        }
    }
    second.terminate();
    for talk in [&mut first.stdio, &mut client] {
        let event = talk.event(json!({"event": "peer_left"}));
        assert_eq!(event, json!({"event": "peer_left", "peer": peer, "generation": generation}));
    }
}

#[test]
fn a_peer_fails_and_is_forgotten_and_comes_back() {
    let mut first = Agent::start(&[]);
    let mut client = followed(&first);
    let second = Agent::join(&first, &[]);
    all_alive(&[&first, &second]);
    let (peer, generation) = (second.peer.clone(), second.generation());
    second.crash();
    for talk in [&mut first.stdio, &mut client] {
        let event = talk.event(json!({"event": "peer_failed"}));
        assert_eq!(fields(&event), ["event", "peer", "generation", "phi"]);
        assert_eq!((&event["peer"], &event["generation"]), (&json!(peer), &json!(generation)));
        assert!(event["phi"].as_f64().unwrap() >= 8.0, "{event}");
    }
    first.run(&["forget", &peer]).done();
    for talk in [&mut first.stdio, &mut client] {
        let event = talk.event(json!({"event": "peer_forgotten"}));
        assert_eq!(event, json!({"event": "peer_forgotten", "peer": peer, "generation": generation}));
    }
    let again = Agent::join(&first, &["--bind", &peer]);
    for talk in [&mut first.stdio, &mut client] {
        let event = talk.event(json!({"event": "peer_alive"}));
        assert_eq!((&event["peer"], &event["generation"]), (&json!(peer), &json!(again.generation())));
    }
    assert!(again.generation() > generation);
}

/// Of the own map and of others', with and without a life.
#[test]
fn keys_are_set_and_deleted_and_end() {
    let mut first = Agent::start(&[]);
    let mut second = Agent::join(&first, &[]);
    all_alive(&[&first, &second]);
    let (mut own, mut others) = (followed(&first), followed(&second));
    let (peer, generation) = (first.peer.clone(), first.generation());
    let mut everybody = [&mut own, &mut others, &mut first.stdio, &mut second.stdio];

    let mut talk = Conversation::over_socket(&first.control);
    let value = json!({"z": [1, null, "ü\u{1b}"], "a": 1.5});
    talk.done(json!({"do": "set", "key": "k", "value": value}));
    let update =
        json!({"event": "update", "peer": peer, "generation": generation, "key": "k", "value": value, "version": 2});
    for told in &mut everybody {
        assert_eq!(told.event(json!({"event": "update"})).to_string(), update.to_string());
    }
    talk.done(json!({"do": "delete", "key": "k"}));
    for told in &mut everybody {
        let event = told.event(json!({"event": "delete"}));
        assert_eq!(event, json!({"event": "delete", "peer": peer, "generation": generation, "key": "k", "version": 3}));
    }
    talk.done(json!({"do": "set", "key": "lock", "value": 1, "ttl_ms": 300}));
    for told in &mut everybody {
        let event = told.event(json!({"event": "update"}));
        assert_eq!(fields(&event), ["event", "peer", "generation", "key", "value", "version", "ttl_ms"]);
        assert!((1..=300).contains(&event["ttl_ms"].as_u64().unwrap()), "{event}");
    }
    for told in &mut everybody {
        let event = told.event(json!({"event": "expire"}));
        assert_eq!(
            event,
            json!({"event": "expire", "peer": peer, "generation": generation, "key": "lock", "version": 4})
        );
    }
}

/// What an agent is started with is told like everything else.
#[test]
fn initial_keys_are_told_to_others() {
    let mut first = Agent::start(&[]);
    let second = Agent::join(&first, &["--set", "a={\"x\":1}", "--set", "b=text", "--set", "c=d=e"]);
    for (key, value) in [("a", json!({"x": 1})), ("b", json!("text")), ("c", json!("d=e"))] {
        let update = first.stdio.event(json!({"event": "update", "peer": second.peer, "key": key}));
        assert_eq!(update["value"], value);
    }
}

#[test]
fn two_clusters_meet() {
    let mut blue = Agent::start(&["--cluster", "blue"]);
    let mut client = followed(&blue);
    let mut green = Agent::join(&blue, &["--cluster", "green"]);
    if is_keyed() {
        // Nobody tells its name to one who does not know it.
        let mut talk = blue.connect();
        until("it hears of a cluster that is not its own", || {
            talk.done(json!({"do": "stats"}))["stats"]["refused"]["unauthentic"].as_u64() > Some(0)
        });
        assert_eq!(talk.members().len(), 1);
        return;
    }
    for (told, addr, cluster) in [
        (&mut blue.stdio, &green.peer, "green"),
        (&mut client, &green.peer, "green"),
        (&mut green.stdio, &blue.peer, "blue"),
    ] {
        let event = told.event(json!({"event": "wrong_cluster"}));
        assert_eq!(event, json!({"event": "wrong_cluster", "addr": addr, "cluster": cluster}));
    }
    // They know nothing of each other.
    assert_eq!(blue.connect().members().len(), 1);
    assert_eq!(green.connect().members().len(), 1);
    let stats = blue.connect().done(json!({"do": "stats"}));
    assert!(stats["stats"]["refused"]["wrong_cluster"].as_u64().unwrap() > 0, "{stats}");
}

/// Two that claim to be the same: each overrules the other once, and then says what is wrong.
#[test]
fn two_agents_advertise_one_address() {
    let seed = Agent::start(&[]);
    let mut one = Agent::join(&seed, &[]);
    // Of those that start in the same millisecond one in a hundred has nothing to notice as long as neither writes.
    let milliseconds = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let ready = milliseconds();
    until("the clock has moved on", || milliseconds() > ready);
    let mut other = Agent::join(&seed, &["--advertise", &one.peer]);
    assert_eq!(other.peer, one.peer);
    let mut told = None;
    until("one of them notices", || {
        for agent in [&mut one, &mut other] {
            while let Some(event) = agent.stdio.waiting_event() {
                told = told.take().or(Some(event).filter(|event| event["event"] == "address_conflict"));
            }
        }
        told.is_some()
    });
    let event = told.unwrap();
    assert_eq!(fields(&event), ["event", "generation", "addr"]);
    assert!(event["generation"].is_u64(), "{event}");
    assert_eq!(event["addr"], seed.peer, "who told it");
}

#[test]
fn stopped_comes_last() {
    let mut agent = Agent::start(&[]);
    let mut clients: Vec<Conversation> = (0..10).map(|_| followed(&agent)).collect();
    agent.connect().done(json!({"do": "leave"}));
    for talk in clients.iter_mut().chain([&mut agent.stdio]) {
        assert_eq!(talk.rest().last(), Some(&json!({"event": "stopped"})));
    }
    assert_eq!(agent.process.end().status, Some(0));
}
