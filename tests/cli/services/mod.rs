//! Services: who offers what, calls, and those who answer them: commands, and programs at the other end of a connection.

mod calls;
mod commands;
mod ends;
mod events;
mod listed;
mod moving;
mod programs;
mod settings;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::{Agent, Conversation, LONG, is_keyed, until};

/// An agent that takes calls, and answers them by these commands.
fn serving(commands: &[&str], args: &[&str]) -> Agent {
    let serve = commands.iter().flat_map(|command| ["--serve", command]);
    let listen: &[&str] = match is_keyed() {
        true => &["--listen", "127.0.0.1:0", "--listen-plain", "127.0.0.1:0"],
        false => &["--listen", "127.0.0.1:0"],
    };
    let args: Vec<&str> = listen.iter().copied().chain(serve).chain(args.iter().copied()).collect();
    Agent::start(&args)
}

/// Where it takes calls.
fn listen(agent: &Agent) -> &str {
    agent.ready["listen"].as_str().unwrap()
}

/// Where it takes calls that are not encrypted.
fn listen_plain(agent: &Agent) -> &str {
    if is_keyed() { agent.ready["listen_plain"].as_str().unwrap() } else { listen(agent) }
}

/// Waits until an agent knows who offers these patterns, in the canonical form.
fn knows(agent: &Agent, peer: &str, patterns: &[&str]) {
    let mut talk = agent.connect();
    until(&format!("{peer} offers {patterns:?}"), || {
        let services = talk.done(json!({"do": "services"}))["services"].take();
        let mut of_peer = services.as_array().unwrap().iter().filter(|service| service["peer"] == peer);
        of_peer.next().map_or(json!([]), |service| service["patterns"].clone()) == json!(patterns)
    });
}

/// An agent that calls another one's actions.
fn calling(server: &Agent, patterns: &[&str]) -> Agent {
    let agent = Agent::join(server, &[]);
    knows(&agent, &server.peer, patterns);
    agent
}

/// Has a program called for messages that match a pattern.
fn serve(program: &mut Conversation, pattern: &str) {
    assert_eq!(program.done(json!({"do": "serve", "pattern": pattern})), json!({}));
}

/// The next call of a program: its number and its message.
fn next_call(program: &mut Conversation) -> (u64, Value) {
    let mut event = program.event(json!({"event": "call"}));
    (event["call"].as_u64().unwrap(), event["message"].take())
}

/// Sends a request, and waits for nothing.
fn send(talk: &mut Conversation, id: impl Into<Value>, mut request: Value) {
    request["id"] = id.into();
    talk.send(request.to_string() + "\n");
}

fn act(message: impl Into<Value>) -> Value {
    json!({"do": "act", "message": message.into()})
}

/// The result of a call.
fn result(talk: &mut Conversation, message: impl Into<Value>) -> Value {
    talk.done(act(message))["result"].take()
}

/// The code and the message of a call that fails.
fn failure(talk: &mut Conversation, message: impl Into<Value>) -> (String, String) {
    let reply = talk.ask(act(message));
    let text = |field: &str| reply["error"][field].as_str().unwrap_or_else(|| panic!("no error: {reply}")).to_owned();
    (text("code"), text("message"))
}

/// What a client that speaks Seneca's wire is answered.
fn on_the_wire(addr: &str, message: &Value) -> Value {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let request = json!({"id": "aaaaaaaaaaaa/bbbbbbbbbbbb", "kind": "act", "origin": "test/1/1/-", "act": message});
    stream.write_all(format!("{request}\n").as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}
