//! What an experiment has to tell: a table with the paper's figure, the reference simulation's and ours, and a line for each check.

use std::fmt;

/// One figure.
pub struct Figure {
    name: String,
    paper: Option<f64>,
    /// The reference simulation's.
    reference: Option<f64>,
    ours: Vec<f64>,
    band: Option<(f64, f64)>,
}

impl Figure {
    /// A figure of ours: the mean over runs.
    pub fn new(name: impl Into<String>, ours: Vec<f64>) -> Figure {
        Figure { name: name.into(), paper: None, reference: None, ours, band: None }
    }

    /// Read off the paper's own plot.
    pub fn paper(mut self, paper: impl Into<Option<f64>>) -> Figure {
        self.paper = paper.into();
        self
    }

    /// The reference simulation's figure; ours may be off by so much of it, 0.1 for 10 %.
    pub fn reference(mut self, reference: f64, tolerance: f64) -> Figure {
        self.reference = Some(reference);
        self.band = Some((reference * (1.0 - tolerance), reference * (1.0 + tolerance)));
        self
    }

    /// Where ours has to be, where that is not a part of the reference simulation's figure.
    pub fn band(mut self, low: f64, high: f64) -> Figure {
        self.band = Some((low, high));
        self
    }

    /// For a set-up other than the paper's there is nothing to compare with.
    pub fn compare_if(self, comparable: bool) -> Figure {
        if comparable { self } else { Figure { paper: None, reference: None, band: None, ..self } }
    }

    fn mean(&self) -> f64 {
        self.ours.iter().sum::<f64>() / self.ours.len() as f64
    }

    /// Its name as one word: small letters and digits, joined by hyphens.
    fn slug(&self) -> String {
        let words = self.name.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-").to_lowercase()
    }

    fn check(&self) -> Option<Check> {
        let (low, high) = self.band?;
        let value = self.mean();
        Some(Check { name: self.slug(), value, low, high, ok: (low..=high).contains(&value) })
    }
}

/// A comparison with what is expected.
pub struct Check {
    name: String,
    value: f64,
    low: f64,
    high: f64,
    pub ok: bool,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Check { name, value, low, high, ok } = self;
        let verdict = if *ok { "ok" } else { "FAIL" };
        write!(f, "CHECK {name} {} {} {} {verdict}", short(*value), short(*low), short(*high))
    }
}

/// What one experiment has to tell.
pub struct Report {
    title: String,
    figures: Vec<Figure>,
    notes: Vec<String>,
}

impl Report {
    pub fn new(title: impl Into<String>) -> Report {
        Report { title: title.into(), figures: Vec::new(), notes: Vec::new() }
    }

    pub fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// A line beneath the table.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub fn checks(&self) -> Vec<Check> {
        self.figures.iter().filter_map(Figure::check).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.figures.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0);
        writeln!(f, "{}\n\n{:width$}  {:>8}  {:>8}  {:>8}  over the runs", self.title, "", "paper", "sim", "ours")?;
        for figure in &self.figures {
            let Figure { name, paper, reference, ours, .. } = figure;
            let told = |figure: &Option<f64>| figure.map_or("-".to_owned(), short);
            write!(f, "{name:width$}  {:>8}  {:>8}  {:>8}", told(paper), told(reference), short(figure.mean()))?;
            match ours.len() {
                0 | 1 => writeln!(f)?,
                _ => {
                    let low = ours.iter().copied().fold(f64::INFINITY, f64::min);
                    let high = ours.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    writeln!(f, "  {} to {}", short(low), short(high))?;
                }
            }
        }
        writeln!(f)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))?;
        self.checks().iter().try_for_each(|check| writeln!(f, "{check}"))
    }
}

/// With as many digits as are worth reading.
pub fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        1000.0.. => format!("{value:.0}"),
        100.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        0.1.. => format!("{value:.3}"),
        0.01.. => format!("{value:.4}"),
        0.0001.. => format!("{value:.5}"),
        _ => format!("{value:.1e}"),
    }
}
