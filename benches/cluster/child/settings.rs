//! The command line of a child: which scenario, and with which settings.

use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::Outcome;
use crate::arguments::Arguments;

/// What `--child help` prints.
pub const USAGE: &str = "\
usage: --child SCENARIO [options]

Measures a cluster of Grapevine nodes over UDP on 127.0.0.1, all in this one
process, and prints one JSON object. Node 0 is the only seed.

scenarios:
  join       start all nodes at once; time until each sees all of them alive
  spread     set a key on a random node; time until all nodes hold the value
  idle       the cost of a settled cluster: CPU, traffic, memory, allocations
  newcomer   a fresh node joins; time until it holds every key
  detect     stop a node; time until no other node lists it alive
  seal       no cluster: the time to encrypt a full datagram, to open it, and
             to refuse one that was altered

options:
  --nodes N           nodes of the cluster [100; detect 50; newcomer 2]
  --interval-ms I     gossip interval [100]
  --keys K            keys per node [10]; newcomer: keys of the one owner [10000]
  --value-bytes B     bytes per value [32; newcomer 100]
  --samples S         samples to take [spread 200; newcomer 10; detect 20]
  --seconds T         observation time [join 0; idle 10]; detect: quiet time
                      before the first stop [0]
  --fanout F          partners in a round [3]
  --early-news on|off whether news is told at once [on]
  --loss P            percent of received datagrams to drop [0]
  --keyed             the cluster has a key and requires encryption
  --alone             idle: no node knows another, to see what a node alone takes
  --verbose           progress on standard error
";

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    Join,
    Spread,
    Idle,
    Newcomer,
    Detect,
    Seal,
}

impl Scenario {
    const ALL: [Scenario; 6] =
        [Scenario::Join, Scenario::Spread, Scenario::Idle, Scenario::Newcomer, Scenario::Detect, Scenario::Seal];

    fn name(self) -> &'static str {
        match self {
            Scenario::Join => "join",
            Scenario::Spread => "spread",
            Scenario::Idle => "idle",
            Scenario::Newcomer => "newcomer",
            Scenario::Detect => "detect",
            Scenario::Seal => "seal",
        }
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
        found.ok_or_else(|| format!("unknown scenario `{name}`; try --child help"))
    }
}

/// Everything that a scenario needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    pub scenario: Scenario,
    pub nodes: usize,
    pub interval: Duration,
    pub keys: usize,
    pub value_bytes: usize,
    pub samples: usize,
    pub observe: Duration,
    pub fanout: usize,
    pub early_news: bool,
    pub loss_percent: f64,
    pub keyed: bool,
    pub alone: bool,
    pub verbose: bool,
}

impl Settings {
    /// Reads the command line after `--child`; `None` if it asks for help.
    ///
    /// # Errors
    /// For what is not understood, and for what could only measure nonsense.
    pub fn parse(mut arguments: Arguments) -> Outcome<Option<Settings>> {
        if ["help", "--help", "-h"].iter().any(|word| arguments.take_word(word)) {
            return Ok(None);
        }
        let scenario = arguments.value("--child")?;
        let mut settings = Settings::defaults(scenario);
        while let Some(option) = arguments.next_word() {
            settings.set(&option, &mut arguments)?;
        }
        settings.check()?;
        Ok(Some(settings))
    }

    /// The settings about which the command line says nothing: those of the peer's harness.
    fn defaults(scenario: Scenario) -> Settings {
        let is_newcomer = scenario == Scenario::Newcomer;
        Settings {
            scenario,
            nodes: match scenario {
                Scenario::Newcomer => 2,
                Scenario::Detect => 50,
                _ => 100,
            },
            interval: Duration::from_millis(100),
            keys: if is_newcomer { 10_000 } else { 10 },
            value_bytes: if is_newcomer { 100 } else { 32 },
            samples: match scenario {
                Scenario::Spread => 200,
                Scenario::Newcomer => 10,
                _ => 20,
            },
            observe: Duration::from_secs(if scenario == Scenario::Idle { 10 } else { 0 }),
            fanout: 3,
            early_news: true,
            loss_percent: 0.0,
            keyed: false,
            alone: false,
            verbose: false,
        }
    }

    fn set(&mut self, option: &str, arguments: &mut Arguments) -> Outcome<()> {
        match option {
            "--nodes" => self.nodes = arguments.value(option)?,
            "--interval-ms" => self.interval = Duration::from_millis(arguments.value(option)?),
            "--keys" => self.keys = arguments.value(option)?,
            "--value-bytes" => self.value_bytes = arguments.value(option)?,
            "--samples" => self.samples = arguments.value(option)?,
            "--seconds" => self.observe = Duration::try_from_secs_f64(arguments.value(option)?)?,
            "--fanout" => self.fanout = arguments.value(option)?,
            "--early-news" => {
                self.early_news = match arguments.value::<String>(option)?.as_str() {
                    "on" => true,
                    "off" => false,
                    other => return Err(format!("--early-news takes on or off, not `{other}`").into()),
                }
            }
            "--loss" => self.loss_percent = arguments.value(option)?,
            "--keyed" => self.keyed = true,
            "--alone" => self.alone = true,
            "--verbose" => self.verbose = true,
            other => return Err(format!("unknown option `{other}`; try --child help").into()),
        }
        Ok(())
    }

    fn check(&self) -> Outcome<()> {
        let needs_keys = matches!(self.scenario, Scenario::Spread | Scenario::Newcomer);
        if self.nodes < 2 {
            return Err("--nodes must be at least 2".into());
        }
        if self.samples == 0 || (needs_keys && self.keys == 0) {
            return Err("--samples and --keys must be at least 1 here".into());
        }
        if self.scenario == Scenario::Idle && self.observe.is_zero() {
            return Err("idle needs --seconds to be more than 0".into());
        }
        if self.alone && self.scenario != Scenario::Idle {
            return Err("--alone is for idle".into());
        }
        if !(0.0..100.0).contains(&self.loss_percent) {
            return Err("--loss must be at least 0 and less than 100".into());
        }
        Ok(())
    }

    /// The settings, for the head of the report.
    pub fn report(&self) -> Map<String, Value> {
        let mut report = Map::new();
        let mut add = |name: &str, value: Value| report.insert(name.to_owned(), value);
        add("library", json!("grapevine"));
        add("version", json!(env!("CARGO_PKG_VERSION")));
        add("scenario", json!(self.scenario.name()));
        add("nodes", json!(self.nodes));
        add("interval_ms", json!(self.interval.as_secs_f64() * 1_000.0));
        add("keys", json!(self.keys));
        add("value_bytes", json!(self.value_bytes));
        add("loss", json!(self.loss_percent));
        add("fanout", json!(self.fanout));
        add("early_news", json!(self.early_news));
        add("keyed", json!(self.keyed));
        match self.scenario {
            Scenario::Spread | Scenario::Newcomer | Scenario::Seal => add("samples", json!(self.samples)),
            Scenario::Join | Scenario::Idle => add("seconds", json!(self.observe.as_secs_f64())),
            Scenario::Detect => {
                add("samples", json!(self.samples));
                add("seconds", json!(self.observe.as_secs_f64()))
            }
        };
        report
    }

    /// Reports progress on standard error, if asked for.
    pub fn progress(&self, message: impl FnOnce() -> String) {
        if self.verbose {
            eprintln!("{}: {}", self.scenario.name(), message());
        }
    }
}
