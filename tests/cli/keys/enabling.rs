//! A cluster that runs without keys gets them, and loses them again, one node after the other, while everybody writes.

use grapevine::keyring::Encryption;
use serde_json::json;

use super::{Cluster, key_file, new_key, ring};

/// Takes each step on one node after the other, in this order and then in the other one.
fn there_and_back(order: [usize; 5]) {
    let key = new_key();
    let mut cluster = Cluster::start(5, None);
    let given = key_file(&cluster.folder, "key", &ring(&[&key], Encryption::Require)).path().display().to_string();
    let steps: [(&[&str], &str); 6] = [
        (&["keyring", "add", &given], "accept"),
        (&["keyring", "encryption", "send"], "send"),
        (&["keyring", "encryption", "require"], "require"),
        (&["keyring", "encryption", "send"], "send"),
        (&["keyring", "encryption", "accept"], "accept"),
        (&["keyring", "off"], ""),
    ];
    let mut order = order;
    for (command, step) in steps {
        for n in order {
            cluster.agents[n].run(command).done();
            cluster.settle();
        }
        for talk in &mut cluster.talks {
            assert_eq!(super::keys_of(talk).1, step);
            // What is sent is what the step says.
            let counts = |talk: &mut crate::harness::Conversation| {
                let stats = talk.done(json!({"do": "stats"}))["stats"].clone();
                ["datagrams_received", "encrypted_received"].map(|name| stats[name].as_u64().unwrap())
            };
            let before = counts(talk);
            crate::harness::until("datagrams come", || counts(talk)[0] > before[0] + 10);
            let encrypted = counts(talk)[1] > before[1];
            assert_eq!(encrypted, ["send", "require"].contains(&step), "{step:?}");
        }
        order.reverse();
    }
    cluster.end();
}

#[test]
fn one_after_the_other() {
    there_and_back([0, 1, 2, 3, 4]);
}

#[test]
fn the_last_ones_first() {
    there_and_back([4, 3, 2, 1, 0]);
}

/// By files that have the key from the start of each agent, and say more from step to step.
#[test]
fn by_key_files() {
    let key = new_key();
    let mut cluster = Cluster::start(5, Some(&ring(&[&key], Encryption::Accept)));
    for step in [Encryption::Send, Encryption::Require, Encryption::Send, Encryption::Accept] {
        let keyring = ring(&[&key], step);
        for n in 0..5 {
            cluster.file(n).save(&keyring).unwrap();
        }
        cluster.all_have(&keyring);
    }
    cluster.end();
}
