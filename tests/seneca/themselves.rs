//! The two versions among themselves. What these tests see of them is what other tests hold our services to.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::node::{Client, Server, VERSIONS, installed};

/// All pairs that work: a 3.38 server does not answer a 0.9.3 client.
const PAIRS: [(&str, &str); 3] = [("0.9", "0.9"), ("0.9", "3"), ("3", "3")];

fn each_pair(test: impl Fn(&mut Client)) {
    if !installed() {
        return;
    }
    for (serving, calling) in PAIRS {
        let server = Server::start(serving);
        let mut client = Client::start(calling, server.port, &json!({}));
        test(&mut client);
        client.end();
    }
}

fn each_version(test: impl Fn(&str)) {
    if installed() {
        VERSIONS.into_iter().for_each(test);
    }
}

#[test]
fn answers_of_every_kind() {
    let what = json!({ "text": "x".repeat(350_000), "nested": [{ "ä": null }, 1.5, true] });
    each_pair(|client| {
        assert_eq!(add(client), json!({ "ok": { "result": 5 } }));
        assert_eq!(client.call("role:api,cmd:mcl", json!({ "left": 2, "right": 3 })), json!({ "ok": { "result": 6 } }));
        assert_eq!(client.call("role:api,cmd:list", json!({})), json!({ "ok": ["one", 2, { "three": 3 }] }));
        assert_eq!(client.call("role:api,cmd:empty", json!({})), json!({ "ok": null }));
        assert_eq!(client.call("role:api,cmd:echo", json!({ "what": what })), json!({ "ok": { "what": what } }));
    });
}

#[test]
fn errors_keep_their_codes() {
    each_pair(|client| {
        let missing = &client.call("role:api,cmd:nosuch", json!({}))["error"];
        assert_eq!(missing["code"], "act_not_found");
        assert_eq!(
            missing["message"],
            "seneca: No matching action pattern found for { role: 'api', cmd: 'nosuch' }, \
             and no default result provided (using a default$ property)."
        );
        let failed = &client.call("role:api,cmd:fail", json!({ "shelf": 7 }))["error"];
        assert_eq!((&failed["code"], &failed["details_orig"]), (&json!("act_execute"), &json!("shelf_empty")));
        assert_eq!(failed["message"], "seneca: Action cmd:fail,role:api failed: the shelf is empty.");
    });
}

#[test]
fn many_calls_in_flight_and_one_that_nobody_waits_for() {
    each_pair(|client| {
        let answers = client.call_many("role:api,cmd:add", json!({ "right": 1 }), 200, "left");
        let sums: Vec<Value> = (1..=200).map(|sum| json!({ "result": sum })).collect();
        assert_eq!(answers, json!({ "ok": sums, "errors": [] }));
        client.tell("role:api,cmd:note", json!({}));
        assert_eq!(client.call("role:api,cmd:noted", json!({})), json!({ "ok": { "notes": 1 } }));
    });
}

#[test]
fn a_call_times_out_at_its_caller() {
    each_version(|version| {
        let server = Server::start(version);
        let mut client = Client::start(version, server.port, &json!({ "timeout": 300 }));
        let error = &client.call("role:api,cmd:slow", json!({ "ms": 10_000 }))["error"];
        match version {
            "0.9" => assert_eq!((&error["code"], &error["timeout"]), (&json!("act_execute"), &json!(true))),
            _ => assert_eq!(error["code"], "action_timeout"),
        }
        client.end();
    });
}

/// A 0.9.3 client sends no `sync`, without which a 3.38 server does not answer: ours has to.
#[test]
fn a_new_server_does_not_answer_an_old_client() {
    if installed() {
        let server = Server::start("3");
        let mut client = Client::start("0.9", server.port, &json!({ "timeout": 300 }));
        assert_eq!(add(&mut client)["error"]["timeout"], true);
        client.end();
    }
}

#[test]
fn a_handler_that_calls_a_third_starts_a_new_track() {
    each_version(|version| {
        let far = Server::start_at(version, 0, &json!({ "role": "far" }));
        let near = Server::start_at(version, 0, &json!({ "client": { "port": far.port, "pin": "role:far" } }));
        let mut client = Client::start(version, near.port, &json!({}));
        let message = json!({ "act": "role:far,cmd:seen", "message": { "n": 1 } });
        let seen = &client.call("role:api,cmd:relay", message)["ok"]["seen"];
        assert_eq!((&seen["n"], &seen["cmd"]), (&json!(1), &json!("seen")));
        assert_eq!(seen["transport$"]["track"], json!([seen["transport$"]["origin"]]));
        client.end();
    });
}

/// A 0.9.3 client sends its first call again after each reconnect, under the same id, and hands on the second answer too.
#[test]
fn clients_come_back_to_a_server_that_was_killed() {
    each_version(|version| {
        let server = Server::start(version);
        let port = server.port;
        let mut client = Client::start(version, port, &json!({ "pin": "role:api" }));
        let sum = json!({ "ok": { "result": 5 } });
        assert_eq!(add(&mut client), sum);
        client.set_timeout(1_000);
        server.kill();
        assert_ne!(add(&mut client)["error"], Value::Null);
        let _server = Server::start_at(version, port, &json!({}));
        let deadline = Instant::now() + Duration::from_secs(60);
        while add(&mut client) != sum {
            assert!(Instant::now() < deadline, "{version} did not come back");
        }
        assert_eq!(client.answered_again(), if version == "0.9" { vec![1] } else { vec![] });
        client.end();
    });
}

fn add(client: &mut Client) -> Value {
    client.call("role:api,cmd:add", json!({ "left": 2, "right": 3 }))
}
