//! The two processes of a side: this program's own children.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Outcome;

/// Linux gives processes' times in hundredths of a second, whatever its own tick is.
const TICK: Duration = Duration::from_millis(10);

/// A child and what it says. It is killed when this is dropped.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// A process that offers an action, and one that calls it.
pub struct Pair {
    provider: Process,
    caller: Process,
}

impl Pair {
    /// Starts the provider, and the caller with the address that the provider tells. Each is given a line of its own besides, if there
    /// is one.
    pub fn start(side: &str, provider_line: Option<&str>, caller_line: Option<&str>) -> Outcome<Pair> {
        let mut provider = Process::start(&format!("{side}-provides"), provider_line)?;
        let addr = provider.line()?;
        let caller_words = [Some(addr.as_str()), caller_line];
        let mut caller = Process::start(&format!("{side}-calls"), caller_words.into_iter().flatten())?;
        match caller.line()?.as_str() {
            "ready" => Ok(Pair { provider, caller }),
            other => Err(format!("the caller said {other}").into()),
        }
    }

    /// Has so many threads call for so long.
    pub fn measure(&mut self, callers: usize, time: Duration) -> Outcome<Value> {
        let before = self.cpu_time()?;
        writeln!(self.caller.input, "{callers} {}", time.as_millis())?;
        let mut report: Value = serde_json::from_str(&self.caller.line()?)?;
        let used = self.cpu_time()? - before;
        let calls = report["calls"].as_f64().ok_or("the caller tells no calls")?;
        report["cpu_us"] = json!(used.as_secs_f64() * 1e6 / calls);
        Ok(report)
    }

    fn cpu_time(&self) -> Outcome<Duration> {
        Ok(self.provider.cpu_time()? + self.caller.cpu_time()?)
    }
}

impl Process {
    fn start<'a>(part: &str, words: impl IntoIterator<Item = &'a str>) -> Outcome<Process> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--child", part])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = input.zip(output).ok_or("a child without its pipes")?;
        Ok(Process { child, input, output: BufReader::new(output) })
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err("a child ended too soon; what it said is above".into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// User and system time of all its threads, also of those that have ended.
    fn cpu_time(&self) -> Outcome<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, in parentheses, may contain spaces; utime and stime are the 12th and 13th fields after it.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().skip(11).take(2);
        let ticks = fields.map(str::parse::<u32>).sum::<Result<u32, _>>()?;
        Ok(TICK * ticks)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
