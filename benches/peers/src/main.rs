//! Measures the chitchat library, for comparison with Grapevine.
//!
//! `cargo bench --bench cluster` runs this program as a child process; it
//! prints exactly one JSON object on standard output. See the README.

#![forbid(unsafe_code)]

mod args;
mod cluster;
mod liveness;
mod report;
mod scenarios;
mod transport;
mod usage;

use std::process::ExitCode;

use anyhow::Context;

use crate::args::Request;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let settings = match args::parse(std::env::args_os().skip(1))? {
        // On standard error: standard output is for the report alone.
        Request::Help => {
            eprint!("{}", args::USAGE);
            return Ok(());
        }
        Request::Measure(settings) => settings,
    };
    // The runtime as `#[tokio::main]` would build it for a user.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the tokio runtime")?;
    let report = runtime.block_on(scenarios::run(&settings))?;
    println!("{report}");
    Ok(())
}
