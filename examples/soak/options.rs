//! The command line.

use std::ops::RangeInclusive;
use std::time::Duration;

pub const USAGE: &str = "\
usage: soak [--nodes N] [--minutes M] [--interval MS]

  --nodes N      how many nodes, 5 to 500; 50 by default
  --minutes M    for how long, 1 to 10000; 20 by default
  --interval MS  between two gossip rounds, 50 to 10000 ms; 200 by default
  --help         this text

RUST_LOG=grapevine=debug has the nodes tell more, on standard error.";

pub struct Options {
    pub nodes: usize,
    pub time: Duration,
    pub interval: Duration,
}

impl Options {
    /// `None` if only help was asked for.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
        let mut options = Options { nodes: 50, time: minutes(20), interval: Duration::from_millis(200) };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--nodes" => options.nodes = number(&arg, args.next(), 5..=500)? as usize,
                "--minutes" => options.time = minutes(number(&arg, args.next(), 1..=10_000)?),
                "--interval" => options.interval = Duration::from_millis(number(&arg, args.next(), 50..=10_000)?),
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("there is no argument `{arg}`")),
            }
        }
        Ok(Some(options))
    }
}

fn number(name: &str, text: Option<String>, range: RangeInclusive<u64>) -> Result<u64, String> {
    let text = text.ok_or_else(|| format!("{name} needs a number"))?;
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("{name} is {text}; it can be {} to {}", range.start(), range.end())),
    }
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}
