//! The system's own tools: `ip`, `nft`, `kill`.

use std::io::Write;
use std::process::{Command, Stdio};

/// Runs `ip` with these arguments, written as on a command line, and returns what it printed.
///
/// # Errors
/// What it complained of.
pub fn ip(arguments: &str) -> Result<String, String> {
    run(Command::new("ip").args(arguments.split_whitespace()), "")
}

/// Hands a script to `nft` in a namespace.
///
/// # Errors
/// What it complained of.
pub fn nft(namespace: &str, script: &str) -> Result<String, String> {
    run(Command::new("ip").args(["netns", "exec", namespace, "nft", "-f", "-"]), script)
}

/// How many packets a named counter in one of a namespace's tables has seen.
///
/// # Errors
/// What `nft` complained of, or that there is no such counter.
pub fn packets(namespace: &str, table: &str, counter: &str) -> Result<u64, String> {
    let words = ["netns", "exec", namespace, "nft", "-j", "list", "counter", "inet", table, counter];
    let text = run(Command::new("ip").args(words), "")?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let objects = json["nftables"].as_array().into_iter().flatten();
    let packets = objects.filter_map(|object| object["counter"]["packets"].as_u64()).next();
    packets.ok_or_else(|| format!("no counter {counter} in {text}"))
}

/// Writes to a setting of a namespace's network below `/proc/sys/net`.
///
/// # Errors
/// What the shell complained of.
pub fn set_net(namespace: &str, name: &str, value: u32) -> Result<(), String> {
    let line = format!("echo {value} > /proc/sys/net/{name}");
    run(Command::new("ip").args(["netns", "exec", namespace, "sh", "-c", &line]), "").map(drop)
}

/// Sends a signal, such as `STOP`, to a process of this test's.
///
/// # Errors
/// What `kill` complained of.
pub fn signal(process: u32, signal: &str) -> Result<(), String> {
    run(Command::new("kill").args([format!("-{signal}"), process.to_string()]), "").map(drop)
}

fn run(command: &mut Command, input: &str) -> Result<String, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Who does not read its input has said why on its standard error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{command:?} {input}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}
