//! Three providers, each a process of its own, and a steady stream of calls that any of them can answer. One provider is killed
//! (SIGKILL) and restarted, then another. No call fails: those that were under way move to another provider.
//!
//! It takes some 15 seconds. The exit status is 0 only if there was no error, and each provider answered again after its restart.
//!
//! ```sh
//! cargo run --release --example failover
//! ```

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use grapevine::Gossiper;
use grapevine::service::{ActError, Service};
use serde::{Deserialize, Serialize};

const NAMES: [&str; 3] = ["a", "b", "c"];
/// The gossip interval: a provider that was killed is failed after four to five of them. Calls do not wait for that.
const INTERVAL: Duration = Duration::from_millis(400);
/// Threads that call, and the time from one call of a thread to its next.
const CALLERS: usize = 8;
const PERIOD: Duration = Duration::from_millis(4);
/// What a provider has to do for a call, so that some are under way at any moment.
const WORK: Duration = Duration::from_millis(1);
/// The time of one line on the screen.
const LINE: Duration = Duration::from_millis(500);
/// How long things may take that have to happen.
const PATIENCE: Duration = Duration::from_secs(8);
/// Whatever happens, the program has ended by then.
const WATCHDOG: Duration = Duration::from_secs(29);

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[derive(Serialize, Deserialize)]
struct Number {
    value: u64,
}

#[derive(Serialize, Deserialize)]
struct Square {
    square: u64,
    by: String,
}

fn main() -> ExitCode {
    env_logger::init();
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args[..] {
        [] => tell_story(),
        ["--provide", name, listen, gossip, seed] => provide(name, listen, gossip, seed).map(|()| true),
        _ => Err("it takes no arguments".into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// True if all went well.
fn tell_story() -> Outcome<bool> {
    start_watchdog();
    let service = Service::builder().interval(INTERVAL).timeout(PATIENCE).start()?;
    let seed = service.node().peer().to_string();
    let mut providers = Vec::new();
    for name in NAMES {
        providers.push(Provider::start(name, "127.0.0.1:0", "127.0.0.1:0", &seed)?);
    }
    wait_until("all providers are found", || service.services().len() == NAMES.len())?;
    println!(
        "{} providers, each a process of its own; {CALLERS} threads, each with a call every {} ms\n",
        NAMES.len(),
        PERIOD.as_millis()
    );
    let tally = Tally::new();
    thread::scope(|scope| {
        for caller in 0..CALLERS as u64 {
            scope.spawn({
                let (service, tally) = (&service, &tally);
                move || call(service, tally, caller)
            });
        }
        scope.spawn(|| tally.draw());
        let story = kill_and_restart(&mut providers, &tally, &seed);
        tally.is_over.store(true, Ordering::SeqCst);
        story
    })?;
    let moved = service.stats().calls_moved;
    Ok(tally.conclude(moved))
}

fn kill_and_restart(providers: &mut [Provider], tally: &Tally, seed: &str) -> Outcome<()> {
    thread::sleep(4 * LINE);
    for (place, name) in NAMES.into_iter().enumerate().skip(1) {
        providers[place].kill()?;
        tally.say(&format!("{name} is killed"));
        thread::sleep(6 * LINE);
        let Provider { listen, gossip, .. } = &providers[place];
        // Those calls that it had answered before it was killed have come.
        let before = tally.answers_of(place);
        providers[place] = Provider::start(name, listen, gossip, seed)?;
        tally.say(&format!("{name} is started again"));
        wait_until("it answers again", || tally.answers_of(place) > before)?;
        thread::sleep(4 * LINE);
    }
    Ok(())
}

/// One thread of those that call.
fn call(service: &Service, tally: &Tally, caller: u64) {
    let mut due = Instant::now();
    for number in 0.. {
        if tally.is_over.load(Ordering::SeqCst) {
            return;
        }
        let value = number * CALLERS as u64 + caller;
        let begun = Instant::now();
        let answer = service.call(("role:numbers,cmd:square", Number { value })).idempotent().send::<Square>();
        tally.take(value, answer, begun);
        due = (due + PERIOD).max(begun);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// What came of the calls.
struct Tally {
    begun: Instant,
    answers: [AtomicU64; NAMES.len()],
    errors: AtomicU64,
    /// When the last answer came, and the longest time between two and that of one call: in microseconds.
    last_answer: AtomicU64,
    longest_gap: AtomicU64,
    longest_call: AtomicU64,
    is_over: AtomicBool,
    /// Lines are whole.
    screen: Mutex<()>,
}

impl Tally {
    fn new() -> Tally {
        Tally {
            begun: Instant::now(),
            answers: Default::default(),
            errors: AtomicU64::new(0),
            last_answer: AtomicU64::new(0),
            longest_gap: AtomicU64::new(0),
            longest_call: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            screen: Mutex::default(),
        }
    }

    fn take(&self, value: u64, answer: Result<Square, ActError>, begun: Instant) {
        let place = match answer {
            Ok(answer) if answer.square == value * value => NAMES.iter().position(|name| *name == answer.by),
            Ok(answer) => return self.fail(&format!("{} is not {value} squared", answer.square)),
            Err(error) => return self.fail(&error.to_string()),
        };
        let Some(place) = place else { return self.fail("nobody knows who answered") };
        self.answers[place].fetch_add(1, Ordering::Relaxed);
        let now = micros(self.begun.elapsed());
        let before = self.last_answer.fetch_max(now, Ordering::Relaxed);
        self.longest_gap.fetch_max(now.saturating_sub(before), Ordering::Relaxed);
        self.longest_call.fetch_max(micros(begun.elapsed()), Ordering::Relaxed);
    }

    fn fail(&self, problem: &str) {
        // The first few say enough.
        if self.errors.fetch_add(1, Ordering::Relaxed) < 5 {
            self.say(&format!("a call failed: {problem}"));
        }
    }

    fn answers_of(&self, place: usize) -> u64 {
        self.answers[place].load(Ordering::Relaxed)
    }

    fn say(&self, text: &str) {
        let _screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        println!("{:>5.1} s  {text}", self.begun.elapsed().as_secs_f64());
    }

    /// A line for each half second: what each provider answered in it.
    fn draw(&self) {
        self.say(NAMES.map(|name| format!("   {name:<21}")).concat().trim_end());
        let mut before = [0; NAMES.len()];
        loop {
            thread::sleep(LINE);
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let now: [u64; NAMES.len()] = std::array::from_fn(|place| self.answers_of(place));
            let columns = std::array::from_fn::<String, { NAMES.len() }, _>(|place| column(now[place] - before[place]));
            self.say(columns.concat().trim_end());
            before = now;
        }
    }

    /// True if all went well.
    fn conclude(&self, moved: u64) -> bool {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let answers: u64 = self.answers.iter().map(read).sum();
        let errors = read(&self.errors);
        let milliseconds = |counter: &AtomicU64| read(counter) as f64 / 1_000.0;
        println!("\ncalls {}, errors {errors}, moved to another provider {moved}", answers + errors);
        println!("longest gap between two answers {:.1} ms", milliseconds(&self.longest_gap));
        println!(
            "longest call {:.1} ms, of which the work is {} ms",
            milliseconds(&self.longest_call),
            WORK.as_millis()
        );
        errors == 0
    }
}

/// A number and its bar.
fn column(answers: u64) -> String {
    let all = LINE.as_micros() as u64 / PERIOD.as_micros() as u64 * CALLERS as u64;
    let bar = "█".repeat((answers * 24 / all).min(16) as usize);
    let number = if answers == 0 { "–".to_owned() } else { answers.to_string() };
    format!("{:<24}", format!("{number:>4} {bar}"))
}

/// A provider's process.
struct Provider {
    child: Child,
    listen: String,
    gossip: String,
}

impl Provider {
    /// It ends when its input does, so with this program, however that ends.
    fn start(name: &str, listen: &str, gossip: &str, seed: &str) -> Outcome<Provider> {
        let mut child = Command::new(env::current_exe()?)
            .args(["--provide", name, listen, gossip, seed])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("a child without its output")?).read_line(&mut line)?;
        let (listen, gossip) = line.trim().split_once(' ').ok_or("a provider did not start")?;
        Ok(Provider { child, listen: listen.to_owned(), gossip: gossip.to_owned() })
    }

    fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// The child.
fn provide(name: &str, listen: &str, gossip: &str, seed: &str) -> Outcome<()> {
    let settings = Gossiper::builder().bind(gossip).seed(seed).interval(INTERVAL);
    let service = Service::builder().listen(listen).gossip(settings).start()?;
    let by = name.to_owned();
    service.add("role:numbers,cmd:square", move |number: Number| {
        thread::sleep(WORK);
        Ok(Square { square: number.value * number.value, by: by.clone() })
    })?;
    let addr = service.local_addr().ok_or("it does not listen")?;
    println!("{addr} {}", service.node().peer());
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn wait_until(what: &str, holds: impl Fn() -> bool) -> Outcome<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            return Err(format!("not within {PATIENCE:?}: {what}").into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn start_watchdog() {
    thread::spawn(|| {
        thread::sleep(WATCHDOG);
        eprintln!("\nerror: it has not ended in {WATCHDOG:?}; this is a bug");
        process::exit(1);
    });
}
