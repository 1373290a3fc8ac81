//! The actions that are registered here, and how one is run.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::service::error::{ActError, Failure};
use crate::service::lock::Mutex;
use crate::service::matcher::Matcher;
use crate::service::message::Message;
use crate::service::pattern::Pattern;
use crate::service::threads;
use crate::service::wire::Outcome;
use crate::sync;

thread_local! {
    /// Of the call for which this thread runs a handler.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// How long the caller still waits for the handler that runs on this thread: zero once its time is over, `None` where no handler runs.
/// What takes longer than this is done for nobody.
///
/// ```
/// # use grapevine::service::{Failure, Service};
/// # let service = Service::builder().start()?;
/// use grapevine::service::time_left;
/// use serde_json::{Value, json};
///
/// service.add("cmd:search", |message: Value| {
///     let mut found = Vec::new();
///     // Better some results in time than all of them too late.
///     while time_left().is_some_and(|left| left.as_millis() > 100) && found.len() < 3 {
///         found.push(json!({"page": found.len()}));
///     }
///     Ok(found)
/// })?;
/// # let found: Value = service.act("cmd:search")?;
/// # assert_eq!(found.as_array().map(Vec::len), Some(3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn time_left() -> Option<Duration> {
    DEADLINE.get().map(|deadline| deadline.saturating_duration_since(sync::now()))
}

type Handler = Box<dyn Fn(Message) -> Outcome + Send + Sync>;

/// A handler, behind types that everybody has.
pub(super) struct Action(Handler);

impl Action {
    pub(super) fn new<M, R>(handler: impl Fn(M) -> Result<R, Failure> + Send + Sync + 'static) -> Arc<Action>
    where
        M: DeserializeOwned,
        R: Serialize,
    {
        Arc::new(Action(Box::new(move |message| {
            let message = serde_json::from_value(Value::Object(message))
                .map_err(|error| ActError::InvalidMessage(error.to_string()))?;
            let result = handler(message).map_err(ActError::Failed)?;
            let mut text = serde_json::to_string(&result).map_err(|error| ActError::Failed(error.into()))?;
            if text.contains('\n') {
                // White space of a `RawValue`: in strings it is escaped. It would end the line that the result is sent in.
                text = text.replace('\n', " ");
            }
            match text.as_bytes().first() {
                Some(b'{' | b'[' | b'n') => Ok(text),
                _ => Err(ActError::InvalidResult(format!("{text} is neither an object, an array nor null"))),
            }
        })))
    }

    /// Runs the handler, for somebody who waits until `deadline`. What it panics with is its failure.
    pub(super) fn run(&self, message: Message, deadline: Instant) -> Outcome {
        let outer = DEADLINE.replace(Some(deadline));
        let run = threads::caught(|| (self.0)(message));
        DEADLINE.set(outer);
        run.unwrap_or_else(|text| {
            log::error!("a handler panicked: {text}");
            Err(ActError::Failed(Failure::new("handler_panicked", format!("the handler panicked: {text}"))))
        })
    }
}

/// All that are registered.
#[derive(Default)]
pub(super) struct Actions {
    matcher: Mutex<Matcher<Arc<Action>>>,
}

impl Actions {
    /// Adds one; gives back the one with the same pattern that it replaces. What an action owns is the program's, with a drop of its
    /// own: it is for whoever holds no lock.
    #[must_use]
    pub(super) fn add(&self, pattern: Pattern, action: Arc<Action>) -> Option<Arc<Action>> {
        self.matcher.lock().insert(pattern, action)
    }

    #[must_use]
    pub(super) fn remove(&self, pattern: &Pattern) -> Option<Arc<Action>> {
        self.matcher.lock().remove(pattern)
    }

    pub(super) fn has(&self, pattern: &Pattern) -> bool {
        self.matcher.lock().get_mut(pattern).is_some()
    }

    pub(super) fn find(&self, message: &Message) -> Option<(Pattern, Arc<Action>)> {
        self.matcher.lock().find(message).map(|(pattern, action)| (pattern.clone(), action.clone()))
    }

    pub(super) fn len(&self) -> usize {
        self.matcher.lock().len()
    }

    pub(super) fn patterns(&self) -> Vec<Pattern> {
        let mut patterns: Vec<Pattern> = self.matcher.lock().iter().map(|(pattern, _)| pattern.clone()).collect();
        patterns.sort();
        patterns
    }

    pub(super) fn clear(&self) {
        let removed = std::mem::take(&mut *self.matcher.lock());
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    /// A line is where a result ends: white space in one that a program hands on as it is must not end it before.
    #[test]
    fn a_result_is_one_line() {
        let result = RawValue::from_string("{\n  \"a\": \"b\\nc\"\r\n}".to_owned()).unwrap();
        let action = Action::new(move |_: Message| Ok(result.clone()));
        let text = action.run(Message::new(), sync::now()).unwrap();
        assert!(!text.contains('\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), serde_json::json!({"a": "b\nc"}));
    }
}
