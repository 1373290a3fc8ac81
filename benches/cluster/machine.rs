//! On what machine the figures were taken; nothing that tells which one it is.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use serde_json::{Value, json};

/// Cores, kernel, compiler, and how busy the machine was before the first measurement.
pub fn describe() -> Value {
    json!({
        "cores": available_parallelism().map_or(0, usize::from),
        "cpu": cpu(),
        "kernel": first_line("/proc/sys/kernel/osrelease"),
        "rustc": rustc(),
        "receive_buffer_limit": first_line("/proc/sys/net/core/rmem_max"),
        "load_before": load(),
    })
}

/// The load averages of the last 1, 5 and 15 minutes.
fn load() -> String {
    let averages = first_line("/proc/loadavg");
    averages.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name"));
    model.map_or_else(unknown, |model| model.trim_start_matches([':', '\t', ' ']).to_owned())
}

fn rustc() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = Command::new(rustc).arg("--version").output();
    let version = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    version.map_or_else(unknown, |version| version.trim().to_owned())
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().map_or_else(unknown, str::to_owned)
}

fn unknown() -> String {
    "unknown".to_owned()
}
