//! Real clients that wait for our service: many at once, out of order, for too long, for nothing, and the same call again.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::ours::{Ours, PATIENCE, settings, versions, wait_until};

#[test]
fn two_hundred_calls_are_in_flight_at_once() {
    for version in versions() {
        let ours = Ours::start();
        let mut client = ours.client(version);
        let many = json!({ "act": "role:api,cmd:hold", "many": 200, "count": "number" });
        let id = client.send(many);
        ours.wait_for_held(200);
        ours.release();
        let results: Vec<Value> = (0..200).map(|number| json!({ "held": number })).collect();
        assert_eq!(client.answer(id), json!({ "ok": results, "errors": [] }));
        client.end();
    }
}

#[test]
fn a_later_call_is_answered_first() {
    for version in versions() {
        let ours = Ours::start();
        let mut client = ours.client(version);
        let held = client.send(json!({ "act": "role:api,cmd:hold", "message": { "number": 1 } }));
        ours.wait_for_held(1);
        for left in 0..50 {
            let sum = json!({ "ok": { "result": left + 3 } });
            assert_eq!(client.call("role:api,cmd:add", json!({ "left": left, "right": 3 })), sum);
        }
        ours.release();
        assert_eq!(client.answer(held), json!({ "ok": { "held": 1 } }));
        client.end();
    }
}

/// A 3.38.0 client says that it waits for no answer, and gets none. A 0.9.3 client does not say so.
#[test]
fn what_nobody_waits_for_is_done_and_not_answered() {
    for version in versions() {
        let ours = Ours::start();
        let mut client = ours.client(version);
        for _ in 0..10 {
            client.tell("role:api,cmd:note", json!({}));
        }
        client.tell("role:api,cmd:fail", json!({}));
        client.tell("role:api,cmd:nosuch", json!({}));
        wait_until("ten notes", || ours.notes() == 10);
        assert_eq!(client.call("role:api,cmd:noted", json!({})), json!({ "ok": { "notes": 10 } }));
        let requests: Vec<Value> = parsed(client.relay.requests());
        let told = requests.iter().filter(|request| request["sync"] == false).count();
        assert_eq!((requests.len(), told), (13, if *version == "3" { 12 } else { 0 }));
        // All that wait have their answers: the call above was the last.
        wait_until("the answers", || client.relay.responses().len() >= requests.len() - told);
        client.end();
    }
}

#[test]
fn a_call_times_out_at_its_caller() {
    for version in versions() {
        let ours = Ours::start();
        let mut client = ours.client_with(version, json!({ "pin": "role:api", "timeout": 1_000 }));
        let begun = Instant::now();
        assert_timed_out(version, &client.call("role:api,cmd:hold", json!({})));
        assert!(begun.elapsed() >= Duration::from_secs(1));
        // The answer comes too late, and nobody minds.
        ours.wait_for_held(1);
        ours.release();
        let sum = json!({ "ok": { "result": 5 } });
        wait_until("calls work", || client.call("role:api,cmd:add,left:2,right:3", json!({})) == sum);
        client.end();
    }
}

/// A message's own time-out is 3.38.0's.
#[test]
fn a_message_has_a_time_out_of_its_own() {
    for version in versions().iter().filter(|version| **version == "3") {
        let ours = Ours::start();
        let mut client = ours.client(version);
        let begun = Instant::now();
        assert_timed_out(version, &client.call("role:api,cmd:hold", json!({ "timeout$": 200 })));
        assert!(begun.elapsed() < PATIENCE / 2);
        ours.wait_for_held(1);
        ours.release();
        client.end();
    }
}

/// What waited for a thread for longer than it may is not run, and whoever still waits is told.
#[test]
fn a_call_times_out_in_our_queue() {
    for version in versions() {
        let ours = Ours::start_as(settings().workers(1).timeout(Duration::from_millis(100)));
        let mut client = ours.client(version);
        std::thread::scope(|scope| {
            let service = &ours.service;
            let busy = scope.spawn(|| service.call("role:api,cmd:hold,number:1").timeout(PATIENCE).send::<Value>());
            ours.wait_for_held(1);
            let id = client.send(json!({ "act": "role:api,cmd:note" }));
            wait_until("it is in the queue", || service.stats().queue == 1);
            let queued = Instant::now();
            wait_until("its time is over", || queued.elapsed() > Duration::from_millis(100));
            ours.release();
            let error = &client.answer(id)["error"];
            assert_eq!((&error["code"], &error["timeout"]), (&json!("action_timeout"), &json!(true)));
            assert_eq!(busy.join().expect("its result"), Ok(json!({ "held": 1 })));
        });
        assert_eq!((ours.notes(), ours.service.stats().requests_expired), (1, 1), "the one that was held");
        client.end();
    }
}

/// A request that a real client sent comes once more over another connection, as a 0.9.3 client does it.
#[test]
fn a_repeated_id_is_answered_and_not_run_again() {
    for version in versions() {
        let ours = Ours::start();
        let mut client = ours.client(version);
        assert_eq!(client.call("role:api,cmd:note", json!({})), json!({ "ok": { "notes": 1 } }));
        let failed = client.call("role:api,cmd:fail", json!({}));
        assert_eq!(failed["error"]["orig"], "shelf_empty");
        let held = client.send(json!({ "act": "role:api,cmd:hold", "message": { "number": 5 } }));
        ours.wait_for_held(1);

        let mut again = Raw::connect(ours.port());
        let note = again.ask(&client.relay.request("note").0);
        assert_eq!(note["res"], json!({ "notes": 1 }));
        let fail = again.ask(&client.relay.request("fail").0);
        assert_eq!(fail["error"]["orig"]["code"], "shelf_empty");
        // While the first still runs.
        let (line, request) = client.relay.request("hold");
        again.send(&line);
        assert_eq!(again.ask(&client.relay.request("note").0)["res"], json!({ "notes": 1 }));
        ours.release();
        let both = [client.answer(held), again.answer()];
        assert_eq!(both[0], json!({ "ok": { "held": 5 } }));
        assert_eq!((&both[1]["res"], &both[1]["id"]), (&json!({ "held": 5 }), &request["id"]));

        // Another client's ids are its own, whatever they are.
        let mut other = request.clone();
        other["origin"] = json!("someone/1/2/else");
        other["act"] = json!({ "role": "api", "cmd": "note" });
        assert_eq!(
            again.ask(&other.to_string())["res"],
            json!({ "notes": 3 }),
            "one note, one that was held, this one"
        );
        client.end();
    }
}

fn assert_timed_out(version: &str, answer: &Value) {
    let error = &answer["error"];
    match version {
        "0.9" => assert_eq!((&error["code"], &error["timeout"]), (&json!("act_execute"), &json!(true)), "{answer}"),
        _ => assert_eq!(error["code"], "action_timeout", "{answer}"),
    }
}

fn parsed(lines: Vec<String>) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// A connection without a client.
struct Raw {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Raw {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        Self { lines: BufReader::new(stream.try_clone().expect("its other half")), stream }
    }

    fn send(&mut self, line: &str) {
        writeln!(self.stream, "{line}").expect("it takes a line");
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).expect("a line of JSON")
    }

    fn ask(&mut self, line: &str) -> Value {
        self.send(line);
        self.answer()
    }
}
