//! The table for people, and the same for machines.

use serde_json::{Value, json};

use crate::figures::{Figure, short};
use crate::options::Options;
use crate::sides::{CALLERS, Results, Side};

/// What a figure of ours is held against.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// At least so many times the other's.
    AtLeast(f64, Side),
    /// At most so many times the other's.
    AtMost(f64, Side),
    /// None: how many times the other's it is.
    Compared(Side),
}

/// One line of the table: a figure of each side.
pub struct Line {
    callers: usize,
    what: &'static str,
    unit: &'static str,
    figures: [Option<Figure>; 4],
    /// How many times each side's figure ours is: the median over the rounds, for a machine is not as fast in all of them.
    times: [Option<f64>; 4],
    targets: Vec<Target>,
}

const SIDES: [Side; 4] = [Side::Seneca, Side::Echo, Side::Ours, Side::Keyed];

impl Line {
    /// Whether ours meets the targets, if there are any and all figures that they need.
    pub fn holds(&self) -> Option<bool> {
        let with_limit = self.targets.iter().filter(|target| !matches!(target, Target::Compared(_)));
        let met = with_limit.map(|target| self.meets(*target)).collect::<Option<Vec<bool>>>()?;
        (!met.is_empty()).then(|| met.into_iter().all(|met| met))
    }

    fn meets(&self, target: Target) -> Option<bool> {
        match target {
            Target::AtLeast(times, side) => Some(self.times(side)? >= times),
            Target::AtMost(times, side) => Some(self.times(side)? <= times),
            Target::Compared(_) => None,
        }
    }

    fn times(&self, side: Side) -> Option<f64> {
        self.times[SIDES.iter().position(|other| *other == side)?]
    }

    /// A target as people write it, with what came of it.
    fn describe(&self, target: Target) -> String {
        let (limit, side) = match target {
            Target::AtLeast(times, side) => (format!(" (≥ {})", short(times)), side),
            Target::AtMost(times, side) => (format!(" (≤ {})", short(times)), side),
            Target::Compared(side) => (String::new(), side),
        };
        let verdict = if self.meets(target) == Some(false) { " **missed**" } else { "" };
        let times = self.times(side).map_or_else(|| "–".to_owned(), short);
        format!("{times} × {}{limit}{verdict}", side.name())
    }
}

/// The lines of the table.
pub fn lines(results: &Results) -> Vec<Line> {
    let line = |callers, what, unit, field: &str, targets| {
        let figures = SIDES.map(|side| Figure::median_of(&results.of(side, callers), field));
        let ours = results.of(Side::Ours, callers);
        let times = SIDES.map(|side| {
            let rounds = ours.iter().zip(results.of(side, callers));
            let ratios: Vec<Value> = rounds
                .filter_map(|(ours, theirs)| Some(json!({ "times": ours[field].as_f64()? / theirs[field].as_f64()? })))
                .collect();
            Figure::median_of(&ratios, "times").map(|figure| figure.value)
        });
        Line { callers, what, unit, figures, times, targets }
    };
    let lines = CALLERS.into_iter().flat_map(|callers| {
        let mut calls = match callers {
            // One caller alone waits most of the time, whoever answers: a throughput is what many have.
            1 => vec![Target::Compared(Side::Seneca), Target::Compared(Side::Echo)],
            16 => vec![Target::AtLeast(10.0, Side::Seneca), Target::AtLeast(0.6, Side::Echo)],
            _ => vec![Target::AtLeast(10.0, Side::Seneca), Target::Compared(Side::Echo)],
        };
        calls.push(Target::Compared(Side::Keyed));
        [
            line(callers, "calls", "1/s", "per_second", calls),
            line(callers, "latency p50", "µs", "p50", Vec::new()),
            line(callers, "latency p99", "µs", "p99", vec![Target::AtMost(2.0, Side::Echo)]),
            line(callers, "CPU of a call, both processes", "µs", "cpu_us", Vec::new()),
        ]
    });
    lines.collect()
}

/// Prints the table, how it was measured, and where.
pub fn print(lines: &[Line], results: &Results, machine: &Value, options: &Options) {
    if options.quick {
        println!("A rough look (`--quick`).\n");
    }
    println!("| callers | | Seneca 3.38 | echo | Grapevine | keyed | unit | Grapevine is … (target) |");
    println!("|---|---|---|---|---|---|---|---|");
    for line in lines {
        let [seneca, echo, ours, keyed] =
            line.figures.map(|figure| figure.map_or_else(|| "–".to_owned(), |figure| figure.to_string()));
        let targets: Vec<String> = line.targets.iter().map(|target| line.describe(*target)).collect();
        let targets = targets.join("; ");
        println!(
            "| {} | {} | {seneca} | {echo} | {ours} | {keyed} | {} | {targets} |",
            line.callers, line.what, line.unit
        );
    }
    println!("\n{}", method(results, options));
    for note in &results.notes {
        println!("\nNote: {note}");
    }
    println!("\nMachine");
    for (name, value) in machine.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        println!("  {name}: {value}");
    }
}

/// Prints everything as one JSON object, the raw reports included.
pub fn print_json(lines: &[Line], results: &Results, machine: &Value, options: &Options) {
    let figure = |figure: Option<Figure>| figure.map(Figure::to_json);
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| {
            let [seneca, echo, ours, keyed] = line.figures.map(figure);
            let targets: Vec<String> = line.targets.iter().map(|target| line.describe(*target)).collect();
            json!({
                "callers": line.callers,
                "what": line.what,
                "unit": line.unit,
                "seneca": seneca,
                "echo": echo,
                "ours": ours,
                "keyed": keyed,
                "targets": targets,
                "ok": line.holds(),
            })
        })
        .collect();
    let runs: Vec<Value> =
        results.runs.iter().map(|(side, report)| json!({ "side": side.name(), "report": report })).collect();
    let all = json!({
        "benchmark": "service",
        "grapevine": env!("CARGO_PKG_VERSION"),
        "quick": options.quick,
        "machine": machine,
        "lines": lines,
        "method": method(results, options),
        "notes": results.notes,
        "runs": runs,
    });
    println!("{all}");
}

fn method(results: &Results, options: &Options) -> String {
    let (request, answer) =
        results.recording.as_ref().map_or((0, 0), |lines| (lines.request.len(), lines.answer.len()));
    format!(
        "Figures are the median of {} rounds of {} s, in brackets the least and the greatest. In each round all sides are measured in \
         turn, each as two processes on 127.0.0.1; how many times another's figure ours is is the median of the rounds', too. A caller is a thread (in Seneca a chain of promises) that calls `role:api,cmd:add` \
         with two numbers, checks the sum and calls again. The echo carries the lines of Grapevine's calls ({request} bytes there, \
         {answer} back) over as many connections and as many threads. Keyed are Grapevine's calls in a cluster that requires encryption.",
        options.rounds,
        options.time.as_secs()
    )
}
