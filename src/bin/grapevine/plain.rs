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
        (Some(key), value) => parts.push(format!("{key} = {}", printable_json(value.to_string()))),
        (None, _) => {}
    }
    parts.extend(number("ttl_ms").map(|ttl| format!("for {}", duration(Duration::from_millis(ttl)))));
    parts.extend(event["phi"].as_f64().map(|phi| format!("phi {phi:.1}")));
    let patterns = event["patterns"].as_array();
    let at = if patterns.is_some() { "at" } else { "from" };
    parts.extend(text("addr").map(|addr| format!("{at} {addr}")));
    parts.extend(patterns.into_iter().flatten().filter_map(Value::as_str).map(printable));
    parts.extend(text("cluster").map(|cluster| format!("cluster {cluster}")));
    parts.extend(text("control").map(|control| format!("control {control}")));
    parts.extend(text("listen").map(|listen| format!("listen {listen}")));
    parts.extend(text("listen_plain").map(|listen| format!("listen_plain {listen}")));
    parts.extend(number("count").map(|count| format!("{count} events; read the state afresh")));
    parts.extend(text("message"));
    format!("{:<16} {}", text("event").unwrap_or_default(), parts.join("  ")).trim_end().to_owned()
}

/// Text without characters that act on a terminal: they are shown as their escapes.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The same for JSON, in one line, which stays the same JSON: serde leaves some of them as they are. Only strings can have any but white
/// space, which is outside of them where it is not escaped.
pub fn printable_json(json: String) -> String {
    if !json.contains(acts) {
        return json;
    }
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\t' | '\n' | '\r' => shown.push(' '),
            c if acts(c) => shown.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => shown.push(c),
        }
    }
    shown
}

/// Control characters, and those that end lines or turn the direction of writing.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A time in its two largest units at most.
pub fn duration(time: Duration) -> String {
    let seconds = whole_seconds(time);
    match seconds {
        _ if time < Duration::from_secs(1) => format!("{} ms", time.as_millis()),
        _ if time < Duration::from_millis(9_950) => format!("{:.1} s", time.as_secs_f64()),
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Rounded: of a life of a minute that was just set somewhere, 59.999 s are left.
fn whole_seconds(time: Duration) -> u64 {
    time.saturating_add(Duration::from_millis(500)).as_secs()
}

/// How long ago something was, in one unit.
pub fn age(time: Duration) -> String {
    let seconds = whole_seconds(time);
    match seconds {
        0..60 => duration(time),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A level of suspicion. It goes on growing after it has said what there is to say.
pub fn phi(phi: f64) -> String {
    match phi {
        ..99.95 => format!("{phi:.1}"),
        ..999.5 => format!("{phi:.0}"),
        _ => ">999".to_owned(),
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
        let offered = json!({"event": "service_offered", "peer": "127.0.0.1:1", "addr": "127.0.0.1:2", "patterns": ["a:1", "b:\"\u{1b}\""]});
        assert_eq!(event(&offered), "service_offered  127.0.0.1:1  at 127.0.0.1:2  a:1  b:\"\\u{1b}\"");
        let evil = json!({"event": "delete", "peer": "127.0.0.1:1", "key": "\u{1b}[2J\n\u{9b}x\u{202e}ü"});
        assert_eq!(event(&evil), "delete           127.0.0.1:1  \\u{1b}[2J\\n\\u{9b}x\\u{202e}ü");
    }

    #[test]
    fn json_stays_what_it_is() {
        let value = json!({"a\u{9b}": ["\u{7f}\u{1b}\n", "ü\u{202e}"]});
        let shown = printable_json(value.to_string());
        assert_eq!(shown, r#"{"a\u009b":["\u007f\u001b\n","ü\u202e"]}"#);
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
        // What is handed on as it was written may have white space between its parts.
        assert_eq!(printable_json("{\n\t\"a\":\r\n [1,\t2]\u{20}}".to_owned()), "{  \"a\":   [1, 2] }");
    }

    #[test]
    fn figures_are_short() {
        let shown = [0, 999, 1_000, 9_999, 99_999, 999_400, 999_600, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "999 B", "1.00 kB", "10.0 kB", "100 kB", "999 kB", "1.00 MB", "18447 PB"]);
        let short = [0, 40, 999, 1_000, 9_949, 9_950, 59_499].map(Duration::from_millis);
        assert_eq!(short.map(duration), ["0 ms", "40 ms", "999 ms", "1.0 s", "9.9 s", "10 s", "59 s"]);
        assert_eq!(short.map(age), short.map(duration));
        assert_eq!(duration(Duration::from_micros(999_999)), "999 ms");
        let long = [59_999, 3_700_000, 90_000_000].map(Duration::from_millis);
        assert_eq!(long.map(duration), ["1 min 0 s", "1 h 1 min", "1 d 1 h"]);
        assert_eq!(long.map(age), ["1 min", "1 h", "1 d"]);
        assert_eq!([0.0, 8.04, 99.94, 99.96, 999.4, 1e7].map(phi), ["0.0", "8.0", "99.9", "100", "999", ">999"]);
    }
}
