//! What `top` shows, and what its keys do.

use std::collections::BTreeSet;
use std::net::UdpSocket;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::Agent;
use crate::table::{Row, rows};
use crate::terminal::{self, Terminal};
use crate::{cluster, top};

/// Waits until the screen and its table are as they should be, and returns the screen.
fn shows(terminal: &Terminal, what: &str, is_it: impl Fn(&[String], &[Row]) -> bool) -> Vec<String> {
    terminal.shows(what, |screen| rows(screen).is_some_and(|rows| is_it(screen, &rows)))
}

/// Every row of the terminal is used, and nothing is longer than it.
fn is_whole(terminal: &Terminal, height: usize) {
    let screen = terminal.screen();
    assert!(screen.len() == height && screen[height - 1].contains("q ends"), "{screen:#?}");
    assert_eq!(terminal.unwrapped(), height, "{screen:#?}");
}

fn row_of<'a>(rows: &'a [Row], agent: &Agent) -> Option<&'a Row> {
    rows.iter().find(|row| row.peer == agent.peer)
}

fn states(screen: &[String]) -> Vec<String> {
    rows(screen).unwrap().into_iter().map(|row| row.state).collect()
}

#[test]
fn it_shows_every_member_at_80_by_24_and_at_160_by_50() {
    if !terminal::is_there() {
        return;
    }
    let agents = cluster(4);
    let mut talk = agents[1].connect();
    let mut version = String::new();
    for n in 0..12 {
        version = talk.done(json!({"do": "set", "key": n.to_string(), "value": [1, 2, 3]}))["version"].to_string();
    }
    for (columns, height) in [(80, 24), (160, 50)] {
        let terminal = top(columns, height, &agents[0], 4);
        let screen = shows(&terminal, "the keys, and rates", |screen, rows| {
            screen[1].contains("/s  sent ") && row_of(rows, &agents[1]).is_some_and(|row| row.keys == "12")
        });
        assert!(screen[0].ends_with(&agents[0].peer), "{screen:#?}");
        let members = rows(&screen).unwrap();
        assert_eq!(members.len(), agents.len(), "{screen:#?}");
        assert_eq!(members[0].peer, format!("{} *", agents[0].peer));
        for agent in &agents[1..] {
            let row = row_of(&members, agent).unwrap();
            assert_eq!(row.state, "alive");
            assert!(row.phi.parse::<f64>().is_ok(), "{row:?}");
            assert!(row.seen.ends_with(" s") || row.seen.ends_with(" ms"), "{row:?}");
            assert!(row.received.ends_with('B') && row.sent.ends_with('B'), "{row:?}");
        }
        assert_eq!(row_of(&members, &agents[1]).unwrap().version, version);
        is_whole(&terminal, height.into());
    }
}

#[test]
fn a_member_that_is_killed_becomes_failed_and_the_first() {
    if !terminal::is_there() {
        return;
    }
    let mut agents = cluster(4);
    let terminal = top(80, 24, &agents[0], 4);
    let killed = agents.pop().unwrap();
    killed.process.signal(Signal::KILL);
    let screen = shows(&terminal, "that one has failed", |screen, rows| {
        screen[0].starts_with("grapevine  3 alive  1 failed")
            && row_of(rows, &killed).is_some_and(|row| row.state == "failed")
    });
    assert_eq!(states(&screen), ["failed", "alive", "alive", "alive"]);
    let phi = &row_of(&rows(&screen).unwrap(), &killed).unwrap().phi.clone();
    assert!(phi == ">999" || phi.parse::<f64>().is_ok_and(|phi| phi >= 8.0), "{phi}");
    let coloured = terminal.coloured();
    assert!(coloured.contains("\u{1b}[31mfailed"), "{coloured}");

    assert_eq!(agents.pop().unwrap().terminate().status, Some(0));
    let screen = shows(&terminal, "that one has left", |screen, rows| {
        screen[0].starts_with("grapevine  2 alive  1 failed  1 left") && rows.iter().any(|row| row.state == "left")
    });
    assert_eq!(states(&screen), ["failed", "alive", "alive", "left"]);
}

#[test]
fn it_scrolls_orders_and_follows_the_size_of_the_window() {
    if !terminal::is_there() {
        return;
    }
    let agents = cluster(8);
    let terminal = top(80, 24, &agents[0], 8);
    terminal.resize(100, 10);
    let foot = |screen: &[String]| screen.last().cloned().unwrap_or_default();
    let window = |place: &str| {
        let screen = shows(&terminal, place, |screen, rows| {
            screen.len() == 10 && rows.len() == 5 && foot(screen).starts_with(place)
        });
        rows(&screen).unwrap()
    };
    let first = window("1–5 of 8");
    is_whole(&terminal, 10);
    for (key, place) in [("Down", "2–6 of 8"), ("PPage", "1–5 of 8"), ("End", "4–8 of 8"), ("Home", "1–5 of 8")]
    {
        terminal.press(key);
        window(place);
    }
    terminal.press("NPage");
    let last = window("4–8 of 8");
    let peers: BTreeSet<&str> = first.iter().chain(&last).map(|row| row.peer.trim_end_matches(" *")).collect();
    assert_eq!(peers.len(), agents.len(), "together they are all of them");

    for order in ["peer", "phi", "received", "state"] {
        terminal.press("o");
        let of = |row: &Row| row.phi.parse::<f64>().unwrap_or(0.0);
        shows(&terminal, order, |screen, rows| {
            let is_sorted = order != "phi" || rows.is_sorted_by(|a, b| of(a) >= of(b));
            foot(screen).starts_with(&format!("1–5 of 8  q ends  o order: {order}  ")) && is_sorted
        });
    }

    // Too narrow for every column: those that there are are whole.
    terminal.resize(40, 12);
    let screen = terminal.shows("a narrow window", |screen| {
        screen.len() == 12 && foot(screen).starts_with("1–7 of 8") && screen[3].ends_with("SEEN")
    });
    assert_eq!(terminal.unwrapped(), 12, "{screen:#?}");
    terminal.resize(120, 30);
    shows(&terminal, "a wide window", |screen, rows| screen.len() == 30 && rows.len() == 8);
    is_whole(&terminal, 30);
}

#[test]
fn addresses_of_ipv6_fit() {
    if !terminal::is_there() || UdpSocket::bind("[::1]:0").is_err() {
        return;
    }
    let first = Agent::start(&["--bind", "[::1]:0"]);
    let second = Agent::join(&first, &["--bind", "[::1]:0"]);
    first.sees(&second.peer, json!({"state": "alive"}));
    let terminal = top(80, 24, &first, 2);
    let screen = shows(&terminal, "both", |_, rows| row_of(rows, &second).is_some_and(|row| row.state == "alive"));
    assert!(screen[0].ends_with(&first.peer), "{screen:#?}");
    is_whole(&terminal, 24);
}
