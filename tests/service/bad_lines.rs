//! Lines that are no requests, or odd ones: clear answers where the sender can be told, and nothing else disturbed.

use std::fmt::Write;

use grapevine::service::Service;
use serde_json::{Value, json};

use crate::harness::{Client, by, echo, first, refused, request, server, until, with_others};

fn service() -> Service {
    let service = first(server());
    echo(&service, "a:1", "it");
    service
}

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap()
}

/// Another connection, and another call on it, are as good as before.
fn is_fine(service: &Service) {
    assert_eq!(by(&Client::of(service).act("fine", &json!({"a": 1, "fine": 1}))["res"]), "it");
}

#[test]
fn junk_is_told_off_and_ends_its_connection_alone() {
    let _others = with_others();
    let service = service();
    let mut other = Client::of(&service);
    other.act("x/0", &json!({"a": 1}));
    let junk: [&[u8]; 17] = [
        b"hello\n",
        b"\x00\n",
        b"\xff\xfe\n",
        b"\xef\xbb\xbf{}\n",
        b" \n",
        b"GET / HTTP/1.1\r\n",
        b"{\n",
        b"}\n",
        b"{}{}\n",
        b"{\"id\":\"a\" \"kind\":\"act\"}\n",
        b"{\"id\":\"\xff\",\"kind\":\"act\",\"act\":{}}\n",
        b"null\n",
        b"5\n",
        b"\"x\"\n",
        b"false\n",
        b"[]\n",
        // The values of a request, without their names.
        b"[\"x/1\",\"act\",null,null,null,null,null,{\"a\":1}]\n",
    ];
    for (n, line) in junk.iter().enumerate() {
        let mut client = Client::of(&service);
        client.send_bytes(line);
        let told = client.line().unwrap_or_else(|| panic!("{:?}", line.escape_ascii().to_string()));
        assert_eq!((code(&told), told.get("id"), &told["kind"]), ("invalid_json", None, &json!("res")), "{told}");
        assert!(!told["error"]["message"].as_str().unwrap().is_empty());
        assert_eq!(client.ends(), 0);
        assert_eq!(refused(&service.stats(), "invalid_json"), n as u64 + 1);
    }
    assert_eq!(by(&other.act("x/1", &json!({"a": 1}))["res"]), "it");
    let stats = service.stats();
    assert_eq!((stats.requests, stats.request_errors), (2, 0));
}

#[test]
fn what_is_on_a_line_counts_and_not_how_it_comes() {
    let _others = with_others();
    let service = service();
    let mut client = Client::of(&service);
    let line = |n: usize| request(&format!("x/{n}"), &json!({"a": 1, "n": n})).to_string();
    // Empty lines and other ends of lines, blanks around, other orders, extras, byte by byte.
    client.send_bytes(b"\n\r\n\n");
    client.send_bytes(format!("{}\r\n", line(1)).as_bytes());
    assert_eq!(client.line().unwrap()["res"]["message"]["n"], 1);
    client.send_bytes(format!(" \t{} \n", line(2)).as_bytes());
    assert_eq!(client.line().unwrap()["res"]["message"]["n"], 2);
    client.send_bytes(b"{\"act\":{\"a\":1},\"extra\":{\"x\":[1]},\"kind\":\"act\",\"id\":\"x/3\",\"sync\":true,\"msg$\":{\"vin\":1}}\n");
    let answer = client.line().unwrap();
    assert_eq!((&answer["id"], &answer["sync"], answer.get("origin")), (&json!("x/3"), &json!(true), None));
    for byte in format!("{}\n", line(4)).as_bytes() {
        client.send_bytes(&[*byte]);
    }
    assert_eq!(client.line().unwrap()["res"]["message"]["n"], 4);
    // A thousand in one piece, the last one without its end.
    let mut lines = String::new();
    (10..1_010).for_each(|n| writeln!(lines, "{}", line(n)).unwrap());
    lines.push_str("{\"id\":\"half\",\"kind\":\"act\",\"act\":{\"a\":1}");
    client.send_bytes(lines.as_bytes());
    let mut seen: Vec<u64> =
        (0..1_000).map(|_| client.line().unwrap()["res"]["message"]["n"].as_u64().unwrap()).collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(10..1_010));
    client.send_bytes(b"}\n");
    assert_eq!(client.line().unwrap()["id"], "half");
    // What never got its end gets no answer.
    client.send_bytes(line(5).as_bytes());
    client.close_sending();
    assert_eq!(client.ends(), 0);
    is_fine(&service);
}

#[test]
fn ids_are_strings_or_numbers_and_come_back_as_they_are() {
    let _others = with_others();
    let service = service();
    let mut client = Client::of(&service);
    for id in
        ["\"x\"", "\"a/b/c/d\"", "\"/\"", "\"\\u00e4\\n\\\"\"", "5", "0", "-1.5e3", &format!("\"{}\"", "x".repeat(254))]
    {
        client.send_bytes(format!("{{\"id\":{id},\"kind\":\"act\",\"act\":{{\"a\":1}}}}\n").as_bytes());
        let answer = client.line().unwrap();
        assert_eq!((&answer["id"], by(&answer["res"])), (&serde_json::from_str::<Value>(id).unwrap(), "it"));
    }
    let odd = ["null", "true", "{}", "{\"a\":1}", "[1]", "\"\"", &format!("\"{}\"", "x".repeat(255))];
    for (n, id) in odd.iter().enumerate() {
        client.send_bytes(format!("{{\"id\":{id},\"kind\":\"act\",\"act\":{{\"a\":1}}}}\n").as_bytes());
        let answer = client.line().unwrap();
        assert_eq!((code(&answer), answer.get("id")), ("no_message_id", None), "{id}");
        assert_eq!(refused(&service.stats(), "no_message_id"), n as u64 + 1);
    }
    assert_eq!(code(&client.ask(&json!({"kind": "act", "act": {"a": 1}}))), "no_message_id");
    assert_eq!(service.stats().requests, 8, "the others were none");
    assert_eq!(by(&client.act("x/1", &json!({"a": 1}))["res"]), "it", "the connection is as good as before");
}

#[test]
fn what_is_no_request_is_told_why_under_its_id() {
    let _others = with_others();
    let service = service();
    let mut client = Client::of(&service);
    // Who this is, as it tells itself.
    let accept = client.act("x/0", &json!({"a": 1}))["accept"].clone();
    let mut odd = |change: &dyn Fn(&mut Value), expected: &str| {
        let mut line = request("x/1", &json!({"a": 1}));
        change(&mut line);
        let answer = client.ask(&line);
        assert_eq!((code(&answer), &answer["id"]), (expected, &json!("x/1")), "{line}");
        assert_eq!((&answer["kind"], &answer["origin"]), (&json!("res"), &line["origin"]));
        assert_eq!(refused(&service.stats(), expected) > 0, expected != "act_not_found");
    };
    for kind in [json!("res"), json!("ACT"), json!(1), json!(null), json!({})] {
        odd(&|line| line["kind"] = kind.clone(), "invalid_kind_act");
    }
    odd(&|line| drop(line.as_object_mut().unwrap().remove("kind")), "invalid_kind_act");
    odd(&|line| line["origin"] = accept.clone(), "own_message");
    odd(&|line| line["track"] = json!(["other", accept]), "message_loop");
    odd(&|line| drop(line.as_object_mut().unwrap().remove("act")), "no_data");
    odd(&|line| line["act"] = json!(null), "no_data");
    odd(&|line| line["act"] = json!({}), "act_not_found");
    let answer = client.act("x/2", &json!([{"a": 1}]));
    assert_eq!(code(&answer), "invalid_message", "{answer}");
    for act in [json!("a:1"), json!(4), json!(true)] {
        assert_eq!(code(&client.act("x/2", &act)), "invalid_message", "{act}");
    }
    assert_eq!(by(&client.act("x/3", &json!({"a": 1}))["res"]), "it", "the connection is as good as before");
}

/// What else a request says about itself is taken where it makes sense, and is otherwise as if it were not there.
#[test]
fn odd_extras_are_no_reason_to_refuse() {
    let _others = with_others();
    let service = service();
    let mut client = Client::of(&service);
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let mut n = 0;
    for extra in [
        "\"origin\":5",
        "\"origin\":null",
        "\"origin\":{}",
        "\"track\":5",
        "\"track\":\"x\"",
        "\"track\":[1,{},[null]]",
        "\"track\":null",
        "\"time\":5",
        "\"time\":null",
        "\"time\":[1]",
        "\"time\":{\"client_sent\":\"x\"}",
        "\"time\":{\"client_sent\":-1e300}",
        "\"time\":{}",
        "\"sync\":null",
        "\"sync\":1",
        "\"sync\":\"no\"",
        "\"timeout\":\"x\"",
        "\"timeout\":-1",
        "\"timeout\":1e400",
        "\"error\":null",
        &format!("\"extra\":{deep}"),
        &format!("\"track\":{deep}"),
    ] {
        n += 1;
        client.send_bytes(format!("{{\"id\":\"x/{n}\",\"kind\":\"act\",{extra},\"act\":{{\"a\":1}}}}\n").as_bytes());
        let answer = client.line().unwrap_or_else(|| panic!("{extra:.60}"));
        assert_eq!(by(&answer["res"]), "it", "{extra:.60}");
        let time = answer["time"].as_object().unwrap();
        assert!(time.values().all(Value::is_number), "clients write into it: {time:?}");
    }
    let long = "o".repeat(300);
    client.send_bytes(
        format!("{{\"id\":\"y\",\"origin\":\"{long}\",\"kind\":\"act\",\"act\":{{\"a\":1}}}}\n").as_bytes(),
    );
    assert_eq!(client.line().unwrap().get("origin"), None, "it is not told back at any length");
}

/// A stack is 2 MiB, and a line 8.
#[test]
fn deep_nesting_is_refused_and_nothing_overflows() {
    let _others = with_others();
    let service = service();
    let mut client = Client::of(&service);
    for (open, close, depth) in [("[", "]", 1_000_000), ("{\"a\":", "}", 1_000_000), ("[", "]", 200)] {
        let deep = open.repeat(depth) + "1" + &close.repeat(depth);
        client
            .send_bytes(format!("{{\"id\":\"x\",\"kind\":\"act\",\"act\":{{\"a\":1,\"deep\":{deep}}}}}\n").as_bytes());
        let answer = client.line().unwrap();
        assert_eq!((code(&answer), &answer["id"]), ("invalid_message", &json!("x")));
    }
    assert_eq!(refused(&service.stats(), "invalid_message"), 3);
    let deep = "[".repeat(100) + &"]".repeat(100);
    client.send_bytes(format!("{{\"id\":\"y\",\"kind\":\"act\",\"act\":{{\"a\":1,\"deep\":{deep}}}}}\n").as_bytes());
    assert_eq!(by(&client.line().unwrap()["res"]), "it");
    is_fine(&service);
}

/// Whoever claims to be somebody else is answered where it is, and the other one hears nothing of it.
#[test]
fn who_claims_anothers_origin_harms_nobody() {
    let _others = with_others();
    let service = service();
    let (mut honest, mut liar) = (Client::of(&service), Client::of(&service));
    assert_eq!(honest.act("x/1", &json!({"a": 1, "n": 1}))["res"]["message"]["n"], 1);
    let mut claimed = request("x/2", &json!({"a": 1, "n": 2}));
    claimed["origin"] = request("", &json!({}))["origin"].clone();
    assert_eq!(liar.ask(&claimed)["res"]["message"]["n"], 2);
    let answer = honest.act("x/3", &json!({"a": 1, "n": 3}));
    assert_eq!(
        (&answer["id"], &answer["res"]["message"]["n"]),
        (&json!("x/3"), &json!(3)),
        "the next line is its own answer"
    );
}

#[test]
fn a_huge_message_of_odd_keys_is_a_message() {
    let _others = with_others();
    let service = service();
    let mut client = Client::of(&service);
    let mut act = serde_json::Map::new();
    act.insert("a".to_owned(), json!(1));
    for n in 0..20_000 {
        act.insert(format!("k{n}"), json!({"n": n}));
    }
    for key in ["", "__proto__", "constructor", "a.b", "ä\u{1f600}", "\u{0}"] {
        act.insert(key.to_owned(), json!(key));
    }
    let act = Value::Object(act);
    assert_eq!(client.act("x/1", &act)["res"]["message"], act);
    until("it is counted", || service.stats().requests == 1);
}
