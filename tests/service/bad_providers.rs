//! Advertised addresses that are no service, providers that answer nonsense, and advertisements that are malformed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use grapevine::service::{ActError, Service};
use grapevine::transport::{Transport, UdpTransport};
use grapevine::{Config, Gossiper, Limits};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

use crate::common::forge::mend;
use crate::common::{ms, secs};
use crate::harness::{
    Fake, LONG, by, echo, finds, first, is_keyed, join, refused, refusing, server, until, with_others,
};

#[test]
fn an_advertised_address_that_is_no_service_is_passed_over() {
    if is_keyed() {
        // What is told is nobody that has a key: `keyed.rs` has that.
        return;
    }
    let _others = with_others();
    let caller = first(Service::builder());
    let ((_socket, gone), silent) = (refusing(), Fake::start(|_| true));
    let junk = Fake::start(|line| line.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    for addr in [&gone, &silent.addr(), &junk.addr()] {
        let provider = join(&caller, server().advertise(addr.as_str()));
        echo(&provider, "a:1", "never");
        finds(&caller, "a:1");
        assert_eq!(caller.services()[0].addr, *addr);
        let error = caller.call("a:1").timeout(ms(200)).send::<Value>().unwrap_err();
        match &error {
            ActError::Unreachable { problems } => assert_eq!((&problems[0].0, addr), (&gone, &gone)),
            ActError::TimedOut { .. } => assert_eq!(*addr, silent.addr()),
            ActError::ConnectionLost { problem, .. } => {
                assert!(problem.contains("no answer"), "{problem}");
                assert_eq!(*addr, junk.addr());
            }
            other => panic!("{other}"),
        }
        // One that works makes up for it.
        let good = join(&caller, server());
        echo(&good, "a:1", "good");
        until("both are found", || caller.services().len() == 2);
        let moved = || caller.call("a:1").idempotent().timeout(ms(500)).send::<Value>();
        until("calls move", || moved().is_ok_and(|result| by(&result) == "good"));
        provider.close();
        good.close();
        until("both are gone", || caller.services().is_empty());
    }
    assert!(refused(&caller.stats(), "invalid_response") > 0);
}

#[test]
fn whatever_a_provider_answers_is_its_callers_error_or_result() {
    let _others = with_others();
    let caller = first(Service::builder().timeout(secs(30)));
    // What it answers is what it is asked for: `ID` stands for the request's id.
    let fake = Fake::start(|line| {
        let id = line.request["id"].to_string();
        let answer = line.request["act"]["answer"].as_str().unwrap().replace("ID", &id);
        line.send_bytes(format!("{answer}\n").as_bytes())
    });
    caller.client(&fake.addr(), "a:1").unwrap();
    let act = |answer: &str| caller.act::<Value>(json!({"a": 1, "answer": answer}));
    assert_eq!(act(r#"{"kind":"res","id":ID,"res":{"n":1},"extra":[{}]}"#), Ok(json!({"n": 1})));
    assert_eq!(act(r#" {"id":ID,"kind":"res"} "#), Ok(json!(null)));
    assert_eq!(act(r#"{"id":ID,"kind":"res","error":null,"res":[1]}"#), Ok(json!([1])));
    // Seneca 0.9 sends both for a result that is no object.
    assert!(matches!(act(r#"{"id":ID,"kind":"res","error":{"code":"x"},"res":5}"#), Err(ActError::Failed(_))));
    for (error, code) in [
        (r#"{"message":"m","code":"act_not_found"}"#, "act_not_found"),
        (r#"{"message":"m","code":"result_not_objarr"}"#, "result_not_objarr"),
        (r#"{"message":"m","code":"own"}"#, "own"),
        (r#"{"message":"m","code":"act_execute","orig":{"code":"own"}}"#, "own"),
        (r#"{"message":"m","code":"act_execute","orig":{"code":"action-error","orig":{"code":"own"}}}"#, "own"),
        (r#"{"message":"m","code":"act_execute","details":{"orig$":{"code":"own"}}}"#, "own"),
        (r#"{"message":5,"code":[],"orig":7,"details":"x"}"#, "act_execute"),
        (r#""a text""#, "act_execute"),
        ("17", "act_execute"),
        ("{}", "act_execute"),
        ("[]", "act_execute"),
    ] {
        let answered = act(&format!(r#"{{"id":ID,"kind":"res","error":{error}}}"#));
        assert_eq!(answered.unwrap_err().code(), code, "{error}");
    }
    assert_eq!(fake.connections(), 1, "none of this is a reason to hang up");
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let result = act(&format!(r#"{{"id":ID,"kind":"res","res":{deep}}}"#));
    assert!(matches!(result, Err(ActError::InvalidResult(_))), "{result:?}");
    // Answers to nobody are no reason either.
    assert_eq!(
        act("{\"id\":\"other/1\",\"kind\":\"res\"}\n{\"id\":ID,\"kind\":\"res\"}\n{\"id\":ID,\"kind\":\"res\"}"),
        Ok(json!(null))
    );
    until("they are counted", || refused(&caller.stats(), "late_response") == 2);
    assert_eq!(fake.connections(), 1);
    for junk in [
        "",
        " ",
        "junk",
        "null",
        "5",
        "[]",
        "{}",
        r#"["x","res",{},null]"#,
        r#"{"id":ID,"kind":"act","act":{}}"#,
        r#"{"id":7,"kind":"res"}"#,
    ] {
        let lost = caller
            .call(json!({"a": 1, "answer": junk}))
            .timeout(ms(if junk.is_empty() { 50 } else { 20_000 }))
            .send::<Value>();
        match lost {
            Err(ActError::TimedOut { .. }) => assert_eq!(junk, "", "an empty line is nothing"),
            Err(ActError::ConnectionLost { problem, .. }) => {
                assert!(problem.contains("no answer"), "{junk}: {problem}");
            }
            other => panic!("{junk}: {other:?}"),
        }
    }
}

/// Something was refused, and it is not said what: what was taken before is answered all the same, and nothing more is sent there.
#[test]
fn a_refusal_of_nothing_known_harms_no_other_call() {
    let _others = with_others();
    let caller = first(Service::builder().timeout(LONG));
    let taken = Mutex::new(None);
    let fake = Fake::start(move |line| {
        let Some(id) = taken.lock().replace(line.request["id"].clone()) else { return true };
        line.send(&json!({"kind": "res", "error": {"message": "it says why"}}));
        line.send(&json!({"id": id, "kind": "res", "res": {"by": "the first"}}));
        false
    });
    caller.client(&fake.addr(), "a:1").unwrap();
    std::thread::scope(|scope| {
        let taken = scope.spawn(|| caller.act::<Value>("a:1"));
        until("it was taken", || fake.requests().len() == 1);
        let refused = caller.act::<Value>("a:1,b:2").unwrap_err();
        assert!(
            matches!(&refused, ActError::ConnectionLost { problem, .. } if problem.contains("says why")),
            "{refused}"
        );
        assert_eq!(by(&taken.join().unwrap().unwrap()), "the first");
    });
    assert_eq!(refused(&caller.stats(), "refused_by_provider"), 1);
}

/// An answer over the caller's own limit is that call's error; one that never ends is the connection's.
#[test]
fn an_answer_that_is_too_long_or_too_slow_is_not_waited_for() {
    let _others = with_others();
    let caller = first(Service::builder().line_bytes(2_000).line_time(ms(200)).timeout(secs(50)));
    let long = Fake::start(|line| {
        line.answer(&json!({"by": "x".repeat(line.request["act"]["bytes"].as_u64().unwrap() as usize)}))
    });
    caller.client(&long.addr(), "long:1").unwrap();
    for bytes in [10, 3_000, 10, 100_000, 10] {
        let result = caller.act::<Value>(json!({"long": 1, "bytes": bytes}));
        match bytes {
            10 => assert_eq!(by(&result.unwrap()), "xxxxxxxxxx"),
            _ => assert!(
                matches!(&result, Err(ActError::InvalidResult(problem)) if problem.contains("line_bytes")),
                "{result:?}"
            ),
        }
    }
    assert_eq!(long.connections(), 1);
    assert_eq!(refused(&caller.stats(), "response_too_long"), 2);
    let half = Fake::start(|line| line.send_bytes(b"{\"id\":"));
    caller.client(&half.addr(), "half:1").unwrap();
    let lost = caller.act::<Value>("half:1");
    assert!(
        matches!(&lost, Err(ActError::ConnectionLost { problem, .. }) if problem.contains("line_time")),
        "{lost:?}"
    );
}

/// A provider that takes calls and reads nothing fills what may wait for it; then calls move, and no thread of a caller's waits.
#[test]
fn a_provider_that_does_not_read_holds_nobody_up() {
    let _others = with_others();
    let caller = first(Service::builder().connections_per_provider(1));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    caller.client(&listener.local_addr().unwrap().to_string(), "a:1").unwrap();
    let text = "x".repeat(1 << 20);
    let mut sent = 0;
    let refused = loop {
        match caller.call(json!({"a": 1, "text": text})).tell() {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 100, "{sent} MiB are on their way to somebody who reads nothing");
    };
    assert!(
        matches!(&refused, ActError::Unreachable { .. }) && refused.to_string().contains("too slowly"),
        "{refused}"
    );
    let good = Fake::start(|line| line.answer(&json!({"by": "good"})));
    caller.client(&good.addr(), "a:1").unwrap();
    for _ in 0..10 {
        assert_eq!(by(&caller.act::<Value>(json!({"a": 1, "text": text})).unwrap()), "good");
    }
}

/// Datagrams of a node that tells under its own key what no service would: in them the key is another one, of the same length.
struct Telling(UdpTransport);

const OWN: &[u8] = b"grapevine_service";
const RESERVED: &[u8] = b"grapevine/service";

impl Transport for Telling {
    fn local_addr(&self) -> SocketAddr {
        self.0.local_addr()
    }

    fn can_reach(&self, to: SocketAddr) -> bool {
        self.0.can_reach(to)
    }

    fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        let mut told = datagram.to_vec();
        while let Some(at) = told.windows(OWN.len()).position(|bytes| bytes == OWN) {
            told[at..at + OWN.len()].copy_from_slice(RESERVED);
        }
        mend(&mut told);
        self.0.send(to, &told)
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        self.0.receive(buffer)
    }

    fn interrupt(&self) {
        self.0.interrupt();
    }
}

#[derive(Serialize)]
struct Told<'a> {
    addr: &'a str,
    patterns: Vec<String>,
}

#[test]
fn a_malformed_advertisement_is_counted_and_offers_nothing() {
    if is_keyed() {
        // The liar changes its datagrams, and nobody can change those that are encrypted.
        return;
    }
    let _others = with_others();
    let caller = first(Service::builder());
    let events = caller.subscribe();
    let limits = Limits { value_bytes: 1 << 20, ..Limits::default() };
    let seeds = vec![caller.node().peer().to_string()];
    let config = Config { interval: ms(50), seeds, limits, ..Config::default() };
    let transport = UdpTransport::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let liar = Gossiper::start_with(config, Arc::new(Telling(transport))).unwrap();
    let key = std::str::from_utf8(OWN).unwrap();
    let good = Fake::start(|line| line.answer(&json!({"by": "told"})));
    let tell = |addr: &str, patterns: &[&str]| {
        let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        liar.set(key, &Told { addr, patterns }).unwrap();
    };
    let bad = || refused(&caller.stats(), "bad_advertisement");
    // What it should look like.
    tell(&good.addr(), &["a:1", "a:1", "b:2"]);
    finds(&caller, "a:1");
    assert_eq!(by(&caller.act::<Value>("a:1").unwrap()), "told");
    assert_eq!(caller.services()[0].patterns.len(), 2);
    let mut before = bad();
    let mut is_bad = |what: &str| {
        until(what, || bad() > before);
        assert!(caller.services().is_empty(), "{what}: {:?}", caller.services());
        assert!(matches!(caller.act::<Value>("a:1"), Err(ActError::NotFound { .. })), "{what}");
        before = bad();
    };
    for addr in ["", "127.0.0.1", "127.0.0.1:0", "localhost:80", "127.0.0.1:99999", "[::1:80"] {
        tell(addr, &["a:1"]);
        is_bad(addr);
    }
    for pattern in ["a:1:2", "{a:1", "a:[1]", &format!("a:{}", "x".repeat(300))] {
        tell(&good.addr(), &["a:1", pattern]);
        is_bad(pattern);
    }
    for value in [
        json!(5),
        json!("x"),
        json!([]),
        json!({}),
        json!({"addr": good.addr()}),
        json!({"addr": 5, "patterns": ["a:1"]}),
    ] {
        liar.set(key, &value).unwrap();
        is_bad(&value.to_string());
    }
    let many: Vec<String> = (0..1_025).map(|n| format!("n:{n}")).collect();
    tell(&good.addr(), &many.iter().map(String::as_str).collect::<Vec<_>>());
    is_bad("1,025 patterns");
    // And it is as good as anybody else again.
    tell(&good.addr(), &["a:1"]);
    finds(&caller, "a:1");
    let told: Vec<_> = std::iter::from_fn(|| events.recv_timeout(ms(1))).collect();
    assert_eq!(told.len(), 3, "offered, withdrawn, offered: {told:?}");
    // The wildcard stands for the node's own address.
    tell(&good.addr().replace("127.0.0.1", "0.0.0.0"), &["a:1"]);
    until("it is changed", || events.recv_timeout(LONG).is_some());
    assert_eq!(caller.services()[0].addr, good.addr());
}
