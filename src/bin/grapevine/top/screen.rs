//! What `top` shows, as lines of text.

use std::cmp::Ordering;
use std::time::Instant;

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

impl Default for Look {
    fn default() -> Self {
        Look { at: Instant::now(), members: Value::Null, stats: Value::Null }
    }
}

/// Everything that decides what is shown.
#[derive(Default)]
pub struct Screen {
    pub look: Look,
    /// The look before, for what happens in a second.
    pub before: Option<Look>,
    /// Columns and rows.
    pub size: (u16, u16),
    order: Order,
    /// How many members are above the window.
    above: usize,
}

/// By what the members are in order.
#[derive(Clone, Copy, Default, PartialEq)]
enum Order {
    #[default]
    Peer,
    /// Those first that want attention.
    State,
    Phi,
    Traffic,
}

impl Order {
    const ALL: [(Order, &str); 4] =
        [(Order::Peer, "peer"), (Order::State, "state"), (Order::Phi, "phi"), (Order::Traffic, "bytes")];

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
    /// Does what a key is for.
    pub fn press(&mut self, key: KeyCode) {
        let page = self.room();
        self.above = match key {
            KeyCode::Down | KeyCode::Char('j') => self.above + 1,
            KeyCode::Up | KeyCode::Char('k') => self.above.saturating_sub(1),
            KeyCode::PageDown | KeyCode::Char(' ') => self.above + page,
            KeyCode::PageUp => self.above.saturating_sub(page),
            KeyCode::Home => 0,
            KeyCode::End => usize::MAX,
            KeyCode::Char('o') => {
                self.order = self.order.next();
                0
            }
            _ => self.above,
        };
        self.above = self.above.min(self.members().len().saturating_sub(page));
    }

    /// For so many members there is room.
    fn room(&self) -> usize {
        usize::from(self.size.1).saturating_sub(HEAD_LINES + FOOT_LINES)
    }

    fn members(&self) -> &[Value] {
        self.look.members.as_array().map_or(&[], Vec::as_slice)
    }

    /// The whole screen, at most as many lines as it has rows and none wider than it.
    pub fn lines(&self) -> Vec<String> {
        let (width, height) = (usize::from(self.size.0), usize::from(self.size.1));
        let mut members: Vec<&Value> = self.members().iter().collect();
        members.sort_by(|a, b| self.compare(a, b));
        let above = self.above.min(members.len().saturating_sub(self.room()));
        let shown = &members[above..members.len().min(above + self.room())];
        let mut lines = self.head(width);
        let mut rows = vec![commands::member_heading()];
        rows.extend(shown.iter().map(|member| commands::member(member)));
        lines.extend(table::lines(&rows, width));
        lines.resize(height.saturating_sub(FOOT_LINES), String::new());
        let place = match members.len() - shown.len() {
            0 => String::new(),
            _ => format!("{}–{} of {}  ", above + 1, above + shown.len(), members.len()),
        };
        let foot = format!("{place}q ends  o order: {}  ↑ ↓ scroll", self.order.name());
        lines.push(cut(&foot, width));
        lines.truncate(height);
        lines
    }

    fn head(&self, width: usize) -> Vec<String> {
        let count = |state: &str| self.members().iter().filter(|member| member["state"] == state).count();
        let me = self.members().iter().find(|member| member["self"] == true);
        let peer = me.and_then(|me| me["peer"].as_str()).map(printable).unwrap_or_default();
        let stat = |name: &str| self.look.stats[name].as_u64().unwrap_or_default();
        let states = ["alive", "failed", "left", "known"].map(|state| {
            let cell = Cell::left(format!("{} {state}", count(state)));
            if count(state) > 0 { cell.styled(table::state_style(state)) } else { cell }
        });
        let traffic = format!(
            "in {}  out {}  rounds {}  refused {}",
            self.rate("bytes_received"),
            self.rate("bytes_sent"),
            stat("rounds"),
            self.look.stats["refused"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum::<u64>(),
        );
        let mut first = vec![Cell::left(format!("grapevine {peer}")).styled(table::HEADING)];
        first.extend(states);
        let mut lines = table::lines(&[first], width);
        lines.push(cut(&traffic, width));
        lines.push(String::new());
        lines
    }

    /// How much of something there was in a second, between the last two looks.
    fn rate(&self, name: &str) -> String {
        let now = self.look.stats[name].as_u64().unwrap_or_default();
        let Some(before) = &self.before else { return plain::bytes(now) };
        let seconds = (self.look.at - before.at).as_secs_f64().max(0.001);
        let change = now.saturating_sub(before.stats[name].as_u64().unwrap_or_default());
        format!("{}/s", plain::bytes((change as f64 / seconds) as u64))
    }

    fn compare(&self, a: &Value, b: &Value) -> Ordering {
        let number = |of: &Value, field: &str| of[field].as_f64().unwrap_or_default();
        let by = |field: &str| number(b, field).total_cmp(&number(a, field));
        match self.order {
            // As the agent lists them.
            Order::Peer => Ordering::Equal,
            Order::State => rank(a).cmp(&rank(b)),
            Order::Phi => by("phi"),
            Order::Traffic => by("bytes_received"),
        }
    }
}

fn rank(member: &Value) -> usize {
    let order = ["failed", "known", "left", "alive"];
    order.iter().position(|state| member["state"] == *state).unwrap_or(order.len())
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn screen(size: (u16, u16), members: usize) -> Screen {
        let state = |n: usize| ["alive", "failed", "known", "left"][n % 4];
        let member = |n: usize| {
            json!({"peer": format!("127.0.0.1:{}", 9_000 + n), "state": state(n), "phi": n, "age_ms": 700, "version": n,
                   "keys": n, "self": n == 0, "bytes_received": n * 1_000, "bytes_sent": 5})
        };
        let members = (0..members).map(member).collect();
        let stats = json!({"rounds": 7, "bytes_received": 2_000, "refused": {"foreign": 2, "malformed": 3}});
        Screen { look: Look { members, stats, ..Look::default() }, size, ..Screen::default() }
    }

    /// Without the escapes of colours.
    fn plain(screen: &Screen) -> Vec<String> {
        screen.lines().iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect()
    }

    #[test]
    fn it_fits_the_terminal() {
        for size in [(80, 24), (200, 50), (20, 6), (1, 1), (0, 0)] {
            let lines = plain(&screen(size, 100));
            assert_eq!(lines.len(), usize::from(size.1));
            assert!(lines.iter().all(|line| line.chars().count() <= usize::from(size.0)), "{size:?} {lines:?}");
        }
        let lines = plain(&screen((80, 24), 3));
        assert!(lines[0].starts_with("grapevine 127.0.0.1:9000  1 alive  1 failed"), "{}", lines[0]);
        assert!(lines[1].contains("refused 5"), "{}", lines[1]);
        assert!(lines[5].starts_with("127.0.0.1:9001    failed"), "{}", lines[5]);
    }

    #[test]
    fn keys_scroll_and_order() {
        let mut screen = screen((80, 15), 40);
        assert!(plain(&screen)[14].starts_with("1–10 of 40"));
        screen.press(KeyCode::PageDown);
        assert!(plain(&screen)[14].starts_with("11–20 of 40"));
        screen.press(KeyCode::End);
        screen.press(KeyCode::Down);
        assert!(plain(&screen)[14].starts_with("31–40 of 40"));
        screen.press(KeyCode::Char('o'));
        let lines = plain(&screen);
        assert!(lines[4].contains("failed") && lines[13].contains("failed"), "{lines:?}");
        assert!(lines[14].contains("order: state"));
        screen.press(KeyCode::Char('o'));
        assert!(plain(&screen)[4].starts_with("127.0.0.1:9039"));
    }
}
