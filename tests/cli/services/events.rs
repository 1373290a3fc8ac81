//! What is told of services elsewhere.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{knows, listen, serving};
use crate::harness::{Agent, all_alive, has, until};

/// As they are printed, over standard output, to who follows, and to who watches.
#[test]
fn services_come_and_change_and_go() {
    let mut agent = Agent::start(&[]);
    let mut over_stdio = Agent::join(&agent, &["--stdio"]);
    all_alive(&[&agent, &over_stdio]);
    let mut follower = agent.connect();
    follower.done(json!({"do": "subscribe", "prefix": "no key begins so"}));
    let watch = agent.start_command(&["watch"]);
    until("it watches", || {
        agent.run(&["set", "a", "1"]).done();
        agent.run(&["delete", "a"]).done();
        watch.lines.try_recv().is_ok()
    });
    let server = serving(&["b:2=true", "a:1=true"], &["--seed", &agent.peer]);
    let mut told = [&mut agent.stdio, &mut follower, &mut over_stdio.stdio];
    let (peer, addr) = (&server.peer, listen(&server));
    for talk in &mut told {
        let event = talk.event(json!({"event": "service_offered"}));
        let wanted = json!({"event": "service_offered", "peer": peer, "addr": addr, "patterns": ["a:1", "b:2"]});
        assert_eq!(event.to_string(), wanted.to_string());
    }
    let mut program = server.connect();
    program.done(json!({"do": "serve", "pattern": "c:3"}));
    for talk in &mut told {
        let event = talk.event(json!({"event": "service_changed"}));
        let wanted = json!({"event": "service_changed", "peer": peer, "addr": addr, "patterns": ["a:1", "b:2", "c:3"]});
        assert_eq!(event, wanted);
    }
    drop(program);
    let (peer, addr) = (peer.clone(), addr.to_owned());
    for talk in &mut told {
        let event = talk.event(json!({"event": "service_changed"}));
        assert!(has(&event, &json!({"patterns": ["a:1", "b:2"]})), "{event}");
    }
    server.terminate();
    for talk in &mut told {
        let event = talk.event(json!({"event": "service_withdrawn"}));
        let wanted = json!({"event": "service_withdrawn", "peer": peer, "addr": addr, "patterns": ["a:1", "b:2"]});
        assert_eq!(event, wanted);
    }
    agent.run(&["leave"]).done();
    let out = watch.end().done();
    assert!(out.contains(&format!("service_offered  {peer}  at {addr}  a:1  b:2\n")), "{out}");
    assert!(out.contains(&format!("service_withdrawn {peer}  at {addr}  a:1  b:2\n")), "{out}");
    assert!(out.ends_with("\nstopped\n"), "{out}");
}

/// A seed answers within a millisecond, and tells what it offers.
#[test]
fn no_offer_comes_too_early() {
    let server = serving(&["a:1=true"], &[]);
    for _ in 0..20 {
        let mut agent = Agent::join(&server, &[]);
        agent.stdio.event(json!({"event": "service_offered", "peer": server.peer}));
        agent.run(&["leave"]).done();
        assert_eq!(agent.stdio.rest().last(), Some(&json!({"event": "stopped"})));
    }
}

/// A command of the user's may be run for them.
#[test]
fn commands_are_run_for_services() {
    for names in ["service_offered,service_withdrawn", "all"] {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("events");
        let command = format!("cat >> {}", file.display());
        let agent = Agent::start(&["--on-event", &command, "--on-event-names", names, "--on-event-jobs", "1"]);
        let server = serving(&["a:1=true"], &["--seed", &agent.peer]);
        knows(&agent, &server.peer, &["a:1"]);
        let (peer, addr) = (server.peer.clone(), listen(&server).to_owned());
        server.terminate();
        let told = || -> Vec<Value> {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            text.lines().map_while(|line| serde_json::from_str(line).ok()).collect()
        };
        until("it is told of the end", || told().iter().any(|event| event["event"] == "service_withdrawn"));
        let told = told();
        let wanted = json!({"event": "service_offered", "peer": peer, "addr": addr, "patterns": ["a:1"]});
        assert!(told.contains(&wanted), "{told:#?}");
        if names != "all" {
            assert_eq!(told.len(), 2, "{told:#?}");
        }
    }
}
