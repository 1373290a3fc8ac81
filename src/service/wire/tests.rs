use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::service::error::Failure;

const INSTANCE: &str = "me/1/2/3";

fn read(line: &Value) -> Result<(String, bool, Option<Duration>), &'static str> {
    let text = line.to_string();
    let request = Request::read(text.as_bytes(), INSTANCE).map_err(|refused| refused.code)?;
    Ok((request.envelope.key(7), request.sync, request.timeout))
}

fn parsed(line: &[u8]) -> Value {
    assert!(line.ends_with(b"}\n") && !line[..line.len() - 1].contains(&b'\n'));
    serde_json::from_slice(line).unwrap()
}

#[test]
fn a_request_of_ours_is_read_as_it_was_meant() {
    let timeout = Duration::from_millis(1_500);
    let writer = RequestWriter { instance: "other/1/2/3", now: 7, sync: true, timeout };
    let act = r#"{"a":1,"b$":2}"#;
    let line = writer.write("abc/000000000001", act);
    assert!(line.len() - 1 <= writer.len(act));
    let request = Request::read(&line[..line.len() - 1], INSTANCE).ok().unwrap();
    assert_eq!(request.envelope.key(7), r#""other/1/2/3""abc/000000000001""#);
    assert!(request.sync && request.timeout == Some(timeout));
    assert_eq!(Value::Object(request.message().unwrap()), json!({"a": 1}));

    // Less than a millisecond is more than none.
    let hurried = RequestWriter { timeout: Duration::from_micros(100), ..writer }.write("a", act);
    assert_eq!(parsed(&hurried)["timeout"], 1);

    let head = request.envelope.head(INSTANCE, 8);
    let line = answer(&head, 9, &Ok("[1]".to_owned()));
    let expected = json!({
        "id": "abc/000000000001", "kind": "res", "origin": "other/1/2/3", "accept": INSTANCE, "track": ["other/1/2/3"],
        "sync": true, "time": {"client_sent": 7.0, "listen_recv": 8, "listen_sent": 9}, "res": [1],
    });
    let got = parsed(&line);
    assert_eq!(got["time"]["client_sent"].as_f64(), Some(7.0));
    assert_eq!(got.as_object().unwrap().len(), expected.as_object().unwrap().len());
    for (key, value) in expected.as_object().unwrap().iter().filter(|(key, _)| *key != "time") {
        assert_eq!(got[key], *value, "{key}");
    }
    let response = Response::read(&line[..line.len() - 1]).unwrap();
    assert_eq!((response.id, response.outcome.unwrap()), ("abc/000000000001", "[1]"));
}

#[test]
fn what_seneca_leaves_out_is_optional() {
    let least = json!({"id": "a", "kind": "act", "act": {}});
    assert_eq!(read(&least), Ok((r#"7 "a""#.to_owned(), true, None)));
    let odd =
        json!({"id": 5, "kind": "act", "act": {}, "origin": [], "track": "x", "time": 1, "sync": null, "timeout": "x"});
    assert_eq!(read(&odd), Ok(("7 5".to_owned(), true, None)));
    let silent = json!({"id": "a", "kind": "act", "act": {}, "sync": false, "timeout": -1});
    assert_eq!(read(&silent), Ok((r#"7 "a""#.to_owned(), false, None)));
}

#[test]
fn what_is_no_request_is_refused_by_its_code() {
    let refused = [
        (json!(1), INVALID_JSON),
        (json!({"kind": "act", "act": {}}), "no_message_id"),
        (json!({"id": "", "kind": "act", "act": {}}), "no_message_id"),
        (json!({"id": {"a": 1}, "kind": "act", "act": {}}), "no_message_id"),
        (json!({"id": "x".repeat(300), "kind": "act", "act": {}}), "no_message_id"),
        (json!({"id": "a", "kind": "res", "act": {}}), "invalid_kind_act"),
        (json!({"id": "a", "act": {}}), "invalid_kind_act"),
        (json!({"id": "a", "kind": "act"}), "no_data"),
        (json!({"id": "a", "kind": "act", "act": {}, "origin": INSTANCE}), "own_message"),
        (json!({"id": "a", "kind": "act", "act": {}, "track": ["x", INSTANCE]}), "message_loop"),
    ];
    for (line, code) in refused {
        assert_eq!(read(&line), Err(code), "{line}");
    }
    let line = parsed(&refusal(&head_for_nobody(INSTANCE, 1), 2, "no_message_id", "why"));
    assert_eq!((&line["kind"], &line["error"]["code"]), (&json!("res"), &json!("no_message_id")));
    assert_eq!((&line["error"]["seneca"], &line["error"]["eraro"]), (&json!(true), &json!(true)));
}

#[test]
fn errors_come_out_as_they_went_in() {
    let failure = Failure::new("shelf_empty", "nothing left").with_details(json!({"shelf": 7}));
    let sent = [
        ActError::Failed(failure),
        ActError::Failed(Failure::new("act_execute", "no code of its own")),
        ActError::TimedOut { after: Duration::from_secs(1) },
        ActError::Overloaded { addr: "10.0.0.1:1".to_owned() },
    ];
    for error in sent {
        let line = answer(&head_for_nobody(INSTANCE, 1), 2, &Err(error.clone()));
        let line = parsed(&line);
        assert_eq!(line.get("not_run").is_some(), matches!(error, ActError::Overloaded { .. }), "{line}");
        let wire_error = WireError::read(&line["error"].to_string(), false);
        assert_eq!(wire_error.into_error(true, "10.0.0.1:1", Duration::from_secs(1), 7), error);
    }
}

/// Beside the error, for that is what Seneca's handlers hand on.
#[test]
fn only_what_was_not_run_says_so() {
    let failure = Failure::new("printer_busy", "it prints");
    let told = [
        (ActError::NotFound { message: "{}".to_owned() }, true),
        (ActError::Failed(failure.clone()), false),
        (ActError::Failed(failure.clone().not_run()), true),
        // Handed on by a handler, which may have done something.
        (ActError::Failed(Failure::from(ActError::Failed(failure.not_run()))), false),
        (ActError::InvalidMessage("left is missing".to_owned()), false),
    ];
    for (error, is_not_run) in told {
        let line = answer(r#"{"id":"a","kind":"res","time":{"#, 2, &Err(error.clone()));
        let response = Response::read(&line[..line.len() - 1]).unwrap();
        assert_eq!(response.outcome.unwrap_err().is_not_run(&Message::new()), is_not_run, "{error:?}");
    }
    let line = refusal(r#"{"id":"a","kind":"res","time":{"#, 2, "own_message", "why");
    assert!(Response::read(&line[..line.len() - 1]).unwrap().outcome.unwrap_err().is_not_run(&Message::new()));
    // Seneca's.
    let text = "seneca: No matching action pattern found for { role: 'api', cmd: 'nosuch' }, and no default result provided (using a default$ property).";
    let error = WireError::read(&json!({"code": "act_not_found", "message": text}).to_string(), false);
    for (message, is_not_run) in
        [(json!({"role": "api", "cmd": "nosuch"}), true), (json!({"role": "api", "cmd": "outer"}), false)]
    {
        assert_eq!(error.is_not_run(message.as_object().unwrap()), is_not_run, "{message}");
    }
    assert!(
        matches!(error.into_error(false, "", Duration::ZERO, 7), ActError::Failed(failure) if failure.code() == "act_not_found")
    );
}

/// Of a line that is too long to be taken.
#[test]
fn the_beginning_of_a_line_says_whose_it_is() {
    let whole = r#"{"id":"a/1","kind":"act","origin":"o","sync":true,"time":{"client_sent":5},"act":{"text":"xxxxäxx"#;
    let envelope = Envelope::of_beginning(whole.as_bytes()).unwrap();
    let line = parsed(&too_long(&envelope.head(INSTANCE, 1), 2, 1_000));
    let error = WireError::read(&line["error"].to_string(), true);
    assert_eq!(error.into_error(true, "", Duration::ZERO, 7), ActError::MessageTooLarge { len: 7, limit: 1_000 });
    assert_eq!((&line["id"], &line["origin"], &line["time"]["client_sent"]), (&json!("a/1"), &json!("o"), &json!(5)));
    assert_eq!(Response::id_of_beginning(whole.as_bytes()), Some("a/1"));
    for len in 0..whole.len() {
        let envelope = Envelope::of_beginning(&whole.as_bytes()[..len]);
        assert_eq!(envelope.is_some(), len > r#"{"id":"a/1"#.len(), "{len}");
    }
    // In whatever order, unless the message comes before.
    assert!(Envelope::of_beginning(b"{\"kind\":\"act\",\"id\":5,\"act\":{\"a").is_some());
    assert!(Envelope::of_beginning(b"{\"act\":{\"a\":\"").is_none());
    // Cut within a character.
    assert!(Envelope::of_beginning(b"{\"id\":5,\"act\":\"\xc3").is_some());
}

/// Each of these is within the others: read as serde_json reads it, the text of one is JSON again, and takes as much of the stack once more.
#[test]
fn no_name_has_json_read_within_json() {
    let name = "$serde_json::private::RawValue";
    let mut text = "1".to_owned();
    while text.len() < 1 << 16 {
        text = format!("{}{{\"{name}\":{}}}{}", "[".repeat(125), Value::from(text), "]".repeat(125));
    }
    let line = format!(r#"{{"id":"x","kind":"act","act":{{"a":1,"b":{text}}}}}"#);
    let request = Request::read(line.as_bytes(), INSTANCE).ok().unwrap();
    assert!(request.message().unwrap_err().contains(name));
    let line = format!(r#"{{"id":"x","kind":"res","error":{{"a":1,"b":{text}}}}}"#);
    let error = Response::read(line.as_bytes()).ok().unwrap().outcome.unwrap_err();
    assert!(error.into_error(true, "", Duration::ZERO, 7).to_string().contains(name));
}

/// As real servers write a handler's error with a code of its own.
#[test]
fn a_handlers_own_code_is_found_in_either_version() {
    let theirs = [
        json!({"code": "act_execute", "message": "seneca: Action failed: empty.", "orig": {"code": "shelf_empty", "message": "empty"}}),
        json!({"code": "act_execute", "message": "m", "orig": {"code": "action-error", "orig": {"code": "shelf_empty", "message": "empty"}}}),
        json!({"code": "act_execute", "message": "empty", "orig": {}, "details": {"orig$": {"code": "shelf_empty"}}}),
    ];
    for error in theirs {
        let read = WireError::read(&error.to_string(), false).into_error(true, "", Duration::ZERO, 7);
        assert_eq!(
            (read.clone().code(), read),
            ("shelf_empty", ActError::Failed(Failure::new("shelf_empty", "empty"))),
            "{error}"
        );
    }
    for odd in [json!("text"), json!(1), json!([]), json!({"code": 5, "orig": "x", "details": 7})] {
        assert_eq!(
            WireError::read(&odd.to_string(), false).into_error(true, "", Duration::ZERO, 7).code(),
            "act_execute"
        );
    }
}

proptest! {
    #[test]
    fn no_line_is_too_odd(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Request::read(&line, INSTANCE).map(|request| request.message());
        let _ = Response::read(&line);
    }

    /// Fields with values of any kind.
    #[test]
    fn no_field_is_too_odd(values in proptest::collection::vec(0usize..9, 8)) {
        let kinds = [json!(null), json!(true), json!(-1), json!(1e300), json!(""), json!("act"), json!([]), json!({}), json!([["x"]])];
        let fields = ["id", "kind", "origin", "track", "time", "sync", "timeout", "act"];
        let line: Value = fields.iter().zip(&values).map(|(field, kind)| ((*field).to_owned(), kinds[*kind].clone())).collect();
        let text = line.to_string();
        if let Ok(request) = Request::read(text.as_bytes(), INSTANCE) {
            let _ = request.message();
            let line = answer(&request.envelope.head(INSTANCE, 1), 2, &Ok("null".to_owned()));
            parsed(&line);
        }
    }
}
