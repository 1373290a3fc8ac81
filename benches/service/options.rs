//! What the parent is asked to do.

use std::time::Duration;

use crate::Outcome;
use crate::arguments::Arguments;

/// What `--help` prints.
pub const USAGE: &str = "\
usage: cargo bench --bench service -- [options]

Measures calls between two processes over TCP on 127.0.0.1: those of
Grapevine's services, of Seneca 3.38, and of an echo without JSON and without
patterns, in turn, and prints one table. It needs Linux (/proc), and a machine
that does nothing else: under other load timings are noise. Seneca's side
needs Node.js, and `npm ci` in tests/seneca.

options:
  --rounds N     how often each side is measured [15; quick 2]
  --seconds S    for how long each time [1]
  --quick        a rough look, in half a minute
  --no-seneca    without Seneca
  --json         everything as one JSON object, the raw results included
  --check        exit with status 1 if a target is missed
";

/// What to measure, and how to tell.
#[derive(Clone, Debug)]
pub struct Options {
    pub rounds: usize,
    /// How long each side is measured with each number of callers, in each round.
    pub time: Duration,
    pub quick: bool,
    pub seneca: bool,
    /// Whether machines are to read the result.
    pub json: bool,
    /// Whether a missed target is a failure.
    pub check: bool,
}

impl Options {
    /// Reads the command line; `None` if it asks for help.
    ///
    /// # Errors
    /// For what is not understood.
    pub fn parse(mut arguments: Arguments) -> Outcome<Option<Options>> {
        let (mut rounds, mut seconds) = (None, None);
        let (mut quick, mut seneca, mut json, mut check) = (false, true, false, false);
        while let Some(word) = arguments.next_word() {
            match word.as_str() {
                "--rounds" => rounds = Some(arguments.value::<usize>(&word)?.max(1)),
                "--seconds" => seconds = Some(arguments.value::<u64>(&word)?.clamp(1, 60)),
                "--quick" => quick = true,
                "--no-seneca" => seneca = false,
                "--json" => json = true,
                "--check" => check = true,
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("`{other}` is not understood; try --help").into()),
            }
        }
        let rounds = rounds.unwrap_or(if quick { 2 } else { 15 });
        let time = Duration::from_secs(seconds.unwrap_or(1));
        Ok(Some(Options { rounds, time, quick, seneca, json, check }))
    }
}
