//! What people are shown: an event a line, and values that cannot play tricks on their terminal.

use std::time::Duration;

use serde_json::Value;

/// An event of the line protocol in one line.
pub fn event(event: &Value) -> String {
    let text = |field: &str| event[field].as_str().map(printable);
    let number = |field: &str| event[field].as_u64();
    let mut parts = Vec::new();
    parts.extend(text("peer"));
    match (text("key"), &event["value"]) {
        (Some(key), Value::Null) => parts.push(key),
        (Some(key), value) => parts.push(format!("{key} = {}", printable(&value.to_string()))),
        (None, _) => {}
    }
    parts.extend(number("ttl_ms").map(|ttl| format!("for {}", duration(Duration::from_millis(ttl)))));
    parts.extend(event["phi"].as_f64().map(|phi| format!("phi {phi:.1}")));
    parts.extend(text("addr").map(|addr| format!("from {addr}")));
    parts.extend(text("cluster").map(|cluster| format!("cluster {cluster}")));
    parts.extend(text("control").map(|control| format!("control {control}")));
    parts.extend(number("count").map(|count| format!("{count} events; read the state afresh")));
    parts.extend(text("message"));
    format!("{:<16} {}", text("event").unwrap_or_default(), parts.join("  ")).trim_end().to_owned()
}

/// Text without control characters: they are shown as their escapes.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A time in its two largest units at most.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A number of bytes to three digits.
pub fn bytes(count: u64) -> String {
    let mut count = count as f64;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if count < 999.5 {
            let digits = usize::from(unit != "B" && count < 99.95) + usize::from(unit != "B" && count < 9.995);
            return format!("{count:.digits$} {unit}");
        }
        count /= 1_000.0;
    }
    format!("{count:.0} PB")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_lines() {
        let update = json!({"event": "update", "peer": "127.0.0.1:1", "key": "a", "value": {"x": 1}, "ttl_ms": 1500});
        assert_eq!(event(&update), "update           127.0.0.1:1  a = {\"x\":1}  for 1.5 s");
        assert_eq!(event(&json!({"event": "missed", "count": 7})), "missed           7 events; read the state afresh");
        assert_eq!(event(&json!({"event": "stopped"})), "stopped");
        let evil = json!({"event": "delete", "peer": "127.0.0.1:1", "key": "\u{1b}[2J\n\u{9b}x"});
        assert_eq!(event(&evil), "delete           127.0.0.1:1  \\u{1b}[2J\\n\\u{9b}x");
    }

    #[test]
    fn figures_are_short() {
        let shown = [0, 999, 1_000, 9_999, 99_999, 999_400, 999_600, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "999 B", "1.00 kB", "10.0 kB", "100 kB", "999 kB", "1.00 MB", "18447 PB"]);
        let shown = [0, 9_940, 10_000, 60_000, 3_700_000, 90_000_000].map(|ms| duration(Duration::from_millis(ms)));
        assert_eq!(shown, ["0.0 s", "9.9 s", "10 s", "1 min 0 s", "1 h 1 min", "1 d 1 h"]);
    }
}
