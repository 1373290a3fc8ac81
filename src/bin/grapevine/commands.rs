//! The commands that ask or change an agent that runs.

mod keyring;
mod services;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use grapevine::Peer;
use serde_json::{Map, Value};

use crate::args::{ClientArgs, Command};
use crate::client::{Client, refused};
use crate::failure::Failure;
use crate::plain::{self, printable, printable_json};
use crate::protocol::{milliseconds, value_of};
use crate::table::{self, Cell};

/// Wider than any terminal: nothing is cut.
const ANY_WIDTH: usize = usize::MAX;

/// Carries out a command.
pub fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Members(args) => show(&args, "members", &[], members),
        Command::Get { what, client } => get(&what, &client),
        Command::Keys { peer, client } => show(&client, "keys", &[("peer", named(peer))], keys),
        Command::Set { key, value, ttl, client } => {
            let mut fields = vec![("key", key.into()), ("value", value_of(&value))];
            fields.extend(ttl.map(|ttl| ("ttl_ms", milliseconds(ttl).into())));
            show(&client, "set", &fields, version)
        }
        Command::Delete { key, client } => show(&client, "delete", &[("key", key.into())], version),
        Command::Watch { prefix, client } => watch(prefix.as_deref(), &client),
        Command::Services(args) => show(&args, "services", &[], services::list),
        Command::Act { pattern, message, timeout, idempotent, shard, client } => {
            let call = services::Call { pattern: &pattern, message: message.as_deref(), timeout, idempotent, shard };
            services::act(call, &client)
        }
        Command::Stats(args) => show(&args, "stats", &[], stats),
        Command::Forget { peer, client } => show(&client, "forget", &[("peer", named(Some(peer)))], nothing),
        Command::Leave(args) => leave(&args),
        Command::Keygen { output } => keyring::generate(output.as_deref()),
        Command::Keyring(args) => keyring::run(&args),
        Command::Agent(_) | Command::Top(_) | Command::Completions { .. } => Ok(()),
    }
}

/// Asks, and prints the reply as JSON or as `lines` says.
fn show(
    args: &ClientArgs,
    name: &str,
    fields: &[(&str, Value)],
    lines: impl FnOnce(&Map<String, Value>) -> Vec<String>,
) -> Result<(), Failure> {
    let reply = Client::connect(args.agent.control.as_deref())?.exchange(name, fields)?;
    print(args, reply, refused, lines)
}

/// An error is printed as JSON alone: otherwise `failure` is what there is to say of it.
fn print(
    args: &ClientArgs,
    reply: Map<String, Value>,
    failure: impl FnOnce(&Value) -> Failure,
    lines: impl FnOnce(&Map<String, Value>) -> Vec<String>,
) -> Result<(), Failure> {
    let failure = reply.get("error").map(failure);
    let lines = match (args.json, &failure) {
        (true, _) => vec![json(Value::Object(reply))],
        (false, Some(_)) => Vec::new(),
        (false, None) => lines(&reply),
    };
    let mut out = io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    failure.map_or(Ok(()), Err)
}

fn nothing(_: &Map<String, Value>) -> Vec<String> {
    Vec::new()
}

/// A peer, if one is meant, as the line protocol names it.
fn named(peer: Option<Peer>) -> Value {
    peer.map(|peer| peer.to_string()).into()
}

/// Has the agent leave, and waits until it has ended: its address is free from then on.
fn leave(args: &ClientArgs) -> Result<(), Failure> {
    let mut client = Client::connect(args.agent.control.as_deref())?;
    client.be_patient()?;
    let reply = client.exchange("leave", &[]);
    client.wait_for_end()?;
    print(args, reply?, refused, nothing)
}

fn version(reply: &Map<String, Value>) -> Vec<String> {
    reply.get("version").map(|version| format!("version {version}")).into_iter().collect()
}

fn keys(reply: &Map<String, Value>) -> Vec<String> {
    let keys = reply.get("keys").and_then(Value::as_array).into_iter().flatten();
    keys.filter_map(Value::as_str).map(shown).collect()
}

fn get(what: &[String], args: &ClientArgs) -> Result<(), Failure> {
    let (peer, key) = match what {
        [peer, key] => match peer.parse() {
            Ok(peer) => (Some(peer), key),
            Err(_) => {
                let text = format!("`{peer}` is no ADDRESS:PORT like 127.0.0.1:9001 or [::1]:9001");
                return Err(Failure::Usage(text));
            }
        },
        [key] => (None, key),
        _ => return Ok(()),
    };
    show(args, "get", &[("key", key.as_str().into()), ("peer", named(peer))], |reply| match reply.get("value") {
        // A script wants the string itself.
        Some(Value::String(text)) => vec![shown(text)],
        value => value.cloned().map(json).into_iter().collect(),
    })
}

fn json(value: Value) -> String {
    printable_json(value.to_string())
}

/// Aligned, with colours where they are wanted.
fn aligned(rows: &[Vec<Cell>]) -> Vec<String> {
    let mut lines = table::lines(rows, ANY_WIDTH);
    // Not `anstream::stdout` for everything: values are written as they are, whatever they look like.
    if AutoStream::choice(&io::stdout()) == ColorChoice::Never {
        lines.iter_mut().for_each(|line| *line = strip_str(line).to_string());
    }
    lines
}

/// As it is, unless that could play tricks on a terminal.
fn shown(text: &str) -> String {
    if io::stdout().is_terminal() { printable(text) } else { text.to_owned() }
}

/// The members, this node first.
fn members(reply: &Map<String, Value>) -> Vec<String> {
    let members = reply.get("members").and_then(Value::as_array).into_iter().flatten();
    let mut rows = vec![member_heading()];
    rows.extend(members.map(member));
    aligned(&rows)
}

/// The headings of a member's cells.
pub fn member_heading() -> Vec<Cell> {
    let texts = ["PEER", "STATE"].map(Cell::left);
    let numbers = ["PHI", "SEEN", "VERSION", "KEYS", "RECEIVED", "SENT"].map(Cell::right);
    texts.into_iter().chain(numbers).map(|cell| cell.styled(table::HEADING)).collect()
}

/// A member's cells: peer, state, phi, age of the last advance, version, keys, bytes in and out.
pub fn member(member: &Value) -> Vec<Cell> {
    let text = |field: &str| member[field].as_str().unwrap_or_default();
    let number = |field: &str| member[field].as_u64().unwrap_or_default();
    let is_self = member["self"] == true;
    let mark = if is_self { " *" } else { "" };
    let bytes = |field| if is_self { Cell::right("") } else { Cell::right(plain::bytes(number(field))) };
    let phi = if is_self { String::new() } else { plain::phi(member["phi"].as_f64().unwrap_or_default()) };
    let age = member["age_ms"].as_u64().filter(|_| !is_self);
    let age = age.map(|age| plain::age(Duration::from_millis(age))).unwrap_or_default();
    vec![
        Cell::left(format!("{}{mark}", text("peer"))),
        Cell::left(text("state")).styled(table::state_style(text("state"))),
        Cell::right(phi),
        // `999 ms` and `59 min` are the widest: the columns stay where they are as time goes by.
        Cell::right(format!("{age:>6}")),
        Cell::right(number("version").to_string()),
        Cell::right(number("keys").to_string()),
        bytes("bytes_received"),
        bytes("bytes_sent"),
    ]
}

fn stats(reply: &Map<String, Value>) -> Vec<String> {
    let stats = reply.get("stats").and_then(Value::as_object).into_iter().flatten();
    let mut rows = Vec::new();
    let mut service = &Value::Null;
    for (name, value) in stats {
        match name.as_str() {
            "service" => service = value,
            _ => rows.extend(counters(name, value)),
        }
    }
    let mut lines = aligned(&rows);
    lines.extend(services::stats(service));
    lines
}

/// A counter, or those of several reasons.
fn counters(name: &str, value: &Value) -> Vec<Vec<Cell>> {
    let row = |name: &str, value: String| vec![Cell::left(name), Cell::right(value)];
    match value {
        // Of the reasons for a refusal those that there were.
        Value::Object(reasons) => {
            let reasons = reasons.iter().filter(|(_, count)| **count != 0);
            reasons.map(|(reason, count)| row(&format!("{name} {reason}"), count.to_string())).collect()
        }
        Value::Null => vec![row(name, "not told by this system".to_owned())],
        value => vec![row(name, value.to_string())],
    }
}

fn watch(prefix: Option<&str>, args: &ClientArgs) -> Result<(), Failure> {
    let mut client = Client::connect(args.agent.control.as_deref())?;
    client.subscribe(prefix)?;
    let mut out = io::stdout().lock();
    let mut stopped = false;
    while let Some(event) = client.line()? {
        let event = Value::Object(event);
        stopped |= event["event"] == "stopped";
        writeln!(out, "{}", if args.json { json(event) } else { plain::event(&event) })?;
        out.flush()?;
    }
    if stopped { Ok(()) } else { Err(client.gone()) }
}
