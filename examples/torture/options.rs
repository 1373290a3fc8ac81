//! The command line.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use grapevine::sim::{FaultKind, Plan, Torture};

pub const USAGE: &str = "\
usage: torture [OPTION]…

  --seeds N        how many runs, each from a seed of its own; 64 by default
  --seed S         one run, from this seed; the seeds of several runs count on from 1
  --nodes N        how many nodes, 2 to 1000; 8 by default
  --seconds N      how long things go wrong, in virtual time, 10 to 100000; 300 by default
  --lies           with a node in the cluster that lies
  --only KIND,…    only these kinds of faults
  --without KIND,… not these kinds
  --faults I,…     only these faults of a run's list; `none` for none
  --threads N      how many runs at once; all cores by default
  --narrow         look for the faults that a failing run needs
  --list           print the faults of the first run, with their numbers, and end
  --record FILE    write everything that happens in the first run
  --help           this text

The kinds: loss duplication delay reordering corruption truncation replay slow-link cut one-way-cut crash clock-set-back
replacement leave pause sleep drift deaf-subscriber lies";

#[derive(Clone)]
pub struct Options {
    pub first_seed: u64,
    pub seeds: u64,
    pub nodes: usize,
    pub duration: Duration,
    pub kinds: Vec<FaultKind>,
    pub faults: Option<Vec<usize>>,
    pub threads: usize,
    pub narrow: bool,
    pub list: bool,
    pub record: Option<String>,
}

impl Options {
    /// `None` if only help was asked for.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let mut options = Options {
            first_seed: 1,
            seeds: 64,
            nodes: 8,
            duration: Duration::from_secs(300),
            kinds: FaultKind::ALL.into_iter().filter(|kind| *kind != FaultKind::Lies).collect(),
            faults: None,
            threads: cores,
            narrow: false,
            list: false,
            record: None,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value; --help tells which"));
            match arg.as_str() {
                "--seeds" => options.seeds = number(&arg, &value()?, 1..=1 << 40)?,
                "--seed" => (options.first_seed, options.seeds) = (number(&arg, &value()?, 0..=u64::MAX)?, 1),
                "--nodes" => options.nodes = number(&arg, &value()?, 2..=1_000)?,
                "--seconds" => options.duration = Duration::from_secs(number(&arg, &value()?, 10..=100_000)?),
                "--lies" => options.kinds.push(FaultKind::Lies),
                "--only" => options.kinds = kinds(&value()?)?,
                "--without" => {
                    let without = kinds(&value()?)?;
                    options.kinds.retain(|kind| !without.contains(kind));
                }
                "--faults" => options.faults = Some(indexes(&value()?)?),
                "--threads" => options.threads = number(&arg, &value()?, 1..=1_024)?,
                "--narrow" => options.narrow = true,
                "--list" => options.list = true,
                "--record" => options.record = Some(value()?),
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("there is no argument `{arg}`")),
            }
        }
        Ok(Some(options))
    }

    /// The run from this seed.
    pub fn torture(&self, seed: u64) -> Torture {
        let mut plan = Plan::of_kinds(seed, self.nodes, self.duration, self.kinds.iter().copied());
        if let Some(faults) = &self.faults {
            let all = std::mem::take(&mut plan.faults).into_iter().enumerate();
            plan.faults = all.filter(|(index, _)| faults.contains(index)).map(|(_, fault)| fault).collect();
        }
        Torture::new(plan)
    }

    /// The command that runs one of the seeds again.
    pub fn replay(&self, seed: u64) -> String {
        let mut command = format!(
            "cargo run --release --features sim --example torture -- --seed {seed} --nodes {} --seconds {}",
            self.nodes,
            self.duration.as_secs()
        );
        let by_default = |kind: &FaultKind| *kind != FaultKind::Lies;
        if !FaultKind::ALL.iter().filter(|kind| by_default(kind)).eq(self.kinds.iter()) {
            let names: Vec<&str> = self.kinds.iter().map(|kind| kind.as_str()).collect();
            command += &format!(" --only {}", names.join(","));
        }
        if let Some(faults) = &self.faults {
            let faults: Vec<String> = faults.iter().map(usize::to_string).collect();
            command += &format!(" --faults {}", if faults.is_empty() { "none".to_owned() } else { faults.join(",") });
        }
        command
    }
}

fn number<T: FromStr + PartialOrd + std::fmt::Display>(
    name: &str,
    text: &str,
    range: RangeInclusive<T>,
) -> Result<T, String> {
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("{name} is `{text}`; it can be {} to {}", range.start(), range.end())),
    }
}

fn kinds(text: &str) -> Result<Vec<FaultKind>, String> {
    text.split(',').map(FaultKind::from_str).collect()
}

fn indexes(text: &str) -> Result<Vec<usize>, String> {
    if text == "none" {
        return Ok(Vec::new());
    }
    let index =
        |part: &str| part.parse().map_err(|_| format!("`{part}` in --faults is not a number; --list shows them"));
    text.split(',').map(index).collect()
}
