//! Runs what is planned: builds the peer's harness and the minimal nodes, and starts children one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::Outcome;
use crate::options::Options;
use crate::plan::{self, Library, Measurement};

const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");
/// A thousand chitchat nodes take more than half of this within two minutes; with less free memory they are left out.
const MEMORY_FOR_A_THOUSAND: u64 = 16 << 30;

/// One child that ran.
pub struct Run {
    pub measurement: Measurement,
    pub library: Library,
    pub command: String,
    pub report: Value,
}

/// Everything that was measured.
#[derive(Default)]
pub struct Results {
    runs: Vec<Run>,
    /// What went wrong or was left out, for the reader.
    pub notes: Vec<String>,
    ours_failed: bool,
}

impl Results {
    /// The reports of one library on one measurement.
    pub fn of(&self, measurement: Measurement, library: Library) -> Vec<Value> {
        let runs = self.runs.iter();
        runs.filter(|run| (run.measurement, run.library) == (measurement, library))
            .map(|run| run.report.clone())
            .collect()
    }

    /// All of them.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The command lines that were run, each once, with their counts.
    pub fn commands(&self) -> BTreeMap<(Measurement, Library, &str), usize> {
        let mut commands = BTreeMap::new();
        for run in &self.runs {
            *commands.entry((run.measurement, run.library, run.command.as_str())).or_default() += 1;
        }
        commands
    }

    /// Whether a child of ours failed: that is an error, and not only a bad figure.
    pub fn ours_failed(&self) -> bool {
        self.ours_failed
    }

    fn add(&mut self, measurement: Measurement, library: Library, command: &str, outcome: Result<Value, String>) {
        match outcome {
            Ok(report) => self.runs.push(Run { measurement, library, command: command.to_owned(), report }),
            Err(error) => {
                self.ours_failed |= library == Library::Ours;
                let note = format!("{} failed at `{command}`: {error}", library.name());
                eprintln!("{note}");
                self.notes.push(note);
            }
        }
    }
}

/// Takes every measurement that the rows need.
///
/// # Errors
/// If there is no peer to be measured and `--no-peer` was not given.
pub fn measure(options: &Options) -> Outcome<Results> {
    let mut results = Results::default();
    let ours = std::env::current_exe()?;
    let measurements = plan::all(&options.rows);
    let is_build = |one: &Measurement| matches!(one, Measurement::Sizes | Measurement::SizesKeyed);
    let has_children = measurements.iter().any(|one| !is_build(one));
    let peer = if options.peer && has_children { Some(build_peer()?) } else { None };
    let (builds, runs): (Vec<_>, Vec<_>) = measurements.into_iter().partition(is_build);
    for (measurement, number) in plan::in_turn(&runs, options) {
        let plan = plan::plan(measurement, options);
        let mut children = Vec::new();
        for (library, line) in &plan.children {
            if *library != Library::Ours && measurement == Measurement::Thousand && !has_memory() {
                let note = "chitchat was not run with 1,000 nodes: less than 16 GiB of memory are free";
                results.notes.push(note.to_owned());
                continue;
            }
            let mut command = match (library, &peer) {
                (Library::Ours, _) => Command::new(&ours),
                (_, Some(peer)) => Command::new(peer),
                (_, None) => continue,
            };
            if *library == Library::Ours {
                command.arg("--child");
            }
            command.args(line.split_whitespace());
            children.push(Child { library: *library, line, command, number, of: plan.repeat });
        }
        let ended: Vec<Ended<'_>> = if plan.together {
            run_together(children)
        } else {
            // In turn, so that whatever else the machine does meets all of them.
            children.into_iter().map(Child::run).collect()
        };
        for (library, line, outcome) in ended {
            results.add(measurement, library, line, outcome);
        }
    }
    for measurement in builds {
        for (library, _) in plan::plan(measurement, options).children {
            eprintln!("{}: building a minimal node", library.name());
            let sizes = sizes(measurement, library).map_err(|error| error.to_string());
            results.add(measurement, library, "minimal node", sizes);
        }
    }
    Ok(results)
}

/// A child that is to be run.
struct Child<'l> {
    library: Library,
    line: &'l str,
    command: Command,
    /// Which repetition, of how many.
    number: usize,
    of: usize,
}

/// What came of a child: whose it was, its command line, its report.
type Ended<'l> = (Library, &'l str, Result<Value, String>);

impl<'l> Child<'l> {
    fn run(self) -> Ended<'l> {
        let began = Instant::now();
        let outcome = run_child(self.command);
        let (name, seconds) = (self.library.name(), began.elapsed().as_secs_f64());
        eprintln!("{name} ({} of {}): {}  {seconds:.0} s", self.number, self.of, self.line);
        (self.library, self.line, outcome.map_err(|error| error.to_string()))
    }
}

/// Runs children at the same time.
fn run_together(children: Vec<Child<'_>>) -> Vec<Ended<'_>> {
    thread::scope(|scope| {
        let running: Vec<_> = children.into_iter().map(|child| scope.spawn(|| child.run())).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

/// Runs a child to its end and reads the one object that it prints.
fn run_child(mut command: Command) -> Outcome<Value> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}", output.status, said.trim()).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Whether the peer may be run with a thousand nodes here.
fn has_memory() -> bool {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = free.and_then(|free| free.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.is_some_and(|kilobytes| kilobytes * 1_024 >= MEMORY_FOR_A_THOUSAND)
}

/// Builds the peer's harness.
fn build_peer() -> Outcome<PathBuf> {
    eprintln!("building the peer's harness");
    build("benches/peers", "peers", &["--release"])
        .map_err(|error| format!("{error}\nthe peer cannot be measured; --no-peer leaves it out").into())
}

/// How large a minimal node is, and of how many crates it is made.
fn sizes(measurement: Measurement, library: Library) -> Outcome<Value> {
    let features: &[&str] = match measurement {
        Measurement::SizesKeyed => &["--features", "encryption"],
        _ => &[],
    };
    let (binary, crates) = match library {
        Library::Ours => (
            build("benches/minimal", "minimal", &[&["--release"], features].concat())?,
            crates(".", "grapevine", &[&["--no-default-features"], features].concat())?,
        ),
        Library::V0 | Library::V1 => {
            let features = ["--no-default-features"];
            let profile = ["--profile", "minimal", "--bin", "minimal", "--no-default-features"];
            (build("benches/peers", "minimal", &profile)?, crates("benches/peers", "chitchat", &features)?)
        }
    };
    Ok(json!({ "binary_bytes": fs::metadata(binary)?.len(), "crates": crates }))
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn manifest(package: &str) -> PathBuf {
    Path::new(PACKAGE).join(package).join("Cargo.toml")
}

/// Builds a binary of a package beside this one, in a target directory within this one's, and returns where it is.
fn build(package: &str, binary: &str, arguments: &[&str]) -> Outcome<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(package);
    let output = cargo()
        .args(["build", "--message-format=json-render-diagnostics", "--manifest-path"])
        .arg(manifest(package))
        .arg("--target-dir")
        .arg(target)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{package} cannot be built").into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let executables = messages.filter(|message| message["target"]["name"] == binary);
    let mut executables = executables.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    executables.next_back().ok_or_else(|| format!("{package} has no binary {binary}").into())
}

/// How many crates `library` depends on where `package` uses it, itself not counted; procedural macros and what they
/// need are.
fn crates(package: &str, library: &str, arguments: &[&str]) -> Outcome<usize> {
    let output = cargo()
        .args(["tree", "--edges", "normal", "--prefix", "depth", "--no-dedupe", "--format", " {p}"])
        .arg("--manifest-path")
        .arg(manifest(package))
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("the dependencies of {package} cannot be listed").into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut found = BTreeSet::new();
    let mut at = None;
    for (depth, name, version) in text.lines().filter_map(node_of_tree) {
        // What is deeper than the library, until the next that is not, is below it.
        if name == library {
            at = Some(depth);
        } else if at.is_some_and(|at| depth > at) {
            found.insert((name, version));
        } else {
            at = None;
        }
    }
    Ok(found.len())
}

/// `DEPTH NAME VERSION …`.
fn node_of_tree(line: &str) -> Option<(usize, &str, &str)> {
    let mut words = line.split_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?, words.next()?))
}
