//! Errors as they travel.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::service::error::{ActError, Failure, code};
use crate::service::json;
use crate::service::message::{Message, shown};

/// An error as it is sent. Clients hand on what has a true `seneca` and, those of version 0.9, a true `eraro`. A handler's own code
/// is where either version has it: `orig.code`, `orig.orig.code`, `details.orig$.code`.
#[derive(Serialize)]
pub(super) struct ErrorSent<'a> {
    message: String,
    code: &'a str,
    name: &'static str,
    seneca: bool,
    package: &'static str,
    eraro: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    timeout: bool,
    /// Of a line that is too long, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    orig: Option<Original<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details<'a>>,
}

#[derive(Serialize)]
struct Original<'a> {
    message: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Value>,
    orig: Code<'a>,
}

#[derive(Serialize)]
struct Code<'a> {
    code: &'a str,
}

#[derive(Serialize)]
struct Details<'a> {
    #[serde(rename = "orig$")]
    original: Original<'a>,
}

impl<'a> ErrorSent<'a> {
    pub(super) fn with_limit(self, limit: usize) -> ErrorSent<'a> {
        ErrorSent { limit: Some(limit), ..self }
    }

    pub(super) fn new(code: &'a str, message: String) -> ErrorSent<'a> {
        let timeout = code == code::TIMED_OUT;
        let (name, package) = ("Error", "seneca");
        ErrorSent {
            message,
            code,
            name,
            seneca: true,
            package,
            eraro: true,
            timeout,
            limit: None,
            orig: None,
            details: None,
        }
    }

    pub(super) fn of(error: &'a ActError) -> ErrorSent<'a> {
        let failure = match error {
            ActError::Failed(failure) => failure,
            ActError::NotFound { message } => {
                let reason = "and no default result provided (using a default$ property)";
                let message = format!("seneca: No matching action pattern found for {message}, {reason}.");
                return ErrorSent::new(code::NOT_FOUND, message);
            }
            // Whoever reads it puts the rest of the sentence before it.
            ActError::InvalidMessage(problem) | ActError::InvalidResult(problem) => {
                return ErrorSent::new(error.code(), problem.clone());
            }
            other => return ErrorSent::new(other.code(), other.to_string()),
        };
        let original = |details| {
            let (message, code) = (failure.message(), failure.code());
            Original { message, code, details, orig: Code { code } }
        };
        let details = failure.details();
        // Clients write into `orig.details` if the code begins with `perm/`: a text or a number there would end their process.
        let can_be_written_into = |details: &&Value| details.is_object() || details.is_array();
        ErrorSent {
            orig: Some(original(details.filter(can_be_written_into))),
            details: Some(Details { original: original(details) }),
            ..ErrorSent::new(code::EXECUTE, failure.message().to_owned())
        }
    }
}

/// An error as it came.
#[derive(Debug)]
pub(in crate::service) struct WireError {
    error: Value,
    /// Nothing was done: said by this library alone.
    is_not_run: bool,
}

impl WireError {
    pub(super) fn read(text: &str, is_not_run: bool) -> WireError {
        let read = || serde_json::from_str::<Value>(text).map_err(|error| error.to_string());
        let error = json::check(text).and_then(|()| read());
        let error =
            error.unwrap_or_else(|problem| json!({ "message": format!("its error cannot be read: {problem}") }));
        WireError { error, is_not_run }
    }

    pub(super) fn message(&self) -> Option<&str> {
        text_at(&self.error, "message")
    }

    /// Whether nothing was done because the connection must not be used any more.
    pub(in crate::service) fn says_keys_changed(&self) -> bool {
        self.is_not_run && text_at(&self.error, "code") == Some(code::KEYS_CHANGED)
    }

    /// Whether nothing was done for this message. Seneca says so of a message that it names; of another one it says what a handler of its,
    /// which was run, was told when it called somebody itself.
    pub(in crate::service) fn is_not_run(&self, message: &Message) -> bool {
        let is_named = || {
            let text = self.message().unwrap_or_default();
            text.contains(&format!("pattern found for {}, and no default result", shown(message)))
        };
        self.is_not_run || text_at(&self.error, "code") == Some(code::NOT_FOUND) && is_named()
    }

    /// Whether it could be so.
    pub(in crate::service) fn may_be_not_run(&self) -> bool {
        matches!(text_at(&self.error, "code"), Some(code::NOT_FOUND | code::OVERLOADED))
    }

    /// As the caller's error. `addr` is who sent it, `after` how long the call was given, `len` the length of its line in bytes.
    pub(in crate::service) fn into_error(self, is_not_run: bool, addr: &str, after: Duration, len: usize) -> ActError {
        let own_code = text_at(&self.error, "code").unwrap_or(code::EXECUTE);
        let message = text_at(&self.error, "message").unwrap_or("an error without a text");
        match own_code {
            code::NOT_FOUND if is_not_run => ActError::NotFound { message: message.to_owned() },
            code::TIMED_OUT => ActError::TimedOut { after },
            // What Seneca 0.9 says instead.
            _ if self.error.pointer("/orig/code").is_some_and(|code| code == "action-timeout") => {
                ActError::TimedOut { after }
            }
            code::OVERLOADED if is_not_run => ActError::Overloaded { addr: addr.to_owned() },
            code::LINE_TOO_LONG => {
                let limit =
                    self.error.get("limit").and_then(Value::as_u64).and_then(|limit| usize::try_from(limit).ok());
                ActError::MessageTooLarge { len, limit: limit.unwrap_or(len) }
            }
            code::INVALID_MESSAGE => ActError::InvalidMessage(message.to_owned()),
            code::RESULT => ActError::InvalidResult(message.to_owned()),
            own_code => ActError::Failed(self.original(own_code, message)),
        }
    }

    /// What the handler itself said: in Seneca 3 `orig`, in 0.9 `orig.orig`, in both `details.orig$`.
    fn original(&self, own_code: &str, message: &str) -> Failure {
        let mut chain = std::iter::successors(self.error.get("orig"), |error| error.get("orig"));
        // Seneca 0.9 wraps what a handler gives, and what it throws, once more.
        let is_own = |code: &str| !matches!(code, "action-error" | "action-execute");
        let inner = chain.find(|error| text_at(error, "code").is_some_and(is_own));
        let whole = self.error.get("details").and_then(|details| details.get("orig$"));
        let Some(inner) = inner.or(whole) else {
            return Failure::new(own_code, message);
        };
        let failure =
            Failure::new(text_at(inner, "code").unwrap_or(own_code), text_at(inner, "message").unwrap_or(message));
        match inner.get("details").or_else(|| whole?.get("details")) {
            Some(details) => failure.with_details(details.clone()),
            None => failure,
        }
    }
}

fn text_at<'a>(error: &'a Value, key: &str) -> Option<&'a str> {
    error.get(key)?.as_str()
}
