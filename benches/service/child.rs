//! One process of a side: it offers the action, or calls it.
//!
//! Who offers prints one line, its address, and ends when its standard input does. Who calls prints `ready`; then each line that it
//! reads, `CALLERS MILLISECONDS`, is a measurement, which it answers with a line of JSON.

use std::io::{BufRead, Write, stdin, stdout};
use std::time::Duration;

use crate::arguments::Arguments;
use crate::{Outcome, callers, echo, ours};

/// Plays the part that the arguments name.
///
/// # Errors
/// If they are not understood, nothing can be bound or reached, or a call fails.
pub fn run(mut arguments: Arguments) -> Outcome<()> {
    let part = arguments.next_word().ok_or("--child needs a part to play")?;
    match part.as_str() {
        "ours-provides" | "keyed-provides" => {
            let service = ours::provide(part == "keyed-provides")?;
            serve(&service.node().peer().to_string())
        }
        "ours-calls" | "keyed-calls" => {
            let client = ours::Client::start(&arguments.value::<String>(&part)?, part == "keyed-calls")?;
            measure(|left, right| client.add(left, right))
        }
        "echo-provides" => serve(&echo::server::start(arguments.value::<String>(&part)?)?.to_string()),
        "echo-calls" => {
            let addr = arguments.value(&part)?;
            let client = echo::client::Client::new(addr, arguments.value::<String>(&part)?);
            measure(|_, _| client.call())
        }
        other => Err(format!("there is no part {other}").into()),
    }
}

fn serve(addr: &str) -> Outcome<()> {
    say(addr)?;
    for line in stdin().lines() {
        line?;
    }
    Ok(())
}

fn measure(call: impl Fn(i64, i64) -> Outcome<()> + Sync) -> Outcome<()> {
    say("ready")?;
    for line in stdin().lock().lines() {
        let line = line?;
        let (callers, milliseconds) = line.split_once(' ').ok_or("CALLERS MILLISECONDS are expected")?;
        let time = Duration::from_millis(milliseconds.parse()?);
        say(&callers::run(callers.parse()?, time, &call)?.to_string())?;
    }
    Ok(())
}

fn say(line: &str) -> Outcome<()> {
    writeln!(stdout(), "{line}")?;
    Ok(stdout().flush()?)
}
