//! Keys that belong to the library: a program cannot set them, nor those of the original.

use grapevine::service::ActError;
use grapevine::sim::Sim;
use grapevine::value::RESERVED_PREFIX;
use grapevine::{Config, Error, Gossiper, Value};
use serde_json::json;

use crate::common::secs;
use crate::harness::{caller_and_provider, echo, finds, server, until, with_others};

fn is_reserved<T: std::fmt::Debug>(result: Result<T, Error>) {
    match result {
        Err(Error::ReservedKey { key, prefix }) => assert!(prefix == RESERVED_PREFIX && key.starts_with(prefix)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_way_of_writing_takes_a_reserved_key() {
    let _others = with_others();
    let node = Gossiper::builder().start().unwrap();
    for key in ["grapevine/service", "grapevine/", "grapevine/anything"] {
        is_reserved(node.set(key, &1));
        is_reserved(node.set_for(key, &1, secs(5)));
        is_reserved(node.set_until(key, &1, std::time::Instant::now() + secs(60)));
        is_reserved(node.set_value(key, Value::encode(&1).unwrap(), None));
        is_reserved(node.try_set(key, &1));
        is_reserved(node.try_set_for(key, &1, secs(5)));
        is_reserved(node.delete(key));
        is_reserved(Gossiper::builder().initial(key, &1).start());
    }
    assert!(node.keys(node.peer()).is_empty());
    let error = node.set("grapevine/x", &1).unwrap_err().to_string();
    assert!(error.contains("\"grapevine/x\"") && error.contains("\"grapevine/\""), "{error}");
    // Only the prefix itself is reserved.
    for key in ["grapevine", "Grapevine/x", "/grapevine/", "service"] {
        node.set(key, &1).unwrap();
        node.delete(key).unwrap();
    }
}

#[test]
fn nor_does_the_simulator() {
    let mut sim = Sim::new(1);
    let node = sim.start(Config::default()).unwrap();
    is_reserved(sim.set(node, "grapevine/service", "x"));
    is_reserved(sim.set_for(node, "grapevine/service", "x", secs(1)));
    is_reserved(sim.delete(node, "grapevine/service"));
    let initial = vec![("grapevine/service".to_owned(), Value::encode(&1).unwrap())];
    let config = Config { initial, ..Config::default() };
    is_reserved(sim.start(config));
}

/// A forged `seneca` value routed `role:pay` to an attacker.
#[test]
fn nothing_that_a_program_sets_is_an_offer() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    let told =
        json!({"addr": "127.0.0.1:1", "patterns": ["role:pay"], "pin": "role:pay", "host": "127.0.0.1", "port": 1});
    for key in ["seneca", "service", "grapevine_service", "grapevine"] {
        provider.node().set(key, &told).unwrap();
    }
    provider.node().set("last", &1).unwrap();
    echo(&provider, "role:api", "api");
    finds(&caller, "role:api");
    until("all of it came", || caller.node().get_from(provider.node().peer(), "last").is_some());
    assert!(matches!(caller.act::<serde_json::Value>("role:pay"), Err(ActError::NotFound { .. })));
    assert_eq!(caller.services().len(), 1);
    // What is told is there to be read.
    let key = format!("{RESERVED_PREFIX}service");
    let told = caller.node().get_from(provider.node().peer(), &key).unwrap().to_string();
    assert!(told.contains("role:api") && told.contains(&provider.local_addr().unwrap().to_string()), "{told}");
}
