//! Connections in a cluster with keys: who can call, who cannot, and what can be seen from outside.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use grapevine::keyring::{Encryption, Keyring};
use grapevine::service::{ActError, Service};
use grapevine::{Builder, Gossiper};
use serde_json::{Value, json};

use crate::common::{ms, secs};
use crate::harness::{
    Client, Fake, LONG, Relay, by, calm, echo, finds, finds_offers, key, refused, request, until, with_others,
};

/// A node with the key of this number.
fn with_key(byte: u8, encryption: Encryption) -> Builder {
    calm().keyring(Keyring::new(key(byte)).with_encryption(encryption))
}

fn keyed() -> Builder {
    with_key(7, Encryption::Require)
}

/// A caller whose provider is reached by way of a relay, both on nodes like these.
fn by_way_of(relay: &Relay, node: impl Fn() -> Builder) -> (Service, Service) {
    let caller = Service::builder().gossip(node()).start().unwrap();
    let seed = caller.node().peer().to_string();
    let provider =
        Service::builder().listen("127.0.0.1:0").advertise(relay.addr()).gossip(node()).seed(seed).start().unwrap();
    relay.lead_to(provider.local_addr().unwrap());
    (caller, provider)
}

fn shows(record: &[Vec<u8>; 2], text: &str) -> bool {
    record.iter().any(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
}

/// What is answered on a connection that begins so, until it ends.
fn answer_to(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(bytes).unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 1_024]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return answer,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return answer,
            Err(error) => panic!("it is still open: {error}"),
        }
    }
}

#[test]
fn whoever_is_between_can_read_nothing() {
    let _others = with_others();
    for (is_keyed, node) in [(false, calm as fn() -> Builder), (true, keyed)] {
        let relay = Relay::start();
        let (caller, provider) = by_way_of(&relay, node);
        echo(&provider, "role:treasure,cmd:find", "chest");
        finds(&caller, "role:treasure,cmd:find");
        let found: Value = caller.act("role:treasure,cmd:find,where:island").unwrap();
        assert_eq!((by(&found), &found["message"]["where"]), ("chest", &json!("island")));
        let record = &relay.recorded()[0];
        for text in ["treasure", "island", "chest", "kind", "grapevine"] {
            assert_eq!(shows(record, text), !is_keyed, "{text}");
        }
        if is_keyed {
            let id = key(7).id().to_string();
            let preamble = [b'G', b'V', 1, u8::from_str_radix(&id[..2], 16).unwrap().max(1)];
            assert_eq!(record[0][..4], preamble);
            // Two public keys, two tags, a frame with an empty line there, and a frame each way.
            let length = |way: usize, at: usize| u16::from_be_bytes([record[way][at], record[way][at + 1]]) as usize;
            assert_eq!(length(0, 52), 17);
            assert_eq!(length(0, 71), record[0].len() - 73);
            assert_eq!(length(1, 48), record[1].len() - 50);
        }
    }
}

/// Many frames, each way, and through buffers of every size.
#[test]
fn long_messages_pass() {
    let _others = with_others();
    let relay = Relay::start();
    let (caller, provider) = by_way_of(&relay, keyed);
    echo(&provider, "a:1", "it");
    finds(&caller, "a:1");
    for len in [0, 1, 3_000, 4_096, 16_000, 16_384, 16_500, 70_000, 5_000_000] {
        let text: String = (0..len).map(|n| char::from(b'a' + (n * 7 % 26) as u8)).collect();
        let result: Value = caller.act(json!({"a": 1, "text": text})).unwrap();
        assert_eq!(result["message"]["text"], json!(text), "{len}");
    }
    assert_eq!(caller.stats().providers[0].unanswered, 0);
    let stranger = b"treasure".repeat(3);
    assert!(!relay.recorded().iter().flatten().any(|bytes| bytes.windows(24).any(|part| part == stranger)));
}

/// Many calls at once share frames.
#[test]
fn many_calls_at_once_pass() {
    let _others = with_others();
    let relay = Relay::start();
    let (caller, provider) = by_way_of(&relay, keyed);
    echo(&provider, "a:1", "it");
    finds(&caller, "a:1");
    std::thread::scope(|scope| {
        for thread in 0..24 {
            let caller = &caller;
            scope.spawn(move || {
                for n in 0..100 {
                    let text = "x".repeat((thread * 977 + n * 131) % 9_000);
                    let result: Value = caller.act(json!({"a": 1, "n": n, "text": text})).unwrap();
                    assert_eq!((&result["message"]["n"], &result["message"]["text"]), (&json!(n), &json!(text)));
                }
            });
        }
    });
}

/// One cluster's node tells an address of another one's: who calls there has another key, or the same key in a cluster of another name.
#[test]
fn who_has_another_key_or_another_cluster_cannot_call_and_learns_nothing() {
    let _others = with_others();
    let victim = Service::builder().listen("127.0.0.1:0").gossip(keyed()).start().unwrap();
    echo(&victim, "a:1", "never");
    let others = [
        (
            with_key(8, Encryption::Require),
            with_key(8, Encryption::Require),
            &["unknown_key", "unauthentic_handshake"][..],
        ),
        (keyed().cluster("other"), keyed().cluster("other"), &["unauthentic_handshake"]),
        (calm(), calm(), &["plain_connection"]),
    ];
    for (one, other, reasons) in others {
        let before: u64 = reasons.iter().map(|reason| refused(&victim.stats(), reason)).sum();
        let relay = Relay::start();
        relay.lead_to(victim.local_addr().unwrap());
        let caller = Service::builder().gossip(one).start().unwrap();
        let seed = caller.node().peer().to_string();
        let liar = Service::builder().listen("127.0.0.1:0").advertise(relay.addr()).gossip(other).seed(seed);
        let liar = liar.start().unwrap();
        echo(&liar, "a:1", "never");
        finds(&caller, "a:1");
        let error = caller.act::<Value>("a:1").unwrap_err();
        match error {
            ActError::Unreachable { problems } => {
                assert!(problems[0].1.contains("refused the handshake"), "{problems:?}")
            }
            // A plain message is sent at once.
            ActError::ConnectionLost { .. } => assert_eq!(reasons, ["plain_connection"]),
            other => panic!("{other}"),
        }
        let after = || reasons.iter().map(|reason| refused(&victim.stats(), reason)).sum::<u64>();
        until("it is counted", || after() > before);
        let answered: Vec<u8> = relay.recorded().into_iter().flat_map(|[_, back]| back).collect();
        assert!(answered.is_empty(), "{answered:?}");
    }
    assert_eq!(victim.stats().requests, 0);
}

#[test]
fn plain_calls_are_taken_as_encryption_says() {
    let _others = with_others();
    let line = format!("{}\n", request("1", &json!({"a": 1})));
    for encryption in Encryption::ALL {
        let service = Service::builder().listen("127.0.0.1:0").gossip(with_key(7, encryption)).start().unwrap();
        echo(&service, "a:1", "it");
        if encryption == Encryption::Require {
            assert_eq!(answer_to(service.local_addr().unwrap(), line.as_bytes()), b"");
            assert_eq!(refused(&service.stats(), "plain_connection"), 1);
            assert_eq!(service.stats().requests, 0);
        } else {
            assert_eq!(by(&Client::of(&service).act("1", &json!({"a": 1}))["res"]), "it");
        }
        // Calls with the key are taken by all of them, made by those who send.
        let seed = service.node().peer().to_string();
        let sends = with_key(7, encryption.max(Encryption::Send));
        let caller = Service::builder().gossip(sends).seed(seed).start().unwrap();
        finds(&caller, "a:1");
        assert_eq!(by(&caller.act::<Value>("a:1").unwrap()), "it");
    }
    // A node without keys takes plain calls only.
    let service = Service::builder().listen("127.0.0.1:0").gossip(calm()).start().unwrap();
    let hello = [&b"GV\x01\x07"[..], &[9; 48]].concat();
    assert_eq!(answer_to(service.local_addr().unwrap(), &hello), b"");
    assert_eq!(refused(&service.stats(), "no_keys"), 1);
}

/// For programs outside of the cluster a plain address is opened on purpose; the cluster is not told of it.
#[test]
fn a_plain_address_is_opened_on_purpose() {
    let _others = with_others();
    let settings = || Service::builder().listen("127.0.0.1:0").listen_plain("127.0.0.1:0").pin("a:1");
    let service = settings().gossip(keyed()).start().unwrap();
    echo(&service, "a:1", "it");
    echo(&service, "b:1", "hidden");
    let plain = service.local_plain_addr().unwrap();
    assert_ne!(service.local_addr(), Some(plain));
    let mut client = Client::of(&service);
    assert_eq!(by(&client.act("1", &json!({"a": 1}))["res"]), "it");
    assert_eq!(client.act("2", &json!({"b": 1}))["error"]["code"], "act_not_found", "the pins hold there, too");
    assert_eq!(service.stats().connections, 1);
    let caller = Service::builder().gossip(keyed()).seed(service.node().peer().to_string()).start().unwrap();
    finds(&caller, "a:1");
    assert_eq!(caller.services()[0].addr, service.local_addr().unwrap().to_string());
    // It takes nothing else.
    let hello = [&b"GV\x01\x07"[..], &[9; 48], b"\n"].concat();
    assert!(String::from_utf8(answer_to(plain, &hello)).unwrap().contains("invalid_json"));
    // Whatever becomes of the keys.
    let second = key(8);
    service.node().add_secret_key(second.clone()).unwrap();
    service.node().use_secret_key(second.id()).unwrap();
    assert_eq!(by(&client.act("3", &json!({"a": 1}))["res"]), "it");
    service.close();
    assert_eq!(client.ends(), 0);
    assert!(TcpStream::connect(plain).is_err(), "nobody listens any more");
    // It can be all there is: then the cluster is told nothing.
    let outside = Service::builder().listen_plain("127.0.0.1:0").pin("a:1").gossip(keyed()).start().unwrap();
    echo(&outside, "a:1", "outside");
    assert_eq!((outside.local_addr(), outside.services().len()), (None, 0));
    assert_eq!(by(&Client::of(&outside).act("1", &json!({"a": 1}))["res"]), "outside");
}

/// Services outside of the cluster have no keys.
#[test]
fn outside_services_are_called_in_plain() {
    let _others = with_others();
    let fake = Fake::start(|line| line.answer(&json!({"by": "outside"})));
    let caller = Service::builder().client(fake.addr(), "a:1").gossip(keyed()).start().unwrap();
    assert_eq!(by(&caller.act::<Value>("a:1").unwrap()), "outside");
}

/// Of a node in the cluster that has gone, or is somebody else now, nothing comes of the handshake.
#[test]
fn an_advertised_address_that_is_no_member_is_passed_over() {
    let _others = with_others();
    let caller = Service::builder().connect_timeout(ms(300)).gossip(keyed()).start().unwrap();
    let seed = caller.node().peer().to_string();
    let join = |settings: grapevine::service::ServiceBuilder| {
        settings.listen("127.0.0.1:0").gossip(keyed()).seed(&*seed).start().unwrap()
    };
    let silent = Relay::start();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    silent.lead_to(held.local_addr().unwrap());
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refuses = refusing.local_addr().unwrap().to_string();
    std::thread::spawn(move || refusing.incoming().for_each(drop));
    let plain = Gossiper::builder().interval(ms(50)).start().unwrap();
    let plain = Service::builder().listen("127.0.0.1:0").node(&plain).start().unwrap();
    let addrs = [silent.addr(), refuses, plain.local_addr().unwrap().to_string()];
    for (addr, problem) in addrs.iter().zip(["does not answer", "refused the handshake", "refused the handshake"]) {
        let provider = join(Service::builder().advertise(addr.as_str()));
        echo(&provider, "a:1", "never");
        finds(&caller, "a:1");
        let error = caller.call("a:1").timeout(secs(30)).send::<Value>().unwrap_err();
        assert!(matches!(error, ActError::Unreachable { .. }) && error.to_string().contains(problem), "{error}");
        // The message was not sent: a call that must not be repeated moves.
        let good = join(Service::builder());
        echo(&good, "a:1", "good");
        finds_offers(&caller, "a:1", 2);
        for _ in 0..10 {
            assert_eq!(by(&caller.act::<Value>("a:1").unwrap()), "good");
        }
        provider.close();
        good.close();
        until("both are gone", || caller.services().is_empty());
    }
}
