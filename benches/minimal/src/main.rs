//! The smallest sensible Grapevine node: joins and says how many are alive.
//!
//! It exists to be weighed: `cargo bench --bench cluster -- --rows 11` builds it, stripped and optimised for size, and
//! says how large it is. chitchat's counterpart, which does the same, is `benches/peers/src/bin/minimal.rs`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use grapevine::{EventFilter, EventKind, Gossiper};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(bind), seed, None) = (arguments.next(), arguments.next(), arguments.next()) else {
        eprintln!("usage: minimal BIND [SEED]");
        return ExitCode::FAILURE;
    };
    match Gossiper::builder().bind(bind.as_str()).seeds(seed).start() {
        Ok(node) => {
            report(&node);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("minimal: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the number of nodes that are alive, this one included, whenever it changes.
fn report(node: &Gossiper) {
    let changes = [EventKind::PeerAlive, EventKind::PeerFailed, EventKind::PeerLeft];
    let events = node.subscribe_to(EventFilter::all().kinds(changes));
    let mut last = 0;
    loop {
        let count = node.live_peers().len() + 1;
        if count != last {
            println!("alive: {count}");
            last = count;
        }
        if events.recv().is_none() {
            return;
        }
    }
}
