//! The command line.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use crate::gossip::Order;
use crate::{heartbeats, rates, spread, staleness, wan};

pub const USAGE: &str = "\
usage: papers [1] [2] [3] [spread] [detect] [options]

Reproduces the figures of the two papers that this library follows, on its own
code. Without a name all of it runs, in some minutes. The exit status is 1 if a
figure is not where it should be, 2 if the command line is not understood.

  1        how stale a view becomes while messages cannot hold all there is
  2        the rate that flow control permits
  3        mistakes and detection time on a week's trace of heartbeats
  spread   rounds until everyone knows of an update
  detect   intervals between heartbeats as gossip brings them

for all:
  --runs N             runs of each but spread, with seeds of their own [5]
  --seed N             where they begin [1]
  --plots FOLDER       where plots go [target/papers]
  --help               this text

With any other option the set-up is another than the papers', and there is nothing
to check against: figures are printed alone. (Times are in seconds.)

for 1 and 2:
  --participants LIST  as in `64,128`; of 1 the first [1: 128, 2: 128,64]
  --keys N             of each participant [64]
  --entries N          that a message holds at most [100]
  --interval T         between two exchanges that a participant begins [1]
for 1:
  --orders LIST        which entries go first: depth, breadth [depth,breadth]
  --rate R             updates a second by each participant [1]
  --unlimited T        until when messages hold whatever there is [15]
  --doubled T,T        between which times updates come twice as fast [25,75]
  --stop T             the last updates [120]
for 2:
  --start T            the first updates [15]
  --halved T           from when on messages hold half [90]
  --end T              [180]
  --decrease F         of the rate after `--overflows` messages in a row [0.75]
  --overflows N        [3]
  --increase R         of the rate after `--fits` messages in a row [0.2]
  --fits N             [10]
for 3:
  --beats N            heartbeats sent [5845712]
  --window N           intervals that a detector remembers [1000]
  --thresholds LIST    of phi [1,2,3,4,5,6,7,8,10,12,16]
for spread and detect:
  --nodes LIST         how many; of detect the first [10,100,1000,10000; 200]
  --partners LIST      in a round, 1 to 16 [1,3]
for detect:
  --loss P             of datagrams, from 0 to 0.9 [0, and 0.1 with one partner]
";

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Experiment {
    Staleness,
    Rates,
    Wan,
    Spread,
    Detect,
}

use Experiment::{Detect, Rates, Spread, Staleness, Wan};

/// What was asked for.
pub struct Options {
    pub experiments: Vec<Experiment>,
    pub runs: usize,
    seed: u64,
    pub plots: PathBuf,
    pub staleness: staleness::Setup,
    pub orders: Vec<Order>,
    pub participants: Vec<usize>,
    pub rates: rates::Setup,
    pub wan: wan::Setup,
    pub spread: spread::Setup,
    pub detect: heartbeats::Setup,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            experiments: vec![Staleness, Rates, Wan, Spread, Detect],
            runs: 5,
            seed: 1,
            plots: PathBuf::from("target/papers"),
            staleness: staleness::Setup::default(),
            orders: vec![Order::Depth, Order::Breadth],
            participants: vec![128, 64],
            rates: rates::Setup::default(),
            wan: wan::Setup::default(),
            spread: spread::Setup::default(),
            detect: heartbeats::Setup::default(),
        }
    }
}

impl Options {
    /// Reads the command line; `None` if it asks for help.
    ///
    /// # Errors
    /// For what is not understood: what, and what would be.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
        let mut options = Options::default();
        let mut named = Vec::new();
        let mut used: Vec<(String, &[Experiment])> = Vec::new();
        while let Some(word) = words.next() {
            match word.as_str() {
                "1" => named.push(Staleness),
                "2" => named.push(Rates),
                "3" => named.push(Wan),
                "spread" => named.push(Spread),
                "detect" => named.push(Detect),
                "--help" | "-h" => return Ok(None),
                option if option.starts_with("--") => {
                    let (option, value) = match option.split_once('=') {
                        Some((option, value)) => (option.to_owned(), Some(value.to_owned())),
                        None => (option.to_owned(), None),
                    };
                    let value = Value { value: value.or_else(|| words.next()), option };
                    used.push((value.option.clone(), options.set(&value)?));
                }
                _ => return Err(format!("there is no experiment `{word}`; there are 1, 2, 3, spread and detect")),
            }
        }
        if !named.is_empty() {
            options.experiments = named;
        }
        let times = &options.rates;
        if !(times.start < times.halved && times.halved < times.end) {
            let (start, halved, end) = (times.start, times.halved, times.end);
            return Err(format!(
                "--start {start}, --halved {halved} and --end {end} have to follow each other in time"
            ));
        }
        let serves = |of: &[Experiment]| of.iter().any(|one| options.experiments.contains(one));
        match used.iter().find(|(_, of)| !serves(of)) {
            Some((option, _)) => Err(format!("{option} changes nothing in what is to run; see where it belongs")),
            None => Ok(Some(options)),
        }
    }

    /// The seeds of the runs.
    pub fn seeds(&self) -> impl Iterator<Item = u64> + use<> {
        let first = self.seed;
        (0..self.runs as u64).map(move |run| first.wrapping_add(run))
    }

    /// Takes one option. Returns which experiments it is for.
    fn set(&mut self, value: &Value) -> Result<&'static [Experiment], String> {
        const TIMES: RangeInclusive<f64> = 0.0..=100_000.0;
        const RATES: RangeInclusive<f64> = 0.001..=1_000.0;
        let of: &[Experiment] = match value.option.as_str() {
            "--runs" => {
                self.runs = value.number(1..=1_000)?;
                &[Staleness, Rates, Wan, Detect]
            }
            "--seed" => {
                self.seed = value.number(0..=u64::MAX)?;
                &[Staleness, Rates, Wan, Spread, Detect]
            }
            "--plots" => {
                self.plots = PathBuf::from(value.text()?);
                &[Staleness, Rates, Wan, Spread, Detect]
            }
            "--participants" => {
                self.participants = value.list(2..=2_000)?;
                self.staleness.participants = self.participants[0];
                &[Staleness, Rates]
            }
            "--keys" => {
                self.staleness.keys = value.number(1..=65_536)?;
                self.rates.keys = self.staleness.keys;
                &[Staleness, Rates]
            }
            "--entries" => {
                self.staleness.entries = value.number(2..=1_000_000)?;
                self.rates.entries = self.staleness.entries;
                &[Staleness, Rates]
            }
            "--interval" => {
                self.staleness.interval = value.number(0.001..=1_000.0)?;
                self.rates.interval = self.staleness.interval;
                &[Staleness, Rates]
            }
            "--orders" => {
                self.orders = value.words()?;
                &[Staleness]
            }
            "--rate" => {
                self.staleness.rate = value.number(RATES)?;
                &[Staleness]
            }
            "--unlimited" => {
                self.staleness.unlimited_until = value.number(TIMES)?;
                &[Staleness]
            }
            "--doubled" => {
                self.staleness.doubled = match value.list(TIMES)?[..] {
                    [from, to] if from <= to => (from, to),
                    _ => return Err("--doubled takes two times, the earlier first, as in `--doubled 25,75`".to_owned()),
                };
                &[Staleness]
            }
            "--stop" => {
                self.staleness.stop = value.number(TIMES)?;
                &[Staleness]
            }
            "--beats" => {
                self.wan.beats = value.number(10_000..=1_000_000_000)?;
                &[Wan]
            }
            "--window" => {
                self.wan.window = value.number(2..=10_000)?;
                &[Wan]
            }
            "--thresholds" => {
                self.wan.thresholds = value.list(0.5..=100.0)?;
                &[Wan]
            }
            "--nodes" => {
                self.spread.nodes = value.list(2..=1_000_000)?;
                self.detect.nodes = self.spread.nodes[0].min(spread::MOST_REAL_NODES);
                &[Spread, Detect]
            }
            "--partners" => {
                self.spread.partners = value.list(1..=16)?;
                self.detect.cases =
                    self.spread.partners.iter().map(|partners| (*partners, self.detect.cases[0].1)).collect();
                &[Spread, Detect]
            }
            "--loss" => {
                let loss = value.number(0.0..=0.9)?;
                self.detect.cases.iter_mut().for_each(|case| case.1 = loss);
                &[Detect]
            }
            _ => return self.set_rates(value),
        };
        Ok(of)
    }

    /// Those of the second experiment alone.
    fn set_rates(&mut self, value: &Value) -> Result<&'static [Experiment], String> {
        let rates = &mut self.rates;
        match value.option.as_str() {
            "--start" => rates.start = value.number(0.0..=100_000.0)?,
            "--halved" => rates.halved = value.number(0.0..=100_000.0)?,
            "--end" => rates.end = value.number(1.0..=100_000.0)?,
            "--decrease" => rates.flow.decrease = value.number(0.0..=1.0)?,
            "--overflows" => rates.flow.overflows = value.number(1..=1_000)?,
            "--increase" => rates.flow.increase = value.number(0.0..=1_000.0)?,
            "--fits" => rates.flow.fits = value.number(1..=1_000)?,
            other => return Err(format!("there is no option `{other}`")),
        }
        Ok(&[Rates])
    }
}

/// An option with what follows it.
struct Value {
    option: String,
    value: Option<String>,
}

impl Value {
    fn text(&self) -> Result<&str, String> {
        self.value.as_deref().ok_or_else(|| format!("{} needs a value after it", self.option))
    }

    fn number<T: FromStr + PartialOrd + Display>(&self, range: RangeInclusive<T>) -> Result<T, String> {
        self.one(self.text()?, &range)
    }

    fn list<T: FromStr + PartialOrd + Display>(&self, range: RangeInclusive<T>) -> Result<Vec<T>, String> {
        self.text()?.split(',').map(|part| self.one(part.trim(), &range)).collect()
    }

    fn words<T: FromStr<Err = String>>(&self) -> Result<Vec<T>, String> {
        let parse =
            |part: &str| part.trim().parse().map_err(|why| format!("{} cannot be `{part}`: {why}", self.option));
        self.text()?.split(',').map(parse).collect()
    }

    fn one<T: FromStr + PartialOrd + Display>(&self, text: &str, range: &RangeInclusive<T>) -> Result<T, String> {
        match text.parse() {
            Ok(value) if range.contains(&value) => Ok(value),
            _ => Err(format!("{} is {text}; it can be {} to {}", self.option, range.start(), range.end())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (line, problem) in [
            ("4", "there is no experiment `4`"),
            ("--keys", "--keys needs a value"),
            ("--keys 0", "--keys is 0; it can be 1 to 65536"),
            ("--rate nan", "--rate is nan; it can be 0.001 to 1000"),
            ("--orders depth,width", "--orders cannot be `width`: an order is `depth` or `breadth`"),
            ("--doubled 75,25", "--doubled takes two times"),
            ("3 --keys 5", "--keys changes nothing"),
            ("2 --end 50", "--start 15, --halved 90 and --end 50 have to follow"),
            ("--colour red", "there is no option `--colour`"),
        ] {
            let told = parse(line).map(|_| ()).unwrap_err();
            assert!(told.starts_with(problem), "{line}: {told}");
        }
        assert!(parse("--help").unwrap().is_none());
        let options = parse("1 --participants=32 --doubled 5,9").unwrap().unwrap();
        assert_eq!((options.staleness.participants, options.staleness.doubled), (32, (5.0, 9.0)));
        assert_eq!(options.experiments, [Staleness]);
    }

    #[test]
    fn the_usage_names_every_option_that_there_is() {
        for option in USAGE.split_whitespace().filter(|word| word.starts_with("--") && *word != "--help") {
            let value = Value { option: option.to_owned(), value: None };
            let problem = Options::default().set(&value).unwrap_err();
            assert!(problem.ends_with("needs a value after it"), "{problem}");
        }
    }
}
