//! Every command that talks to an agent: its output for people and for programs, its exit status, its errors.

use serde_json::{Value, json};

use crate::harness::{Agent, Ended, Process, all_alive, has, run, until};

/// The one line of JSON that a command printed.
fn json_of(ended: Ended) -> Value {
    let out = ended.done();
    assert_eq!(out.matches('\n').count(), 1, "{out}");
    serde_json::from_str(&out).unwrap()
}

#[test]
fn keys_are_set_read_listed_and_deleted() {
    let agent = Agent::start(&[]);
    assert_eq!(agent.run(&["set", "colour", "red"]).done(), "version 2\n");
    assert_eq!(agent.run(&["get", "colour"]).done(), "red\n");
    assert_eq!(agent.run(&["set", "size", "5"]).done(), "version 3\n");
    assert_eq!(agent.run(&["keys"]).done(), "colour\nsize\n");
    assert_eq!(agent.run(&["delete", "colour"]).done(), "version 4\n");
    assert_eq!(agent.run(&["keys"]).done(), "size\n");
}

#[test]
fn replies_are_printed_as_json() {
    let agent = Agent::start(&[]);
    assert_eq!(agent.run(&["set", "colour", "red", "--json"]).done(), "{\"ok\":true,\"version\":2}\n");
    assert_eq!(agent.run(&["get", "colour", "--json"]).done(), "{\"ok\":true,\"value\":\"red\",\"version\":2}\n");
    assert_eq!(agent.run(&["keys", "--json"]).done(), "{\"ok\":true,\"keys\":[\"colour\"]}\n");
    assert_eq!(agent.run(&["delete", "colour", "--json"]).done(), "{\"ok\":true,\"version\":3}\n");
    assert_eq!(agent.run(&["keys", "--json"]).done(), "{\"ok\":true,\"keys\":[]}\n");
    let members = json_of(agent.run(&["members", "--json"]));
    assert_eq!(members["members"][0]["peer"], *agent.peer, "{members}");
    assert!(json_of(agent.run(&["stats", "--json"]))["stats"]["rounds"].is_u64());
    assert_eq!(agent.run(&["leave", "--json"]).done(), "{\"ok\":true}\n");
}

/// What is JSON is that; anything else is a string, which is printed as it is.
#[test]
fn values_are_json_or_strings() {
    let agent = Agent::start(&[]);
    let cases = [
        ("1", json!(1), "1"),
        ("-5", json!(-5), "-5"),
        ("1.5", json!(1.5), "1.5"),
        ("true", json!(true), "true"),
        ("null", json!(null), "null"),
        ("[1, \"a\"]", json!([1, "a"]), "[1,\"a\"]"),
        ("{\"z\": 1, \"a\": {}}", json!({"z": 1, "a": {}}), "{\"z\":1,\"a\":{}}"),
        ("\"quoted\"", json!("quoted"), "quoted"),
        ("no json", json!("no json"), "no json"),
        ("{", json!("{"), "{"),
        ("", json!(""), ""),
        ("ü €😀", json!("ü €😀"), "ü €😀"),
        ("two\nlines", json!("two\nlines"), "two\nlines"),
    ];
    for (given, value, printed) in cases {
        agent.run(&["set", "key", given]).done();
        assert_eq!(agent.connect().done(json!({"do": "get", "key": "key"}))["value"], value, "{given}");
        assert_eq!(agent.run(&["get", "key"]).done(), format!("{printed}\n"), "{given}");
        assert_eq!(json_of(agent.run(&["get", "key", "--json"]))["value"], value, "{given}");
    }
}

#[test]
fn a_key_may_have_a_life() {
    let agent = Agent::start(&[]);
    agent.run(&["set", "long", "1", "--ttl", "1h"]).done();
    let ttl = json_of(agent.run(&["get", "long", "--json"]))["ttl_ms"].as_u64().unwrap();
    assert!((3_000_000..=3_600_000).contains(&ttl), "{ttl}");
    agent.run(&["set", "short", "1", "--ttl", "20ms"]).done();
    until("it ends", || agent.run(&["get", "short"]).status == Some(1));
    assert!(agent.run(&["set", "a", "1", "--ttl", "soon"]).refused().contains("--ttl"));
}

#[test]
fn what_a_peer_holds_is_read() {
    let first = Agent::start(&["--set", "colour=red", "--set", "size=[1,2]"]);
    let second = Agent::join(&first, &[]);
    second.reads(&first.peer, "size", &json!([1, 2]));
    assert_eq!(second.run(&["get", &first.peer, "colour"]).done(), "red\n");
    assert_eq!(second.run(&["get", &first.peer, "size"]).done(), "[1,2]\n");
    assert_eq!(second.run(&["keys", &first.peer]).done(), "colour\nsize\n");
    assert_eq!(second.run(&["keys"]).done(), "");
    // A node is one of its own peers.
    assert_eq!(first.run(&["get", &first.peer, "colour"]).done(), "red\n");
}

#[test]
fn members_are_listed() {
    let first = Agent::start(&["--set", "a=1"]);
    let second = Agent::join(&first, &[]);
    all_alive(&[&first, &second]);
    second.reads(&first.peer, "a", &json!(1));
    let out = first.run(&["members"]).done();
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["PEER", "STATE", "PHI", "SEEN", "VERSION", "KEYS", "RECEIVED", "SENT"]);
    // The node itself is first and marked; of itself it has nothing to tell but its map.
    assert_eq!(lines[1], [&first.peer, "*", "alive", "2", "1"]);
    let [peer, "alive", phi, seen, "s" | "ms", "1", "0", received, received_unit, sent, sent_unit] = lines[2][..]
    else {
        panic!("{out}");
    };
    assert_eq!(peer, second.peer);
    assert!(phi.parse::<f64>().is_ok() && seen.parse::<f64>().is_ok(), "{out}");
    for (count, unit) in [(received, received_unit), (sent, sent_unit)] {
        assert!(count.parse::<f64>().unwrap() > 0.0 && ["B", "kB", "MB"].contains(&unit), "{out}");
    }
    assert_eq!(lines.len(), 3);
    // Columns begin or end under each other.
    let lines: Vec<&str> = out.lines().collect();
    let seen = lines[0].find("SEEN").unwrap() + "SEEN".len();
    assert!(lines[2][..seen].ends_with('s') && lines[2][seen..].starts_with("  "), "{out}");
    let columns: Vec<usize> = out.lines().map(|line| line.find("alive").or(line.find("STATE")).unwrap()).collect();
    assert!(columns.iter().all(|column| *column == columns[0]), "{out}");

    let members = json_of(second.run(&["members", "--json"]));
    assert!(has(&members["members"][0], &json!({"peer": second.peer, "state": "alive", "self": true})), "{members}");
    assert!(has(&members["members"][1], &json!({"peer": first.peer, "state": "alive", "self": false, "keys": 1})));
}

#[test]
fn counters_are_listed() {
    let first = Agent::start(&[]);
    let second = Agent::join(&first, &["--set", "a=1"]);
    all_alive(&[&first, &second]);
    let out = second.run(&["stats"]).done();
    let count = |name: &str| -> u64 {
        let line = out.lines().find(|line| line.split_whitespace().next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{out}"));
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    assert_eq!((count("peers"), count("alive"), count("own_keys")), (1, 1, 1));
    for name in ["rounds", "datagrams_sent", "bytes_sent", "datagrams_received", "bytes_received", "permitted_rate"] {
        assert!(count(name) > 0, "{name}\n{out}");
    }
}

/// A line of a command that goes on.
fn line_of(process: &Process) -> Option<String> {
    process.lines.try_recv().ok().map(|line| String::from_utf8(line).unwrap().trim_end().to_owned())
}

/// Sets the key until the one who watches prints a line: nothing else tells that it has begun.
fn first_line(agent: &Agent, watch: &Process, key: &str) -> String {
    let mut talk = agent.connect();
    let mut line = None;
    let mut value = 0;
    until("it watches", || {
        value += 1;
        talk.done(json!({"do": "set", "key": key, "value": value}));
        line = line_of(watch);
        line.is_some()
    });
    line.unwrap()
}

#[test]
fn the_cluster_is_watched() {
    let agent = Agent::start(&[]);
    let (plain, json) = (agent.start_command(&["watch"]), agent.start_command(&["watch", "--json"]));
    for watch in [&plain, &json] {
        first_line(&agent, watch, "warm-up");
    }
    let mut talk = agent.connect();
    talk.done(json!({"do": "set", "key": "a", "value": {"x": "y"}}));
    let deleted = talk.done(json!({"do": "delete", "key": "a"}));
    talk.done(json!({"do": "set", "key": "b", "value": 1, "ttl_ms": 40}));
    let lines = |watch: &Process, last: &str| {
        let mut lines: Vec<String> = Vec::new();
        until(last, || {
            lines.extend(line_of(watch));
            lines.last().is_some_and(|line| line.contains(last))
        });
        lines.retain(|line| !line.contains("warm-up"));
        lines
    };
    let me = &agent.peer;
    let printed = lines(&plain, "expire");
    assert_eq!(printed[0], format!("update           {me}  a = {{\"x\":\"y\"}}"));
    assert_eq!(printed[1], format!("delete           {me}  a"));
    let left = printed[2].strip_prefix(&format!("update           {me}  b = 1  for "));
    let left = left.and_then(|left| left.strip_suffix(" ms")).map(str::parse::<u64>);
    assert!(matches!(left, Some(Ok(0..=40))), "{printed:?}");
    assert_eq!(printed[3], format!("expire           {me}  b"));
    let events: Vec<Value> = lines(&json, "expire").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let update =
        json!({"event": "update", "peer": me, "generation": agent.generation(), "key": "a", "value": {"x": "y"}});
    assert!(has(&events[0], &update), "{events:?}");
    assert!(has(&events[1], &json!({"event": "delete", "key": "a", "version": deleted["version"]})), "{events:?}");
    assert!(has(&events[3], &json!({"event": "expire", "key": "b"})), "{events:?}");

    // The agent's end is theirs, and no failure.
    agent.run(&["leave"]).done();
    assert_eq!(plain.end().done().lines().last(), Some("stopped"));
    assert_eq!(json.end().done().lines().last(), Some("{\"event\":\"stopped\"}"));
}

/// serde_json, which here, too, reads what is told, has a meaning of its own for some objects: they are looked at as text. The agent stores
/// and tells what was written, and so do the commands.
#[test]
fn objects_with_names_of_serde_json_are_objects() {
    let agent = Agent::start(&[]);
    let watch = agent.start_command(&["watch"]);
    first_line(&agent, &watch, "warm-up");
    let mut talk = agent.connect();
    let name = "$serde_json::private::RawValue";
    for object in [
        format!(r#"{{"{name}":"[1]"}}"#),
        format!(r#"{{"{name}":"[1"}}"#),
        format!(r#"{{"{name}":1}}"#),
        format!(r#"{{"{name}":"[1]","more":2}}"#),
        format!(r#"[{{"x":{{"{name}":"{{}}"}}}}]"#),
        r#"{"$serde_json::private::Number":"1"}"#.to_owned(),
        r#"{"$serde_json::private::Number":"one"}"#.to_owned(),
    ] {
        talk.send(format!("{{\"id\":1,\"do\":\"set\",\"key\":\"by request\",\"value\":{object}}}\n"));
        assert_eq!(talk.reply()["ok"], true, "{object}");
        talk.send("{\"id\":2,\"do\":\"get\",\"key\":\"by request\"}\n");
        let reply = talk.raw_line();
        assert!(reply.starts_with(&format!("{{\"id\":2,\"ok\":true,\"value\":{object},\"version\":")), "{reply}");
        agent.run(&["set", "by command", &object]).done();
        for key in ["by request", "by command"] {
            assert_eq!(agent.run(&["get", key]).done(), format!("{object}\n"));
            assert!(agent.run(&["get", key, "--json"]).done().contains(&object));
            let mut line = None;
            until("it is watched", || {
                line = line_of(&watch).filter(|line| !line.contains("warm-up"));
                line.is_some()
            });
            assert_eq!(line.unwrap(), format!("update           {}  {key} = {object}", agent.peer));
        }
    }
}

#[test]
fn part_of_the_keys_is_watched() {
    let agent = Agent::start(&[]);
    let watch = agent.start_command(&["watch", "--prefix", "a/", "--json"]);
    first_line(&agent, &watch, "a/warm-up");
    let mut talk = agent.connect();
    for key in ["b/1", "a", "a/1", "ba/", "a/2"] {
        talk.done(json!({"do": "set", "key": key, "value": "x"}));
    }
    let mut keys: Vec<Value> = Vec::new();
    until("the last one comes", || {
        let event: Option<Value> = line_of(&watch).map(|line| serde_json::from_str(&line).unwrap());
        keys.extend(event.map(|event| event["key"].clone()));
        keys.last().is_some_and(|key| key == "a/2")
    });
    keys.retain(|key| key != "a/warm-up");
    assert_eq!(keys, ["a/1", "a/2"]);
}

#[test]
fn the_dead_are_forgotten() {
    let first = Agent::start(&[]);
    let second = Agent::join(&first, &[]);
    all_alive(&[&first, &second]);
    let told = first.run(&["forget", &second.peer]).failed();
    assert!(told.contains(&second.peer) && told.contains("alive"), "{told}");
    let peer = second.peer.clone();
    second.crash();
    first.sees(&peer, json!({"state": "failed"}));
    assert_eq!(first.run(&["forget", &peer]).done(), "");
    let told = first.run(&["forget", &peer]).failed();
    assert_eq!(told, format!("no peer {peer} is known here"));
}

#[test]
fn an_agent_leaves() {
    let first = Agent::start(&[]);
    let second = Agent::join(&first, &[]);
    all_alive(&[&first, &second]);
    let (peer, control) = (second.peer.clone(), second.control.clone());
    assert_eq!(second.run(&["leave"]).done(), "");
    assert_eq!(second.process.end().status, Some(0));
    first.sees(&peer, json!({"state": "left"}));
    let out = first.run(&["members"]).done();
    assert!(out.lines().any(|line| line.contains(&peer) && line.contains("left")), "{out}");
    // Nobody is there any more.
    let told = run(&["leave", "--control", control.to_str().unwrap()]).failed();
    assert!(told.contains("there is no control socket") && told.contains("grapevine agent"), "{told}");
}

/// What, why and what to do.
#[test]
fn failures_are_one_line_each() {
    let agent = Agent::start(&[]);
    let me = &agent.peer;
    let long = "k".repeat(257);
    let cases: [(&[&str], String); 9] = [
        (&["get", "nothing"], format!("{me} has no key `nothing`")),
        (&["delete", "nothing"], format!("{me} has no key `nothing`")),
        (&["get", me, "nothing"], format!("{me} has no key `nothing`")),
        (&["get", "two\nlines\u{1b}[2J"], format!("{me} has no key `two\\nlines\\u{{1b}}[2J`")),
        (&["get", "127.0.0.1:1", "a"], "no peer 127.0.0.1:1 is known here".to_owned()),
        (&["keys", "127.0.0.1:1"], "no peer 127.0.0.1:1 is known here".to_owned()),
        (&["forget", "127.0.0.1:1"], "no peer 127.0.0.1:1 is known here".to_owned()),
        (
            &["forget", me],
            format!("{me} is alive, or this node itself; stop it, or wait until it is seen to have failed"),
        ),
        (&["set", &long, "1"], "the key has 257 bytes; at most it may have 256".to_owned()),
    ];
    for (args, told) in cases {
        assert_eq!(agent.run(args).failed(), told, "{args:?}");
        // Who wants JSON has the reply besides.
        let mut ended = agent.run(&[args, &["--json"]].concat());
        let reply: Value = serde_json::from_slice(&std::mem::take(&mut ended.out)).unwrap();
        assert!(reply["error"]["code"].is_string() && reply.as_object().unwrap().len() == 1, "{args:?}: {reply}");
        assert_eq!(ended.failed(), told, "{args:?}");
    }
}

#[test]
fn a_peer_that_is_no_address_is_bad_usage() {
    let agent = Agent::start(&[]);
    for args in [&["get", "nobody", "a"][..], &["keys", "nobody"], &["forget", "127.0.0.1"]] {
        let ended = agent.run(args);
        assert_eq!(ended.status, Some(2), "{ended:?}");
        assert!(ended.err.contains("no ADDRESS:PORT like 127.0.0.1:9001 or [::1]:9001"), "{ended:?}");
    }
}

#[test]
fn without_an_agent_every_command_says_so() {
    let folder = tempfile::TempDir::new().unwrap();
    let nobody = folder.path().join("nobody");
    let nobody = nobody.to_str().unwrap();
    let commands: [&[&str]; 15] = [
        &["members"],
        &["services"],
        &["act", "a:1"],
        &["get", "a"],
        &["keys"],
        &["set", "a", "1"],
        &["delete", "a"],
        &["watch"],
        &["stats"],
        &["forget", "127.0.0.1:1"],
        &["keyring"],
        &["keyring", "use", "00000000"],
        &["keyring", "encryption", "send"],
        &["keyring", "off"],
        &["leave"],
    ];
    for args in commands {
        let told = run(&[args, &["--control", nobody]].concat()).failed();
        let wanted = format!(
            "there is no control socket {nobody}; start an agent with `grapevine agent`, or give --control the path of one"
        );
        assert_eq!(told, wanted, "{args:?}");
    }
}
