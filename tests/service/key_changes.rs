//! Keys that change while calls are made: none of them fails, and nothing goes on as it must not any more.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use grapevine::Gossiper;
use grapevine::keyring::{Encryption, Keyring};
use grapevine::service::Service;
use serde_json::{Value, json};

use crate::common::{ms, secs};
use crate::harness::{
    Client, Gate, Relay, by, calm, echo, finds, finds_offers, key, refused, request, until, with_others,
};

/// Some threads call without end while `steps` are taken, each on all nodes before the next one. Between them so many calls are waited for.
fn under_calls(services: &[Service], between: u64, steps: &[&dyn Fn(&Gossiper)]) {
    let (caller, ended, calls) = (&services[0], AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let callers: Vec<_> = (0..6)
            .map(|n| {
                let (ended, calls) = (&ended, &calls);
                scope.spawn(move || {
                    // Some take a while.
                    let message = json!({"a": 1, "for": if n == 0 { 60 } else { 0 }});
                    while !ended.load(Ordering::SeqCst) {
                        let result = caller.act::<Value>(message.clone());
                        if let Err(error) = result {
                            ended.store(true, Ordering::SeqCst);
                            panic!("{error}");
                        }
                        calls.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let more = |number: u64| {
            let before = calls.load(Ordering::SeqCst);
            until("calls go on", || calls.load(Ordering::SeqCst) >= before + number || ended.load(Ordering::SeqCst));
        };
        more(50);
        for step in steps {
            services.iter().for_each(|service| step(service.node()));
            more(between);
        }
        more(50);
        ended.store(true, Ordering::SeqCst);
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    });
    assert_eq!(caller.stats().call_errors, 0);
}

/// A caller and two providers.
fn cluster(keyring: Option<Keyring>) -> Vec<Service> {
    let node = || match &keyring {
        Some(keyring) => calm().keyring(keyring.clone()),
        None => calm(),
    };
    let caller = Service::builder().gossip(node()).start().unwrap();
    let seed = caller.node().peer().to_string();
    let mut services = vec![caller];
    for _ in 0..2 {
        let provider = Service::builder().listen("127.0.0.1:0").gossip(node()).seed(&*seed).start().unwrap();
        let handler = |message: Value| {
            thread::sleep(ms(message["for"].as_u64().unwrap()));
            Ok(json!({}))
        };
        provider.add("a:1", handler).unwrap();
        services.push(provider);
    }
    finds_offers(&services[0], "a:1", 2);
    services
}

#[test]
fn encryption_comes_and_goes_without_a_lost_call() {
    let _others = with_others();
    let set = |encryption: Encryption| move |node: &Gossiper| node.set_encryption(encryption).unwrap();
    let (accept, send, require) = (set(Encryption::Accept), set(Encryption::Send), set(Encryption::Require));
    let begin = |node: &Gossiper| {
        assert!(node.add_secret_key(key(7)).unwrap());
    };
    let end = |node: &Gossiper| node.set_keyring(None).unwrap();
    // With time between the steps, and as fast as it goes.
    for between in [200, 1, 0] {
        let services = cluster(None);
        under_calls(&services, between, &[&begin, &send, &require, &send, &accept, &end]);
        under_calls(&services, between, &[&begin, &send, &require]);
        // Nothing plain is left.
        until("plain connections are gone", || services[1..].iter().all(|service| service.stats().connections <= 2));
    }
}

#[test]
fn a_key_is_replaced_without_a_lost_call() {
    let _others = with_others();
    for between in [200, 0] {
        let services = cluster(Some(Keyring::new(key(1))));
        for byte in 1..4 {
            let (old, new) = (key(byte), key(byte + 1));
            let add = |node: &Gossiper| {
                assert!(node.add_secret_key(new.clone()).unwrap());
            };
            let switch = |node: &Gossiper| {
                assert!(node.use_secret_key(new.id()).unwrap());
            };
            let remove = |node: &Gossiper| node.remove_secret_key(old.id()).unwrap();
            under_calls(&services, between, &[&add, &switch, &remove]);
        }
    }
}

/// Keys of which the first byte of the id is the same are told apart by what they are.
#[test]
fn keys_with_the_same_id_on_the_wire_are_told_apart() {
    let _others = with_others();
    let id = |byte: u8| key(byte).id().to_string()[..2].to_owned();
    let pairs = (0..=255).flat_map(|one| (0..one).map(move |other| (one, other)));
    let (one, other) = pairs.into_iter().find(|(one, other)| id(*one) == id(*other)).unwrap();
    let mut ring = Keyring::new(key(one));
    ring.add(key(other)).unwrap();
    let provider = Service::builder().listen("127.0.0.1:0").gossip(calm().keyring(ring)).start().unwrap();
    echo(&provider, "a:1", "it");
    let seed = provider.node().peer().to_string();
    let mut ring = Keyring::new(key(other));
    ring.add(key(one)).unwrap();
    let caller = Service::builder().gossip(calm().keyring(ring)).seed(seed).start().unwrap();
    finds(&caller, "a:1");
    assert_eq!(by(&caller.act::<Value>("a:1").unwrap()), "it");
}

/// A plain connection that is open when encryption is required: what is under way is answered, what comes is not done, and it ends.
#[test]
fn a_connection_that_must_not_go_on_is_told_and_closed() {
    let _others = with_others();
    let keyring = Keyring::new(key(7)).with_encryption(Encryption::Send);
    let service = Service::builder().listen("127.0.0.1:0").gossip(calm().keyring(keyring)).start().unwrap();
    let gate = Gate::new(&service, "slow:1");
    echo(&service, "a:1", "it");
    let (mut busy, mut unused) = (Client::of(&service), Client::of(&service));
    let mut idle = Client::of(&service);
    assert_eq!(by(&idle.act("i", &json!({"a": 1}))["res"]), "it");
    until("all were taken in", || service.stats().connections == 3);
    busy.send(&request("1", &json!({"slow": 1})));
    gate.begun();
    service.node().set_encryption(Encryption::Require).unwrap();
    let requests = service.stats().requests;
    let begun = Instant::now();
    // It is told unasked, a second later at most, or with the next line.
    busy.send(&request("2", &json!({"a": 1})));
    let (told, answered) = (busy.line().unwrap(), busy.line().unwrap());
    assert_eq!((&told["id"], &told["error"]["code"]), (&Value::Null, &json!("keys_changed")));
    let refusal = (&answered["id"], &answered["error"]["code"], &answered["not_run"]);
    assert_eq!(refusal, (&json!("2"), &json!("keys_changed"), &json!(true)));
    // One that was open and never used is told as well: its call may have been on the way.
    unused.send(&request("3", &json!({"a": 1})));
    assert_eq!(unused.line().unwrap()["error"]["code"], "keys_changed");
    assert_eq!(unused.line().unwrap()["id"], "3");
    assert_eq!(idle.line().unwrap()["error"]["code"], "keys_changed");
    gate.let_one_end();
    let result = busy.line().unwrap();
    assert_eq!((&result["id"], &result["res"]["message"]["slow"]), (&json!("1"), &json!(1)));
    assert_eq!((idle.ends(), busy.ends(), unused.ends()), (0, 0, 0));
    assert!(begun.elapsed() < secs(30), "{:?}", begun.elapsed());
    assert_eq!(service.stats().requests, requests, "nothing was done");
    assert_eq!(refused(&service.stats(), "keys_changed"), 2);
    gate.open();
}

/// A caller that is idle closes its connection by itself, once the keys have changed.
#[test]
fn an_idle_caller_moves_on() {
    let _others = with_others();
    let relay = Relay::start();
    let keyring = || Keyring::new(key(1));
    let caller = Service::builder().gossip(calm().keyring(keyring())).start().unwrap();
    let seed = caller.node().peer().to_string();
    let provider = Service::builder().listen("127.0.0.1:0").advertise(relay.addr());
    let provider = provider.gossip(calm().keyring(keyring())).seed(seed).start().unwrap();
    relay.lead_to(provider.local_addr().unwrap());
    echo(&provider, "a:1", "it");
    finds(&caller, "a:1");
    assert_eq!(by(&caller.act::<Value>("a:1").unwrap()), "it");
    for service in [&caller, &provider] {
        service.node().add_secret_key(key(2)).unwrap();
    }
    assert_eq!(by(&caller.act::<Value>("a:1").unwrap()), "it");
    assert_eq!(relay.recorded().len(), 1, "a key that is only added is no reason");
    caller.node().use_secret_key(key(2).id()).unwrap();
    until("it is closed", || provider.stats().connections == 0);
    assert_eq!(by(&caller.act::<Value>("a:1").unwrap()), "it");
    assert_eq!(relay.recorded().len(), 2);
    assert_eq!(caller.stats().providers[0].unanswered, 0);
}
