//! Who offers what: as a request, and as a command.

use serde_json::{Value, json};

use super::{calling, knows, listen, listen_plain, result, serving};
use crate::harness::{Agent, until};

fn services(agent: &Agent) -> Value {
    agent.connect().done(json!({"do": "services"}))["services"].take()
}

#[test]
fn services_are_listed() {
    let server = serving(&["role:a,cmd:b=true", "a:\"x y\"=true"], &[]);
    let caller = calling(&server, &["a:\"x y\"", "cmd:b,role:a"]);
    let offered = |is_self| json!([{"peer": server.peer, "addr": listen(&server), "patterns": ["a:\"x y\"", "cmd:b,role:a"], "self": is_self}]);
    assert_eq!(services(&server).to_string(), offered(true).to_string());
    assert_eq!(services(&caller).to_string(), offered(false).to_string());
    let json: Value = serde_json::from_str(&caller.run(&["services", "--json"]).done()).unwrap();
    assert_eq!(json, json!({"ok": true, "services": offered(false)}));
    let (peer, addr) = (&server.peer, listen(&server));
    let width = |text: &str, heading: &str| " ".repeat(text.len() - heading.len());
    let heading = format!("PEER{}  ADDRESS{}  PATTERN", width(peer, "PEER"), width(addr, "ADDRESS"));
    assert_eq!(
        caller.run(&["services"]).done(),
        format!("{heading}\n{peer}  {addr}  a:\"x y\"\n{peer}  {addr}  cmd:b,role:a\n")
    );
    let out = server.run(&["services"]).done();
    assert!(out.lines().nth(1).unwrap().starts_with(&format!("{peer} *  {addr}  a:")), "{out}");
    // Nobody offers anything to one who is alone.
    let alone = Agent::start(&[]);
    assert_eq!(services(&alone), json!([]));
    assert_eq!(alone.run(&["services"]).done(), "PEER  ADDRESS  PATTERN\n");
}

/// What does not come from the cluster has no peer.
#[test]
fn services_outside_of_the_cluster() {
    let outside = serving(&["role:a,cmd:x=echo '[\"x\"]'", "role:b=echo '[\"b\"]'"], &[]);
    let addr = listen_plain(&outside);
    let (one, other) = (format!("{addr}=role:a"), format!("{addr}=role:b"));
    let agent = Agent::start(&["--client", &one, "--client", &other]);
    assert_eq!(services(&agent), json!([{"addr": addr, "patterns": ["role:a", "role:b"], "self": false}]));
    let out = agent.run(&["services"]).done();
    assert_eq!(out.lines().nth(2).unwrap().split_whitespace().collect::<Vec<_>>(), ["-", addr, "role:b"]);
    let mut talk = agent.connect();
    assert_eq!(result(&mut talk, "role:a,cmd:x"), json!(["x"]));
    assert_eq!(result(&mut talk, "role:b"), json!(["b"]));
    // It is not asked for what is not in its pins; what is in them it may not know itself.
    talk.refused("act_not_found", json!({"do": "act", "message": "role:c"}));
    talk.refused("act_not_found", json!({"do": "act", "message": "role:a,cmd:y"}));
    assert_eq!(outside.connect().done(json!({"do": "stats"}))["stats"]["service"]["requests"], 3);
    outside.crash();
    talk.refused("unreachable", json!({"do": "act", "message": "role:b"}));
}

/// Whoever fails, leaves or is restarted without them offers nothing any more.
#[test]
fn services_go_with_their_agents() {
    let watching = Agent::start(&[]);
    for crashes in [true, false] {
        let server = serving(&["a:1=true"], &["--seed", &watching.peer]);
        let peer = server.peer.clone();
        knows(&watching, &peer, &["a:1"]);
        if crashes {
            server.crash()
        } else {
            drop(server.terminate())
        }
        until("it is not listed any more", || services(&watching) == json!([]));
        let again = Agent::join(&watching, &["--bind", &peer, "--listen", "127.0.0.1:0", "--serve", "b:2=true"]);
        knows(&watching, &peer, &["b:2"]);
        again.crash();
        let without = Agent::join(&watching, &["--bind", &peer]);
        until("it is not listed any more", || services(&watching) == json!([]));
        without.sees(&watching.peer, json!({"state": "alive"}));
    }
}

#[test]
fn the_address_that_others_are_told() {
    let start = |args: &[&str]| Agent::start(&[&["--listen", "0.0.0.0:0", "--serve", "a:1=echo '[1]'"], args].concat());
    let server = start(&["--advertise-service", "127.0.0.1:0"]);
    assert!(listen(&server).starts_with("0.0.0.0:"), "{}", server.ready);
    let port = listen(&server).rsplit_once(':').unwrap().1;
    let caller = calling(&server, &["a:1"]);
    assert_eq!(services(&caller)[0]["addr"], format!("127.0.0.1:{port}"));
    assert_eq!(result(&mut caller.connect(), "a:1"), json!([1]));
    // Without it, the node's own.
    let server = start(&[]);
    assert!(services(&server)[0]["addr"].as_str().unwrap().starts_with("127.0.0.1:"));
}
