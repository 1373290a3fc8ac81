//! The figures of the two papers that this library follows, reproduced on its own reconciliation, flow control and detector.
//!
//! Each figure stands beside the paper's and that of an independent simulation of the same set-up, and a `CHECK` line says whether
//! it is where it should be; the exit status is 1 if one is not. Plots go to `target/papers`. What the figures are is
//! told in `docs/PAPERS.md`.
//!
//! ```sh
//! cargo run --release --features sim --example papers              # all of it: some minutes
//! cargo run --release --features sim --example papers -- 3 spread  # a part
//! cargo run --release --features sim --example papers -- 1 --participants 32 --entries 20 --orders depth
//! ```

mod gossip;
mod heartbeats;
mod jobs;
mod options;
mod plot;
mod rates;
mod report;
mod single;
mod spread;
mod staleness;
#[cfg(test)]
mod tests;
mod trace;
mod wan;

use std::process::ExitCode;
use std::time::Instant;
use std::{env, fs};

use options::{Experiment, Options};
use report::Report;

/// What came of something, or why not.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What an experiment found.
struct Findings {
    report: Report,
    /// Names of files, without ending, and the plots in them.
    plots: Vec<(&'static str, String)>,
}

fn main() -> ExitCode {
    let words = env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let options = match Options::parse(words) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("error: {problem}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match run_all(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every figure is where it should be.
fn run_all(options: &Options) -> Outcome<bool> {
    let start = Instant::now();
    let (mut checks, mut failed) = (0, 0);
    for experiment in &options.experiments {
        let Findings { report, plots } = match experiment {
            Experiment::Staleness => staleness::report(options),
            Experiment::Rates => rates::report(options),
            Experiment::Wan => wan::report(options),
            Experiment::Spread => spread::report(options),
            Experiment::Detect => heartbeats::report(options),
        }?;
        println!("{report}");
        checks += report.checks().len();
        failed += report.checks().iter().filter(|check| !check.ok).count();
        for (name, plot) in plots {
            let path = options.plots.join(format!("{name}.svg"));
            let written = fs::create_dir_all(&options.plots).and_then(|()| fs::write(&path, plot));
            written.map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        }
    }
    println!(
        "{checks} figures checked, {failed} of them not where they should be; plots in {}; {:.0} s.",
        options.plots.display(),
        start.elapsed().as_secs_f64()
    );
    Ok(failed == 0)
}
