//! From what children report to one figure with its range.

use serde_json::{Value, json};

/// One figure of one library over all runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// What the target is for.
    pub value: f64,
    /// The least of the runs.
    pub low: f64,
    /// The greatest.
    pub high: f64,
    /// How many runs there were.
    pub runs: usize,
}

impl Figure {
    fn new(value: f64, of_runs: &[f64]) -> Figure {
        Figure {
            value,
            low: of_runs.iter().copied().fold(f64::INFINITY, f64::min),
            high: of_runs.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            runs: of_runs.len(),
        }
    }

    /// A number that each run reports: the median of the runs. Null, for what a library cannot tell, is left out.
    pub fn median_of(runs: &[Value], field: &str) -> Option<Figure> {
        let numbers: Vec<f64> = runs.iter().filter_map(|run| run.get(field)?.as_f64()).collect();
        Some(Figure::new(median(&numbers)?, &numbers))
    }

    /// A time in milliseconds that each run reports, null if it never came: the median of the runs.
    pub fn median_time(runs: &[Value], field: &str) -> Option<Figure> {
        let times: Vec<f64> = runs.iter().filter_map(|run| run.get(field)).map(time).collect();
        Some(Figure::new(median(&times)?, &times))
    }

    /// A count of what should not happen, in all runs together.
    pub fn total(runs: &[Value], field: &str) -> Option<Figure> {
        let counts: Vec<f64> = runs.iter().filter_map(|run| run.get(field)?.as_f64()).collect();
        (!counts.is_empty()).then(|| Figure::new(counts.iter().sum(), &counts))
    }

    /// A statistic of the samples of all runs together; the range is that of the statistic of each run.
    pub fn of_samples(runs: &[Value], field: &str, statistic: fn(&[f64]) -> Option<f64>) -> Option<Figure> {
        let lists = runs.iter().filter_map(|run| run.get(field)?.as_array());
        let of_runs: Vec<Vec<f64>> = lists.map(|list| list.iter().map(time).collect()).collect();
        let statistics: Vec<f64> = of_runs.iter().filter_map(|times| statistic(times)).collect();
        Some(Figure::new(statistic(&of_runs.concat())?, &statistics))
    }

    /// In another unit.
    pub fn scaled(self, factor: f64) -> Figure {
        Figure { value: self.value * factor, low: self.low * factor, high: self.high * factor, runs: self.runs }
    }

    /// For machines. What never came is null.
    pub fn to_json(self) -> Value {
        json!({ "value": self.value, "low": self.low, "high": self.high, "runs": self.runs })
    }
}

impl std::fmt::Display for Figure {
    /// The value, and the range of the runs where there is one.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (value, low, high) = (short(self.value), short(self.low), short(self.high));
        if low == high { f.pad(&value) } else { f.pad(&format!("{value} [{low}–{high}]")) }
    }
}

/// A number with three digits or so.
pub fn short(number: f64) -> String {
    if !number.is_finite() {
        return "never".to_owned();
    }
    if number.fract() == 0.0 && number.abs() < 100_000.0 {
        return format!("{number:.0}");
    }
    match number.abs() {
        a if a >= 100.0 => format!("{number:.0}"),
        a if a >= 10.0 => format!("{number:.1}"),
        a if a >= 1.0 => format!("{number:.2}"),
        a if a >= 0.1 => format!("{number:.3}"),
        a if a >= 0.01 => format!("{number:.4}"),
        _ => format!("{number:.5}"),
    }
}

/// A time as children report it.
fn time(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::INFINITY)
}

/// The smallest number that at least this part of them does not exceed.
fn quantile(numbers: &[f64], part: f64) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// Half of the numbers are below; of an even count the mean of the two in the middle.
pub fn median(numbers: &[f64]) -> Option<f64> {
    let low = quantile(numbers, 0.5)?;
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(if sorted.len().is_multiple_of(2) { (low + sorted[sorted.len() / 2]) / 2.0 } else { low })
}

/// 95 of 100 numbers are not above.
pub fn p95(numbers: &[f64]) -> Option<f64> {
    quantile(numbers, 0.95)
}

/// The greatest.
pub fn worst(numbers: &[f64]) -> Option<f64> {
    quantile(numbers, 1.0)
}
