//! One node in a terminal. It tells what happens in the cluster as it happens, and obeys what it reads:
//! `set KEY VALUE`, `get`, `peers`, `quit`. It leaves at the end of its input, too.
//!
//! ```sh
//! cargo run --release --example node -- --bind 127.0.0.1:9000 --set colour=red
//! cargo run --release --example node -- --bind 127.0.0.1:9001 --seed 127.0.0.1:9000 --set load=0.7
//! ```

use std::time::Duration;
use std::{env, error, io, process, thread};

use grapevine::{Builder, Event, Gossiper};

const HELP: &str = "set KEY VALUE, get, peers, quit?";

fn main() {
    env_logger::init();
    if let Err(error) = run() {
        eprintln!("error: {error}");
        process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn error::Error>> {
    let (node, events) = configure(env::args().skip(1))?.start_subscribed()?;
    println!("{} is up; {HELP}", node.peer());
    let teller = thread::spawn(move || events.iter().for_each(tell));
    print_entries(&node);
    for line in io::stdin().lines() {
        match line?.splitn(3, ' ').collect::<Vec<_>>()[..] {
            ["set", key, value] => drop(node.set(key, &json(value)).inspect_err(|error| println!("{error}"))),
            ["get"] => print_entries(&node),
            ["peers"] => node.peers().iter().for_each(|p| println!("{} {} phi {:.1}", p.peer, p.state, p.phi)),
            ["quit"] => break,
            _ => println!("{HELP}"),
        }
    }
    let left = node.leave(Duration::from_secs(5));
    teller.join().expect("it only prints");
    Ok(left?)
}

fn configure(mut args: impl Iterator<Item = String>) -> Result<Builder, String> {
    let mut builder = Gossiper::builder();
    while let Some(arg) = args.next() {
        let value = args.next().unwrap_or_default();
        builder = match (arg.as_str(), value.split_once('=')) {
            ("--bind", _) => builder.bind(value),
            ("--seed", _) => builder.seed(value),
            ("--set", Some((key, value))) => builder.initial(key, &json(value)),
            _ => return Err("usage: node --bind ADDRESS:PORT [--seed HOST:PORT]... [--set KEY=VALUE]...".to_owned()),
        }
    }
    Ok(builder)
}

/// `1`, `[1, 2]` and `true` are what they look like in JSON; what is no JSON is a string.
fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

fn print_entries(node: &Gossiper) {
    node.entries("").iter().for_each(|entry| println!("{} has {} = {}", entry.peer, entry.key, entry.value));
}

fn tell(event: Event) {
    match event {
        Event::NewPeer { peer, .. } => println!("{peer} is new"),
        Event::PeerAlive { peer, .. } => println!("{peer} is alive"),
        Event::PeerFailed { peer, phi, .. } => println!("{peer} has failed, phi {phi:.1}"),
        Event::PeerLeft { peer, .. } => println!("{peer} has left"),
        Event::Update { peer, key, value, .. } => println!("{peer} set {key} = {value}"),
        Event::Delete { peer, key, .. } | Event::Expire { peer, key, .. } => println!("{peer} has {key} no more"),
        other => println!("{other:?}"),
    }
}
