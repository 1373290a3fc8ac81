//! The table for people, and the same for machines.

use serde_json::{Value, json};

use crate::figures::{Figure, short};
use crate::options::Options;
use crate::plan::{Library, measurements};
use crate::programs::Results;
use crate::rows::{Line, Target, method};

/// Prints everything as one JSON object: the lines of the table, the method of each row, and the raw reports.
pub fn json(lines: &[Line], results: &Results, machine: &Value, options: &Options) {
    let figure = |figure: Option<Figure>| figure.map(Figure::to_json);
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| {
            json!({
                "row": line.row,
                "what": line.what,
                "unit": line.unit,
                "peer": figure(line.peer),
                "ours": figure(line.ours),
                "target": target(line),
                "limit": line.limit(),
                "ok": line.holds(),
                "shortened": line.shortened,
            })
        })
        .collect();
    let runs: Vec<Value> = results
        .runs()
        .iter()
        .map(|run| json!({ "library": run.library.name(), "command": run.command, "report": run.report }))
        .collect();
    let methods: Vec<Value> = options.rows.iter().map(|row| json!({ "row": row, "method": method(*row) })).collect();
    let all = json!({
        "benchmark": "cluster",
        "grapevine": env!("CARGO_PKG_VERSION"),
        "peer": "chitchat 0.13.0",
        "quick": options.quick,
        "repeat": options.repeat,
        "machine": machine,
        "lines": lines,
        "methods": methods,
        "notes": results.notes,
        "runs": runs,
    });
    println!("{all}");
}

/// Prints the table, how it was measured, and where.
pub fn table(lines: &[Line], results: &Results, machine: &Value, options: &Options) {
    if options.quick {
        println!(
            "A rough look (--quick): rows with ~ have fewer samples or a shorter time than their target is for.\n"
        );
    }
    let head = ["row", "measured", "unit", "chitchat 0.13", "grapevine", "target", ""].map(str::to_owned);
    let cells: Vec<[String; 7]> = std::iter::once(head).chain(lines.iter().map(cells)).collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    for row in &cells {
        let padded: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}", padded.join("  ").trim_end());
    }

    println!(
        "\nFigures are the median of the runs, in brackets the least and the greatest run, unless the row says otherwise."
    );
    println!("\nMethod");
    for row in &options.rows {
        println!("{row:>3}  {}", method(*row));
    }
    println!("\nRuns, in turn");
    for ((measurement, library, command), count) in results.commands() {
        let rows: Vec<String> =
            options.rows.iter().filter(|row| measurements(**row).contains(&measurement)).map(u8::to_string).collect();
        println!("  {count} × {:<11}  {command}  (row {})", library.name(), rows.join(", "));
    }
    for note in &results.notes {
        println!("\nNote: {note}");
    }
    println!("\nMachine");
    for (name, value) in machine.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        println!("  {name}: {value}");
    }
    let has_peer = results.runs().iter().any(|run| run.library != Library::Ours);
    if has_peer {
        println!("  peer: chitchat 0.13.0, its default wire (V0) where not said otherwise");
    }
}

fn cells(line: &Line) -> [String; 7] {
    let figure = |figure: Option<Figure>| figure.map_or_else(|| "–".to_owned(), |figure| figure.to_string());
    let verdict = match line.holds() {
        Some(true) => "ok",
        Some(false) => "MISSED",
        None => "",
    };
    [
        format!("{:>2}{}", line.row, if line.shortened { "~" } else { "" }),
        line.what.clone(),
        line.unit.to_owned(),
        figure(line.peer),
        figure(line.ours),
        target(line),
        verdict.to_owned(),
    ]
}

/// The target as people write it.
fn target(line: &Line) -> String {
    match line.target {
        Target::AtMost(0.0) => "none".to_owned(),
        Target::AtMost(limit) => format!("≤ {}", short(limit)),
        Target::OfPeer(part) => {
            let part = if part < 0.2 { format!("1/{:.0}", 1.0 / part) } else { short(part) };
            let limit = line.limit().map_or_else(String::new, |limit| format!(" = {}", short(limit)));
            format!("≤ {part} of V0{limit}")
        }
        Target::None => String::new(),
    }
}
