//! The `grapevine` program: runs a node in the foreground, and asks and changes one that runs.
//!
//! It uses the library's public interface only, and blocks as the library does. What it says to programs is in `protocol`, what it
//! says to people in `plain` and `table`.

#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!("the program `grapevine` talks over Unix sockets; on other systems use the library");

// From bottom to top: each names only those above it here.
mod plain;
mod key_like;
mod failure;
mod secrets;
mod json;
mod lines;
mod place;
mod table;
mod protocol;
mod args;
mod client;
mod commands;
mod top;
mod agent;

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;

use args::{Args, Command};
use failure::Failure;

fn main() -> ExitCode {
    let args = Args::of_process();
    let level = if matches!(args.command, Command::Agent(_)) { "info" } else { "warn" };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level)).init();
    match run(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Agent(args) => agent::run(*args),
        Command::Top(args) => top::run(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "grapevine", &mut script);
            Ok(std::io::stdout().write_all(&script)?)
        }
        other => commands::run(other),
    }
}
