//! Seneca's wire: one JSON object a line, from requests to responses and back. The only file that knows its fields.

use std::fmt::{self, Write};
use std::time::Duration;

use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::service::error::{ActError, code};
use crate::service::json;
use crate::service::message::Message;
use crate::sync;

mod errors;

use errors::ErrorSent;
pub(super) use errors::WireError;

/// Ids and instances longer than this, in bytes, are not taken.
const NAME_BYTES: usize = 256;
/// The instances through which a message went, in bytes, that are told back.
const TRACK_BYTES: usize = 4 << 10;
/// A time in milliseconds, as it is written.
const TIME_BYTES: usize = 32;

/// The code of what is no JSON object.
pub(super) const INVALID_JSON: &str = "invalid_json";

/// Twelve characters, as Seneca's ids have them.
pub(super) fn random_name() -> String {
    const CHARACTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rest = u128::from(sync::unpredictable());
    let next = |_| {
        let character = CHARACTERS[(rest % 36) as usize];
        rest /= 36;
        char::from(character)
    };
    (0..12).map(next).collect()
}

/// A request as it came.
pub(super) struct Request<'a> {
    pub(super) envelope: Envelope<'a>,
    /// False if nobody waits for an answer.
    pub(super) sync: bool,
    /// How long the caller waits, if it says so.
    pub(super) timeout: Option<Duration>,
    pub(super) act: &'a RawValue,
}

/// What of a request is told back with the answer.
#[derive(Clone, Copy)]
pub(super) struct Envelope<'a> {
    /// As it is written: a string, or a number.
    id: &'a str,
    origin: Option<&'a RawValue>,
    track: Option<&'a RawValue>,
    sync: Option<&'a RawValue>,
    /// A number.
    client_sent: Option<&'a RawValue>,
}

/// Why a line is no request, and whether its sender can be told.
pub(super) struct Refused<'a> {
    pub(super) code: &'static str,
    pub(super) problem: String,
    pub(super) envelope: Option<Envelope<'a>>,
}

#[derive(Default, Deserialize)]
struct RequestLine<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    origin: Option<&'a RawValue>,
    #[serde(borrow)]
    track: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    sync: Option<&'a RawValue>,
    #[serde(borrow)]
    timeout: Option<&'a RawValue>,
    #[serde(borrow)]
    act: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Time<'a> {
    #[serde(borrow)]
    client_sent: Option<&'a RawValue>,
}

/// What can be read of a line of which only this much came.
fn beginning(line: &[u8]) -> RequestLine<'_> {
    let mut fields = RequestLine::default();
    let line = line.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    // It ends in an error, with what was read before.
    let _ = Fields(&mut fields).deserialize(&mut serde_json::Deserializer::from_str(line));
    fields
}

/// Reads the fields of a line one by one.
struct Fields<'a, 'b>(&'a mut RequestLine<'b>);

impl<'b> DeserializeSeed<'b> for Fields<'_, 'b> {
    type Value = ();

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'b> Visitor<'b> for Fields<'_, 'b> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            let value = Some(fields.next_value::<&RawValue>()?);
            match &*name {
                "id" => self.0.id = value,
                "kind" => self.0.kind = value,
                "origin" => self.0.origin = value,
                "track" => self.0.track = value,
                "time" => self.0.time = value,
                "sync" => self.0.sync = value,
                _ => {}
            }
        }
        Ok(())
    }
}

impl<'a> Envelope<'a> {
    /// `None` if there is no id, or one that cannot be told back.
    fn of(line: &RequestLine<'a>) -> Option<Envelope<'a>> {
        Some(Envelope {
            id: line.id.map(RawValue::get).filter(|id| is_id(id))?,
            origin: line.origin.filter(|origin| origin.get().len() <= NAME_BYTES && origin.get().starts_with('"')),
            track: line.track.filter(|track| track.get().len() <= TRACK_BYTES && track.get().starts_with('[')),
            sync: line.sync.filter(|sync| matches!(sync.get(), "true" | "false")),
            client_sent: line.time.and_then(|time| serde_json::from_str::<Time<'_>>(time.get()).ok()?.client_sent),
        })
    }

    /// Of a request of which only this much came.
    pub(super) fn of_beginning(line: &'a [u8]) -> Option<Envelope<'a>> {
        Envelope::of(&beginning(line))
    }
}

impl<'a> Request<'a> {
    /// Reads a line. `instance` is who reads it: what it sent itself, or what passed through it, is refused.
    pub(super) fn read(line: &'a [u8], instance: &str) -> Result<Request<'a>, Refused<'a>> {
        let line: RequestLine<'a> =
            read_object(line).map_err(|problem| Refused { code: INVALID_JSON, problem, envelope: None })?;
        let no_id = || Refused {
            code: "no_message_id",
            problem: format!("`id` must be a string of 1 to {NAME_BYTES} bytes, or a number"),
            envelope: None,
        };
        let envelope = Envelope::of(&line).ok_or_else(no_id)?;
        let refuse = |code, problem: &str| Refused { code, problem: problem.to_owned(), envelope: Some(envelope) };
        if line.kind.is_none_or(|kind| kind.get() != "\"act\"") {
            return Err(refuse("invalid_kind_act", "`kind` must be \"act\""));
        }
        // Names are written without escapes.
        let names_instance =
            |text: Option<&RawValue>| text.is_some_and(|text| text.get().split('"').any(|name| name == instance));
        if names_instance(envelope.origin) {
            return Err(refuse("own_message", "`origin` is this instance itself"));
        }
        if names_instance(envelope.track) {
            return Err(refuse("message_loop", "`track` says that the message was here before"));
        }
        let act = line.act.ok_or_else(|| refuse("no_data", "`act`, the message, is missing"))?;
        let timeout = line.timeout.and_then(|timeout| serde_json::from_str::<f64>(timeout.get()).ok());
        let timeout = timeout.and_then(|timeout| Duration::try_from_secs_f64(timeout / 1_000.0).ok());
        let sync = envelope.sync.is_none_or(|sync| sync.get() != "false");
        Ok(Request { envelope, sync, timeout, act })
    }

    /// The message, without what is between Seneca and itself: keys that end in `$`.
    pub(super) fn message(&self) -> Result<Message, String> {
        json::check(self.act.get())?;
        let mut message: Message = serde_json::from_str(self.act.get()).map_err(|error| error.to_string())?;
        strip(&mut message);
        Ok(message)
    }
}

/// Takes out every key that ends in `$`: Seneca's own, which are not for handlers.
pub(super) fn strip(message: &mut Message) {
    if message.keys().any(|key| key.ends_with('$')) {
        message.retain(|key, _| !key.ends_with('$'));
    }
}

/// Reads an object; serde alone would take a list of the same values for one.
fn read_object<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, String> {
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err("it is no JSON object".to_owned());
    }
    let line = str::from_utf8(line).map_err(|error| error.to_string())?;
    serde_json::from_str(line).map_err(|error| error.to_string())
}

fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

fn is_id(text: &str) -> bool {
    let fits = text.len() <= NAME_BYTES && text != "\"\"";
    fits && (text.starts_with('"') || is_number(text))
}

/// Writes requests, each a line.
pub(super) struct RequestWriter<'a> {
    pub(super) instance: &'a str,
    /// Milliseconds since 1970.
    pub(super) now: u64,
    /// Whether an answer is waited for.
    pub(super) sync: bool,
    pub(super) timeout: Duration,
}

impl RequestWriter<'_> {
    /// How long the line is at most, without the line feed, in bytes.
    pub(super) fn len(&self, act: &str) -> usize {
        act.len() + 2 * self.instance.len() + 192
    }

    /// `act` is the text of the message.
    pub(super) fn write(&self, id: &str, act: &str) -> Vec<u8> {
        let RequestWriter { instance, now, sync, timeout } = self;
        // Half a millisecond is not none.
        let timeout = timeout.as_micros().div_ceil(1_000);
        let mut line = String::with_capacity(self.len(act) + 1);
        push(&mut line, &[r#"{"id":""#, id, r#"","kind":"act","origin":""#, instance, r#"","track":[""#, instance]);
        // Writing to a string does not fail.
        let _ = write!(line, r#""],"time":{{"client_sent":{now}}},"sync":{sync},"timeout":{timeout},"act":"#);
        push(&mut line, &[act, "}\n"]);
        line.into_bytes()
    }
}

/// What an action came to: the text of its result, or an error.
pub(super) type Outcome = Result<String, ActError>;

impl Envelope<'_> {
    /// The part of a response that is known when the request comes. `received` is in milliseconds since 1970.
    pub(super) fn head(&self, instance: &str, received: u64) -> String {
        let mut head = String::with_capacity(320);
        head.push_str(r#"{"id":"#);
        head.push_str(self.id);
        for (name, value) in [("origin", self.origin), ("track", self.track), ("sync", self.sync)] {
            if let Some(value) = value {
                push(&mut head, &[",\"", name, "\":", value.get()]);
            }
        }
        head.push(',');
        end_head(&mut head, instance, received, self.client_sent);
        head
    }

    /// Names the request among all that were seen: ids alone are chosen by whoever sends them. Where no origin is told it is one of
    /// this connection alone.
    pub(super) fn key(&self, connection: u64) -> String {
        match self.origin {
            Some(origin) => [origin.get(), self.id].concat(),
            None => format!("{connection} {}", self.id),
        }
    }
}

/// The same for a line whose id is not known.
pub(super) fn head_for_nobody(instance: &str, received: u64) -> String {
    let mut head = String::from("{");
    end_head(&mut head, instance, received, None);
    head
}

fn end_head(head: &mut String, instance: &str, received: u64, client_sent: Option<&RawValue>) {
    push(head, &[r#""kind":"res","accept":""#, instance, r#"","time":{"#]);
    if let Some(sent) = client_sent.map(RawValue::get).filter(|sent| sent.len() <= TIME_BYTES && is_number(sent)) {
        push(head, &[r#""client_sent":"#, sent, ","]);
    }
    // Writing to a string does not fail.
    let _ = write!(head, r#""listen_recv":{received},"#);
}

fn push(line: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| line.push_str(part));
}

/// A response, with the line feed, to the request that this head is of. `now` is in milliseconds since 1970.
pub(super) fn answer(head: &str, now: u64, outcome: &Outcome) -> Vec<u8> {
    match outcome {
        Ok(result) => finish(head, now, r#","res":"#, result),
        Err(error) => finish_with_error(head, now, is_not_run(error), &ErrorSent::of(error)),
    }
}

/// Whether the call may be made elsewhere, for nothing was done here.
fn is_not_run(error: &ActError) -> bool {
    match error {
        ActError::NotFound { .. } | ActError::Overloaded { .. } => true,
        ActError::Failed(failure) => failure.is_not_run(),
        _ => false,
    }
}

/// A response to a request that is not taken, or to a line that is none.
pub(super) fn refusal(head: &str, now: u64, code: &str, problem: &str) -> Vec<u8> {
    finish_with_error(head, now, true, &ErrorSent::new(code, problem.to_owned()))
}

/// A response to a request that is longer than so many bytes.
pub(super) fn too_long(head: &str, now: u64, limit: usize) -> Vec<u8> {
    let problem = format!("the limit is {limit} bytes (`line_bytes`)");
    finish_with_error(head, now, true, &ErrorSent::new(code::LINE_TOO_LONG, problem).with_limit(limit))
}

fn finish_with_error(head: &str, now: u64, is_not_run: bool, error: &ErrorSent<'_>) -> Vec<u8> {
    // Strings, numbers and JSON values: none of them can fail.
    let error = serde_json::to_string(error).unwrap_or_else(|_| "{}".to_owned());
    // Beside the error, which clients of Seneca hand on as it is when a handler of theirs, which was run, made the call.
    finish(head, now, if is_not_run { r#","not_run":true,"error":"# } else { r#","error":"# }, &error)
}

fn finish(head: &str, now: u64, name: &str, value: &str) -> Vec<u8> {
    let mut line = String::with_capacity(head.len() + name.len() + value.len() + 48);
    // Writing to a string does not fail.
    let _ = write!(line, r#"{head}"listen_sent":{now}}}"#);
    push(&mut line, &[name, value, "}\n"]);
    line.into_bytes()
}

/// A response as it came.
#[derive(Debug)]
pub(super) struct Response<'a> {
    /// As it is written between its quotes: ours have nothing to escape.
    pub(super) id: &'a str,
    pub(super) outcome: Result<&'a str, WireError>,
}

/// Why a line is no response.
#[derive(Debug)]
pub(super) enum NoResponse {
    /// Something was refused, and it is not known what: the connection is closed next.
    Refusal(String),
    /// The connection must not be used any more, for its keys have changed. Another one may be.
    KeysChanged,
    Junk(String),
}

#[derive(Deserialize)]
struct ResponseLine<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    res: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    not_run: Option<&'a RawValue>,
}

impl<'a> Response<'a> {
    pub(super) fn read(line: &'a [u8]) -> Result<Response<'a>, NoResponse> {
        let line: ResponseLine<'a> = read_object(line).map_err(NoResponse::Junk)?;
        let error = line
            .error
            .map(|error| WireError::read(error.get(), line.not_run.is_some_and(|not_run| not_run.get() == "true")));
        let Some(id) = line.id.and_then(|id| unquoted(id.get())) else {
            return Err(match error.as_ref().and_then(WireError::message) {
                Some(_) if error.as_ref().is_some_and(WireError::says_keys_changed) => NoResponse::KeysChanged,
                Some(refusal) => NoResponse::Refusal(refusal.to_owned()),
                None => NoResponse::Junk("it has no `id`".to_owned()),
            });
        };
        if line.kind.is_none_or(|kind| kind.get() != "\"res\"") {
            return Err(NoResponse::Junk("`kind` is not \"res\"".to_owned()));
        }
        Ok(Response { id, outcome: error.map_or(Ok(line.res.map_or("null", RawValue::get)), Err) })
    }

    /// The id of a response of which only this much came.
    pub(super) fn id_of_beginning(line: &'a [u8]) -> Option<&'a str> {
        unquoted(beginning(line).id?.get())
    }
}

/// A text in quotes.
fn unquoted(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.strip_suffix('"')
}

#[cfg(test)]
mod tests;
