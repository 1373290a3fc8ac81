//! What the other commands print at a terminal: colours, and nothing that plays tricks on it.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cluster;
use crate::harness::{Agent, until};
use crate::terminal::{self, Terminal};

const GREEN: &str = "\u{1b}[32malive";

/// Runs a command on a screen of its own. That it is over is told by a line that is not there before, and not in what was typed: what the
/// command before has printed may be there for a while.
fn ran(terminal: &Terminal, line: &str, shows: &str) {
    static COMMANDS: AtomicUsize = AtomicUsize::new(0);
    let number = COMMANDS.fetch_add(1, Ordering::Relaxed);
    terminal.run(&format!("clear; {line}; echo over''{number}"));
    let over = format!("over{number}");
    terminal.shows(shows, |screen| {
        screen.iter().any(|line| line.contains(shows)) && screen.iter().any(|line| line.trim_end() == over)
    });
}

#[test]
fn members_are_coloured_at_a_terminal_alone() {
    if !terminal::is_there() {
        return;
    }
    let agents = cluster(2);
    let terminal = Terminal::open(80, 24, &agents[0]);
    let last = &agents[1].peer;
    ran(&terminal, "\"$G\" members", last);
    assert!(terminal.coloured().contains(GREEN), "{}", terminal.coloured());
    for plain in ["NO_COLOR=1 \"$G\" members", "TERM=dumb \"$G\" members", "\"$G\" members | cat"] {
        ran(&terminal, plain, last);
        assert!(!terminal.coloured().contains('\u{1b}'), "{plain}: {}", terminal.coloured());
    }
    terminal.run("clear; NO_COLOR=1 \"$G\" top");
    terminal.shows("top", |screen| screen[0].starts_with("grapevine  2 alive"));
    assert!(!terminal.coloured().contains('\u{1b}'), "{}", terminal.coloured());
}

/// Red, the title of the window, C1's introducer of sequences, a turn of the direction, the end of a line.
const EVIL: &str = r#""\u001b[31m\u001b]0;title\u0007\u009b31m\u202e\n.""#;
const HARMLESS: &str = r"\u{1b}[31m\u{1b}]0;title\u{7}\u{9b}31m\u{202e}\n.";

#[test]
fn values_are_shown_without_effect() {
    if !terminal::is_there() {
        return;
    }
    let agent = Agent::start(&[]);
    agent.run(&["set", "text", EVIL]).done();
    agent.run(&["set", "list", &format!("[{EVIL}]")]).done();
    agent.run(&["set", "evil\u{1b}[31mkey", "1"]).done();
    let terminal = Terminal::open(160, 24, &agent);
    ran(&terminal, "\"$G\" get text", HARMLESS);
    ran(&terminal, "\"$G\" get list", r#"["\u001b[31m\u001b]0;title\u0007\u009b31m\u202e\n."]"#);
    ran(&terminal, "\"$G\" keys", r"evil\u{1b}[31mkey");
    assert!(!terminal.coloured().contains('\u{1b}'), "{}", terminal.coloured());
    terminal.run("clear; \"$G\" watch");
    let mut number = 0;
    until("it watches", || {
        number += 1;
        agent.run(&["set", "number", &number.to_string()]).done();
        terminal.screen().iter().any(|line| line.contains("number = "))
    });
    agent.run(&["set", "news", EVIL]).done();
    let quoted = r#"news = "\u001b[31m\u001b]0;title\u0007\u009b31m\u202e\n.""#;
    terminal.shows("the value", |screen| screen.iter().any(|line| line.ends_with(quoted)));
    assert!(!terminal.coloured().contains('\u{1b}'), "{}", terminal.coloured());
}
