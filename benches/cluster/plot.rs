//! The plot of row 1: after which time which share of the sets had reached every node, as an SVG for the README.

use std::fmt::Write;

use serde_json::Value;

use crate::plan::{Library, Measurement};
use crate::programs::Results;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 48.0;
/// The time axis is logarithmic, in milliseconds.
const FROM_MS: f64 = 1.0;
const TO_MS: f64 = 1_000.0;

/// Colours that differ in lightness too, on white and on black.
const LINES: [(Library, &str, &str); 2] =
    [(Library::Ours, "grapevine, early news", "#7b3fe4"), (Library::V0, "chitchat 0.13", "#e08a00")];

/// Draws the plot, if row 1 was measured.
pub fn spread(results: &Results) -> Option<String> {
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">One set until all of 100 nodes hold it (interval 100 ms, fan-out 3)</text>\n"
    );
    axes(&mut svg);
    let mut any = false;
    for (index, (library, name, colour)) in LINES.into_iter().enumerate() {
        let mut samples: Vec<f64> = results.of(Measurement::Spread100, library).iter().flat_map(spread_times).collect();
        if samples.is_empty() {
            continue;
        }
        any = true;
        samples.sort_by(f64::total_cmp);
        let mut path = format!("M{:.1} {:.1}", x(FROM_MS), y(0.0));
        for (rank, sample) in samples.iter().enumerate() {
            let share = (rank + 1) as f64 / samples.len() as f64;
            let _ = write!(path, "H{:.1}V{:.1}", x(*sample), y(share));
        }
        let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        let at = TOP + 18.0 + 18.0 * index as f64;
        let _ = writeln!(
            svg,
            "<path d=\"M{0} {at}h24\" stroke=\"{colour}\" stroke-width=\"3\"/><text x=\"{1}\" y=\"{2}\">{name} ({3} sets)</text>",
            LEFT + 12.0,
            LEFT + 42.0,
            at + 4.0,
            samples.len()
        );
    }
    svg.push_str("</svg>\n");
    any.then_some(svg)
}

fn spread_times(report: &Value) -> Vec<f64> {
    let samples = report.get("spread_ms").and_then(Value::as_array);
    samples.into_iter().flatten().filter_map(Value::as_f64).collect()
}

fn axes(svg: &mut String) {
    let bottom = HEIGHT - BOTTOM;
    for ms in [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0] {
        let _ = writeln!(
            svg,
            "<path d=\"M{0:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/><text x=\"{0:.1}\" y=\"{1}\" text-anchor=\"middle\">{ms}</text>",
            x(ms),
            bottom + 18.0
        );
    }
    for percent in [0, 25, 50, 75, 100] {
        let at = y(f64::from(percent) / 100.0);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{0}\" stroke=\"#ddd\"/><text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{percent} %</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">milliseconds until the last node holds it</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 10.0
    );
}

fn x(ms: f64) -> f64 {
    let part = (ms.clamp(FROM_MS, TO_MS) / FROM_MS).ln() / (TO_MS / FROM_MS).ln();
    LEFT + part * (WIDTH - LEFT - RIGHT)
}

fn y(share: f64) -> f64 {
    HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
}
