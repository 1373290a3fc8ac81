//! Many threads that call and wait, call and wait.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Outcome;

/// Has so many threads call for so long, and tells how many calls there were and how long they took, as `bench.js` does.
///
/// # Errors
/// That of the first call that failed.
pub fn run(callers: usize, time: Duration, call: impl Fn(i64, i64) -> Outcome<()> + Sync) -> Outcome<Value> {
    let ready = Barrier::new(callers + 1);
    let (times, elapsed) = thread::scope(|scope| {
        let call_on = |caller: usize| call_for(time, &ready, |left| call(left, caller as i64));
        let threads: Vec<_> = (0..callers).map(|caller| scope.spawn(move || call_on(caller))).collect();
        ready.wait();
        let begun = Instant::now();
        let mut times = Vec::new();
        for thread in threads {
            times.extend(thread.join().map_err(|_| "a caller panicked")??);
        }
        Ok::<_, String>((times, begun.elapsed()))
    })?;
    Ok(report(callers, times, elapsed))
}

/// One caller. Returns how long each of its calls took, in nanoseconds.
fn call_for(time: Duration, ready: &Barrier, call: impl Fn(i64) -> Outcome<()>) -> Result<Vec<u32>, String> {
    let mut times = Vec::with_capacity(1 << 16);
    ready.wait();
    let mut now = Instant::now();
    let end = now + time;
    for number in 0.. {
        if now >= end {
            break;
        }
        call(number).map_err(|error| error.to_string())?;
        let answered = Instant::now();
        times.push(u32::try_from((answered - now).as_nanos()).unwrap_or(u32::MAX));
        now = answered;
    }
    Ok(times)
}

fn report(callers: usize, mut times: Vec<u32>, elapsed: Duration) -> Value {
    times.sort_unstable();
    let micros = |part: f64| {
        let rank = (part * times.len() as f64).ceil() as usize;
        times.get(rank.max(1) - 1).map(|nanos| f64::from(*nanos) / 1_000.0)
    };
    json!({
        "callers": callers,
        "seconds": elapsed.as_secs_f64(),
        "calls": times.len(),
        "per_second": times.len() as f64 / elapsed.as_secs_f64(),
        "p50": micros(0.5),
        "p99": micros(0.99),
    })
}
