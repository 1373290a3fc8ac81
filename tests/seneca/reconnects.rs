//! Connections that break, and servers that are started again: real clients of ours go on, and so do our calls to real servers.

use std::net::{Ipv4Addr, TcpStream};
use std::thread;

use grapevine::service::{ActError, Service};
use serde_json::{Value, json};

use crate::node::{Client, Server};
use crate::ours::{Ours, settings, versions, wait_until};
use crate::relay::Relay;

const ADD: &str = "role:api,cmd:add,left:2,right:3";

fn sum() -> Value {
    json!({ "result": 5 })
}

/// What a real client is called with while it has no connection is lost, by a 0.9.3 client, or late.
fn wait_until_it_calls(client: &mut Client) {
    wait_until("the client goes on", || client.call(ADD, json!({})) == json!({ "ok": sum() }));
}

/// A 0.9.3 client sends its first call again after each reconnect, under the same id, and hands on the second answer too.
fn assert_answered_again(version: &str, client: &mut Client) {
    let first = if version == "0.9" { vec![1] } else { vec![] };
    assert_eq!(client.answered_again(), first, "{version}");
}

#[test]
fn a_client_goes_on_when_we_close_its_connection() {
    for version in versions() {
        let ours = Ours::start_as(settings().connections(1));
        let mut client = ours.client(version);
        assert_eq!(client.call("role:api,cmd:note", json!({})), json!({ "ok": { "notes": 1 } }));
        client.set_timeout(2_000);
        // One more than there may be: the other one is idle, and is closed.
        let _one_more = TcpStream::connect((Ipv4Addr::LOCALHOST, ours.port())).expect("a connection");
        wait_until("the client connects again", || client.relay.connections() >= 2);
        wait_until_it_calls(&mut client);
        assert_eq!(ours.notes(), 1, "what came again was not done again");
        assert_answered_again(version, &mut client);
        client.end();
    }
}

#[test]
fn a_client_goes_on_when_we_are_started_again() {
    for version in versions() {
        let ours = Ours::start();
        let addr = ours.service.local_addr().expect("it listens");
        let mut client = Client::start(version, addr.port(), &json!({ "pin": "role:api" }));
        assert_eq!(client.call(ADD, json!({})), json!({ "ok": sum() }));
        client.set_timeout(2_000);
        ours.service.close();
        assert_ne!(client.call(ADD, json!({}))["error"], Value::Null);
        drop(ours);
        let mut again = None;
        wait_until("the port is free", || {
            again = settings().listen(addr).start().ok();
            again.is_some()
        });
        let ours = Ours::on(again.expect("a service"));
        wait_until_it_calls(&mut client);
        assert_answered_again(version, &mut client);
        assert_eq!(ours.service.stats().refused.len(), 0);
        client.end();
    }
}

/// A 0.9.3 client sends what was under way once more, if it was its first call. It is not done twice, and the answer arrives.
#[test]
fn a_connection_breaks_while_the_first_call_is_under_way() {
    for version in versions() {
        let ours = Ours::start();
        let comes_again = *version == "0.9";
        let timeout = if comes_again { 60_000 } else { 2_000 };
        let mut client = ours.client_with(version, json!({ "pin": "role:api", "timeout": timeout }));
        let held = client.send(json!({ "act": "role:api,cmd:hold", "message": { "number": 1 } }));
        ours.wait_for_held(1);
        client.relay.cut();
        if comes_again {
            wait_until("it comes again", || client.relay.requests().len() == 2);
            ours.release();
            assert_eq!(client.answer(held), json!({ "ok": { "held": 1 } }));
        } else {
            assert_eq!(client.answer(held)["error"]["code"], "action_timeout");
            ours.release();
        }
        wait_until_it_calls(&mut client);
        assert_eq!(ours.notes(), 1, "{version}");
        client.end();
    }
}

fn caller_of(port: u16) -> Service {
    settings().client(format!("127.0.0.1:{port}"), "role:api").start().expect("a service")
}

fn lost(result: &Result<Value, ActError>) -> bool {
    matches!(result, Err(ActError::ConnectionLost { .. }))
}

#[test]
fn a_server_is_killed_and_started_again() {
    for version in versions() {
        let theirs = Server::start(version);
        let port = theirs.port;
        let ours = caller_of(port);
        assert_eq!(ours.act(ADD), Ok(sum()));
        thread::scope(|scope| {
            let once = scope.spawn(|| ours.act::<Value>("role:api,cmd:hold"));
            let idempotent = scope.spawn(|| ours.call("role:api,cmd:hold").idempotent().send::<Value>());
            wait_until("both are held", || ours.act::<Value>("role:api,cmd:holding") == Ok(json!({ "holding": 2 })));
            theirs.kill();
            // There is nobody else who could do it.
            for call in [once, idempotent] {
                let result = call.join().expect("a result");
                assert!(lost(&result), "{version}: {result:?}");
            }
        });
        for call in [ours.call(ADD), ours.call(ADD).idempotent()] {
            let error = call.send::<Value>().expect_err("nobody is there");
            assert_eq!(error.code(), "unreachable");
            let text = format!("no provider could be reached: 127.0.0.1:{port}: nobody listens there");
            assert_eq!(error.to_string(), text);
        }
        assert_eq!(ours.call(ADD).tell().map_err(|error| error.code().to_owned()), Err("unreachable".to_owned()));
        // At once, although it is left alone where there is a choice.
        let _theirs = Server::start_at(version, port, &json!({}));
        assert_eq!(ours.act(ADD), Ok(sum()), "{version}");
        assert_eq!(ours.call(ADD).idempotent().send(), Ok(sum()), "{version}");
    }
}

#[test]
fn a_connection_to_a_server_breaks() {
    for version in versions() {
        let theirs = Server::start(version);
        let relay = Relay::to(theirs.port);
        let ours = caller_of(relay.port);
        let holding = |number: u64| {
            wait_until("they are held", || {
                ours.act::<Value>("role:api,cmd:holding") == Ok(json!({ "holding": number }))
            });
        };
        thread::scope(|scope| {
            let once = scope.spawn(|| ours.act::<Value>("role:api,cmd:hold,number:1"));
            let idempotent = scope.spawn(|| ours.call("role:api,cmd:hold,number:2").idempotent().send::<Value>());
            holding(2);
            relay.cut();
            let result = once.join().expect("a result");
            assert!(lost(&result), "{version}: {result:?}");
            // The other one is made again: three, of which nobody waits for the first two.
            holding(3);
            assert_eq!(ours.act::<Value>("role:api,cmd:release"), Ok(json!({ "released": 3 })));
            assert_eq!(idempotent.join().expect("a result"), Ok(json!({ "held": 2 })), "{version}");
        });
        assert_eq!(ours.stats().calls_moved, 1);
        // An idle one.
        relay.cut();
        wait_until("it is noticed", || ours.stats().providers[0].connections == 0);
        assert_eq!(ours.act(ADD), Ok(sum()), "{version}");
    }
}
