//! The command line: which scenario, and with which settings.
//!
//! The contract is shared with Grapevine's own measuring child, so that one
//! driver can run either and print the two answers side by side. Every option
//! is therefore accepted with every scenario; one that a scenario has no use
//! for is left out of its report.

use std::ffi::OsString;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{bail, ensure, Context};
use chitchat::ProtocolVersion;
use lexopt::{Arg, ValueExt};

/// What `--help` prints.
pub const USAGE: &str = "\
usage: peers SCENARIO [options]

Measures a cluster of chitchat nodes over UDP on 127.0.0.1, all in this one
process, and prints one JSON object.

scenarios:
  join       start all nodes at once; time until each sees all of them live
  spread     set a key on a random node; time until all nodes read the value
  idle       the cost of a settled cluster: CPU, traffic, memory, allocations
  newcomer   a fresh node joins; time until it holds every key
  detect     stop a node; time until no other node lists it live

options:
  --nodes N        nodes of the cluster [100; detect 50; newcomer 2]
  --interval-ms I  gossip interval [100]
  --keys K         keys per node [10]; newcomer: keys of the one owner [10000]
  --value-bytes B  bytes per value [32; newcomer 100]
  --samples S      samples to take [spread 200; newcomer 10; detect 20]
  --seconds T      observation time [join 0; idle 10]
  --wire v0|v1     chitchat's protocol version [v0]
  --loss P         percent of received datagrams to drop [0]
  --verbose        report progress on standard error
";

/// What to measure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scenario {
    Join,
    Spread,
    Idle,
    Newcomer,
    Detect,
}

impl Scenario {
    /// The name on the command line and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Join => "join",
            Scenario::Spread => "spread",
            Scenario::Idle => "idle",
            Scenario::Newcomer => "newcomer",
            Scenario::Detect => "detect",
        }
    }

    /// Whether the scenario takes samples, and so reports how many.
    pub fn takes_samples(self) -> bool {
        matches!(self, Scenario::Spread | Scenario::Newcomer | Scenario::Detect)
    }

    /// Whether the scenario observes for a given time, and so reports it.
    pub fn takes_seconds(self) -> bool {
        matches!(self, Scenario::Join | Scenario::Idle)
    }
}

impl FromStr for Scenario {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        Ok(match name {
            "join" => Scenario::Join,
            "spread" => Scenario::Spread,
            "idle" => Scenario::Idle,
            "newcomer" => Scenario::Newcomer,
            "detect" => Scenario::Detect,
            _ => bail!("unknown scenario '{name}'"),
        })
    }
}

/// Everything a scenario needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    pub scenario: Scenario,
    pub nodes: usize,
    pub interval: Duration,
    pub keys: usize,
    pub value_bytes: usize,
    pub samples: usize,
    pub observe: Duration,
    pub wire: ProtocolVersion,
    pub loss_percent: f64,
    pub verbose: bool,
}

impl Settings {
    /// The settings of a scenario about which the command line says nothing.
    fn defaults(scenario: Scenario) -> Self {
        let newcomer = scenario == Scenario::Newcomer;
        Settings {
            scenario,
            nodes: match scenario {
                Scenario::Newcomer => 2,
                Scenario::Detect => 50,
                _ => 100,
            },
            interval: Duration::from_millis(100),
            keys: if newcomer { 10_000 } else { 10 },
            value_bytes: if newcomer { 100 } else { 32 },
            samples: match scenario {
                Scenario::Spread => 200,
                Scenario::Newcomer => 10,
                _ => 20,
            },
            observe: match scenario {
                Scenario::Idle => Duration::from_secs(10),
                _ => Duration::ZERO,
            },
            // What chitchat tells its users to stay with until every node of
            // a cluster can read the newer format.
            wire: ProtocolVersion::V0,
            loss_percent: 0.0,
            verbose: false,
        }
    }

    /// Applies one long option.
    fn set(&mut self, option: &str, parser: &mut lexopt::Parser) -> anyhow::Result<()> {
        match option {
            "nodes" => self.nodes = value(option, parser)?,
            "interval-ms" => self.interval = Duration::from_millis(value(option, parser)?),
            "keys" => self.keys = value(option, parser)?,
            "value-bytes" => self.value_bytes = value(option, parser)?,
            "samples" => self.samples = value(option, parser)?,
            "seconds" => {
                self.observe =
                    Duration::try_from_secs_f64(value(option, parser)?).context("--seconds is out of range")?;
            }
            "wire" => {
                let wire: String = value(option, parser)?;
                self.wire = match wire.as_str() {
                    "v0" => ProtocolVersion::V0,
                    "v1" => ProtocolVersion::V1,
                    _ => bail!("--wire takes v0 or v1, not '{wire}'"),
                };
            }
            "loss" => self.loss_percent = value(option, parser)?,
            "verbose" => self.verbose = true,
            _ => bail!("unknown option '--{option}'"),
        }
        Ok(())
    }

    /// Refuses what could only measure nonsense or not end.
    fn check(self) -> anyhow::Result<Self> {
        ensure!(self.nodes >= 2, "--nodes must be at least 2");
        ensure!(!self.interval.is_zero(), "--interval-ms must be at least 1");
        ensure!(self.samples >= 1, "--samples must be at least 1");
        ensure!((0.0..100.0).contains(&self.loss_percent), "--loss must be at least 0 and less than 100");
        match self.scenario {
            Scenario::Idle => ensure!(!self.observe.is_zero(), "idle needs --seconds to be more than 0"),
            Scenario::Newcomer | Scenario::Spread => {
                ensure!(self.keys >= 1, "--keys must be at least 1 here");
            }
            Scenario::Join | Scenario::Detect => {}
        }
        Ok(self)
    }
}

/// What the command line asks for.
pub enum Request {
    Help,
    Measure(Settings),
}

/// Reads the command line, the program's name not included.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<Request> {
    let mut parser = lexopt::Parser::from_args(arguments);
    // The scenario comes first because the defaults depend on it.
    let scenario: Scenario = match parser.next()? {
        Some(Arg::Value(name)) => name.string()?.parse()?,
        Some(Arg::Long("help") | Arg::Short('h')) => return Ok(Request::Help),
        Some(other) => bail!("expected a scenario first: {}", other.unexpected()),
        None => bail!("no scenario given; try --help"),
    };
    let mut settings = Settings::defaults(scenario);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("help") | Arg::Short('h') => return Ok(Request::Help),
            Arg::Long(option) => {
                let option = option.to_owned();
                settings.set(&option, &mut parser)?;
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Request::Measure(settings.check()?))
}

/// The value of an option, with the option's name in the error.
fn value<T>(option: &str, parser: &mut lexopt::Parser) -> anyhow::Result<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text = parser.value()?.string()?;
    text.parse().with_context(|| format!("--{option} cannot be '{text}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(line: &str) -> anyhow::Result<Settings> {
        match parse(line.split_whitespace().map(OsString::from))? {
            Request::Measure(settings) => Ok(settings),
            Request::Help => bail!("help"),
        }
    }

    #[test]
    fn options_override_the_defaults_of_the_scenario() {
        let given = settings("newcomer --keys 7 --interval-ms=250 --wire v1").unwrap();
        assert_eq!(given.keys, 7);
        assert_eq!(given.interval, Duration::from_millis(250));
        assert_eq!(given.wire, ProtocolVersion::V1);
        assert_eq!((given.nodes, given.value_bytes, given.samples), (2, 100, 10));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for line in [
            "",
            "dance",
            "--nodes 5",
            "join --nodse 5",
            "join extra",
            "join -n 5",
            "join --nodes many",
            "join --nodes 1",
            "join --verbose=yes",
            "idle --seconds -1",
            "idle --seconds 0",
            "spread --wire v2",
            "newcomer --loss 100",
        ] {
            assert!(settings(line).is_err(), "accepted: {line}");
        }
    }
}
