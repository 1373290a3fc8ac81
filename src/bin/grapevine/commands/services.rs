//! `services` and `act`, and what `stats` says of services.

use std::time::Duration;

use grapevine::service::{IntoMessage, ServiceConfig};
use serde_json::{Map, Value};

use super::{aligned, counters, json as shown_json, print};
use crate::args::ClientArgs;
use crate::client::Client;
use crate::failure::Failure;
use crate::json;
use crate::plain::{self, printable};
use crate::protocol::milliseconds;
use crate::table::{self, Cell};

/// A call as the command line has it.
pub struct Call<'a> {
    pub pattern: &'a str,
    pub message: Option<&'a str>,
    pub timeout: Option<Duration>,
    pub idempotent: bool,
    pub shard: Option<String>,
}

/// Who offers what, a pattern a line.
pub fn list(reply: &Map<String, Value>) -> Vec<String> {
    let mut rows = vec![heading(&["PEER", "ADDRESS", "PATTERN"], &[])];
    for service in reply.get("services").and_then(Value::as_array).into_iter().flatten() {
        let mark = if service["self"] == true { " *" } else { "" };
        let peer = service["peer"].as_str().map_or("-".to_owned(), |peer| format!("{}{mark}", printable(peer)));
        let addr = printable(service["addr"].as_str().unwrap_or_default());
        for pattern in service["patterns"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            rows.push([&peer, &addr, &printable(pattern)].map(Cell::left).to_vec());
        }
    }
    aligned(&rows)
}

/// Calls an action, and prints its result.
pub fn act(call: Call<'_>, args: &ClientArgs) -> Result<(), Failure> {
    let message = message(call.pattern, call.message)?;
    let mut client = Client::connect(args.agent.control.as_deref())?;
    let own =
        message["timeout$"].as_f64().and_then(|milliseconds| Duration::try_from_secs_f64(milliseconds / 1e3).ok());
    client.allow(call.timeout.or(own).unwrap_or(ServiceConfig::default().timeout))?;
    let fields = [
        ("message", message),
        ("timeout_ms", call.timeout.map(milliseconds).into()),
        ("idempotent", call.idempotent.into()),
        ("shard", call.shard.into()),
    ];
    let reply = client.exchange("act", &fields)?;
    print(args, reply, failure, |reply| vec![shown_json(reply.get("result").cloned().unwrap_or_default())])
}

fn failure(error: &Value) -> Failure {
    let text = |field: &str| error[field].as_str().unwrap_or_default();
    let told = format!("{} ({})", text("message"), text("code"));
    if text("code") == "invalid_message" { Failure::Usage(told) } else { Failure::Failed(told) }
}

/// The message; where both name a key the pattern's value counts.
fn message(pattern: &str, message: Option<&str>) -> Result<Value, Failure> {
    let object = match message.map(|text| json::parse(text.as_bytes())) {
        None => Map::new().into(),
        Some(Ok(object @ Value::Object(_))) => object,
        Some(Ok(_)) => return Err(Failure::Usage("JSON: it is no object, like '{\"left\": 2}'".to_owned())),
        Some(Err(error)) => return Err(Failure::Usage(format!("JSON: it cannot be read: {error}"))),
    };
    let message = (pattern, object).into_message();
    message.map(Value::Object).map_err(|error| Failure::Usage(error.to_string()))
}

/// The counters of the service, and how calls to each provider went.
pub fn stats(stats: &Value) -> Vec<String> {
    let mut rows = Vec::new();
    for (name, value) in stats.as_object().into_iter().flatten() {
        match (name.as_str(), name.strip_suffix("_us")) {
            ("providers", _) => {}
            (_, Some(name)) => rows.extend(times(name, value)),
            (name, None) => rows.extend(counters(&format!("service {name}"), value)),
        }
    }
    let mut lines = aligned(&rows);
    let providers = stats["providers"].as_array().into_iter().flatten();
    let mut rows = vec![heading(&["PROVIDER"], &["CALLS", "UNANSWERED", "IN FLIGHT", "CONNECTIONS", "RESTS"])];
    rows.extend(providers.map(provider));
    if rows.len() > 1 {
        lines.push(String::new());
        lines.extend(aligned(&rows));
    }
    lines
}

/// Percentiles, where anything was measured.
fn times(name: &str, value: &Value) -> Vec<Vec<Cell>> {
    let times = value.as_object().into_iter().flatten().filter(|_| value["max"] != 0);
    let row = |(percentile, micros): (&String, &Value)| {
        let time = Duration::from_micros(micros.as_u64().unwrap_or_default());
        vec![Cell::left(format!("service {name} time {percentile}")), Cell::right(format!("{time:.1?}"))]
    };
    times.map(row).collect()
}

fn provider(provider: &Value) -> Vec<Cell> {
    let number = |field: &str| provider[field].as_u64().unwrap_or_default();
    let rests = match number("resting_ms") {
        0 => String::new(),
        rests => plain::duration(Duration::from_millis(rests)),
    };
    let mut cells = vec![Cell::left(printable(provider["addr"].as_str().unwrap_or_default()))];
    cells.extend(
        ["calls", "unanswered", "in_flight", "connections"].map(|field| Cell::right(number(field).to_string())),
    );
    cells.push(Cell::right(rests));
    cells
}

fn heading(texts: &[&str], numbers: &[&str]) -> Vec<Cell> {
    let texts = texts.iter().map(|text| Cell::left(*text));
    let cells = texts.chain(numbers.iter().map(|text| Cell::right(*text)));
    cells.map(|cell| cell.styled(table::HEADING)).collect()
}
