//! What `top` shows, as lines of text.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use crossterm::event::KeyCode;
use serde_json::Value;

use crate::commands;
use crate::plain::{self, printable};
use crate::table::{self, Cell};

/// What the agent said at one moment.
pub struct Look {
    pub at: Instant,
    pub members: Value,
    pub stats: Value,
}

/// Everything that decides what is shown.
pub struct Screen {
    /// Columns and rows.
    pub size: (u16, u16),
    look: Look,
    /// The look before, for what happens in a second.
    before: Option<Look>,
    /// After so long without a look the agent does not answer.
    patience: Duration,
    order: Order,
    /// How many members are above the window.
    above: usize,
}

/// By what the members are in order.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// Those first that want attention.
    State,
    Peer,
    Phi,
    Traffic,
}

impl Order {
    const ALL: [(Order, &str); 4] =
        [(Order::State, "state"), (Order::Peer, "peer"), (Order::Phi, "phi"), (Order::Traffic, "received")];

    fn name(self) -> &'static str {
        Order::ALL.iter().find(|(order, _)| *order == self).map_or("", |(_, name)| name)
    }

    fn next(self) -> Order {
        let place = Order::ALL.iter().position(|(order, _)| *order == self).unwrap_or(0);
        Order::ALL[(place + 1) % Order::ALL.len()].0
    }
}

/// The lines above the members, and that below.
const HEAD_LINES: usize = 4;
const FOOT_LINES: usize = 1;

impl Screen {
    /// The first look, and how often one follows.
    pub fn new(look: Look, every: Duration) -> Screen {
        let patience = every + Duration::from_secs(2);
        Screen { size: (0, 0), look, before: None, patience, order: Order::State, above: 0 }
    }

    /// The next look.
    pub fn show(&mut self, look: Look) {
        self.before = Some(std::mem::replace(&mut self.look, look));
    }

    /// Does what a key is for.
    pub fn press(&mut self, key: KeyCode) {
        let page = self.room();
        let last = self.members().len().saturating_sub(page);
        self.above = match key {
            KeyCode::Down | KeyCode::Char('j') => self.above + 1,
            KeyCode::Up | KeyCode::Char('k') => self.above.saturating_sub(1),
            KeyCode::PageDown | KeyCode::Char(' ') => self.above + page,
            KeyCode::PageUp => self.above.saturating_sub(page),
            KeyCode::Home => 0,
            KeyCode::End => last,
            KeyCode::Char('o') => {
                self.order = self.order.next();
                0
            }
            _ => self.above,
        };
        self.above = self.above.min(last);
    }

    /// For so many members there is room.
    fn room(&self) -> usize {
        usize::from(self.size.1).saturating_sub(HEAD_LINES + FOOT_LINES)
    }

    fn members(&self) -> &[Value] {
        self.look.members.as_array().map_or(&[], Vec::as_slice)
    }

    /// The whole screen: as many lines as it has rows, none wider than it.
    pub fn lines(&self, now: Instant) -> Vec<String> {
        let (width, height) = (usize::from(self.size.0), usize::from(self.size.1));
        let mut members: Vec<&Value> = self.members().iter().collect();
        members.sort_by(|a, b| self.compare(a, b));
        // Of the columns' widths every member decides, so that they stay where they are as one scrolls.
        let mut rows = vec![commands::member_heading()];
        rows.extend(members.iter().map(|member| commands::member(member)));
        let mut table = table::lines(&rows, width).into_iter();
        let mut lines = vec![self.counts(width), self.traffic(width), self.notice(now, width)];
        lines.extend(table.next());
        let above = self.above.min(members.len().saturating_sub(self.room()));
        lines.extend(table.skip(above).take(self.room()));
        lines.resize(height.saturating_sub(FOOT_LINES), String::new());
        lines.push(self.foot(above, width));
        lines.truncate(height);
        lines
    }

    /// How many there are in each state, and whose view this is.
    fn counts(&self, width: usize) -> String {
        let mut cells = vec![Cell::left("grapevine").styled(table::HEADING)];
        for state in ["alive", "failed", "left", "known"] {
            let count = self.members().iter().filter(|member| member["state"] == state).count();
            let style = if count > 0 { table::state_style(state) } else { Style::new() };
            cells.push(Cell::left(format!("{count} {state}")).styled(style));
        }
        let own = self.members().iter().find(|member| member["self"] == true);
        let peer = own.and_then(|own| own["peer"].as_str()).map(printable).unwrap_or_default();
        let before: usize = cells.iter().map(|cell| cell.text.chars().count() + 2).sum();
        cells.push(Cell::left(table::end_of(&peer, width.saturating_sub(before))));
        table::lines(&[cells], width).concat()
    }

    fn traffic(&self, width: usize) -> String {
        let refused = self.look.stats["refused"].as_object().into_iter().flatten();
        let refused: u64 = refused.filter_map(|(_, count)| count.as_u64()).sum();
        let cells = [
            format!("received {}", self.rate("bytes_received")),
            format!("sent {}", self.rate("bytes_sent")),
            format!("rounds {}", self.look.stats["rounds"]),
            format!("refused {refused}"),
        ];
        table::lines(&[cells.map(Cell::left).to_vec()], width).concat()
    }

    /// That what is shown is old, if it is.
    fn notice(&self, now: Instant, width: usize) -> String {
        let age = now.saturating_duration_since(self.look.at);
        if age < self.patience {
            return String::new();
        }
        let text = format!("the agent has not answered for {}", plain::age(age));
        table::lines(&[vec![Cell::left(text).styled(AnsiColor::Red.on_default().bold())]], width).concat()
    }

    fn foot(&self, above: usize, width: usize) -> String {
        let (all, shown) = (self.members().len(), self.room().min(self.members().len() - above));
        let place = if shown < all { format!("{}–{} of {all}  ", above + 1, above + shown) } else { String::new() };
        let text = format!("{place}q ends  o order: {}  ↑ ↓ PgUp PgDn Home End scroll", self.order.name());
        let cut: String = text.chars().take(width).collect();
        table::lines(&[vec![Cell::left(cut).styled(Style::new().dimmed())]], width).concat()
    }

    /// How much of something there was in a second, between the last two looks.
    fn rate(&self, name: &str) -> String {
        let now = self.look.stats[name].as_u64().unwrap_or_default();
        let Some(before) = &self.before else { return "–".to_owned() };
        let seconds = (self.look.at - before.at).as_secs_f64().max(0.001);
        let change = now.saturating_sub(before.stats[name].as_u64().unwrap_or_default());
        format!("{}/s", plain::bytes((change as f64 / seconds) as u64))
    }

    fn compare(&self, a: &Value, b: &Value) -> Ordering {
        let number = |of: &Value, field: &str| of[field].as_f64().unwrap_or_default();
        let by = |field: &str| number(b, field).total_cmp(&number(a, field));
        match self.order {
            Order::State => rank(a).cmp(&rank(b)),
            // As the agent lists them.
            Order::Peer => Ordering::Equal,
            Order::Phi => by("phi"),
            Order::Traffic => by("bytes_received"),
        }
    }
}

fn rank(member: &Value) -> usize {
    let order = ["failed", "known", "alive", "left"];
    order.iter().position(|state| member["state"] == *state).unwrap_or(order.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn look(at: Instant, members: usize, bytes: u64) -> Look {
        let state = |n: usize| ["alive", "failed", "known", "left"][n % 4];
        let member = |n: usize| {
            json!({"peer": format!("[2001:db8::{n:x}]:9000"), "state": state(n), "phi": n, "age_ms": 700, "version": n,
                   "keys": n, "self": n == 0, "bytes_received": n * 1_000, "bytes_sent": 5})
        };
        let members = (0..members).map(member).collect();
        let stats =
            json!({"rounds": 7, "bytes_received": bytes, "bytes_sent": 0, "refused": {"foreign": 2, "malformed": 3}});
        Look { at, members, stats }
    }

    fn screen(size: (u16, u16), members: usize) -> Screen {
        Screen { size, ..Screen::new(look(Instant::now(), members, 0), SECOND) }
    }

    /// Without the escapes of colours.
    fn plain(screen: &Screen, after: Duration) -> Vec<String> {
        let lines = screen.lines(screen.look.at + after);
        lines.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect()
    }

    fn lines(screen: &Screen) -> Vec<String> {
        plain(screen, Duration::ZERO)
    }

    #[test]
    fn it_fits_the_terminal() {
        for size in [(80, 24), (200, 50), (20, 6), (1, 1), (0, 0)] {
            let lines = plain(&screen(size, 100), 9 * SECOND);
            assert_eq!(lines.len(), usize::from(size.1));
            assert!(lines.iter().all(|line| line.chars().count() <= usize::from(size.0)), "{size:?} {lines:?}");
        }
    }

    #[test]
    fn it_tells_of_states_traffic_and_silence() {
        let mut screen = screen((80, 24), 3);
        let before = lines(&screen);
        assert_eq!(before[0], "grapevine  1 alive  1 failed  0 left  1 known  [2001:db8::0]:9000");
        assert_eq!(before[1], "received –  sent –  rounds 7  refused 5");
        screen.show(look(screen.look.at + 2 * SECOND, 3, 2_000));
        assert_eq!(lines(&screen)[1], "received 1.00 kB/s  sent 0 B/s  rounds 7  refused 5");
        assert_eq!(plain(&screen, 2 * SECOND)[2], "");
        assert_eq!(plain(&screen, 4 * SECOND)[2], "the agent has not answered for 4.0 s");
    }

    #[test]
    fn keys_scroll_and_order() {
        let mut screen = screen((80, 15), 40);
        let place = |screen: &Screen| lines(screen)[14].split("  ").next().map(str::to_owned).unwrap();
        assert_eq!(place(&screen), "1–10 of 40");
        assert!(lines(&screen)[4..14].iter().all(|line| line.contains("failed")), "those first that want attention");
        screen.press(KeyCode::PageDown);
        assert_eq!(place(&screen), "11–20 of 40");
        screen.press(KeyCode::End);
        screen.press(KeyCode::Down);
        assert_eq!(place(&screen), "31–40 of 40");
        screen.press(KeyCode::Char('o'));
        assert!(lines(&screen)[4].starts_with("[2001:db8::0]:9000 *"));
        assert!(lines(&screen)[14].contains("order: peer"));
        screen.press(KeyCode::Char('o'));
        assert!(lines(&screen)[4].starts_with("[2001:db8::27]:9000"));
    }
}
