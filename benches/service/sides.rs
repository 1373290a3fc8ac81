//! The sides, measured in turn.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::Outcome;
use crate::echo::recording::{Recording, record};
use crate::options::Options;
use crate::processes::Pair;

/// How many threads call at once.
pub const CALLERS: [usize; 3] = [1, 16, 256];
/// Before each measurement: connections are opened, threads started, caches filled.
const WARM_UP: Duration = Duration::from_millis(300);

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Seneca,
    Echo,
    Ours,
    /// The same with a key.
    Keyed,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Side::Seneca => "Seneca 3.38",
            Side::Echo => "echo",
            Side::Ours => "Grapevine",
            Side::Keyed => "keyed",
        }
    }
}

/// Everything that was measured.
#[derive(Default)]
pub struct Results {
    pub runs: Vec<(Side, Value)>,
    pub recording: Option<Recording>,
    /// What went wrong or was left out, for the reader.
    pub notes: Vec<String>,
}

impl Results {
    /// The reports of one side with so many callers.
    pub fn of(&self, side: Side, callers: usize) -> Vec<Value> {
        let runs = self.runs.iter().filter(|(whose, report)| *whose == side && report["callers"] == callers);
        runs.map(|(_, report)| report.clone()).collect()
    }
}

/// Measures each side as often as the options say.
///
/// # Errors
/// If a child of this program fails. Seneca's may: then its column is empty.
pub fn measure(options: &Options) -> Outcome<Results> {
    let mut results = Results::default();
    let recording = record()?;
    let mut ours = Pair::start("ours", None, None)?;
    let mut keyed = Pair::start("keyed", None, None)?;
    let mut echo = Pair::start("echo", Some(&recording.answer), Some(&recording.request))?;
    let mut seneca = if options.seneca { Some(seneca_script()) } else { None };
    for round in 1..=options.rounds {
        for callers in CALLERS {
            let mut pairs = [(Side::Ours, &mut ours), (Side::Keyed, &mut keyed), (Side::Echo, &mut echo)];
            // None always comes first.
            pairs.rotate_left(round % 3);
            for (side, pair) in pairs {
                pair.measure(callers, WARM_UP)?;
                let report = pair.measure(callers, options.time)?;
                tell(round, side, &report);
                results.runs.push((side, report));
            }
        }
        match seneca.as_ref().map(|script| run_seneca(script.as_deref(), options.time)) {
            None => {}
            Some(Ok(reports)) => {
                reports.iter().for_each(|report| tell(round, Side::Seneca, report));
                results.runs.extend(reports.into_iter().map(|report| (Side::Seneca, report)));
            }
            Some(Err(problem)) => {
                results.notes.push(format!("Seneca was not measured: {problem}"));
                seneca = None;
            }
        }
    }
    results.recording = Some(recording);
    Ok(results)
}

fn tell(round: usize, side: Side, report: &Value) {
    let number = |field: &str| report[field].as_f64().unwrap_or(f64::NAN);
    eprintln!(
        "round {round}: {:<11} {:>3} callers: {:>6.0} a second, p50 {:.0} µs, p99 {:.0} µs, {:.1} µs of CPU each",
        side.name(),
        number("callers"),
        number("per_second"),
        number("p50"),
        number("p99"),
        number("cpu_us")
    );
}

/// `None` if the packages are not installed.
fn seneca_script() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seneca");
    folder.join("node_modules").is_dir().then(|| folder.join("bench.js"))
}

/// One round of Seneca's: it tells a line for each number of callers.
fn run_seneca(script: Option<&Path>, time: Duration) -> Result<Vec<Value>, String> {
    let script = script.ok_or("its packages are missing; `npm ci` in tests/seneca installs them")?;
    let output =
        Command::new("node").arg(script).args(["3", &time.as_secs().to_string()]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("node cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("bench.js ended with {}: {} {}", output.status, said.trim(), complaint.trim()));
    }
    let reports = said.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<Value>, _>>();
    let reports = reports.map_err(|error| format!("bench.js said no JSON: {error}"))?;
    match reports.iter().find(|report| report["errors"] != 0) {
        Some(failed) => Err(format!("calls failed: {failed}")),
        None => Ok(reports),
    }
}
