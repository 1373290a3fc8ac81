//! Why the program ends with another status than 0.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use grapevine::Error;

use crate::key_like;
use crate::plain::printable;

/// One line for standard error: what, why, what to do.
#[derive(Debug)]
pub enum Failure {
    /// What was asked for cannot be meant so: exit status 2.
    Usage(String),
    /// It was meant well and did not work: exit status 1.
    Failed(String),
    /// Whoever read the output has gone: nothing is to be said to anybody.
    NobodyReads,
}

impl Failure {
    /// An operation failed.
    pub fn failed(what: impl Display) -> Failure {
        Failure::Failed(what.to_string())
    }

    /// Says why, and with which status the program ends. What looks like a key is not shown.
    pub fn report(self) -> ExitCode {
        let (text, status) = match self {
            Failure::Usage(text) => (text, 2),
            Failure::Failed(text) => (text, 1),
            Failure::NobodyReads => return ExitCode::SUCCESS,
        };
        let text = match key_like::is_shown_in(&text) {
            true => format!("an argument or variable {}", key_like::LOOKS_LIKE_A_KEY),
            false => text,
        };
        // Where nobody can be told, the status tells.
        let _ = writeln!(io::stderr(), "grapevine: {}", printable(&text));
        ExitCode::from(status)
    }
}

/// From starting a node.
impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Config { setting, problem } => Failure::Usage(format!("{}: {problem}", option(setting))),
            error => Failure::failed(error),
        }
    }
}

/// The option that a setting of the library is given by.
fn option(setting: &str) -> String {
    match setting {
        "seeds" => "--seed".to_owned(),
        "detector" => "--phi or --pause".to_owned(),
        setting => format!("--{}", setting.replace('_', "-")),
    }
}

/// From writing to standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::NobodyReads,
            _ => Failure::Failed(format!("input or output failed: {error}")),
        }
    }
}
