//! A cluster whose key is replaced while everybody writes: no datagram is refused, nobody is seen to fail, and every value arrives.

use std::fs;

use grapevine::keyring::Encryption;
use serde_json::json;

use super::{Cluster, FAILED, Writer, key_file, new_key, ring};
use crate::harness::{Agent, Conversation, until};

const REQUIRE: Encryption = Encryption::Require;

#[test]
fn by_key_files() {
    let (old, new) = (new_key(), new_key());
    let mut cluster = Cluster::start(5, Some(&ring(&[&old], REQUIRE)));
    // Each agent takes a step at its own moment, so all mixtures of neighbours come about.
    for keys in [&[&old, &new][..], &[&new, &old], &[&new]] {
        let keyring = ring(keys, REQUIRE);
        for n in 0..5 {
            let file = cluster.file(n);
            if n % 2 == 0 {
                file.save(&keyring).unwrap();
            } else {
                // As an editor may write it, in place.
                let text: Vec<String> = keys.iter().map(|key| key.to_base64().to_string()).collect();
                fs::write(file.path(), text.join("\n")).unwrap();
            }
        }
        cluster.all_have(&keyring);
    }
    cluster.end();
}

#[test]
fn by_commands() {
    let (old, new) = (new_key(), new_key());
    let mut cluster = Cluster::start(5, Some(&ring(&[&old], REQUIRE)));
    let given = key_file(&cluster.folder, "new", &ring(&[&new], REQUIRE)).path().display().to_string();
    let (old_id, new_id) = (old.to_string(), new.to_string());
    let steps: [(&[&str], _); 3] = [
        (&["keyring", "add", &given], ring(&[&old, &new], REQUIRE)),
        (&["keyring", "use", &new_id], ring(&[&new, &old], REQUIRE)),
        (&["keyring", "remove", &old_id], ring(&[&new], REQUIRE)),
    ];
    for (command, keyring) in steps {
        for n in [3, 0, 4, 1, 2] {
            cluster.agents[n].run(command).done();
            cluster.settle();
        }
        cluster.all_have(&keyring);
        // A restart keeps it.
        for n in 0..5 {
            assert_eq!(cluster.file(n).load().unwrap(), keyring);
        }
    }
    // Of what came since it was added everything was encrypted with the new key.
    for talk in &mut cluster.talks {
        let keys = talk.done(json!({"do": "keyring"}))["keyring"].clone();
        assert!(keys[0]["decrypted"].as_u64().unwrap() > 0, "{keys}");
    }
    cluster.end();
}

/// One crashes when some use the new key already, and comes back with what its file says.
#[test]
fn with_a_crash_in_the_middle() {
    let (old, new) = (new_key(), new_key());
    let both = ring(&[&old, &new], REQUIRE);
    let mut cluster = Cluster::start(5, Some(&both));
    let new_id = new.to_string();
    for n in 0..3 {
        cluster.agents[n].run(&["keyring", "use", &new_id]).done();
    }
    // The last one uses the old key, the second the new one.
    for n in [4, 1] {
        let (agent, written) = (cluster.agents.remove(n), cluster.writers.remove(n).end());
        cluster.talks.remove(n);
        let peer = agent.peer.clone();
        agent.crash();
        for other in &mut cluster.agents {
            other.stdio.event(json!({"event": FAILED, "peer": peer}));
        }
        let file = cluster.file(n).path().display().to_string();
        let set: Vec<String> = (0..written).map(|n| format!("w/{n}={n}")).collect();
        let set = set.iter().flat_map(|set| ["--set", set]);
        let args: Vec<&str> =
            ["--bind", &peer, "--key-file", &file, "--seed", &cluster.agents[0].peer].into_iter().chain(set).collect();
        let agent = Agent::start(&args);
        cluster.talks.insert(n, agent.connect());
        cluster.writers.insert(n, Writer::of(&agent, written));
        cluster.agents.insert(n, agent);
        for talk in &mut cluster.talks {
            until("it is back", || talk.members().iter().filter(|member| member["state"] == "alive").count() == 5);
        }
        cluster.settle();
    }
    let step = |cluster: &mut Cluster, request: serde_json::Value| {
        cluster.talks.iter_mut().for_each(|talk: &mut Conversation| drop(talk.done(request.clone())));
        cluster.settle();
    };
    step(&mut cluster, json!({"do": "keyring_use", "key_id": new_id}));
    step(&mut cluster, json!({"do": "keyring_remove", "key_id": old.to_string()}));
    cluster.all_have(&ring(&[&new], REQUIRE));
    // The two that crashed were seen to fail, and nobody else since.
    cluster.end();
}
