//! Real clients call our service: results, errors, and what nobody offers.

use grapevine::service::Failure;
use serde_json::{Value, json};

use crate::node::{Client, Server};
use crate::ours::{Ours, settings, versions};

#[test]
fn objects_texts_and_both() {
    for version in versions() {
        let ours = Ours::start();
        let mut client = ours.client(version);
        let numbers = json!({ "left": 2, "right": 3 });
        assert_eq!(client.call("role:api,cmd:add", numbers.clone()), json!({ "ok": { "result": 5 } }));
        assert_eq!(client.call("role:api,cmd:mcl,left:2,right:3", json!({})), json!({ "ok": { "result": 6 } }));
        let act = json!({ "role": "api", "cmd": "mcl", "left": -4, "right": 3 });
        let id = client.send(json!({ "act": act }));
        assert_eq!(client.answer(id), json!({ "ok": { "result": -12 } }));
        // In a text and an object the text's value wins.
        assert_eq!(client.call("role:api,cmd:add,left:10", numbers), json!({ "ok": { "result": 13 } }));
        client.end();
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
        // Names that mean something to Seneca elsewhere.
        json!({ "a$": 1, "meta$": { "x": 1 }, "error": "no", "code": "c", "message": "m", "length": 3, "then": 4, "id": 5 }),
        json!({ "text": "x".repeat(350_000), "numbers": (0..20_000).collect::<Vec<_>>() }),
    ];
    for version in versions() {
        let ours = Ours::start();
        let mut client = ours.client(version);
        for what in &kinds {
            assert_eq!(client.call("role:api,cmd:echo", json!({ "what": what })), json!({ "ok": { "what": what } }));
            assert_eq!(client.call("role:api,cmd:same", json!({ "what": what })), json!({ "ok": what }));
        }
        assert_eq!(client.call("role:api,cmd:list", json!({})), json!({ "ok": ["one", 2, { "three": 3 }] }));
        assert_eq!(client.call("role:api,cmd:empty", json!({})), json!({ "ok": null }));
        client.end();
    }
}

/// A real Seneca's handler sees some of its own fields, ours sees the message.
#[test]
fn a_handler_sees_the_message_alone() {
    for version in versions() {
        let ours = Ours::start();
        let mut client = ours.client(version);
        let message = json!({ "n": 1, "custom$": { "x": 1 }, "nested": { "kept$": 2 } });
        let seen = json!({ "n": 1, "nested": { "kept$": 2 }, "role": "api", "cmd": "seen" });
        assert_eq!(client.call("role:api,cmd:seen", message), json!({ "ok": { "seen": seen } }));
        client.end();
    }
}

#[test]
fn an_error_keeps_its_code_and_harms_nobody_else() {
    for version in versions() {
        let ours = Ours::start();
        let mut client = ours.client(version);
        let held = client.send(json!({ "act": "role:api,cmd:hold", "message": { "number": 1 } }));
        ours.wait_for_held(1);
        assert_own_code(&client.call("role:api,cmd:fail", json!({})), "shelf_empty", "the shelf is empty");
        let panicked = &client.call("role:api,cmd:panic", json!({}));
        assert_own_code(panicked, "handler_panicked", "the handler panicked: the shelf fell down");
        let unreadable = &client.call("role:api,cmd:add", json!({ "left": 1 }))["error"];
        assert_eq!((&unreadable["code"], &unreadable["seneca"]), (&json!("invalid_message"), &json!(true)));
        ours.release();
        assert_eq!(client.answer(held), json!({ "ok": { "held": 1 } }));
        client.end();
    }
}

/// The code is where programs for either version look for it.
fn assert_own_code(answer: &Value, code: &str, text: &str) {
    let error = &answer["error"];
    assert_eq!((&error["code"], &error["seneca"]), (&json!("act_execute"), &json!(true)), "{answer}");
    let codes = [&error["orig"], &error["orig_orig"], &error["details_orig"]];
    assert_eq!(codes, [code, code, code], "{answer}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains(text)), "{answer}");
}

/// What of a handler's own choosing could be something that real clients choke on.
#[test]
fn no_failure_of_a_handler_ends_a_client() {
    let codes = ["perm/denied", "action-error", "act_not_found", "action_timeout", "", "ä\n"];
    let details =
        [json!("text"), json!(5), json!(true), json!([1]), json!({ "length": 3 }), json!({ "code": 7, "orig$": 1 })];
    for version in versions() {
        let ours = Ours::start();
        let choice = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let added = ours.service.add("role:api,cmd:choose", move |message: Value| {
            let failure = Failure::new(choice(&message["code"]), choice(&message["text"]));
            Err::<(), _>(failure.with_details(message["details"].clone()))
        });
        added.expect("an action");
        let mut client = ours.client(version);
        for (code, details) in codes.iter().flat_map(|code| details.iter().map(move |details| (code, details))) {
            let message = json!({ "code": code, "text": "no more", "details": details });
            let answer = client.call("role:api,cmd:choose", message);
            let error = &answer["error"];
            assert!(
                error["message"].as_str().is_some_and(|text| text.contains("no more")),
                "{code} {details}: {answer}"
            );
            // Clients hand on what it was before where the code is like this.
            let whole = if code.starts_with("perm/") { *code } else { "act_execute" };
            assert_eq!(error["code"], whole, "{code} {details}: {answer}");
        }
        client.end();
    }
}

/// Real clients make an error of it themselves, and some values they cannot even take.
#[test]
fn a_result_that_is_no_object_is_an_error() {
    for version in versions() {
        let ours = Ours::start();
        let mut client = ours.client(version);
        for what in [json!(5), json!(0), json!("text"), json!(""), json!(true), json!(false)] {
            let error = &client.call("role:api,cmd:same", json!({ "what": what }))["error"];
            assert_eq!(error["code"], "result_not_objarr", "{what}");
        }
        client.end();
    }
}

#[test]
fn what_nobody_offers_is_told_at_once_and_as_seneca_tells_it() {
    let messages = [
        json!({}),
        json!({ "n": 1, "half": 1.5, "yes": true, "no": null, "minus": -7 }),
        json!({ "text": "it's", "quoted": "\"x\"", "lines": "a\nb\tc\\d" }),
        json!({ "my-key": 1, "ä": 2, "_a1": 3 }),
        json!({ "a": { "b": { "c": { "d": 1 } } } }),
        json!({ "list": [[1, [2, [3]]]], "none": [], "nothing": {} }),
    ];
    for version in versions() {
        let theirs = Server::start("3");
        let mut real = Client::start("3", theirs.port, &json!({}));
        let ours = Ours::start();
        let mut client = ours.client(version);
        for message in &messages {
            let expected = &real.call("role:api,cmd:nosuch", message.clone())["error"];
            let error = &client.call("role:api,cmd:nosuch", message.clone())["error"];
            assert_eq!((&error["code"], &error["seneca"]), (&json!("act_not_found"), &json!(true)));
            // It breaks what is wider than 80 columns into lines, and then takes the breaks out.
            let without_blanks = |error: &Value| error["message"].as_str().map(|text| text.replace(' ', ""));
            assert_eq!(without_blanks(error), without_blanks(expected));
        }
        client.end();
        real.end();
    }
}

/// As with real servers: a default is for what has no place to be sent to.
#[test]
fn a_default_is_for_what_is_outside_of_the_pin() {
    for version in versions() {
        let ours = Ours::start();
        let mut client = ours.client(version);
        let default = json!({ "default$": { "result": 0 } });
        assert_eq!(client.call("role:other,cmd:add", default.clone()), json!({ "ok": { "result": 0 } }));
        assert_eq!(client.call("role:api,cmd:nosuch", default)["error"]["code"], "act_not_found");
        client.end();
    }
}

/// More than our service takes at once: that call is refused, under its id, and those after it are not.
#[test]
fn a_message_that_is_too_long_is_its_callers_error() {
    for version in versions() {
        let ours = Ours::start_as(settings().line_bytes(10_000));
        let mut client = ours.client(version);
        for bytes in [20_000, 1_000_000] {
            let answer = client.call("role:api,cmd:echo", json!({ "what": "x".repeat(bytes) }));
            assert_eq!(answer["error"]["code"], "line_too_long", "{version}: {answer}");
            let sum = client.call("role:api,cmd:add", json!({ "left": 2, "right": 3 }));
            assert_eq!(sum, json!({ "ok": { "result": 5 } }), "{version}");
        }
        client.end();
    }
}
