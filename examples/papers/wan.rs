//! Experiment 3, the second paper's figures: mistakes and detection time of detectors on one trace of heartbeats.

use std::time::Duration;

use grapevine::detector::{Detector, DetectorConfig, Judge};
use grapevine::instant::Instant;

use crate::Findings;
use crate::jobs::parallel;
use crate::options::Options;
use crate::plot::{Axis, COLOURS, Corner, Look, Panel, Series, svg};
use crate::report::{Figure, Report};
use crate::trace::{self, BASE_DELAY_MS, BEATS, PERIOD_MS};

/// What a detector made of a trace.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Mistakes a second.
    pub mistake_rate: f64,
    /// Seconds from a crash until it is suspected, if it comes just after a heartbeat was sent: mean and 99th percentile.
    pub detection_time: f64,
    pub detection_time_p99: f64,
}

/// Runs detectors of one configuration but for the threshold over the arrivals. The state of a detector does not depend on its
/// threshold, so that one serves for all of them.
pub fn run(config: &DetectorConfig, thresholds: &[f64], arrivals: &[u64]) -> Vec<Outcome> {
    let period = Duration::from_secs_f64(PERIOD_MS / 1e3);
    let judges: Vec<Judge> = thresholds
        .iter()
        .map(|threshold| Judge::new(&DetectorConfig { threshold: *threshold, ..config.clone() }, period, period))
        .collect();
    let mut tallies = vec![Tally::default(); judges.len()];
    let mut detector = Detector::new();
    let Some(first_judge) = judges.first() else { return Vec::new() };
    for at in arrivals {
        let now = Instant::from_micros(*at);
        for (judge, tally) in judges.iter().zip(&mut tallies) {
            tally.mistakes += u64::from(detector.suspect(now, judge));
        }
        detector.heartbeat(now, first_judge);
        for (judge, tally) in judges.iter().zip(&mut tallies) {
            tally.timeout(detector.timeout(judge));
        }
    }
    let seconds = span(arrivals);
    tallies.iter().map(|tally| tally.outcome(seconds)).collect()
}

/// The baseline without a detector: suspicion after a fixed time.
pub fn fixed(timeout: Duration, arrivals: &[u64]) -> Outcome {
    let mut tally = Tally::default();
    tally.timeout(timeout);
    let late = arrivals.windows(2).filter(|pair| Duration::from_micros(pair[1] - pair[0]) >= timeout);
    tally.mistakes = late.count() as u64;
    tally.outcome(span(arrivals))
}

fn span(arrivals: &[u64]) -> f64 {
    match arrivals {
        [first, .., last] => (last - first) as f64 / 1e6,
        _ => 0.0,
    }
}

/// A histogram of time-outs, in steps of a millisecond up to a minute.
#[derive(Clone)]
struct Tally {
    mistakes: u64,
    timeouts: u64,
    sum: Duration,
    histogram: Vec<u64>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { mistakes: 0, timeouts: 0, sum: Duration::ZERO, histogram: vec![0; 60_000] }
    }
}

impl Tally {
    fn timeout(&mut self, timeout: Duration) {
        self.timeouts += 1;
        self.sum += timeout;
        let bin = (timeout.as_millis() as usize).min(self.histogram.len() - 1);
        self.histogram[bin] += 1;
    }

    fn outcome(&self, seconds: f64) -> Outcome {
        let delay = BASE_DELAY_MS / 1e3;
        let mut above = self.timeouts;
        let p99 = self.histogram.iter().position(|count| {
            above -= count;
            above as f64 <= 0.01 * self.timeouts as f64
        });
        Outcome {
            mistake_rate: self.mistakes as f64 / seconds,
            detection_time: delay + self.sum.as_secs_f64() / self.timeouts as f64,
            detection_time_p99: delay + p99.unwrap_or_default() as f64 / 1e3,
        }
    }
}

/// What is varied.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    pub beats: usize,
    pub window: usize,
    pub thresholds: Vec<f64>,
}

impl Default for Setup {
    fn default() -> Setup {
        let thresholds = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 16.0];
        Setup { beats: BEATS, window: 1_000, thresholds }
    }
}

/// Of the plain normal form: the paper's figure and the reference simulation's.
struct Reference {
    threshold: f64,
    mistake_rate: (f64, f64),
    detection_time: (f64, f64),
}

const fn reference(threshold: f64, mistake_rate: (f64, f64), detection_time: (f64, f64)) -> Reference {
    Reference { threshold, mistake_rate, detection_time }
}

const REFERENCES: [Reference; 6] = [
    reference(1.0, (0.0869, 0.0585), (0.258, 0.266)),
    reference(2.0, (0.0500, 0.0409), (0.269, 0.282)),
    reference(3.0, (0.0388, 0.0333), (0.277, 0.294)),
    reference(5.0, (0.0290, 0.0257), (0.289, 0.312)),
    reference(7.0, (0.0243, 0.0223), (0.298, 0.327)),
    reference(8.0, (0.0220, 0.0213), (0.304, 0.333)),
];

/// One trace, and what the detectors made of it.
struct Run {
    arrivals: usize,
    /// Of the intervals, in milliseconds.
    mean: f64,
    deviation: f64,
    /// The plain normal form, by threshold.
    plain: Vec<(f64, Outcome)>,
    /// At threshold 8.
    others: Vec<Outcome>,
}

/// The plain normal form at every threshold, other forms at 8, and the plot.
///
/// # Errors
/// If a setting is out of the detector's range.
pub fn report(options: &Options) -> crate::Outcome<Findings> {
    let setup = &options.wan;
    let comparable = Setup { thresholds: Setup::default().thresholds, ..setup.clone() } == Setup::default();
    let forms = forms(setup.window);
    for form in &forms {
        form.config.iter().try_for_each(DetectorConfig::validate)?;
    }
    let seeds: Vec<u64> = options.seeds().collect();
    let runs = parallel(&seeds, |seed| trace_and_judge(setup, &forms, *seed));
    let mut report = Report::new(format!(
        "Experiment 3: mistakes and detection time on the week's trace\n({} heartbeats, window {}; {} traces)",
        setup.beats, setup.window, options.runs
    ));
    let each = |figure: &dyn Fn(&Run) -> f64| runs.iter().map(figure).collect::<Vec<f64>>();
    let mut add = |figure: Figure| report.add(figure.compare_if(comparable));
    add(Figure::new("arrivals", each(&|run| run.arrivals as f64)).paper(5_822_521.0).reference(5_820_000.0, 0.01));
    add(Figure::new("mean interval, ms", each(&|run| run.mean)).paper(103.9).reference(103.95, 0.01));
    add(Figure::new("deviation, ms", each(&|run| run.deviation)).paper(104.1).reference(104.5, 0.1));
    for (number, threshold) in setup.thresholds.iter().enumerate() {
        let rates = each(&|run| run.plain[number].1.mistake_rate);
        let times = each(&|run| run.plain[number].1.detection_time);
        let mut rate = Figure::new(format!("phi {threshold}: mistakes a second"), rates);
        let mut time = Figure::new(format!("phi {threshold}: detection, s"), times);
        if let Some(known) = REFERENCES.iter().find(|known| known.threshold == *threshold) {
            rate = rate.paper(known.mistake_rate.0).reference(known.mistake_rate.1, MISTAKES);
            time = time.paper(known.detection_time.0).reference(known.detection_time.1, DETECTION);
        }
        add(rate);
        add(time);
    }
    for (number, form) in forms.iter().enumerate() {
        let name = form.name;
        for (what, reference, tolerance, values) in [
            ("mistakes a second", form.mistake_rate, MISTAKES, each(&|run| run.others[number].mistake_rate)),
            ("detection, s", form.detection_time, DETECTION, each(&|run| run.others[number].detection_time)),
            ("99 % of them, s", form.detection_time_p99, TAIL, each(&|run| run.others[number].detection_time_p99)),
        ] {
            let figure = Figure::new(format!("{name}: {what}"), values);
            add(reference.into_iter().fold(figure, |figure, reference: f64| figure.reference(reference, tolerance)));
        }
    }
    Ok(Findings { report, plots: vec![("detection", plot(setup, &runs, &forms, comparable))] })
}

/// Tolerances, as parts of the reference simulation's figures.
const MISTAKES: f64 = 0.15;
const DETECTION: f64 = 0.05;
const TAIL: f64 = 0.1;

/// A detector other than the plain normal one.
struct Form {
    name: &'static str,
    /// `None` for the fixed time-out.
    config: Option<DetectorConfig>,
    mistake_rate: Option<f64>,
    detection_time: Option<f64>,
    detection_time_p99: Option<f64>,
}

const FIXED: Duration = Duration::from_millis(250);

fn plain(window: usize) -> DetectorConfig {
    DetectorConfig { window, ..DetectorConfig::plain_normal() }
}

fn forms(window: usize) -> [Form; 6] {
    let floor_and_pause = DetectorConfig { min_std_dev_ratio: 0.05, pause: 1.0, ..plain(window) };
    let clamped = DetectorConfig { max_std_dev: 3.0, ..floor_and_pause.clone() };
    let direct = DetectorConfig { min_std_dev_ratio: 0.05, pause: 1.0, ..DetectorConfig::hardened() };
    let exponential = DetectorConfig { window, ..DetectorConfig::exponential() };
    let form = |name, config, rate: f64, time: f64, p99: Option<f64>| Form {
        name,
        config,
        mistake_rate: Some(rate),
        detection_time: Some(time),
        detection_time_p99: p99,
    };
    [
        form("plain normal", Some(plain(window)), 0.0213, 0.333, Some(2.87)),
        form("floor 5 %, pause 1", Some(floor_and_pause), 0.00115, 0.448, Some(2.99)),
        form("the same, clamp 3", Some(clamped), 0.00129, 0.415, Some(1.98)),
        Form {
            name: "the library's, floor 5 %, pause 1",
            config: Some(direct),
            mistake_rate: None,
            detection_time: None,
            detection_time_p99: None,
        },
        form("exponential", Some(exponential), 0.00116, 2.04, None),
        form("fixed, 0.25 s", None, 0.0033, 0.392, None),
    ]
}

fn trace_and_judge(setup: &Setup, forms: &[Form], seed: u64) -> Run {
    let arrivals = trace::arrivals(setup.beats, seed);
    let plain = run(&plain(setup.window), &setup.thresholds, &arrivals);
    let judge = |form: &Form| match &form.config {
        Some(config) => run(config, &[8.0], &arrivals)[0],
        None => fixed(FIXED, &arrivals),
    };
    let count = arrivals.len().saturating_sub(1) as f64;
    let mean = span(&arrivals) * 1e3 / count;
    let square = |pair: &[u64]| ((pair[1] - pair[0]) as f64 / 1e3 - mean).powi(2);
    Run {
        arrivals: arrivals.len(),
        mean,
        deviation: (arrivals.windows(2).map(square).sum::<f64>() / count).sqrt(),
        plain: setup.thresholds.iter().copied().zip(plain).collect(),
        others: forms.iter().map(judge).collect(),
    }
}

fn plot(setup: &Setup, runs: &[Run], forms: &[Form], comparable: bool) -> String {
    let over_runs = |figure: &dyn Fn(&Run) -> f64| runs.iter().map(figure).sum::<f64>() / runs.len() as f64;
    let panel = |title: &str, y: Axis, what: fn(&Outcome) -> f64, papers: fn(&Reference) -> f64| {
        let points = setup.thresholds.iter().enumerate();
        let points = points.map(|(number, phi)| (*phi, over_runs(&|run| what(&run.plain[number].1)))).collect();
        let mut series =
            vec![Series { name: "plain normal form".to_owned(), colour: COLOURS[0], points, look: Look::Line }];
        if comparable {
            let points = REFERENCES.iter().map(|known| (known.threshold, papers(known))).collect();
            let name = "the paper's".to_owned();
            series.push(Series { name, colour: COLOURS[0], points, look: Look::Circles });
        }
        for ((number, form), colour) in forms.iter().enumerate().skip(1).take(1).zip(&COLOURS[1..]) {
            let points = vec![(8.0, over_runs(&|run| what(&run.others[number])))];
            let name = format!("normal, {}", form.name);
            series.push(Series { name, colour, points, look: Look::Crosses });
        }
        let most = setup.thresholds.iter().copied().fold(1.0, f64::max);
        let x = Axis::linear("threshold Φ", 0.0, most);
        Panel { title: title.to_owned(), x, y, series, legend: Corner::TopRight }
    };
    let rates = Axis::logarithmic("mistakes a second", 0.0005, 0.2);
    let times = Axis::linear("seconds", 0.2, 0.6);
    svg(&[
        panel(
            "Mistakes, λ, on the week's trace of heartbeats every 103.5 ms",
            rates,
            |o| o.mistake_rate,
            |known| known.mistake_rate.0,
        ),
        panel(
            "Time from a crash until it is suspected, mean",
            times,
            |o| o.detection_time,
            |known| known.detection_time.0,
        ),
    ])
}
