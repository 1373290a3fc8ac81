//! What the person in front of it sees: one line for each step, drawn anew in place while it is under way.

use std::env;
use std::io::{self, IsTerminal, Write};

/// The width of a step's title and of its line.
const TITLE: usize = 58;

pub struct Screen {
    terminal: bool,
    colours: bool,
    /// The line of the step that is under way, without its mark.
    line: String,
}

impl Screen {
    pub fn new() -> Screen {
        let terminal = io::stdout().is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb");
        Screen {
            terminal,
            colours: terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            line: String::new(),
        }
    }

    pub fn say(&self, text: &str) {
        put(&format!("{text}\n"));
    }

    /// Shows how far a step has come. Only a terminal shows more than the last of this.
    pub fn progress(&mut self, title: &str, nodes: usize, of: usize, seconds: f64) {
        let count = format!("{nodes}/{of}");
        self.line = format!("{title:<TITLE$} {count:>7} {:>9}", time(seconds));
        if self.terminal {
            put(&format!("\r  {}", self.line));
        }
    }

    /// Ends the line of a step that went well.
    pub fn tick(&mut self) {
        self.end_line("✓", "32");
    }

    /// Ends the line of a step that went wrong, and says how.
    pub fn fail(&mut self, problem: &str) {
        if !self.line.is_empty() {
            self.end_line("✗", "31");
        }
        self.say(&format!("\nIt went wrong: {problem}"));
    }

    fn end_line(&mut self, mark: &str, colour: &str) {
        let start = if self.terminal { "\r" } else { "" };
        let mark = if self.colours { format!("\x1b[{colour}m{mark}\x1b[0m") } else { mark.to_owned() };
        put(&format!("{start}{mark} {}\n", self.line));
        self.line.clear();
    }
}

/// A time as people read it.
pub fn time(seconds: f64) -> String {
    match seconds.abs() {
        short if short < 0.01 => format!("{:.1} ms", seconds * 1e3),
        short if short < 1.0 => format!("{:.0} ms", seconds * 1e3),
        _ => format!("{seconds:.2} s"),
    }
}

/// A reader that has gone away, as in `cluster | head`, is no reason to stop.
fn put(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
