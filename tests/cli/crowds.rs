//! Many agents, and many clients of one.

use std::thread;

use serde_json::json;

use crate::harness::{Agent, all_alive, until};

const AGENTS: usize = 20;
const CLIENTS: usize = 20;

#[test]
fn twenty_agents_find_each_other_through_one() {
    // Nobody fails for the load of the machine alone: twenty of them start at once on it.
    let options = ["--interval", "200ms", "--pause", "50"];
    let seed = Agent::start(&[&options[..], &["--set", "number=0"]].concat());
    let mut agents: Vec<Agent> = (1..AGENTS)
        .map(|number| Agent::join(&seed, &[&options[..], &["--set", &format!("number={number}")]].concat()))
        .collect();
    agents.insert(0, seed);
    all_alive(&agents.iter().collect::<Vec<_>>());
    // Everybody has everybody's map.
    for agent in &agents {
        let mut talk = agent.connect();
        for (number, other) in agents.iter().enumerate() {
            let request = json!({"do": "get", "peer": other.peer, "key": "number"});
            until("the number is read", || talk.ask(request.clone())["value"] == number);
        }
    }
    // One leaves, and all others hear it.
    let last = agents.pop().unwrap();
    let peer = last.peer.clone();
    last.run(&["leave"]).done();
    for agent in &agents {
        agent.sees(&peer, json!({"state": "left"}));
    }
}

/// Each sets and reads its own keys, one by one and many at once; none is answered what another asked.
#[test]
fn twenty_clients_at_once() {
    let agent = Agent::start(&[]);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let mut talk = agent.connect();
            scope.spawn(move || {
                for n in 0..50 {
                    let (key, value) = (format!("{client}/{}", n % 7), format!("{client} wrote {n}"));
                    talk.done(json!({"id": [client, n, "set"], "do": "set", "key": key, "value": value}));
                    let read = talk.done(json!({"id": [client, n, "get"], "do": "get", "key": key}));
                    assert_eq!(read["value"], value);
                }
                let request = |n: usize| {
                    json!({"id": [client, n], "do": "set", "key": format!("{client}/last"), "value": n}).to_string()
                        + "\n"
                };
                talk.send((0..200).map(request).collect::<String>());
                let mut version = 0;
                for n in 0..200 {
                    let reply = talk.reply();
                    assert_eq!(reply["id"], json!([client, n]));
                    assert!(reply["version"].as_u64().unwrap() > version, "{reply}");
                    version = reply["version"].as_u64().unwrap();
                }
            });
        }
    });
    let entries = agent.connect().done(json!({"do": "state"}));
    let entries = entries["entries"].as_object().unwrap();
    assert_eq!(entries.len(), CLIENTS * 8);
    for client in 0..CLIENTS {
        assert_eq!(entries[&format!("{client}/last")]["value"], 199);
    }
}

/// What all of them follow is the same story, in the same order.
#[test]
fn twenty_followers_are_told_the_same() {
    let agent = Agent::start(&[]);
    let mut followers: Vec<_> = (0..CLIENTS).map(|_| agent.connect()).collect();
    for follower in &mut followers {
        follower.done(json!({"do": "subscribe"}));
    }
    let mut talk = agent.connect();
    for n in 0..300 {
        talk.done(json!({"do": "set", "key": format!("k{}", n % 10), "value": n}));
    }
    for follower in &mut followers {
        for n in 0..300 {
            let event = follower.next_event().unwrap();
            assert_eq!(
                (&event["event"], &event["value"], &event["version"]),
                (&json!("update"), &json!(n), &json!(n + 2))
            );
        }
    }
}
