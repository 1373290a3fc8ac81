//! What every test of the program needs: it runs in processes that end with the test, and there are conversations with them. Each test
//! program uses a part of it.
#![allow(dead_code, unused_imports)]

pub mod agent;
pub mod conversation;
#[path = "../keyed.rs"]
pub mod keyed;
#[path = "../memory.rs"]
pub mod memory;
pub mod process;

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub use agent::Agent;
pub use conversation::Conversation;
pub use keyed::is_keyed;
pub use process::{Ended, PROGRAM, Process, program, run};

/// Nothing takes so long, on the busiest machine.
pub const LONG: Duration = Duration::from_secs(60);

/// Waits for something of which nobody tells.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {LONG:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a line has all these fields, with these values.
pub fn has(line: &Value, wanted: &Value) -> bool {
    wanted.as_object().unwrap().iter().all(|(field, value)| line.get(field) == Some(value))
}

/// Waits until each of these agents sees all of them alive.
pub fn all_alive(agents: &[&Agent]) {
    for agent in agents {
        let mut talk = agent.connect();
        let alive = |talk: &mut Conversation| -> Vec<String> {
            let members = talk.members();
            let alive = members.iter().filter(|member| member["state"] == "alive");
            alive.map(|member| member["peer"].as_str().unwrap().to_owned()).collect()
        };
        until("everybody is alive", || {
            let alive = alive(&mut talk);
            agents.iter().all(|other| alive.contains(&other.peer))
        });
    }
}
