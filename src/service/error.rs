//! What can go wrong with a call: at who calls, and in a handler.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// Why a call has no result. Every call ends in a result or in one of these.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ActError {
    /// Nobody offers an action for this message: not this program, not any other in the cluster. Nothing was run.
    NotFound {
        /// The message.
        message: String,
    },
    /// There was no answer in time. Whether the action ran, or still runs, is not known.
    TimedOut {
        /// How long the call was given.
        after: Duration,
    },
    /// The handler failed or panicked.
    Failed(Failure),
    /// The connection broke after the message was sent. Whether the action ran is not known: a call that may be repeated
    /// ([`Call::idempotent`](crate::service::Call::idempotent)) moves to another provider instead.
    ConnectionLost {
        /// The provider's address.
        addr: String,
        /// What happened to the connection.
        problem: String,
    },
    /// No provider could be reached. Nothing was run.
    Unreachable {
        /// Each that was tried, and why it could not be reached.
        problems: Vec<(String, String)>,
    },
    /// Those who could run the action have too much to do already. Nothing was run; try again later.
    Overloaded {
        /// Whose limit was reached: a provider's address, or for calls to this program its node's.
        addr: String,
    },
    /// The message is no message: not an object, or text that cannot be read. Nothing was run.
    InvalidMessage(String),
    /// The message is longer than [`ServiceConfig::line_bytes`](crate::service::ServiceConfig::line_bytes). Nothing was run.
    MessageTooLarge {
        /// The length of its line in bytes, at most.
        len: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// There is a result, and it is not of the type asked for; or it is neither an object, an array nor nothing, and could not
    /// be sent.
    InvalidResult(String),
    /// The service was closed.
    Stopped,
}

impl ActError {
    /// Seneca's code for it, where Seneca has one: `act_not_found`, `action_timeout`, `result_not_objarr` …; for
    /// [`ActError::Failed`] the handler's own code.
    pub fn code(&self) -> &str {
        match self {
            ActError::NotFound { .. } => code::NOT_FOUND,
            ActError::TimedOut { .. } => code::TIMED_OUT,
            ActError::Failed(failure) => failure.code(),
            ActError::ConnectionLost { .. } => "connection_lost",
            ActError::Unreachable { .. } => "unreachable",
            ActError::Overloaded { .. } => code::OVERLOADED,
            ActError::InvalidMessage(_) => code::INVALID_MESSAGE,
            ActError::MessageTooLarge { .. } => code::TOO_LARGE,
            ActError::InvalidResult(_) => code::RESULT,
            ActError::Stopped => "stopped",
        }
    }
}

/// The codes that travel.
pub(crate) mod code {
    pub(crate) const NOT_FOUND: &str = "act_not_found";
    pub(crate) const EXECUTE: &str = "act_execute";
    pub(crate) const TIMED_OUT: &str = "action_timeout";
    pub(crate) const RESULT: &str = "result_not_objarr";
    pub(crate) const OVERLOADED: &str = "overloaded";
    pub(crate) const INVALID_MESSAGE: &str = "invalid_message";
    pub(crate) const LINE_TOO_LONG: &str = "line_too_long";
    /// Of a connection whose key has gone, or that is plain and must not be any more: the call is made over another one.
    pub(crate) const KEYS_CHANGED: &str = "keys_changed";
    pub(crate) const TOO_LARGE: &str = "message_too_large";
}

impl fmt::Display for ActError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ActError::NotFound { message } => {
                write!(f, "nobody offers an action for {message}; `wait_for` waits until somebody does")
            }
            ActError::TimedOut { after } => write!(f, "no answer within {after:?}"),
            ActError::Failed(failure) => failure.fmt(f),
            ActError::ConnectionLost { addr, problem } => {
                write!(
                    f,
                    "the connection to {addr} broke before an answer came, and the action may have run: {problem}"
                )
            }
            ActError::Unreachable { problems } => {
                f.write_str("no provider could be reached")?;
                for (at, (addr, problem)) in problems.iter().enumerate() {
                    write!(f, "{} {addr}: {problem}", if at == 0 { ":" } else { ";" })?;
                }
                Ok(())
            }
            ActError::Overloaded { addr } => write!(f, "{addr} has too many calls waiting; try again later"),
            ActError::InvalidMessage(problem) => write!(f, "this is no message: {problem}"),
            ActError::MessageTooLarge { len, limit } => write!(
                f,
                "the message takes {len} bytes and the limit is {limit}; split it, or raise `line_bytes` on both sides"
            ),
            ActError::InvalidResult(problem) => write!(f, "the result is of another type: {problem}"),
            ActError::Stopped => f.write_str("the service was closed"),
        }
    }
}

impl std::error::Error for ActError {}

/// What a handler gives back when it fails. Any error becomes one by `?`, and an [`ActError`] keeps its code; a code of one's own
/// tells callers apart what happened.
///
/// ```
/// use grapevine::service::Failure;
///
/// fn divide(left: i64, right: i64) -> Result<i64, Failure> {
///     left.checked_div(right).ok_or(Failure::new("division_by_zero", "right is 0"))
/// }
/// fn parse(text: &str) -> Result<i64, Failure> {
///     Ok(text.parse()?)
/// }
/// assert_eq!(divide(1, 0).unwrap_err().code(), "division_by_zero");
/// assert_eq!(parse("x").unwrap_err().code(), "act_execute");
/// ```
#[derive(Clone, PartialEq)]
pub struct Failure {
    code: Box<str>,
    message: Box<str>,
    details: Option<Box<Value>>,
    not_run: bool,
}

impl Failure {
    /// With a code of one's own, such as `division_by_zero`, and a text for people.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Failure {
        Failure { code: code.into().into(), message: message.into().into(), details: None, not_run: false }
    }

    /// With more about it, for the caller.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Failure {
        self.details = Some(Box::new(details));
        self
    }

    /// Says that nothing was done, and that nothing will be: a call from outside moves to another provider, be it
    /// [idempotent](crate::service::Call::idempotent) or not. If nobody else takes it this failure is the caller's error.
    ///
    /// ```
    /// use grapevine::service::Failure;
    ///
    /// let failure = Failure::new("printer_busy", "the printer has a job already").not_run();
    /// ```
    #[must_use]
    pub fn not_run(mut self) -> Failure {
        self.not_run = true;
        self
    }

    pub(super) fn is_not_run(&self) -> bool {
        self.not_run
    }

    /// The handler's code; `act_execute` where it gave none.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The text for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// More about it.
    pub fn details(&self) -> Option<&Value> {
        self.details.as_deref()
    }
}

impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        // A handler that calls others hands on what they said.
        match (&error as &dyn std::error::Error).downcast_ref::<ActError>() {
            // What this handler has done by now is another matter.
            Some(ActError::Failed(failure)) => Failure { not_run: false, ..failure.clone() },
            Some(error) => Failure::new(error.code(), error.to_string()),
            None => Failure::new(code::EXECUTE, error.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("code", &self.code)
            .field("message", &self.message)
            .field("details", &self.details)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A handler that calls others hands their errors on by `?`.
    #[test]
    fn an_error_of_a_call_within_a_handler_keeps_its_code() {
        let failure = Failure::new("shelf_empty", "the shelf is empty").with_details(Value::from(7));
        assert_eq!(Failure::from(ActError::Failed(failure.clone())), failure);
        let not_found = Failure::from(ActError::NotFound { message: "{ a: 1 }".to_owned() });
        assert_eq!(not_found.code(), "act_not_found");
        assert!(not_found.message().starts_with("nobody offers an action for { a: 1 }"));
        assert_eq!(Failure::from(fmt::Error).code(), "act_execute");
    }
}
