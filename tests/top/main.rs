//! The program at a terminal, as a person has it: `grapevine top`, and what is coloured and escaped there.
#![cfg(unix)]

#[path = "../common/agent.rs"]
mod agent;
mod ending;
mod printing;
mod showing;
mod table;
mod terminal;

use agent::Agent;
use terminal::Terminal;

/// Agents that the first one knows to be alive.
fn cluster(size: usize) -> Vec<Agent> {
    let first = Agent::start(&[]);
    let others: Vec<Agent> = (1..size).map(|_| Agent::join(&first)).collect();
    agent::until("all are alive", || {
        others.iter().all(|other| first.state_of(&other.peer).as_deref() == Some("alive"))
    });
    [first].into_iter().chain(others).collect()
}

/// A terminal in which `top` runs and shows so many alive.
fn top(columns: u16, rows: u16, agent: &Agent, alive: usize) -> Terminal {
    let terminal = Terminal::open(columns, rows, agent);
    terminal.run("\"$G\" top --every 100ms");
    terminal.shows("top", |screen| screen[0].starts_with(&format!("grapevine  {alive} alive")));
    terminal
}
