//! Our service calls real servers: results, errors with their codes, many at once, time-outs.

use std::thread;
use std::time::{Duration, Instant};

use grapevine::service::{ActError, Service};
use serde_json::{Value, json};

use crate::node::{Server, VERSIONS};
use crate::ours::{PATIENCE, settings, versions, wait_until};
use crate::promises;
use crate::relay::Relay;

/// A real server, ours that calls it, and a relay between them.
struct Pair {
    version: &'static str,
    ours: Service,
    relay: Relay,
    _theirs: Server,
}

impl Drop for Pair {
    fn drop(&mut self) {
        if !thread::panicking() {
            promises::check_requests(&self.relay);
        }
    }
}

fn pairs() -> impl Iterator<Item = Pair> {
    pairs_with(json!({}))
}

/// With the options of the script.
fn pairs_with(options: Value) -> impl Iterator<Item = Pair> {
    VERSIONS.into_iter().filter(|version| versions().contains(version)).map(move |version| {
        let theirs = Server::start_at(version, 0, &options);
        let relay = Relay::to(theirs.port);
        // One connection, so that the lines on it do not mix with others'.
        let settings = settings().connections_per_provider(1).client(format!("127.0.0.1:{}", relay.port), "role:api");
        Pair { version, ours: settings.start().expect("a service"), relay, _theirs: theirs }
    })
}

fn failed_with(result: Result<Value, ActError>) -> (String, String) {
    match result {
        Err(ActError::Failed(failure)) => (failure.code().to_owned(), failure.message().to_owned()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn objects_texts_and_both() {
    for Pair { ref ours, .. } in pairs() {
        let numbers = json!({ "left": 2, "right": 3 });
        assert_eq!(ours.act::<Value>(("role:api,cmd:add", &numbers)), Ok(json!({ "result": 5 })));
        assert_eq!(ours.act::<Value>("role:api,cmd:mcl,left:2,right:3"), Ok(json!({ "result": 6 })));
        let act = json!({ "role": "api", "cmd": "mcl", "left": -4, "right": 3 });
        assert_eq!(ours.act::<Value>(act), Ok(json!({ "result": -12 })));
        assert_eq!(ours.act::<Value>(("role:api,cmd:add,left:10", &numbers)), Ok(json!({ "result": 13 })));
    }
}

#[test]
fn results_of_every_kind() {
    let kinds = [
        json!({}),
        json!([]),
        json!([1, [2, [3]], { "four": null }]),
        json!({ "ä 😀 \u{2028}\u{7f}": "\u{0}\n\t\"\\/ ßñ漢字 \u{1f469}\u{200d}\u{1f680}" }),
        json!({ "numbers": [0, -1, 1.5, 1e21, 1e-7, 9_007_199_254_740_991_i64], "no": null, "yes": true }),
        json!({ "error": "no", "code": "c", "message": "m", "length": 3, "then": 4, "id": 5, "res": 6, "kind": "act" }),
        json!({ "text": "x".repeat(350_000), "numbers": (0..20_000).collect::<Vec<_>>() }),
    ];
    for Pair { version, ref ours, .. } in pairs() {
        for what in &kinds {
            let echoed: Result<Value, _> = ours.act(("role:api,cmd:echo", json!({ "what": what })));
            // Not as a whole: it may be long.
            assert!(
                echoed == Ok(json!({ "what": what })),
                "{version}: {}",
                &what.to_string()[..10.min(what.to_string().len())]
            );
            assert!(
                ours.act::<Value>(("role:api,cmd:same", json!({ "what": what }))).as_ref() == Ok(what),
                "{version}"
            );
        }
        assert_eq!(ours.act::<Value>("role:api,cmd:list"), Ok(json!(["one", 2, { "three": 3 }])));
        assert_eq!(ours.act::<Value>("role:api,cmd:empty"), Ok(Value::Null));
        assert_eq!(ours.act::<()>("role:api,cmd:empty"), Ok(()));
        assert_eq!(ours.act::<Option<Vec<u8>>>("role:api,cmd:empty"), Ok(None));
    }
}

/// Their handlers see the message, and beside it what they see of any client.
#[test]
fn a_message_arrives_as_it_was() {
    for Pair { version, ref ours, .. } in pairs() {
        let message = json!({ "n": 1, "nested": { "kept$": 2 }, "none": null, "lost$": 3 });
        let seen: Value = ours.act(("role:api,cmd:seen", message)).expect("what it saw");
        let seen = seen["seen"].as_object().expect("a message");
        let own: serde_json::Map<_, _> = seen
            .iter()
            .filter(|(key, _)| !key.ends_with('$'))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let expected = json!({ "role": "api", "cmd": "seen", "n": 1, "nested": { "kept$": 2 }, "none": null });
        assert_eq!(Value::Object(own), expected, "{version}");
        assert!(!seen.contains_key("lost$"), "{version}");
        assert_eq!(seen["transport$"]["track"], json!([seen["transport$"]["origin"]]), "{version}");
    }
}

#[test]
fn an_error_keeps_its_code() {
    for Pair { version, ref ours, .. } in pairs() {
        let (code, message) = failed_with(ours.act("role:api,cmd:fail,shelf:7"));
        assert_eq!((&*code, message.contains("the shelf is empty")), ("shelf_empty", true), "{version}: {message}");
        let (code, message) = failed_with(ours.act("role:api,cmd:throw"));
        assert_eq!((&*code, message.contains("the shelf fell down")), ("shelf_fell", true), "{version}: {message}");
        let (code, message) = failed_with(ours.act("role:api,cmd:plain_fail"));
        assert_eq!((&*code, message.contains("the shelf is empty")), ("act_execute", true), "{version}: {message}");
        for what in [json!(5), json!("text"), json!(true)] {
            let result = ours.act::<Value>(("role:api,cmd:same", json!({ "what": what })));
            assert!(matches!(result, Err(ActError::InvalidResult(_))), "{version} {what}: {result:?}");
        }
    }
}

#[test]
fn what_nobody_offers_is_told_at_once() {
    for Pair { version, ref ours, ref relay, .. } in pairs() {
        let error = ours.act::<Value>("role:api,cmd:nosuch").expect_err("nobody offers it");
        assert_eq!(error, ActError::NotFound { message: "{ role: 'api', cmd: 'nosuch' }".into() }, "{version}");
        assert_eq!(error.code(), "act_not_found");
        // Inside of the pin and outside of it.
        let default = json!({ "result": 0 });
        for message in ["role:api,cmd:nosuch", "role:other,cmd:add"] {
            assert_eq!(ours.act::<Value>((message, json!({ "default$": default }))), Ok(default.clone()));
            assert_eq!(ours.call(message).default(default.clone()).send::<Value>(), Ok(default.clone()));
        }
        assert!(matches!(ours.act::<Value>("role:other,cmd:add"), Err(ActError::NotFound { .. })));
        assert_eq!(relay.requests().len(), 3, "those inside of the pin");
    }
}

#[test]
fn two_hundred_calls_are_in_flight_at_once_and_the_last_is_answered_first() {
    for Pair { ref ours, .. } in pairs() {
        let mut results: Vec<Value> = thread::scope(|scope| {
            let calls = (0..200).map(|number| {
                let ours = &ours;
                scope.spawn(move || ours.act::<Value>(("role:api,cmd:hold", json!({ "number": number }))))
            });
            let calls: Vec<_> = calls.collect();
            wait_until("200 calls are held", || {
                ours.act::<Value>("role:api,cmd:holding") == Ok(json!({ "holding": 200 }))
            });
            assert_eq!(ours.act::<Value>("role:api,cmd:release"), Ok(json!({ "released": 200 })));
            calls.into_iter().map(|call| call.join().expect("its result").expect("a result")).collect()
        });
        results.sort_by_key(|result| result["held"].as_u64());
        assert_eq!(results, (0..200).map(|number| json!({ "held": number })).collect::<Vec<_>>());
        assert_eq!(ours.stats().providers[0].connections, 1);
    }
}

#[test]
fn what_nobody_waits_for_is_done_and_not_answered() {
    for Pair { version, ref ours, ref relay, .. } in pairs() {
        for _ in 0..10 {
            assert_eq!(ours.call("role:api,cmd:note").tell(), Ok(()));
        }
        assert_eq!(ours.call("role:api,cmd:fail").tell(), Ok(()));
        wait_until("ten notes", || ours.act::<Value>("role:api,cmd:noted") == Ok(json!({ "notes": 10 })));
        // A 0.9.3 server answers all the same, which is harmless.
        let answered = relay.responses().iter().filter(|line| line.contains(r#""notes":1}"#)).count();
        assert_eq!(answered, if version == "0.9" { 1 } else { 0 }, "{version}");
    }
}

#[test]
fn a_call_times_out_here() {
    for Pair { version, ref ours, .. } in pairs() {
        let after = Duration::from_millis(300);
        let slow = ours.call("role:api,cmd:hold").timeout(after).send::<Value>();
        assert_eq!(slow, Err(ActError::TimedOut { after }), "{version}");
        assert_eq!(ours.act::<Value>("role:api,cmd:hold,timeout$:300"), Err(ActError::TimedOut { after }), "{version}");
        // Their late answers find nobody, and nobody minds.
        wait_until("both are held", || ours.act::<Value>("role:api,cmd:holding") == Ok(json!({ "holding": 2 })));
        assert_eq!(ours.act::<Value>("role:api,cmd:release"), Ok(json!({ "released": 2 })));
        assert_eq!(ours.act::<Value>("role:api,cmd:add,left:2,right:3"), Ok(json!({ "result": 5 })));
        wait_until("the late answers", || ours.stats().refused.get("late_response") == Some(&2));
    }
}

/// The server gives up before we do.
#[test]
fn a_call_times_out_there() {
    for Pair { version, ref ours, .. } in pairs_with(json!({ "timeout": 300 })) {
        let begun = Instant::now();
        let error = ours.act::<Value>("role:api,cmd:hold").expect_err("nobody releases it");
        assert!(matches!(error, ActError::TimedOut { .. }), "{version}: {error:?}");
        assert!(begun.elapsed() < PATIENCE, "{version}");
    }
}

#[test]
fn a_second_answer_to_one_call_is_dropped() {
    for Pair { ref ours, .. } in pairs() {
        for _ in 0..5 {
            assert_eq!(ours.act::<Value>("role:api,cmd:twice"), Ok(json!({ "time": 1 })));
        }
        assert_eq!(ours.act::<Value>("role:api,cmd:add,left:2,right:3"), Ok(json!({ "result": 5 })));
    }
}
