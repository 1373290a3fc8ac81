//! Requests that come again under the same id: done once, answered each time, and bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use grapevine::service::{Failure, Service};
use serde_json::{Value, json};

use crate::common::ms;
use crate::harness::{Client, Gate, first, request, server, until, with_others};

/// Counts how often it was run.
fn counter(service: &Service) -> Arc<AtomicUsize> {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    service.add("count:1", move |_: Value| Ok(json!({"run": counted.fetch_add(1, Ordering::SeqCst)}))).unwrap();
    runs
}

/// A Seneca client of version 0.9 sends its first act anew, with the same id, on each new connection.
#[test]
fn what_was_answered_is_answered_again_and_not_done_again() {
    let _others = with_others();
    let service = first(server());
    let runs = counter(&service);
    let fails = |_: Value| -> Result<(), Failure> { Err(Failure::new("shelf_empty", "empty")) };
    service.add("fail:1", fails).unwrap();
    let mut client = Client::of(&service);
    let answer = client.act("x/1", &json!({"count": 1}));
    assert_eq!(answer["res"], json!({"run": 0}));
    assert_eq!(client.act("x/1", &json!({"count": 1})), answer);
    // On another connection, and whatever it asks for now.
    let mut other = Client::of(&service);
    assert_eq!(other.act("x/1", &json!({"count": 1})), answer);
    assert_eq!(other.act("x/1", &json!({"fail": 1})), answer);
    // An error is an answer like any other.
    let error = client.act("x/2", &json!({"fail": 1}));
    assert_eq!(error["error"]["orig"]["code"], "shelf_empty");
    assert_eq!(other.act("x/2", &json!({"count": 1})), error);
    // Half of the same id, an id of another type, another origin: other requests.
    assert_eq!(client.act("x/3", &json!({"count": 1}))["res"]["run"], 1);
    let mut number = request("", &json!({"count": 1}));
    for (id, run) in [(json!(1), 2), (json!("1"), 3), (json!(1), 2)] {
        number["id"] = id;
        assert_eq!(client.ask(&number)["res"]["run"], run);
    }
    let mut elsewhere = request("x/1", &json!({"count": 1}));
    elsewhere["origin"] = json!("somebody/else");
    assert_eq!(client.ask(&elsewhere)["res"]["run"], 4);
    // What is not found is not kept: it may be there later.
    assert_eq!(client.act("x/9", &json!({"later": 1}))["error"]["code"], "act_not_found");
    service.add("later:1", |_: Value| Ok(json!({"now": true}))).unwrap();
    assert_eq!(client.act("x/9", &json!({"later": 1}))["res"], json!({"now": true}));
    assert_eq!(runs.load(Ordering::SeqCst), 5);
}

/// Whoever writes requests by hand counts from one, and names no origin.
#[test]
fn ids_without_an_origin_are_the_connections_own() {
    let _others = with_others();
    let service = first(server());
    counter(&service);
    let line = json!({"id": "1", "kind": "act", "act": {"count": 1}});
    let (mut one, mut other) = (Client::of(&service), Client::of(&service));
    assert_eq!(one.ask(&line)["res"]["run"], 0);
    assert_eq!(other.ask(&line)["res"]["run"], 1, "not what somebody else was told");
    assert_eq!(one.ask(&line)["res"]["run"], 0);
}

#[test]
fn who_asks_again_while_it_runs_gets_the_same_answer() {
    let _others = with_others();
    let service = first(server());
    let gate = Gate::new(&service, "slow:1");
    let mut clients = [Client::of(&service), Client::of(&service), Client::of(&service)];
    let line = request("x/1", &json!({"slow": 1}));
    clients[0].send(&line);
    gate.begun();
    clients[0].send(&line);
    clients[1].send(&line);
    clients[2].send(&line);
    until("all have come", || service.stats().requests == 4);
    assert_eq!(gate.more_begun(), 0);
    gate.open();
    let answer = clients[0].line().unwrap();
    assert_eq!(clients[0].line().unwrap(), answer);
    assert_eq!(clients[1].line().unwrap(), answer);
    assert_eq!(clients[2].line().unwrap(), answer);
}

/// A request that was refused may be done when it comes again; and who waits for it is told as well.
#[test]
fn what_was_refused_is_told_to_all_and_may_be_done_later() {
    let _others = with_others();
    let service = first(server().workers(1));
    let (gate, runs) = (Gate::new(&service, "slow:1"), counter(&service));
    let (mut one, mut other) = (Client::of(&service), Client::of(&service));
    one.send(&request("x/0", &json!({"slow": 1})));
    gate.begun();
    let mut line = request("x/1", &json!({"count": 1}));
    line["timeout"] = json!(1);
    one.send(&line);
    until("it waits", || service.stats().queue == 1);
    other.send(&line);
    until("all have come", || service.stats().requests == 3);
    thread::sleep(ms(2)); // The time that it gave itself.
    gate.open();
    assert!(one.line().unwrap()["res"].is_object());
    assert_eq!(one.line().unwrap()["error"]["code"], "action_timeout");
    assert_eq!(other.line().unwrap()["error"]["code"], "action_timeout");
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    line["timeout"] = json!(60_000);
    assert_eq!(other.ask(&line)["res"]["run"], 0);
}

/// A client that comes back again and again waits on its latest connection: that one is told.
#[test]
fn who_asks_last_is_answered() {
    let _others = with_others();
    let service = first(server().workers(1));
    let gate = Gate::new(&service, "slow:1");
    let line = request("x/1", &json!({"slow": 1}));
    let mut clients: Vec<Client> = (0..40).map(|_| Client::of(&service)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&line);
        until("it has come", || service.stats().requests == n as u64 + 1);
    }
    gate.begun();
    gate.open();
    for client in clients.iter_mut().rev().take(16) {
        assert_eq!(client.line().unwrap()["id"], "x/1");
    }
}

/// 4,096 answers are kept, and 16 MiB of them.
#[test]
fn what_is_kept_is_bounded() {
    let _others = with_others();
    let service = first(server());
    let runs = counter(&service);
    service.add("large:1", |_: Value| Ok(json!({"text": "x".repeat(1_000_000)}))).unwrap();
    let mut client = Client::of(&service);
    let mut ask = |n: usize| client.act(&format!("x/{n}"), &json!({"count": 1}))["res"]["run"].as_u64().unwrap();
    for n in 0..4_097 {
        assert_eq!(ask(n), n as u64);
    }
    assert_eq!((ask(4_096), ask(1)), (4_096, 1), "the latest are kept");
    assert_eq!(ask(0), 4_097, "the first is forgotten, and done again");
    assert_eq!(runs.load(Ordering::SeqCst), 4_098);
    // Seventeen megabytes.
    let mut other = Client::of(&service);
    for n in 0..17 {
        other.act(&format!("large/{n}"), &json!({"large": 1}));
    }
    assert_eq!(ask(4_096), 4_098, "large ones take the place of others");
}
