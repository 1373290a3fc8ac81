//! The table: which figures each row has, in which unit, against which target.

use serde_json::Value;

use crate::figures::{Figure, median, p95, worst};
use crate::options::Options;
use crate::plan::{EARLY_STOPS, Library, Measurement};
use crate::programs::Results;

/// What a figure is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// At most so much.
    AtMost(f64),
    /// At most this part of what the peer's default takes in the same run.
    OfPeer(f64),
    /// None: shown for comparison.
    None,
}

/// One line of the table.
pub struct Line {
    pub row: u8,
    pub what: String,
    pub unit: &'static str,
    pub peer: Option<Figure>,
    pub ours: Option<Figure>,
    pub target: Target,
    /// Whether `--quick` made it less than the target is for.
    pub shortened: bool,
}

impl Line {
    /// The greatest figure that meets the target, in the line's unit.
    pub fn limit(&self) -> Option<f64> {
        match self.target {
            Target::AtMost(limit) => Some(limit),
            Target::OfPeer(part) => self.peer.map(|peer| peer.value * part),
            Target::None => None,
        }
    }

    /// Whether ours meets the target, if there is one and both figures are there.
    pub fn holds(&self) -> Option<bool> {
        Some(self.ours?.value <= self.limit()?)
    }
}

/// How each row is measured, in a sentence or two.
pub fn method(row: u8) -> &'static str {
    match row {
        1 => {
            "A random one of 100 nodes (10 keys × 32 B each) sets a fresh value; time until all 100 hold it, seen \
             through their events. Sets are a random 0.5–1.5 intervals apart. Samples of all runs together; \
             brackets: the same statistic of each run."
        }
        2 => {
            "As row 1 with early news off, so that only the rounds' digests tell; time divided by the interval. \
             The peer's figure is that of row 1."
        }
        3 => {
            "User and system time of the process (all nodes, /proc/self/stat) over wall time and nodes, once the \
             cluster has settled for 3 s. Allocations are counted meanwhile, in both libraries."
        }
        4 => "UDP payload bytes and datagrams handed to the sockets, per node and second, in the run of row 3.",
        5 => {
            "200 nodes started one after the other with node 0 as seed; time from the first start until each \
             lists all others as alive; then watched. Drops are those of the nodes' own receive buffers, as the \
             kernel counts them."
        }
        6 => {
            "1,000 nodes without keys, as row 5; CPU and traffic from 10 s later on, memory at the end. The peer \
             has a fixed fan-out of 3."
        }
        7 => {
            "Two settled nodes, one with 10,000 keys × 100 random bytes; time from before a third one's start \
             until it holds all of them. A cluster of its own for each sample. Lost datagrams are dropped at \
             random by every receiver."
        }
        8 => {
            "In a cluster that has run for 150 s, one node but the seed is stopped without a word; time until \
             none of the other 49 lists it as alive. Then it is started again, and 15–16 rounds pass before the \
             next. Every suspicion of a node that had not been stopped is a false failure, at any time. The \
             peer's first 6 stops are left out, when its cluster is younger. Both libraries at once: neither \
             keeps a core busy for more than a hundredth of the time."
        }
        9 => {
            "Growth of the resident set since before the first node, over nodes, at the end of row 3's run. Per \
             known peer: that of row 6's run, less that of 1,000 nodes without seeds, which know nobody, over the \
             999 peers of each node; no keys."
        }
        10 => "Allocations and reallocations of the process per node and gossip interval, in the run of row 3.",
        11 => {
            "Release binary of benches/minimal (chitchat: benches/peers, bin minimal) with LTO, one codegen unit, \
             opt-level s, stripped. Crates: unique ones of `cargo tree -e normal`, the library itself not \
             counted."
        }
        12 => {
            "As rows 3, 4 and 11, with a key in every node; in the first column Grapevine without any, in the same run. Seal, open and \
             refuse: a datagram of 1,400 bytes, medians of 1,000 in a row, without nonces, which are drawn from the system."
        }
        _ => "",
    }
}

/// Makes the lines of one row.
struct Row<'r> {
    number: u8,
    results: &'r Results,
    quick: bool,
    lines: Vec<Line>,
}

/// How a figure is read off the reports of a measurement.
type Reading<'a> = &'a dyn Fn(&[Value]) -> Option<Figure>;

impl Row<'_> {
    /// A line on which both libraries' children report the same field.
    fn line(&mut self, measurement: Measurement, what: &str, unit: &'static str, target: Target, read: Reading<'_>) {
        let peer = (measurement, Library::V0);
        self.line_with(measurement, peer, what, unit, target, read);
    }

    /// A line on which the peer's figure comes from elsewhere.
    fn line_with(
        &mut self,
        ours: Measurement,
        peer: (Measurement, Library),
        what: &str,
        unit: &'static str,
        target: Target,
        read: Reading<'_>,
    ) {
        self.lines.push(Line {
            row: self.number,
            what: what.to_owned(),
            unit,
            peer: read(&self.results.of(peer.0, peer.1)),
            ours: read(&self.results.of(ours, Library::Ours)),
            target,
            shortened: self.quick && !matches!(self.number, 7 | 10 | 11 | 12),
        });
    }
}

/// The lines of a row.
pub fn lines(number: u8, results: &Results, options: &Options) -> Vec<Line> {
    let mut row = Row { number, results, quick: options.quick, lines: Vec::new() };
    match number {
        1 => spreading(&mut row),
        2 => spreading_by_rounds(&mut row),
        3 => row_of_cpu(&mut row),
        4 => row_of_traffic(&mut row),
        5 => two_hundred(&mut row),
        6 => thousand(&mut row),
        7 => newcomers(&mut row),
        8 => detection(&mut row),
        9 => memory(&mut row),
        10 => row.line(
            Measurement::Idle,
            "idle allocations per node and round, 100 nodes",
            "",
            Target::AtMost(50.0),
            &|runs| Figure::median_of(runs, "allocations_per_node_per_round"),
        ),
        11 => sizes(&mut row),
        12 => keys(&mut row),
        _ => {}
    }
    row.lines
}

fn spreading(row: &mut Row<'_>) {
    for (measurement, every, typical, most) in
        [(Measurement::Spread100, "100 ms", 30.0, 60.0), (Measurement::Spread1000, "1 s", 150.0, 500.0)]
    {
        let what = format!("one set → all of 100 nodes, {every}: median");
        row.line(measurement, &what, "ms", Target::AtMost(typical), &|runs| {
            Figure::of_samples(runs, "spread_ms", median)
        });
        let what = format!("one set → all of 100 nodes, {every}: worst");
        row.line(measurement, &what, "ms", Target::AtMost(most), &|runs| Figure::of_samples(runs, "spread_ms", worst));
    }
}

fn spreading_by_rounds(row: &mut Row<'_>) {
    type Statistic = fn(&[f64]) -> Option<f64>;
    let statistics: [(Measurement, &str, Statistic, f64); 3] = [
        (Measurement::Rounds3, "early news off, fan-out 3: worst", worst, 2.7),
        (Measurement::Rounds1, "early news off, fan-out 1: median", median, 4.8),
        (Measurement::Rounds1, "early news off, fan-out 1: 95th percentile", p95, 5.6),
    ];
    for (measurement, what, statistic, limit) in statistics {
        let peer = if measurement == Measurement::Rounds3 {
            (Measurement::Spread100, Library::V0)
        } else {
            // It has no fan-out but 3.
            (measurement, Library::V0)
        };
        row.line_with(measurement, peer, what, "rounds", Target::AtMost(limit), &|runs| {
            // 100 ms are a round.
            Figure::of_samples(runs, "spread_ms", statistic).map(|figure| figure.scaled(0.01))
        });
    }
}

/// The two lines of a cost that is held against the peer's: its default wire, and for comparison the other one.
fn against_peer(row: &mut Row<'_>, what: &str, unit: &'static str, part: f64, read: Reading<'_>) {
    let v0 = (Measurement::Idle, Library::V0);
    let v1 = (Measurement::Idle, Library::V1);
    row.line_with(Measurement::Idle, v0, what, unit, Target::OfPeer(part), read);
    let what = format!("{what}; chitchat's wire V1");
    row.line_with(Measurement::Idle, v1, &what, unit, Target::None, read);
}

fn row_of_cpu(row: &mut Row<'_>) {
    let what = "idle CPU per node, 100 nodes, 100 ms";
    against_peer(row, what, "millicores", 0.4, &|runs| {
        Figure::median_of(runs, "cpu_cores_per_node").map(|figure| figure.scaled(1_000.0))
    });
}

fn row_of_traffic(row: &mut Row<'_>) {
    let what = "idle traffic per node, 100 nodes, 100 ms";
    against_peer(row, what, "kB/s", 1.0 / 6.0, &|runs| {
        Figure::median_of(runs, "bytes_per_node_per_s").map(|figure| figure.scaled(1e-3))
    });
    row.line(Measurement::Idle, "idle datagrams per node", "1/s", Target::None, &|runs| {
        Figure::median_of(runs, "datagrams_per_node_per_s")
    });
}

fn two_hundred(row: &mut Row<'_>) {
    let join = Measurement::Join200;
    row.line(join, "200 nodes, 100 ms: all alive", "s", Target::AtMost(1.0), &|runs| {
        Figure::median_time(runs, "all_alive_ms").map(|figure| figure.scaled(1e-3))
    });
    let none = Target::AtMost(0.0);
    let what = "200 nodes, 100 ms: datagrams lost to full buffers";
    row.line(join, what, "", none, &|runs| Figure::total(runs, "dropped_by_kernel"));
    let what = if row.quick {
        "200 nodes, 100 ms: false failures in 5 s"
    } else {
        "200 nodes, 100 ms: false failures in 20 s"
    };
    row.line(join, what, "", none, &|runs| Figure::total(runs, "false_failures"));
}

fn thousand(row: &mut Row<'_>) {
    let one = Measurement::Thousand;
    let what = "1,000 nodes, 1 s, fan-out 1: all alive";
    row.line(one, what, "s", Target::AtMost(20.0), &|runs| {
        Figure::median_time(runs, "all_alive_ms").map(|figure| figure.scaled(1e-3))
    });
    let what = "1,000 nodes, 1 s, fan-out 1: CPU of all";
    row.line(one, what, "cores", Target::AtMost(1.5), &|runs| {
        Figure::median_of(runs, "cpu_cores_per_node").map(|figure| figure.scaled(1_000.0))
    });
    let what = "1,000 nodes, 1 s, fan-out 1: memory of all";
    row.line(one, what, "GB", Target::AtMost(1.5), &|runs| {
        Figure::median_of(runs, "rss_bytes").map(|figure| figure.scaled(1e-9))
    });
    let what = if row.quick {
        "1,000 nodes, 1 s, fan-out 1: false failures in 25 s"
    } else {
        "1,000 nodes, 1 s, fan-out 1: false failures in 5 min"
    };
    row.line(one, what, "", Target::AtMost(0.0), &|runs| Figure::total(runs, "false_failures"));
    let what = "1,000 nodes, 1 s, fan-out 1: datagrams lost to full buffers";
    row.line(one, what, "", Target::None, &|runs| Figure::total(runs, "dropped_by_kernel"));
}

fn newcomers(row: &mut Row<'_>) {
    for (measurement, how, limit) in [
        (Measurement::Newcomer100, "100 ms", 25.0),
        (Measurement::Newcomer1000, "1 s", 25.0),
        (Measurement::Lossy100, "100 ms, 1 % loss", 250.0),
        (Measurement::Lossy1000, "1 s, 1 % loss", 250.0),
    ] {
        let what = format!("newcomer to 10,000 × 100 B, {how}: median");
        row.line(measurement, &what, "ms", Target::AtMost(limit), &|runs| {
            Figure::of_samples(runs, "newcomer_ms", median)
        });
        let what = format!("newcomer to 10,000 × 100 B, {how}: worst");
        row.line(measurement, &what, "ms", Target::AtMost(limit), &|runs| {
            Figure::of_samples(runs, "newcomer_ms", worst)
        });
    }
}

fn detection(row: &mut Row<'_>) {
    let detect = Measurement::Detect;
    let what = "stopped node failed at all of 50, 1 s: median";
    row.line(detect, what, "s", Target::AtMost(4.5), &|runs| {
        Figure::of_samples(&without_early_stops(runs), "detect_ms", median).map(|figure| figure.scaled(1e-3))
    });
    let what = "stopped node failed at all of 50, 1 s: worst";
    row.line(detect, what, "s", Target::AtMost(6.0), &|runs| {
        Figure::of_samples(&without_early_stops(runs), "detect_ms", worst).map(|figure| figure.scaled(1e-3))
    });
    let what =
        if row.quick { "50 nodes, 1 s: false failures meanwhile" } else { "50 nodes, 1 s: false failures in 10 min" };
    row.line(detect, what, "", Target::AtMost(0.0), &|runs| Figure::total(runs, "false_failures"));
}

/// The reports of `detect` with the peer's [`EARLY_STOPS`] left out.
fn without_early_stops(runs: &[Value]) -> Vec<Value> {
    let mut runs = runs.to_vec();
    for run in runs.iter_mut().filter(|run| run["library"] == "chitchat") {
        if let Some(times) = run["detect_ms"].as_array_mut() {
            times.drain(..EARLY_STOPS.min(times.len()));
        }
    }
    runs
}

fn memory(row: &mut Row<'_>) {
    let what = "memory per node, 100 nodes, 10 keys each";
    row.line(Measurement::Idle, what, "MB", Target::AtMost(0.5), &|runs| {
        Figure::median_of(runs, "rss_bytes_per_node").map(|figure| figure.scaled(1e-6))
    });
    let alone = row.results.of(Measurement::Alone, Library::Ours);
    let alone = Figure::median_of(&alone, "rss_bytes_per_node");
    let what = "memory per known peer, 1,000 nodes, no keys";
    row.line(Measurement::Thousand, what, "kB", Target::AtMost(1.0), &|runs| {
        let together = Figure::median_of(runs, "rss_bytes_per_node")?;
        let known = (together.value - alone?.value) / 999.0 / 1_000.0;
        Some(Figure { value: known, low: known, high: known, runs: together.runs })
    });
    // What a chitchat node alone takes is not measured.
    if let Some(line) = row.lines.last_mut() {
        line.peer = None;
    }
}

fn sizes(row: &mut Row<'_>) {
    let what = "minimal node, stripped binary";
    row.line(Measurement::Sizes, what, "MB", Target::AtMost(0.65), &|runs| {
        Figure::median_of(runs, "binary_bytes").map(|figure| figure.scaled(1e-6))
    });
    row.line(Measurement::Sizes, "crates that it depends on", "", Target::AtMost(25.0), &|runs| {
        Figure::median_of(runs, "crates")
    });
}

/// Beside Grapevine without keys, not beside the peer, which has none.
fn keys(row: &mut Row<'_>) {
    let plain = (Measurement::Idle, Library::Ours);
    let what = "idle CPU per node, with a key";
    row.line_with(Measurement::IdleKeyed, plain, what, "millicores", Target::OfPeer(1.3), &|runs| {
        Figure::median_of(runs, "cpu_cores_per_node").map(|figure| figure.scaled(1_000.0))
    });
    let what = "idle traffic per node, with a key";
    row.line_with(Measurement::IdleKeyed, plain, what, "kB/s", Target::None, &|runs| {
        Figure::median_of(runs, "bytes_per_node_per_s").map(|figure| figure.scaled(1e-3))
    });
    let what = "idle allocations per node and round, with a key";
    row.line_with(Measurement::IdleKeyed, plain, what, "", Target::None, &|runs| {
        Figure::median_of(runs, "allocations_per_node_per_round")
    });
    let none = (Measurement::Seal, Library::V0);
    for (what, field) in
        [("seal 1,400 bytes", "seal_us"), ("open them", "open_us"), ("refuse them, altered", "refuse_us")]
    {
        row.line_with(Measurement::Seal, none, what, "µs", Target::None, &|runs| Figure::median_of(runs, field));
    }
    let what = "allocations for one that is refused";
    row.line_with(Measurement::Seal, none, what, "", Target::AtMost(0.0), &|runs| {
        Figure::median_of(runs, "allocations_per_refusal")
    });
    let plain = (Measurement::Sizes, Library::Ours);
    let what = "minimal node with keys, stripped binary";
    row.line_with(Measurement::SizesKeyed, plain, what, "MB", Target::None, &|runs| {
        Figure::median_of(runs, "binary_bytes").map(|figure| figure.scaled(1e-6))
    });
    row.line_with(Measurement::SizesKeyed, plain, "crates that it depends on", "", Target::None, &|runs| {
        Figure::median_of(runs, "crates")
    });
}
