//! Limits that are held: long lines, slow senders, slow readers, many connections.

use std::time::Instant;

use grapevine::service::{ActError, Service};
use serde_json::{Value, json};

use crate::common::{ms, secs};
use crate::harness::{
    Client, Gate, by, caller_and_provider, echo, finds, first, join, refused, request, server, until, with_others,
};

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap()
}

/// A request of exactly so many bytes.
fn line_of(bytes: usize) -> Value {
    let mut line = request("x/1", &json!({"a": 1, "text": ""}));
    line["act"]["text"] = json!("x".repeat(bytes - line.to_string().len()));
    line
}

#[test]
fn a_line_over_the_limit_is_passed_over() {
    let _others = with_others();
    let service = first(server().line_bytes(2_000));
    service.add("a:1", |_: Value| Ok(json!({"by": "it"}))).unwrap();
    let mut client = Client::of(&service);
    assert_eq!(by(&client.ask(&line_of(2_000))["res"]), "it");
    let long = |bytes| request("x/long", &json!({"a": 1, "text": "x".repeat(bytes)})).to_string();
    let named = Some(json!("x/long"));
    let lines =
        [(long(2_000), &named), (long(1_000_000), &named), ("x".repeat(2_001), &None), ("{".repeat(1_000_000), &None)];
    for (n, (line, id)) in lines.into_iter().enumerate() {
        // What follows it, in one piece with it.
        client.send_bytes(format!("{line}\r\n{}\n", line_of(1_000 + n)).as_bytes());
        let told = client.line().expect("it is told why");
        assert_eq!((code(&told), told.get("id")), ("line_too_long", id.as_ref()));
        assert!(told["error"]["message"].as_str().unwrap().contains("2000 bytes"), "{told}");
        assert_eq!(by(&client.line().unwrap()["res"]), "it");
    }
    assert_eq!(refused(&service.stats(), "line_too_long"), 4);
    // Results have the same limit.
    service.add("large:1", |_: Value| Ok(json!({"text": "x".repeat(2_000)}))).unwrap();
    let answer = client.act("x/2", &json!({"large": 1}));
    assert_eq!(code(&answer), "result_not_objarr");
    assert!(answer["error"]["message"].as_str().unwrap().contains("line_bytes"), "{answer}");
    assert_eq!(by(&client.act("x/3", &json!({"a": 1}))["res"]), "it");
}

#[test]
fn a_call_over_a_limit_says_whose_it_is() {
    let _others = with_others();
    let caller = first(Service::builder().line_bytes(10_000));
    let small = join(&caller, server().line_bytes(2_000));
    echo(&small, "a:1", "it");
    finds(&caller, "a:1");
    let message = |bytes: usize| json!({"a": 1, "text": "x".repeat(bytes)});
    let error = caller.act::<Value>(message(10_000)).unwrap_err();
    assert!(matches!(error, ActError::MessageTooLarge { limit: 10_000, .. }), "{error}");
    assert_eq!(small.stats().requests, 0);
    let error = caller.act::<Value>(message(5_000)).unwrap_err();
    assert!(matches!(error, ActError::MessageTooLarge { len: 5_001.., limit: 2_000 }), "{error:?}");
    assert_eq!(by(&caller.act::<Value>("a:1").unwrap()), "it");
    assert_eq!(caller.stats().providers[0].connections, 1, "others' calls are not harmed");
    // Nothing was run: one with another limit may take it.
    let large = join(&caller, server());
    echo(&large, "a:1", "large");
    until("both are found", || caller.services().len() == 2);
    for _ in 0..20 {
        assert_eq!(by(&caller.act::<Value>(message(5_000)).unwrap()), "large");
    }
    // Here nothing travels.
    echo(&caller, "b:1", "here");
    assert!(caller.act::<Value>(("b:1", message(20_000))).is_ok());
}

/// Seneca's clients send 350 kB and more; whole lines of eight MiB are the default.
#[test]
fn large_messages_and_results_arrive_whole() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    echo(&provider, "a:1", "it");
    finds(&caller, "a:1");
    for bytes in [350_000, 1 << 20, 8_000_000] {
        let text: String = "abcdefghij".repeat(bytes / 10);
        let result = caller.act::<Value>(json!({"a": 1, "text": text})).unwrap();
        assert_eq!(result["message"]["text"], text);
    }
    assert_eq!(caller.stats().providers[0].connections, 1);
}

#[test]
fn who_sends_too_slowly_is_let_go() {
    let _others = with_others();
    let service = first(server().line_time(ms(300)));
    echo(&service, "a:1", "it");
    let (mut idle, mut halted) = (Client::of(&service), Client::of(&service));
    halted.send_bytes(b"{\"id\":");
    let begun = Instant::now();
    let mut trickling = Client::of(&service);
    // Each byte comes soon after the one before.
    let mut sent = 0;
    while trickling.try_send(b" ").is_ok() {
        sent += 1;
        assert!(begun.elapsed() < secs(60), "{sent} bytes");
        std::thread::sleep(ms(5));
    }
    for client in [&mut trickling, &mut halted] {
        let told = client.line().expect("it is told why");
        assert_eq!(code(&told), "line_too_slow");
        assert_eq!(client.ends(), 0);
    }
    assert!(begun.elapsed() >= ms(300));
    assert_eq!(refused(&service.stats(), "line_too_slow"), 2);
    // Between lines there is all the time of the world.
    assert_eq!(by(&idle.act("x/1", &json!({"a": 1}))["res"]), "it");
    assert_eq!(service.stats().connections, 1);
}

/// Who never reads what it asked for is let go, and nobody waits for it meanwhile.
#[test]
fn who_does_not_read_its_answers_is_let_go() {
    let _others = with_others();
    let service = first(server().workers(2));
    service.add("large:1", |_: Value| Ok(json!({"text": "x".repeat(200_000)}))).unwrap();
    echo(&service, "a:1", "it");
    let mut fine = Client::of(&service);
    let mut deaf: Vec<Client> = (0..4).map(|_| Client::of(&service)).collect();
    // More than the system's own buffers and the limit of one MiB take together.
    let all_begun = Instant::now();
    deaf[0].act("0/0", &json!({"large": 1}));
    for (client, deaf) in deaf.iter_mut().enumerate() {
        for n in 0..100 {
            // One of them asks for the same again and again, which costs nobody but the connection anything.
            let n = if client == 0 { 0 } else { n };
            // It may be let go before it has asked for everything.
            let line = request(&format!("{client}/{n}"), &json!({"large": 1}));
            if deaf.try_send(format!("{line}\n").as_bytes()).is_err() {
                break;
            }
        }
    }
    let mut n = 0;
    until("they are let go", || {
        n += 1;
        let begun = Instant::now();
        assert_eq!(by(&fine.act(&format!("fine/{n}"), &json!({"a": 1}))["res"]), "it");
        assert!(begun.elapsed() < secs(9), "{:?}", begun.elapsed());
        service.stats().connections == 1
    });
    // Not only by the ten seconds in which they read nothing.
    assert!(all_begun.elapsed() < secs(9), "{:?}", all_begun.elapsed());
    for client in &mut deaf {
        while client.line_or_part().is_some() {}
    }
}

/// Who closes its own half when it has asked is answered in full.
#[test]
fn who_has_no_more_to_ask_is_answered_in_full() {
    let _others = with_others();
    let service = first(server());
    let gate = Gate::new(&service, "slow:1");
    service.add("large:1", |_: Value| Ok(json!({"text": "x".repeat(4_000_000)}))).unwrap();
    let mut client = Client::of(&service);
    client.send(&request("x/1", &json!({"slow": 1})));
    gate.begun();
    client.send(&request("x/2", &json!({"large": 1})));
    client.close_sending();
    gate.open();
    // It reads once as much of it is there as it has room for.
    let mut arrived = 0;
    until("no more arrives", || {
        std::mem::replace(&mut arrived, client.arrived()) == client.arrived() && arrived > 1_000
    });
    let mut answers = [client.line().unwrap(), client.line().unwrap()];
    answers.sort_by_key(|answer| answer["id"].to_string());
    assert_eq!(answers[1]["res"]["text"].as_str().unwrap().len(), 4_000_000);
    assert_eq!(client.ends(), 0);
    until("it is gone", || service.stats().connections == 0);
}

#[test]
fn a_thousand_idle_connections_are_no_burden() {
    let _others = with_others();
    more_descriptors();
    let (caller, provider) = caller_and_provider(server());
    echo(&provider, "a:1", "it");
    finds(&caller, "a:1");
    let mut idle: Vec<Client> = (0..1_000).map(|_| Client::of(&provider)).collect();
    until("they are open", || provider.stats().connections == 1_000);
    for n in 0..100 {
        assert_eq!(by(&caller.act::<Value>("a:1").unwrap()), "it");
        let idle = &mut idle[n * 10];
        assert_eq!(by(&idle.act(&format!("{n}"), &json!({"a": 1}))["res"]), "it");
    }
    drop(idle);
    until("they are closed", || provider.stats().connections == 1);
}

#[test]
fn the_connection_that_was_idle_the_longest_gives_way() {
    let _others = with_others();
    let service = first(server().connections(3));
    let gate = Gate::new(&service, "slow:1");
    echo(&service, "a:1", "it");
    let mut clients = [(); 3].map(|()| Client::of(&service));
    // Milliseconds tell who came last.
    for (n, client) in clients.iter_mut().enumerate() {
        client.act(&format!("{n}"), &json!({"a": 1}));
        std::thread::sleep(ms(3));
    }
    clients[0].send(&request("slow/0", &json!({"slow": 1})));
    gate.begun();
    let mut fourth = Client::of(&service);
    assert_eq!(by(&fourth.act("4", &json!({"a": 1}))["res"]), "it");
    assert_eq!(clients[1].ends(), 0, "the first has a request under way");
    assert_eq!(by(&clients[2].act("5", &json!({"a": 1}))["res"]), "it");
    for (n, client) in [&mut clients[2], &mut fourth].into_iter().enumerate() {
        client.send(&request(&format!("slow/{}", n + 1), &json!({"slow": 1})));
        gate.begun();
    }
    // None of them is idle.
    let mut refused_one = Client::of(&service);
    assert_eq!(refused_one.ends(), 0);
    until("it is counted", || refused(&service.stats(), "too_many_connections") == 1);
    assert_eq!(service.stats().connections, 3);
    gate.open();
    assert!(clients[0].line().is_some() && clients[2].line().is_some() && fourth.line().is_some());
    assert_eq!(by(&Client::of(&service).act("6", &json!({"a": 1}))["res"]), "it");
}

/// 1,024 requests of one connection are under way at most; it is read on when one is done.
#[test]
fn one_connection_cannot_take_the_whole_queue() {
    let _others = with_others();
    let service = first(server().workers(1));
    let gate = Gate::new(&service, "slow:1");
    let mut greedy = Client::of(&service);
    for n in 0..1_100 {
        greedy.send(&request(&format!("{n}"), &json!({"slow": 1})));
    }
    gate.begun();
    until("it waits", || service.stats().queue == 1_023);
    // One more was read, and waits for its place.
    until("its reader waits", || service.stats().requests == 1_025);
    let mut other = Client::of(&service);
    other.send(&request("other", &json!({"slow": 1})));
    until("another one has its place", || service.stats().queue == 1_024);
    assert_eq!(service.stats().requests, 1_026);
    gate.open();
    assert_eq!((0..1_100).filter_map(|_| greedy.line()).filter(|answer| answer.get("res").is_some()).count(), 1_100);
    assert!(other.line().unwrap().get("res").is_some());
}

/// The long lines of all connections share what there is for them.
#[test]
fn long_lines_take_no_more_than_there_is_for_them() {
    let _others = with_others();
    let service = first(server().line_bytes(1 << 20).buffered_bytes(4 << 20).workers(1));
    let gate = Gate::new(&service, "slow:1");
    let large = |id: &str| request(id, &json!({"slow": 1, "text": "x".repeat(900_000)}));
    let mut clients: Vec<Client> = (0..8).map(|_| Client::of(&service)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        let _ = client.try_send(format!("{}\n", large(&n.to_string())).as_bytes());
    }
    gate.begun();
    until("some are refused", || refused(&service.stats(), "overloaded") > 0);
    // Small ones are not affected.
    let mut small = Client::of(&service);
    small.send(&request("small", &json!({"slow": 1})));
    until("it waits", || service.stats().requests > 0);
    gate.open();
    assert!(small.line().unwrap().get("res").is_some());
    let answers: Vec<Value> = clients.iter_mut().map(|client| client.line().expect("an answer")).collect();
    let done = answers.iter().filter(|answer| answer.get("res").is_some()).count();
    assert!((2..8).contains(&done), "{done}");
    assert!(answers.iter().all(|answer| answer.get("res").is_some() || code(answer) == "overloaded"));
    // And what was taken came back.
    for n in 0..20 {
        let mut client = Client::of(&service);
        assert!(client.ask(&large(&format!("again/{n}"))).get("res").is_some());
    }
}

/// Raises the number of files that this process may have open, as far as it may.
#[cfg(unix)]
fn more_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

#[cfg(not(unix))]
fn more_descriptors() {}
