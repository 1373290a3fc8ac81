//! Who has the key is a member; who has none, or another one, hears nothing, and nobody hears of it.

use grapevine::keyring::Encryption;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Cluster, key_file, new_key, refused, ring};
use crate::harness::{Agent, until};

#[test]
fn strangers_stay_alone() {
    let (key, other) = (new_key(), new_key());
    let mut cluster = Cluster::start(3, Some(&ring(&[&key], Encryption::Require)));
    let folder = TempDir::new().unwrap();
    let file = key_file(&folder, "other", &ring(&[&other], Encryption::Require)).path().display().to_string();
    let accepting = key_file(&folder, "plain", &ring(&[&key], Encryption::Accept)).path().display().to_string();
    let right = cluster.file(0).path().display().to_string();
    let arguments: [&[&str]; 4] = [
        &[],
        &["--key-file", &file],
        // It has the key, and does not use it; and it has the key and is of another cluster.
        &["--key-file", &accepting],
        &["--key-file", &right, "--cluster", "other"],
    ];
    let seeds: Vec<String> = cluster.agents.iter().map(|agent| agent.peer.clone()).collect();
    let seeds: Vec<&str> = seeds.iter().flat_map(|seed| ["--seed", seed]).collect();
    let mut strangers: Vec<Agent> =
        arguments.iter().map(|arguments| Agent::start(&[arguments, &*seeds].concat())).collect();
    for (n, at) in [(0, 2), (1, 0), (3, 1)] {
        // Every one of them was told, and refused it.
        for talk in &mut cluster.talks {
            until(&format!("stranger {n} is refused"), || refused(talk)[at] > 1);
        }
    }
    let alone = |talk: &mut crate::harness::Conversation| talk.members().len();
    for (n, stranger) in strangers.iter_mut().enumerate() {
        let mut talk = stranger.connect();
        let rounds =
            |talk: &mut crate::harness::Conversation| talk.done(json!({"do": "stats"}))["stats"]["rounds"].as_u64();
        let before = rounds(&mut talk).unwrap();
        until("rounds go by", || rounds(&mut talk).unwrap() > before + 10);
        assert_eq!(alone(&mut talk), 1, "stranger {n}");
        talk.done(json!({"do": "set", "key": "a", "value": 1}));
        let events: Vec<Value> = std::iter::from_fn(|| stranger.stdio.waiting_event()).collect();
        assert!(events.iter().all(|event| event["event"] == "update"), "stranger {n}: {events:?}");
    }
    for (n, talk) in cluster.talks.iter_mut().enumerate() {
        assert_eq!(alone(talk), 3, "agent {n}");
    }
    let known: Vec<String> = cluster.agents.iter().map(|agent| agent.peer.clone()).collect();
    for events in cluster.events() {
        assert!(events.iter().all(|event| known.iter().any(|peer| event["peer"] == **peer)), "{events:?}");
    }
    // What they are told for.
    let log = cluster.agents[0].process.errors();
    for why in ["give all nodes of the cluster the same keys", "not encrypted, which this node requires"] {
        assert!(log.contains(why), "{why}: {log}");
    }
}
