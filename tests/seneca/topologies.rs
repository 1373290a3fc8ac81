//! Real processes and ours in more than pairs: our cluster behind a real client, pins, calls within calls, chains and circles.

use grapevine::service::{ActError, Failure, Service};
use serde_json::{Value, json};

use crate::node::{Client, Server};
use crate::ours::{Ours, PATIENCE, settings, versions, wait_until};

/// The two roles of seneca-gossip's README: a client whose pin is role:api, and a service, which is one of three here. What
/// comes from outside is done by the service that it comes to, or by nobody: it is not sent on.
#[test]
fn a_client_of_one_service_in_a_cluster_of_three() {
    if versions().is_empty() {
        return;
    }
    let first = Ours::start_as(settings().pin("role:api"));
    let seed = first.service.node().peer().to_string();
    let others = ["second", "third"].map(|_| Ours::start_as(settings().pin("role:api").seed(&seed)));
    for (ours, name) in [&first, &others[0], &others[1]].into_iter().zip(["first", "second", "third"]) {
        ours.service.add("role:api,cmd:name", move |_: Value| Ok(json!({ "name": name }))).expect("an action");
    }
    others[0].service.add("role:api,cmd:second", |_: Value| Ok(json!({ "second": true }))).expect("an action");
    assert!(first.service.wait_for("role:api,cmd:second", PATIENCE));
    wait_until("all know all", || {
        [&first, &others[0], &others[1]].iter().all(|ours| ours.service.services().len() == 3)
    });
    for version in versions() {
        let mut client = first.client(version);
        assert_eq!(client.call("role:api,cmd:add,left:2,right:3", json!({})), json!({ "ok": { "result": 5 } }));
        assert_eq!(client.call("role:api,cmd:mcl,left:2,right:3", json!({})), json!({ "ok": { "result": 6 } }));
        for _ in 0..20 {
            assert_eq!(client.call("role:api,cmd:name", json!({})), json!({ "ok": { "name": "first" } }));
        }
        assert_eq!(client.call("role:api,cmd:second", json!({}))["error"]["code"], "act_not_found");
        client.end();
    }
    assert_eq!(others.each_ref().map(|ours| ours.service.stats().requests), [0, 0]);
    // Its own calls go there.
    assert_eq!(first.service.act::<Value>("role:api,cmd:second"), Ok(json!({ "second": true })));
    assert_eq!(others[0].service.stats().requests, 1);
}

#[test]
fn a_pin_is_enforced() {
    for version in versions() {
        let ours = Ours::start_as(settings().pin("role:api,cmd:*").pin("role:other"));
        for pattern in ["role:secret,cmd:add", "role:api", "role:other,cmd:add"] {
            ours.service.add(pattern, move |_: Value| Ok(json!({ "ran": pattern }))).expect("an action");
        }
        let mut client = ours.client_with(version, json!({}));
        let ran = |pattern: &str| json!({ "ok": { "ran": pattern } });
        assert_eq!(client.call("role:other,cmd:add", json!({})), ran("role:other,cmd:add"));
        assert_eq!(client.call("role:api,cmd:any", json!({})), ran("role:api"));
        for outside in ["role:secret,cmd:add", "role:api"] {
            let error = &client.call(outside, json!({}))["error"];
            assert_eq!(error["code"], "act_not_found", "{version} {outside}");
            // What is here, and not for others, is told as what is not here.
            let unknown = &client.call("role:unknown,cmd:add", json!({}))["error"];
            assert_eq!(unknown["code"], "act_not_found");
            assert_eq!(
                ours.service.act::<Value>(outside),
                Ok(json!({ "ran": outside })),
                "its own calls are not affected"
            );
        }
        client.end();
    }
}

/// We call theirs, whose handler calls ours back before it answers, and the same through both directions at once.
#[test]
fn a_handler_of_theirs_calls_us_back() {
    for version in versions() {
        let ours = Ours::start();
        let far = ours.service.add("role:far,cmd:double", |message: Value| {
            let number = message["number"].as_i64().ok_or(Failure::new("no_number", "there is no number"))?;
            Ok(json!({ "double": 2 * number }))
        });
        far.expect("an action");
        let client = json!({ "port": ours.port(), "pin": "role:far" });
        let theirs = Server::start_at(version, 0, &json!({ "client": client, "role": "theirs" }));
        ours.service.client(&format!("127.0.0.1:{}", theirs.port), "role:theirs").expect("a client");
        let relay = |message: Value| {
            let message = json!({ "act": "role:far,cmd:double", "message": message });
            ours.service.act::<Value>(("role:theirs,cmd:relay", message))
        };
        for number in 0..20 {
            assert_eq!(relay(json!({ "number": number })), Ok(json!({ "double": 2 * number })), "{version}");
        }
        // Our handler's error goes through theirs, with its code.
        let error = relay(json!({})).expect_err("no number");
        assert!(matches!(error, ActError::Failed(_)), "{version}: {error:?}");
        assert_eq!(error.code(), "no_number", "{version}");

        // And once deeper: their client, our handler, their handler, our handler.
        let service = ours.service.clone();
        let deep = ours.service.add("role:api,cmd:deep", move |message: Value| {
            let message = json!({ "act": "role:far,cmd:double", "message": { "number": message["number"] } });
            Ok(service.act::<Value>(("role:theirs,cmd:relay", message))?)
        });
        deep.expect("an action");
        let mut client = ours.client(version);
        assert_eq!(client.call("role:api,cmd:deep,number:4", json!({})), json!({ "ok": { "double": 8 } }));
        let failed = client.call("role:api,cmd:deep", json!({}));
        assert_eq!(failed["error"]["details_orig"], "no_number", "through all of them: {failed}");
        client.end();
        // The handler owns a handle.
        ours.service.close();
    }
}

/// A client of one version, we, and a server of the other: what neither pair of them can do by itself.
#[test]
fn we_stand_between_two_versions() {
    for (calling, serving) in [("0.9", "3"), ("3", "0.9")] {
        if versions().is_empty() {
            return;
        }
        let theirs = Server::start_at(serving, 0, &json!({ "role": "theirs" }));
        let ours = Ours::start_as(settings().client(format!("127.0.0.1:{}", theirs.port), "role:theirs"));
        let service = ours.service.clone();
        let forward = ours.service.add("role:api,cmd:forward", move |mut message: serde_json::Map<String, Value>| {
            message.insert("role".to_owned(), json!("theirs"));
            message.insert("cmd".to_owned(), message["to"].clone());
            Ok(service.act::<Value>(message)?)
        });
        forward.expect("an action");
        let mut client = ours.client(calling);
        let sum = client.call("role:api,cmd:forward,to:add,left:2,right:3", json!({}));
        assert_eq!(sum, json!({ "ok": { "result": 5 } }), "{calling} {serving}");
        let what = json!({ "text": "ä".repeat(100_000) });
        let echoed = client.call("role:api,cmd:forward,to:echo", json!({ "what": what }));
        assert!(echoed == json!({ "ok": { "what": what } }), "{calling} {serving}");
        for (to, code) in [("fail", "shelf_empty"), ("nosuch", "act_not_found")] {
            let error = &client.call("role:api,cmd:forward", json!({ "to": to }))["error"];
            assert_eq!(error["details_orig"], code, "{calling} {serving}");
        }
        client.end();
        ours.service.close();
    }
}

/// A message that comes back to who sent it is refused, and its sender is told. A 3.38.0 server cannot pass on what came by TCP:
/// its process ends.
#[test]
fn a_message_in_a_circle_comes_to_an_end() {
    if versions().is_empty() {
        return;
    }
    let ours: Service = settings().start().expect("a service");
    let port = ours.local_addr().expect("it listens").port();
    let theirs = Server::start_at("0.9", 0, &json!({ "client": { "port": port, "pin": "role:circle" } }));
    ours.client(&format!("127.0.0.1:{}", theirs.port), "role:circle").expect("a client");
    let error = ours.act::<Value>("role:circle,cmd:any").expect_err("nobody offers it");
    assert_eq!(error.code(), "message_loop", "{error:?}");
    assert_eq!(ours.stats().refused.get("message_loop"), Some(&1));
}

/// Their servers with a pin of their own, and two of our clients' pins at once.
#[test]
fn the_more_exact_of_two_pins_is_taken() {
    if versions().is_empty() {
        return;
    }
    let (old, new) = (Server::start("0.9"), Server::start_at("3", 0, &json!({ "pin": "role:api" })));
    let ours = settings()
        .client(format!("127.0.0.1:{}", old.port), "role:api")
        .client(format!("127.0.0.1:{}", new.port), "role:api,cmd:note");
    let ours = ours.start().expect("a service");
    let notes = |number: u64| Ok(json!({ "notes": number }));
    for number in 1..=3 {
        assert_eq!(ours.act::<Value>("role:api,cmd:note"), notes(number));
    }
    assert_eq!(ours.act::<Value>("role:api,cmd:noted"), notes(0), "the other one");
    let mut client = Client::start("3", new.port, &json!({}));
    assert_eq!(client.call("role:api,cmd:noted", json!({})), json!({ "ok": { "notes": 3 } }));
    client.end();
}
