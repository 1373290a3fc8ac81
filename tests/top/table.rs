//! The table of members, read as a person does: by where its columns are.

use std::ops::Range;

/// A member's line.
#[derive(Debug)]
pub struct Row {
    pub peer: String,
    pub state: String,
    pub phi: String,
    pub seen: String,
    pub version: String,
    pub keys: String,
    pub received: String,
    pub sent: String,
}

const HEADING: [&str; 8] = ["PEER", "STATE", "PHI", "SEEN", "VERSION", "KEYS", "RECEIVED", "SENT"];
/// The first two columns begin where their heading does, the others end there.
const TEXTS: usize = 2;

/// The members on a screen, every cell of which has to be under its heading. Of the node itself the bytes, for one, are not known: such a
/// cell is blank. `None` if it is not so, which it is not while the screen is being drawn.
pub fn rows(screen: &[String]) -> Option<Vec<Row>> {
    let heading = screen.iter().position(|line| line.starts_with(HEADING[0]))?;
    let columns = cells(&screen[heading]);
    if !columns.iter().map(|(_, text)| text.as_str()).eq(HEADING) {
        return None;
    }
    let table = screen[heading + 1..].iter().take_while(|line| !line.is_empty() && !line.contains("q ends"));
    table.map(|line| row(line, &columns)).collect()
}

fn row(line: &str, columns: &[(Range<usize>, String)]) -> Option<Row> {
    let mut texts: [String; HEADING.len()] = Default::default();
    for (place, text) in cells(line) {
        let is_under = |n: &usize| match *n {
            0..TEXTS => columns[*n].0.start == place.start,
            _ => columns[*n].0.end == place.end,
        };
        texts[(0..columns.len()).find(is_under)?] = text;
    }
    let [peer, state, phi, seen, version, keys, received, sent] = texts;
    Some(Row { peer, state, phi, seen, version, keys, received, sent })
}

/// What is two spaces apart, and where.
fn cells(line: &str) -> Vec<(Range<usize>, String)> {
    let chars: Vec<char> = line.chars().collect();
    let mut cells: Vec<(Range<usize>, String)> = Vec::new();
    for (at, c) in chars.iter().enumerate().filter(|(_, c)| **c != ' ') {
        match cells.last_mut() {
            Some((place, text)) if at <= place.end + 1 => {
                text.extend(&chars[place.end..=at]);
                place.end = at + 1;
            }
            _ => cells.push((at..at + 1, c.to_string())),
        }
    }
    cells
}
