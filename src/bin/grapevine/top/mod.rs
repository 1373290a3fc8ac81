//! `grapevine top`: the members, live, in the whole terminal.

mod screen;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anstream::{AutoStream, ColorChoice};
use crossbeam_channel::{Receiver, bounded};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::{cursor, execute, queue, terminal};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::args::TopArgs;
use crate::client::Client;
use crate::failure::Failure;
use screen::{Look, Screen};

const PERIOD: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3_600);
/// The longest wait for a key: what the agent says is shown within it.
const TICK: Duration = Duration::from_millis(100);

/// Shows the members until somebody presses q.
pub fn run(args: &TopArgs) -> Result<(), Failure> {
    if !PERIOD.contains(&args.every) {
        return Err(Failure::Usage(format!("--every {:?}: the range is 100 ms to 1 h", args.every)));
    }
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() || is_dumb {
        return Err(Failure::Usage("top needs a terminal; `grapevine members` prints the same once".to_owned()));
    }
    let mut client = Client::connect(args.agent.control.as_deref())?;
    let mut screen = Screen::new(look(&mut client)?, args.every);
    let looks = follow(client, args.every)?;
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, ended.clone())?;
    }
    let mut terminal = WholeTerminal::take()?;
    while !ended.load(Ordering::SeqCst) {
        if let Ok(look) = looks.try_recv() {
            screen.show(look?);
        }
        screen.size = terminal::size()?;
        terminal.draw(screen.lines(Instant::now()))?;
        if !event::poll(TICK)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                if ends(key) {
                    break;
                }
                screen.press(key.code);
            }
            Event::Resize(..) => terminal.drawn.clear(),
            _ => {}
        }
    }
    Ok(())
}

fn ends(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    matches!((key.code, control), (KeyCode::Char('q' | 'Q') | KeyCode::Esc, _) | (KeyCode::Char('c'), true))
}

/// Looks again and again on a thread of its own, until that fails: an agent that does not answer holds up no key.
fn follow(mut client: Client, every: Duration) -> io::Result<Receiver<Result<Look, Failure>>> {
    let (sender, looks) = bounded(1);
    thread::Builder::new().name("looks".to_owned()).spawn(move || {
        loop {
            thread::sleep(every);
            let look = look(&mut client);
            let failed = look.is_err();
            if sender.send(look).is_err() || failed {
                return;
            }
        }
    })?;
    Ok(looks)
}

fn look(client: &mut Client) -> Result<Look, Failure> {
    let mut members = client.request("members", &[])?;
    let mut stats = client.request("stats", &[])?;
    let members = members.remove("members").unwrap_or_default();
    Ok(Look { at: Instant::now(), members, stats: stats.remove("stats").unwrap_or_default() })
}

/// The terminal is this program's until this is dropped.
struct WholeTerminal {
    is_coloured: bool,
    /// The lines that it shows.
    drawn: Vec<String>,
}

impl WholeTerminal {
    fn take() -> io::Result<WholeTerminal> {
        terminal::enable_raw_mode()?;
        let is_coloured = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
        let taken = WholeTerminal { is_coloured, drawn: Vec::new() };
        execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
        Ok(taken)
    }

    fn draw(&mut self, lines: Vec<String>) -> io::Result<()> {
        if lines == self.drawn {
            return Ok(());
        }
        // Written at once: whoever looks meanwhile sees the one screen or the other.
        let mut out = Vec::new();
        queue!(out, terminal::BeginSynchronizedUpdate)?;
        for (row, line) in (0..).zip(&lines) {
            // Cleared first: after a line as wide as the terminal, that would take its last character.
            queue!(out, cursor::MoveTo(0, row), terminal::Clear(terminal::ClearType::CurrentLine))?;
            if self.is_coloured {
                write!(out, "{line}")?;
            } else {
                write!(out, "{}", anstream::adapter::strip_str(line))?;
            }
        }
        queue!(out, terminal::EndSynchronizedUpdate)?;
        let mut terminal = io::stdout().lock();
        terminal.write_all(&out)?;
        terminal.flush()?;
        self.drawn = lines;
        Ok(())
    }
}

impl Drop for WholeTerminal {
    fn drop(&mut self) {
        let _ = execute!(io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}
