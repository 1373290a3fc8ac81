//! A call as a program asks for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::service::attempt::Attempt;
use crate::service::error::ActError;
use crate::service::json;
use crate::service::message::{Message, kind_of};
use crate::service::shared::Shared;
use crate::service::stats::count;
use crate::service::wire::strip;
use crate::sync;

/// What a time stands for that the clock has no end for.
const LONGEST: Duration = Duration::from_secs(86_400);

/// A call that is not made yet, with what it may differ in from others.
///
/// ```no_run
/// # use grapevine::service::Service;
/// # use std::time::Duration;
/// # let service = Service::builder().start()?;
/// let price: serde_json::Value = service
///     .call("role:shop,cmd:price,id:7")
///     .timeout(Duration::from_millis(200))
///     .idempotent()
///     .send()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a call is made by `send` or `tell`"]
pub struct Call<'a> {
    shared: &'a Arc<Shared>,
    message: Result<Message, ActError>,
    timeout: Option<Duration>,
    idempotent: bool,
    shard: Option<Vec<u8>>,
    default: Option<Value>,
}

impl<'a> Call<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, message: Result<Message, ActError>) -> Call<'a> {
        Call { shared, message, timeout: None, idempotent: false, shard: None, default: None }
    }

    /// How long it may take, instead of [`ServiceConfig::timeout`](crate::service::ServiceConfig::timeout): any time. The message's
    /// `timeout$`, in milliseconds, is the same.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Running the action twice does no harm: the call moves to another provider also when the connection breaks after it was
    /// sent, or the provider's node fails.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Calls with the same key go to the same provider, of all that offer the action, whoever calls. When one comes or goes only its
    /// share of the keys moves. A provider that cannot be reached is passed over for the next one in the key's order.
    pub fn shard(mut self, key: impl AsRef<[u8]>) -> Self {
        self.shard = Some(key.as_ref().to_vec());
        self
    }

    /// The result if nobody offers the action: an object or an array. The message's `default$` is the same.
    pub fn default(mut self, result: Value) -> Self {
        self.default = Some(result);
        self
    }

    /// Makes the call and waits for its result.
    ///
    /// # Errors
    /// Every [`ActError`].
    pub fn send<R: DeserializeOwned>(self) -> Result<R, ActError> {
        let shared = self.shared;
        let begun = sync::now();
        let outcome = self.prepare(begun).and_then(|attempt| attempt.make(true));
        let result = outcome.and_then(|result| {
            json::check(&result).map_err(ActError::InvalidResult)?;
            serde_json::from_str(&result).map_err(|error| ActError::InvalidResult(error.to_string()))
        });
        shared.counters.call_time.add(sync::now() - begun);
        count(&shared.counters.calls);
        if result.is_err() {
            count(&shared.counters.call_errors);
        }
        result
    }

    /// Makes the call and waits for nothing: whether the action ran, and how it went, is not told.
    ///
    /// # Errors
    /// [`ActError::NotFound`], [`ActError::Unreachable`], [`ActError::Overloaded`], [`ActError::InvalidMessage`],
    /// [`ActError::MessageTooLarge`], [`ActError::TimedOut`] and [`ActError::Stopped`]: it was not sent.
    pub fn tell(self) -> Result<(), ActError> {
        self.prepare(sync::now())?.make(false).map(drop)
    }

    fn prepare(self, begun: Instant) -> Result<Attempt<'a>, ActError> {
        let mut message = self.message?;
        let timeout = match (self.timeout, message.get("timeout$")) {
            (Some(timeout), _) => timeout,
            (None, Some(milliseconds)) => milliseconds
                .as_f64()
                .and_then(|milliseconds| Duration::try_from_secs_f64(milliseconds / 1_000.0).ok())
                .ok_or_else(|| ActError::InvalidMessage(format!("timeout$ is {milliseconds}, not milliseconds")))?,
            (None, None) => self.shared.config.timeout,
        };
        let default = self.default.or_else(|| message.remove("default$"));
        if let Some(default) = default.as_ref().filter(|default| !default.is_object() && !default.is_array()) {
            let problem = format!("default$ must be an object or an array, and is {}", kind_of(default));
            return Err(ActError::InvalidMessage(problem));
        }
        strip(&mut message);
        json::check_message(&message).map_err(ActError::InvalidMessage)?;
        let deadline = begun.checked_add(timeout).unwrap_or_else(|| begun + LONGEST);
        let Call { shared, idempotent, shard, .. } = self;
        Ok(Attempt { shared, message, timeout, deadline, idempotent, shard, default })
    }
}
