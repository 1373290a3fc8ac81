//! Who gets a call: this program, the most specific of the others, the less loaded of two; and nobody.

use std::collections::BTreeMap;
use std::thread;
use std::time::Instant;

use grapevine::service::{ActError, Service};
use serde_json::{Value, json};

use crate::common::{ms, secs};
use crate::harness::{
    Client, Fake, Gate, LONG, all_are_called, by, caller_and_provider, echo, finds, finds_offers, first, join, refused,
    request, server, until, with_others,
};

#[test]
fn this_programs_own_action_comes_first() {
    let _others = with_others();
    let (here, there) = caller_and_provider(server());
    echo(&there, "a:1,b:2", "there");
    finds(&here, "a:1,b:2");
    assert_eq!(by(&here.act::<Value>("a:1,b:2").unwrap()), "there");
    // Less specific, and here.
    echo(&here, "a:1", "here");
    assert_eq!(by(&here.act::<Value>("a:1,b:2").unwrap()), "here");
    assert_eq!(by(&there.act::<Value>("a:1,b:2").unwrap()), "there");
    here.remove("a:1").unwrap();
    assert_eq!(by(&here.act::<Value>("a:1,b:2").unwrap()), "there");
}

#[test]
fn among_the_others_the_most_specific_pattern_wins() {
    let _others = with_others();
    let caller = first(Service::builder());
    let (general, special) = (join(&caller, server()), join(&caller, server()));
    echo(&general, "role:api", "general");
    echo(&special, "role:api,cmd:special", "special");
    let outside = Fake::start(|line| line.answer(&json!({"by": "outside"})));
    caller.client(&outside.addr(), "role:api,zone:eu").unwrap();
    finds_offers(&caller, "role:api", 1);
    finds_offers(&caller, "role:api,cmd:special", 1);
    for _ in 0..20 {
        assert_eq!(by(&caller.act::<Value>("role:api,cmd:special").unwrap()), "special");
        assert_eq!(by(&caller.act::<Value>("role:api,cmd:other").unwrap()), "general");
        assert_eq!(by(&caller.act::<Value>("role:api,zone:eu").unwrap()), "outside");
    }
    drop(special);
    finds_offers(&caller, "role:api,cmd:special", 0);
    assert_eq!(by(&caller.act::<Value>("role:api,cmd:special").unwrap()), "general");
}

/// With two of them both are drawn each time, so every call goes to the one with fewer under way.
#[test]
fn the_less_loaded_of_two_gets_the_call() {
    let _others = with_others();
    let caller = first(Service::builder());
    let providers = [join(&caller, server()), join(&caller, server())];
    let gates = providers.each_ref().map(|provider| Gate::new(provider, "a:1"));
    all_are_called(&caller, &[&providers[0], &providers[1]]);
    finds_offers(&caller, "a:1", 2);
    let before: u64 = calls(&caller);
    thread::scope(|scope| {
        for _ in 0..10 {
            let before = in_flight(&caller);
            scope.spawn(|| caller.act::<Value>("a:1").unwrap());
            until("it is under way", || in_flight(&caller).iter().sum::<usize>() == before.iter().sum::<usize>() + 1);
        }
        assert_eq!(in_flight(&caller), [5, 5]);
        // One of them is done with four: the next four are its own.
        (0..5).for_each(|_| drop((gates[0].begun(), gates[1].begun())));
        (0..4).for_each(|_| gates[0].let_one_end());
        until("four are done", || in_flight(&caller).iter().sum::<usize>() == 6);
        for _ in 0..4 {
            scope.spawn(|| caller.act::<Value>("a:1").unwrap());
            gates[0].begun();
        }
        assert_eq!(gates[1].more_begun(), 0);
        gates.into_iter().for_each(Gate::open);
    });
    assert_eq!(in_flight(&caller), [0, 0]);
    assert_eq!(calls(&caller) - before, 14);
}

fn calls(caller: &Service) -> u64 {
    caller.stats().providers.iter().map(|provider| provider.calls).sum()
}

fn in_flight(caller: &Service) -> Vec<usize> {
    caller.stats().providers.iter().map(|provider| provider.in_flight).collect()
}

/// Of many that are idle each gets its part.
#[test]
fn idle_providers_share_the_calls() {
    let _others = with_others();
    let caller = first(Service::builder());
    let providers: Vec<Service> = (0..4).map(|_| join(&caller, server())).collect();
    for (n, provider) in providers.iter().enumerate() {
        echo(provider, "a:1", &n.to_string());
    }
    finds_offers(&caller, "a:1", 4);
    all_are_called(&caller, &providers.iter().collect::<Vec<_>>());
    let mut shares: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..400 {
        *shares.entry(by(&caller.act::<Value>("a:1").unwrap()).to_owned()).or_default() += 1;
    }
    // 100 each, with a standard deviation of 8.7.
    assert!(shares.len() == 4 && shares.values().all(|share| (40..=160).contains(share)), "{shares:?}");
}

/// In seneca-gossip it took 11.1 s: the node was its own catch-all client.
#[test]
fn what_nobody_offers_is_not_found_at_once() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    echo(&provider, "role:api,cmd:add", "add");
    finds(&caller, "role:api,cmd:add");
    for service in [&caller, &provider] {
        let begun = Instant::now();
        // Within what is offered, beside it, and nothing at all.
        for message in ["role:api,cmd:nosuch", "role:none", "{}"] {
            let error = service.act::<Value>(message).unwrap_err();
            assert!(matches!(error, ActError::NotFound { .. }), "{message}: {error}");
            assert_eq!(error.code(), "act_not_found");
        }
        let error = service.act::<Value>("role:api,cmd:nosuch").unwrap_err().to_string();
        assert!(error.contains("{ role: 'api', cmd: 'nosuch' }"), "{error}");
        assert!(matches!(service.call("role:none").tell(), Err(ActError::NotFound { .. })));
        assert!(matches!(service.act_sharded::<Value>("key", "role:none"), Err(ActError::NotFound { .. })));
        assert!(begun.elapsed() < secs(5), "{:?}", begun.elapsed());
    }
    assert_eq!(provider.stats().requests, 0, "none of them was sent");
}

#[test]
fn waiting_for_an_action_ends_when_somebody_offers_it() {
    let _others = with_others();
    let caller = first(server());
    assert!(!caller.wait_for("a:1", ms(1)));
    assert!(!caller.wait_for("a:1:2", LONG), "this is no message");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| caller.wait_for("a:1,x:7", LONG));
        let provider = join(&caller, server());
        echo(&provider, "a:1", "there");
        assert!(waiting.join().unwrap());
        // No gossip is needed for one's own, nor for those outside.
        let waiting = scope.spawn(|| caller.wait_for("b:1", LONG));
        echo(&caller, "b:1", "here");
        assert!(waiting.join().unwrap());
        let waiting = scope.spawn(|| caller.wait_for(json!({"c": 1}), LONG));
        caller.client("127.0.0.1:1", "c:1").unwrap();
        assert!(waiting.join().unwrap());
        let waiting = scope.spawn(|| caller.wait_for("d:1", LONG));
        caller.close();
        assert!(!waiting.join().unwrap());
    });
}

#[test]
fn who_only_tells_waits_for_nothing() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    let gate = Gate::new(&provider, "a:1");
    finds(&caller, "a:1");
    for service in [&caller, &provider] {
        service.call("a:1,n:5").tell().unwrap();
        // It runs, and does not end yet.
        assert_eq!(gate.begun()["n"], 5);
    }
    gate.open();
    let stats = caller.stats();
    assert_eq!((stats.calls, refused(&stats, "late_response")), (0, 0), "no answer was sent");
    // A request that says so over the wire is not answered, nor are its errors.
    let mut client = Client::of(&provider);
    for act in [json!({"a": 1, "n": 6}), json!({"none": 1}), json!({"a": {"deep": 1}})] {
        let mut line = request("x/1", &act);
        line["sync"] = json!(false);
        client.send(&line);
    }
    let answer = client.act("x/2", &json!({"a": 1, "n": 7}));
    assert_eq!((answer["id"].as_str(), &answer["res"]["message"]["n"]), (Some("x/2"), &json!(7)));
}

#[test]
fn a_pin_is_enforced() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server().pin("role:api").pin("role:shop,cmd:*"));
    for pattern in ["role:api,cmd:add", "role:secret", "role:shop", "cmd:any"] {
        echo(&provider, pattern, pattern);
    }
    finds(&caller, "role:shop,cmd:buy");
    let offered: Vec<String> = caller.services()[0].patterns.iter().map(ToString::to_string).collect();
    assert_eq!(offered, ["cmd:*,role:shop", "cmd:add,role:api", "cmd:any,role:api", "cmd:any,role:shop"]);
    assert!(matches!(caller.act::<Value>("role:secret"), Err(ActError::NotFound { .. })));
    assert_eq!(by(&caller.act::<Value>("role:api,cmd:add").unwrap()), "role:api,cmd:add");
    assert_eq!(by(&caller.act::<Value>("role:shop,cmd:buy").unwrap()), "role:shop");
    // Own calls are not affected.
    assert_eq!(by(&provider.act::<Value>("role:secret").unwrap()), "role:secret");
    // Whoever does not care for what is told gets no further: Seneca's listeners answer here.
    let mut client = Client::of(&provider);
    for (n, act) in
        [json!({"role": "secret"}), json!({"role": "shop"}), json!({"cmd": "any"}), json!({})].iter().enumerate()
    {
        let answer = client.act(&n.to_string(), act);
        assert_eq!(answer["error"]["code"], "act_not_found", "{act}");
        assert_eq!((&answer["error"]["seneca"], &answer["error"]["eraro"]), (&json!(true), &json!(true)));
    }
    assert_eq!(client.act("ok", &json!({"role": "api", "cmd": "add"}))["res"]["by"], "role:api,cmd:add");
}

/// In the README of seneca-gossip's own topology `add` takes two hops.
#[test]
fn a_call_takes_one_hop() {
    let _others = with_others();
    let caller = first(server());
    let (adder, other) = (join(&caller, server()), join(&caller, server()));
    echo(&adder, "role:api,cmd:add", "add");
    echo(&other, "role:api,cmd:mcl", "mcl");
    for cmd in ["add", "mcl"] {
        finds(&caller, &format!("role:api,cmd:{cmd}"));
        assert_eq!(by(&caller.act::<Value>(("role:api", json!({"cmd": cmd}))).unwrap()), cmd);
    }
    let requests = [&caller, &adder, &other].map(|service| service.stats().requests);
    assert_eq!(requests, [0, 1, 1]);
}
