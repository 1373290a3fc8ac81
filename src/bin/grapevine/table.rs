//! Aligned columns, coloured where that is wanted.

use anstyle::{AnsiColor, Style};

/// One cell: its text, and how it looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    pub text: String,
    pub style: Style,
    pub to_the_right: bool,
}

impl Cell {
    pub fn left(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), ..Cell::default() }
    }

    pub fn right(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), to_the_right: true, ..Cell::default() }
    }

    pub fn styled(self, style: Style) -> Cell {
        Cell { style, ..self }
    }

    /// The text, filled up to a width.
    fn filled(&self, width: usize) -> String {
        let fill = " ".repeat(width.saturating_sub(self.text.chars().count()));
        if self.to_the_right { fill + &self.text } else { self.text.clone() + &fill }
    }
}

/// How a member's state looks.
pub fn state_style(state: &str) -> Style {
    match state {
        "alive" => AnsiColor::Green.on_default(),
        "failed" => AnsiColor::Red.on_default().bold(),
        "known" => AnsiColor::Yellow.on_default(),
        _ => Style::new().dimmed(),
    }
}

/// The heading's style.
pub const HEADING: Style = Style::new().bold();

/// Lines of cells under each other, two spaces between columns, with the escapes of their styles. A wider line is cut.
pub fn lines(rows: &[Vec<Cell>], max_width: usize) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter().map(|row| line(row, &widths, max_width)).collect()
}

fn line(row: &[Cell], widths: &[usize], max_width: usize) -> String {
    let mut line = String::new();
    let mut room = max_width;
    for (n, (cell, width)) in row.iter().zip(widths).enumerate() {
        let gap = if n == 0 { 0 } else { 2.min(room) };
        line.push_str(&" ".repeat(gap));
        room -= gap;
        let mut text: String = cell.filled(*width).chars().take(room).collect();
        room -= text.chars().count();
        if n + 1 == row.len() {
            text.truncate(text.trim_end().len());
        }
        if cell.style.is_plain() || text.trim().is_empty() {
            line.push_str(&text);
        } else {
            line.push_str(&format!("{}{text}{}", cell.style.render(), cell.style.render_reset()));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_cut() {
        let rows = [
            vec![Cell::left("PEER"), Cell::right("KEYS"), Cell::left("STATE")],
            vec![Cell::left("127.0.0.1:9000"), Cell::right("7"), Cell::left("alive").styled(state_style("alive"))],
        ];
        let wide = lines(&rows, 80);
        assert_eq!(wide[0], "PEER            KEYS  STATE");
        assert_eq!(wide[1], "127.0.0.1:9000     7  \u{1b}[32malive\u{1b}[0m");
        assert_eq!(lines(&rows, 24)[0], "PEER            KEYS  ST");
        assert_eq!(lines(&rows, 17)[1], "127.0.0.1:9000   ");
        assert_eq!(lines(&[], 10), [""; 0]);
    }
}
