//! How many calls a service answers in a second, and how soon, beside Seneca 3.38 and beside an echo that does nothing but carry the
//! same bytes, on the same machine in the same run; in plain, and encrypted.
//!
//! ```text
//! cargo bench --bench service                # the whole table: three minutes
//! cargo bench --bench service -- --quick     # a rough look: half a minute
//! cargo bench --bench service -- --help
//! ```
//!
//! This program is parent and child. The parent has each of the sides measured in turn, round after round ([`sides`]), and
//! makes a table of what they say ([`table`]). A side is two processes: one offers `role:api,cmd:add`, the other calls it from many
//! threads ([`child`], [`callers`]). The echo is in [`echo`]; Seneca's side is `tests/seneca/bench.js`.

#![forbid(unsafe_code)]

#[path = "../cluster/arguments.rs"]
mod arguments;
mod callers;
mod child;
mod echo;
#[expect(dead_code)] // The other benchmark has more kinds of figures.
#[path = "../cluster/figures.rs"]
mod figures;
#[path = "../cluster/machine.rs"]
mod machine;
mod options;
mod ours;
mod processes;
mod sides;
mod table;

use std::process::ExitCode;

use crate::arguments::Arguments;
use crate::options::Options;

/// What can go wrong here is told to a person and ends the program.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs benchmarks too, without an argument; `cargo bench` passes `--bench`.
    if words.is_empty() {
        println!("nothing measured; run it with: cargo bench --bench service");
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::new(words.into_iter().filter(|word| word != "--bench"));
    let outcome = if arguments.take_word("--child") {
        child::run(arguments).map(|()| ExitCode::SUCCESS)
    } else {
        compare(arguments)
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("service: {error}");
        ExitCode::FAILURE
    })
}

/// The parent: measures all sides, and prints the table.
fn compare(arguments: Arguments) -> Outcome<ExitCode> {
    let Some(options) = Options::parse(arguments)? else {
        print!("{}", options::USAGE);
        return Ok(ExitCode::SUCCESS);
    };
    let machine = machine::describe();
    let results = sides::measure(&options)?;
    let lines = table::lines(&results);
    if options.json {
        table::print_json(&lines, &results, &machine, &options);
    } else {
        table::print(&lines, &results, &machine, &options);
    }
    let missed = options.check && lines.iter().any(|line| line.holds() == Some(false));
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
