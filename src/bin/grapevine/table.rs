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

    /// The text at this width.
    fn filled(&self, width: usize) -> String {
        let text = end_of(&self.text, width);
        let fill = " ".repeat(width - text.chars().count());
        if self.to_the_right { fill + &text } else { text + &fill }
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

/// Between columns.
const GAP: usize = 2;
/// The first column, which says what a line is about, keeps so much of its end: `255.255.255.255:65535`.
const MIN_FIRST: usize = 21;

/// Lines of cells under each other, with the escapes of their styles. Where they would be too wide, first the cells of the first column
/// lose their beginnings, then the last columns are left out: half a number would be another number.
pub fn lines(rows: &[Vec<Cell>], max_width: usize) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count()).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..columns).map(width).collect();
    fit(&mut widths, max_width);
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn fit(widths: &mut Vec<usize>, max_width: usize) {
    let Some(first) = widths.first().copied() else { return };
    let others = |widths: &[usize]| widths[1..].iter().map(|width| GAP + width).sum::<usize>();
    while widths.len() > 1 && first.min(MIN_FIRST) + others(widths) > max_width {
        widths.pop();
    }
    widths[0] = first.min(max_width - others(widths));
}

fn line(row: &[Cell], widths: &[usize]) -> String {
    let mut line = String::new();
    for (n, (cell, width)) in row.iter().zip(widths).enumerate() {
        let gap = if n == 0 { 0 } else { GAP };
        line.push_str(&" ".repeat(gap));
        let mut text = cell.filled(*width);
        if n + 1 == row.len() {
            text.truncate(text.trim_end().len());
        }
        if cell.style.is_plain() || text.trim().is_empty() {
            line.push_str(&text);
        } else {
            line.push_str(&format!("{}{text}{}", cell.style.render(), cell.style.render_reset()));
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// The end of a text that is too long.
pub fn end_of(text: &str, max_width: usize) -> String {
    let length = text.chars().count();
    match length.saturating_sub(max_width) {
        0 => text.to_owned(),
        cut => "…".chars().take(max_width).chain(text.chars().skip(cut + 1)).collect(),
    }
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
        assert_eq!(lines(&[], 10), [""; 0]);
        let rows = [vec![Cell::left("A").styled(HEADING)], vec![Cell::left("longer")]];
        assert_eq!(lines(&rows, 80), ["\u{1b}[1mA\u{1b}[0m", "longer"]);
    }

    #[test]
    fn a_narrow_table_shows_ends_of_names_and_whole_columns() {
        let row = |peer: &str| vec![Cell::left(peer), Cell::right("1234"), Cell::right("56")];
        let rows = [row("[2001:db8::1:2:3]:9000"), row("10.0.0.7:9000")];
        assert_eq!(lines(&rows, 32), ["[2001:db8::1:2:3]:9000  1234  56", "10.0.0.7:9000           1234  56"]);
        assert_eq!(lines(&rows, 31), ["…001:db8::1:2:3]:9000  1234  56", "10.0.0.7:9000          1234  56"]);
        assert_eq!(lines(&rows, 30), ["[2001:db8::1:2:3]:9000  1234", "10.0.0.7:9000           1234"]);
        assert_eq!(lines(&rows, 26), ["[2001:db8::1:2:3]:9000", "10.0.0.7:9000"]);
        assert_eq!(lines(&rows, 10), ["…2:3]:9000", "….0.7:9000"]);
        assert_eq!(lines(&rows, 0), ["", ""]);
    }
}
