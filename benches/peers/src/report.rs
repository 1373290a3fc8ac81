//! The JSON object that a run prints.

use std::fmt;
use std::time::Duration;

use chitchat::ProtocolVersion;
use serde_json::{Map, Value};

use crate::args::Settings;

/// The report of a run: its parameters, then whatever was measured.
pub struct Report {
    fields: Map<String, Value>,
}

impl Report {
    /// A report that holds the parameters so far.
    pub fn new(settings: &Settings) -> Self {
        let mut report = Report { fields: Map::new() };
        report.set("library", "chitchat");
        report.set("version", "0.13.0");
        report.set("scenario", settings.scenario.name());
        report.set("nodes", settings.nodes);
        report.set("interval_ms", millis(settings.interval));
        report.set("keys", settings.keys);
        report.set("value_bytes", settings.value_bytes);
        report.set("loss", settings.loss_percent);
        report.set(
            "wire",
            match settings.wire {
                ProtocolVersion::V0 => "v0",
                ProtocolVersion::V1 => "v1",
            },
        );
        if settings.scenario.takes_samples() {
            report.set("samples", settings.samples);
        }
        if settings.scenario.takes_seconds() {
            report.set("seconds", settings.observe.as_secs_f64());
        }
        report
    }

    /// Adds a figure.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.to_owned(), value.into());
    }

    /// Adds a time in milliseconds; null if it never came.
    pub fn set_time(&mut self, name: &str, time: Option<Duration>) {
        self.set(name, time.map(millis));
    }

    /// Adds a list of times in milliseconds, null where one never came.
    pub fn set_times(&mut self, name: &str, times: &[Option<Duration>]) {
        let times: Vec<Option<f64>> = times.iter().map(|time| time.map(millis)).collect();
        self.set(name, times);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match serde_json::to_string(&self.fields) {
            Ok(text) => f.write_str(&text),
            Err(_) => Err(fmt::Error),
        }
    }
}

/// A duration in milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
