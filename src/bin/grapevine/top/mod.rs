//! `grapevine top`: the members, live, in the whole terminal.

mod screen;

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::{cursor, execute, queue, terminal};

use crate::args::TopArgs;
use crate::client::Client;
use crate::failure::Failure;
use screen::{Look, Screen};

const LEAST_PERIOD: Duration = Duration::from_millis(100);

/// Shows the members until somebody presses q.
pub fn run(args: &TopArgs) -> Result<(), Failure> {
    if args.every < LEAST_PERIOD {
        return Err(Failure::Usage(format!("--every {:?}: it is 100 ms at least", args.every)));
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::Usage("top needs a terminal; `grapevine members` prints the same once".to_owned()));
    }
    let mut client = Client::connect(args.control.as_deref())?;
    let mut screen = Screen::default();
    screen.look = look(&mut client)?;
    let _whole = WholeTerminal::take()?;
    loop {
        screen.size = terminal::size()?;
        draw(&screen)?;
        let next = Instant::now() + args.every;
        while event::poll(next.saturating_duration_since(Instant::now()))? {
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    if ends(key) {
                        return Ok(());
                    }
                    screen.press(key.code);
                }
                Event::Resize(columns, rows) => screen.size = (columns, rows),
                _ => {}
            }
            draw(&screen)?;
        }
        let before = std::mem::replace(&mut screen.look, look(&mut client)?);
        screen.before = Some(before);
    }
}

fn ends(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    matches!((key.code, control), (KeyCode::Char('q' | 'Q') | KeyCode::Esc, _) | (KeyCode::Char('c'), true))
}

fn look(client: &mut Client) -> Result<Look, Failure> {
    let mut members = client.request("members", &[])?;
    let mut stats = client.request("stats", &[])?;
    let members = members.remove("members").unwrap_or_default();
    Ok(Look { at: Instant::now(), members, stats: stats.remove("stats").unwrap_or_default() })
}

fn draw(screen: &Screen) -> io::Result<()> {
    let mut out = io::stdout().lock();
    queue!(out, terminal::BeginSynchronizedUpdate, cursor::MoveTo(0, 0))?;
    let lines = screen.lines();
    for (n, line) in lines.iter().enumerate() {
        write!(out, "{line}")?;
        queue!(out, terminal::Clear(terminal::ClearType::UntilNewLine))?;
        if n + 1 < lines.len() {
            write!(out, "\r\n")?;
        }
    }
    queue!(out, terminal::Clear(terminal::ClearType::FromCursorDown), terminal::EndSynchronizedUpdate)?;
    out.flush()
}

/// The terminal is this program's until this is dropped.
struct WholeTerminal;

impl WholeTerminal {
    fn take() -> io::Result<WholeTerminal> {
        terminal::enable_raw_mode()?;
        let taken = WholeTerminal;
        execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
        Ok(taken)
    }
}

impl Drop for WholeTerminal {
    fn drop(&mut self) {
        let _ = execute!(io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}
