//! The program at a terminal, as a person has it: `grapevine top`, and what is coloured and escaped there.
#![cfg(unix)]

mod ending;
#[path = "../common/program/mod.rs"]
mod harness;
mod printing;
mod showing;
mod table;
mod terminal;

use harness::Agent;
use serde_json::json;
use terminal::Terminal;

/// Agents that the first one knows to be alive.
fn cluster(size: usize) -> Vec<Agent> {
    let first = Agent::start(&[]);
    let others: Vec<Agent> = (1..size).map(|_| Agent::join(&first, &[])).collect();
    for other in &others {
        first.sees(&other.peer, json!({"state": "alive"}));
    }
    [first].into_iter().chain(others).collect()
}

/// A terminal in which `top` runs and shows so many alive.
fn top(columns: u16, rows: u16, agent: &Agent, alive: usize) -> Terminal {
    let terminal = Terminal::open(columns, rows, agent);
    terminal.run("\"$G\" top --every 100ms");
    terminal.shows("top", |screen| screen[0].starts_with(&format!("grapevine  {alive} alive")));
    terminal
}
