//! What Grapevine costs and how fast it is, beside chitchat 0.13 on the same machine in the same run.
//!
//! ```text
//! cargo bench --bench cluster                         # the whole table
//! cargo bench --bench cluster -- --quick --rows 1,3   # a rough look at two of its rows
//! cargo bench --bench cluster -- --help
//! ```
//!
//! This program is parent and child. The parent chooses what to run ([`plan`]), runs it in processes of their own
//! ([`programs`]), those of the peer and those of Grapevine in turn, and makes a table of what they say ([`rows`],
//! [`print`]). A child (`--child SCENARIO …`, see [`child`]) is one cluster of Grapevine nodes in one process, in a
//! fresh one so that no scenario inherits another's memory; it prints one JSON object. The peer's children are those of
//! the package `benches/peers`, which take the same arguments and print the same fields. Grapevine does not depend on
//! that package.

#![forbid(unsafe_code)]

mod arguments;
mod child;
mod figures;
mod machine;
mod options;
mod plan;
mod plot;
mod print;
mod programs;
mod rows;

use std::alloc::System;
use std::process::ExitCode;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::arguments::Arguments;
use crate::options::Options;

/// What can go wrong here is told to a person and ends the program.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Counts the allocations of this process: two atomic additions for each, in the peer's harness as well.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs benchmarks too, without an argument; `cargo bench` passes `--bench`.
    if words.is_empty() {
        println!("nothing measured; run it with: cargo bench --bench cluster");
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::new(words.into_iter().filter(|word| word != "--bench"));
    let outcome = if arguments.take_word("--child") {
        child::run(arguments).map(|()| ExitCode::SUCCESS)
    } else {
        compare(arguments)
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("cluster: {error}");
        ExitCode::FAILURE
    })
}

/// The parent: measures the rows that were asked for, and prints them.
fn compare(arguments: Arguments) -> Outcome<ExitCode> {
    let Some(options) = Options::parse(arguments)? else {
        print!("{}", options::USAGE);
        return Ok(ExitCode::SUCCESS);
    };
    let machine = machine::describe();
    let results = programs::measure(&options)?;
    let lines: Vec<rows::Line> = options.rows.iter().flat_map(|row| rows::lines(*row, &results, &options)).collect();
    if options.json {
        print::json(&lines, &results, &machine, &options);
    } else {
        print::table(&lines, &results, &machine, &options);
    }
    if let (Some(file), Some(svg)) = (&options.plot, plot::spread(&results)) {
        std::fs::write(file, svg)?;
    }
    let missed = options.check && lines.iter().any(|line| line.holds() == Some(false));
    Ok(if missed || results.ours_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
