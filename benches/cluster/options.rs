//! What the parent is asked to do.

use crate::Outcome;
use crate::arguments::Arguments;

/// What `--help` prints.
pub const USAGE: &str = "\
usage: cargo bench --bench cluster -- [options]

Measures Grapevine, and chitchat 0.13 in turn with it, over UDP on 127.0.0.1,
and prints one table. It needs Linux (/proc), and a machine that does nothing
else: under other load timings are noise.

options:
  --rows 1,3,7   only these rows of the table [all]
                 (all take some 45 minutes; rows 6 and 8 alone are 20 of them)
  --quick        a rough look: fewer samples, the long rows shortened
                 (some 5 minutes and the time to build the peer)
  --repeat N     runs of each measurement, peer and ours in turn [3; quick 1]
  --no-peer      Grapevine alone
  --json         everything as one JSON object, the raw results included
  --plot FILE    draws row 1 as an SVG
  --check        exit with status 1 if a target is missed

Each measurement can be taken by itself in this program as a child:
  --child SCENARIO [options]; see --child help
";

/// The rows of the table.
pub const ROWS: std::ops::RangeInclusive<u8> = 1..=12;

/// What to measure, and how to tell.
#[derive(Clone, Debug)]
pub struct Options {
    /// The rows, in their order.
    pub rows: Vec<u8>,
    /// Whether a rough look is enough.
    pub quick: bool,
    /// How often each of the short measurements is taken.
    pub repeat: usize,
    /// Whether the peer is measured too.
    pub peer: bool,
    /// Whether machines are to read the result.
    pub json: bool,
    /// Where to draw row 1.
    pub plot: Option<String>,
    /// Whether a missed target is a failure.
    pub check: bool,
}

impl Options {
    /// Reads the command line; `None` if it asks for help.
    ///
    /// # Errors
    /// For what is not understood.
    pub fn parse(mut arguments: Arguments) -> Outcome<Option<Options>> {
        let mut options = Options {
            rows: ROWS.collect(),
            quick: false,
            repeat: 0,
            peer: true,
            json: false,
            plot: None,
            check: false,
        };
        while let Some(word) = arguments.next_word() {
            match word.as_str() {
                "--rows" => options.rows = rows(&arguments.value::<String>(&word)?)?,
                "--repeat" => options.repeat = arguments.value::<usize>(&word)?.max(1),
                "--quick" => options.quick = true,
                "--no-peer" => options.peer = false,
                "--json" => options.json = true,
                "--plot" => options.plot = Some(arguments.value::<String>(&word)?),
                "--check" => options.check = true,
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("`{other}` is not understood; try --help").into()),
            }
        }
        if options.repeat == 0 {
            options.repeat = if options.quick { 1 } else { 3 };
        }
        Ok(Some(options))
    }
}

/// A list of rows like `1,3,7`.
fn rows(list: &str) -> Outcome<Vec<u8>> {
    let mut rows = Vec::new();
    for word in list.split(',') {
        match word.trim().parse() {
            Ok(row) if ROWS.contains(&row) => rows.push(row),
            _ => return Err(format!("--rows takes numbers from 1 to 12 like 1,3,7, not `{list}`").into()),
        }
    }
    rows.sort_unstable();
    rows.dedup();
    Ok(rows)
}
