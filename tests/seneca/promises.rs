//! What every line has to be: anything else is dropped by a real client or server without a word, or ends its process. Each of these
//! was found by experiment with 0.9.3 and 3.38.0.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::relay::Relay;

/// Looks at every line that a client of ours has sent over this relay so far.
pub fn check_requests(relay: &Relay) {
    for line in relay.requests() {
        let request: Map<String, Value> = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        // A 0.9.3 server ends its process at an id that is no text, and a 3.38.0 server closes the connection; both, without a message.
        let id = request["id"].as_str().unwrap_or_else(|| panic!("an id that is no text: {line}"));
        let halves: Vec<&str> = id.split('/').collect();
        let is_name =
            |half: &&str| half.len() == 12 && half.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        assert!(halves.len() == 2 && halves.iter().all(is_name), "{line}");
        let message = request["act"].as_object().unwrap_or_else(|| panic!("no message: {line}"));
        // These are Seneca's own: some of them end its process.
        assert!(!message.keys().any(|key| key.ends_with('$')), "{line}");
        assert_eq!(request["kind"], "act", "{line}");
        // A 3.38.0 server does not answer without it.
        assert!(request["sync"].is_boolean(), "{line}");
        assert!(!request.contains_key("error"), "refused: {line}");
        assert_eq!(request["track"], Value::Array(vec![request["origin"].clone()]), "{line}");
        assert!(request["time"]["client_sent"].is_u64(), "{line}");
    }
}

/// Looks at every line that our server has sent over this relay so far.
pub fn check_responses(relay: &Relay) {
    let requests = relay.requests();
    let requests: Vec<Value> = requests.iter().map(|line| serde_json::from_str(line).expect("a request")).collect();
    let requests: HashMap<&str, &Value> =
        requests.iter().map(|request| (request["id"].as_str().expect("an id"), request)).collect();
    for line in relay.responses() {
        check_response(&line, &requests);
    }
}

fn check_response(line: &str, requests: &HashMap<&str, &Value>) {
    // Blanks alone, a byte order mark, or JSON that is no object end the process of either client.
    assert!(line.starts_with('{'), "{line}");
    let response: Map<String, Value> = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let id = response["id"].as_str().unwrap_or_else(|| panic!("an id that is no text: {line}"));
    let request = requests.get(id).unwrap_or_else(|| panic!("nobody asked: {line}"));
    // Without either of them it is dropped, and the call times out.
    assert_eq!((&response["kind"], &response["origin"]), (&Value::from("res"), &request["origin"]), "{line}");
    // 3.38 drops what has a `sync` that is false or null, and nobody waits for an answer to that.
    assert_ne!(request["sync"], false, "nothing is to be sent for {request}: {line}");
    assert!(response.get("sync").is_none_or(|sync| *sync == true), "{line}");
    // A text or a number here ends the client's process: it writes into it.
    assert!(response.get("time").is_none_or(Value::is_object), "{line}");
    match (response.get("res"), response.get("error")) {
        (Some(result), None) => assert!(result.is_object() || result.is_array() || result.is_null(), "{line}"),
        (None, Some(error)) => check_error(error, line),
        _ => panic!("either a result or an error: {line}"),
    }
}

fn check_error(error: &Value, line: &str) {
    let fields = error.as_object().unwrap_or_else(|| panic!("an error that is no object: {line}"));
    assert!(fields["message"].is_string() && fields["code"].is_string(), "{line}");
    // Without the first of them both clients wrap it, and the code is lost; without the second a 0.9 client does.
    assert_eq!((&fields["seneca"], &fields["eraro"]), (&Value::Bool(true), &Value::Bool(true)), "{line}");
    // A 0.9.3 client ends its process at a text or a number, and a 3.38.0 client never answers its caller.
    let can_be_written_into = |details: &Value| details.is_object() || details.is_null();
    assert!(fields.get("details").is_none_or(can_be_written_into), "{line}");
    // The same, where a handler's own code begins with `perm/`: clients hand on `orig` then.
    let or_array = |details: &Value| can_be_written_into(details) || details.is_array();
    assert!(error["orig"].get("details").is_none_or(or_array), "{line}");
    // It is taken for an array's, and everything else is lost.
    assert!(!fields.contains_key("length"), "{line}");
}
