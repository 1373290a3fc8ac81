//! Sharding: the same provider for a key from every caller, and what moves when one comes or goes.

use std::collections::BTreeMap;
use std::thread;

use grapevine::service::Service;
use serde_json::{Value, json};

use crate::harness::{Fake, by, echo, finds_offers, first, join, refusing, server, with_others};

/// Who runs a key, for each key.
fn places(caller: &Service, keys: std::ops::Range<usize>) -> BTreeMap<usize, String> {
    let place = |key: usize| (key, by(&caller.act_sharded::<Value>(key.to_string(), "a:1").unwrap()).to_owned());
    let halves = [keys.start..keys.len() / 2, keys.len() / 2..keys.end];
    thread::scope(|scope| {
        let halves = halves.map(|keys| scope.spawn(move || keys.map(place).collect::<Vec<_>>()));
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    })
}

fn provider(seed: &Service, name: &str) -> Service {
    let provider = join(seed, server());
    echo(&provider, "a:1", name);
    provider
}

#[test]
fn a_key_has_the_same_provider_from_every_caller() {
    let _others = with_others();
    let callers = first(Service::builder());
    let other = join(&callers, Service::builder());
    // One listens and offers nothing for it, and one has an action that nobody else can call.
    let server_only = join(&callers, server());
    echo(&server_only, "b:1", "other");
    let private = join(&callers, Service::builder());
    echo(&private, "a:1", "private");
    let providers = ["0", "1", "2"].map(|name| provider(&callers, name));
    let everyone: Vec<&Service> = [&callers, &other, &server_only, &private].into_iter().chain(&providers).collect();
    for service in &everyone {
        let own = providers.iter().any(|provider| std::ptr::eq(provider, *service));
        finds_offers(
            service,
            "a:1",
            if own { 2 + usize::from(service.node().peer_info(service.node().peer()).is_some()) } else { 3 },
        );
    }
    let expected = places(&callers, 0..200);
    for (n, service) in everyone.iter().enumerate() {
        assert_eq!(places(service, 0..200), expected, "caller {n}");
    }
    let mut names: Vec<&String> = expected.values().collect();
    names.sort();
    names.dedup();
    assert_eq!(names, ["0", "1", "2"]);
}

/// What a provider offers within its pins is what the others go by; it must go by that itself.
#[test]
fn pins_do_not_change_who_has_a_key() {
    let _others = with_others();
    let caller = first(Service::builder());
    let start = |name: &str| {
        let provider = join(&caller, server().pin("a:1").pin("c:1,zone:*"));
        echo(&provider, "cmd:*", name);
        provider
    };
    let providers = ["0", "1", "2"].map(start);
    for service in providers.iter().chain([&caller]) {
        assert!(service.wait_for("a:1,cmd:x", crate::harness::LONG));
    }
    finds_offers(&caller, "a:1,cmd:*", 3);
    for provider in &providers {
        let others = || provider.services().iter().filter(|info| info.peer != Some(provider.node().peer())).count();
        crate::harness::until("it finds the others", || others() == 2);
    }
    let message = json!({"a": 1, "cmd": "x"});
    for key in 0..100 {
        let key = key.to_string();
        let expected = caller.act_sharded::<Value>(&key, &message).unwrap();
        for provider in &providers {
            assert_eq!(provider.act_sharded::<Value>(&key, &message).unwrap(), expected, "{key}");
        }
    }
    // What only this program itself may call it runs itself.
    for (provider, name) in providers.iter().zip(["0", "1", "2"]) {
        assert_eq!(by(&provider.act_sharded::<Value>("k", "b:1,cmd:x").unwrap()), name);
    }
}

/// The original's to-do, with figures: of 10,000 keys only the share of who comes or goes moves.
#[test]
fn only_its_share_moves_when_a_provider_comes_or_goes() {
    let _others = with_others();
    const KEYS: usize = 10_000;
    let caller = first(Service::builder());
    let mut providers: Vec<Service> = (0..4).map(|n| provider(&caller, &n.to_string())).collect();
    finds_offers(&caller, "a:1", 4);
    let four = places(&caller, 0..KEYS);

    providers.push(provider(&caller, "4"));
    finds_offers(&caller, "a:1", 5);
    let five = places(&caller, 0..KEYS);
    let moved: Vec<&usize> = five.keys().filter(|key| five[key] != four[key]).collect();
    println!("one more than 4: {} of {KEYS} keys move, a fifth is {}", moved.len(), KEYS / 5);
    assert!(moved.iter().all(|key| five[key] == "4"), "only to who came");
    // 2,000, with a standard deviation of 40.
    assert!((1_750..=2_250).contains(&moved.len()), "{}", moved.len());

    let gone = providers.remove(1);
    gone.close();
    finds_offers(&caller, "a:1", 4);
    let left = places(&caller, 0..KEYS);
    let moved: Vec<&usize> = left.keys().filter(|key| left[key] != five[key]).collect();
    println!("one of 5 goes: {} of {KEYS} keys move", moved.len());
    assert!(moved.iter().all(|key| five[key] == "1"), "only those that it had");
    assert_eq!(moved.len(), five.values().filter(|name| *name == "1").count());
    let mut shares: BTreeMap<&str, usize> = BTreeMap::new();
    left.values().for_each(|name| *shares.entry(name).or_default() += 1);
    println!("shares of {KEYS} keys: {shares:?}");
    assert!(shares.len() == 4 && shares.values().all(|share| (2_250..=2_750).contains(share)), "{shares:?}");
    // Who had nothing to do with it keeps what it had, down to the last key.
    assert!(five.iter().all(|(key, name)| name == "1" || left[key] == *name));
}

#[test]
fn who_cannot_be_reached_is_passed_over_for_the_next() {
    let _others = with_others();
    let caller = first(Service::builder());
    let fakes = ["0", "1", "2"].map(|name| Fake::start(move |line| line.answer(&json!({"by": name}))));
    fakes.iter().for_each(|fake| caller.client(&fake.addr(), "a:1").unwrap());
    let three = places(&caller, 0..300);
    let (_socket, gone) = refusing();
    caller.client(&gone, "a:1").unwrap();
    assert_eq!(places(&caller, 0..300), three, "the keys that it would have had stay where they were");
    let errors = caller.stats().call_errors;
    assert_eq!(errors, 0);
}
