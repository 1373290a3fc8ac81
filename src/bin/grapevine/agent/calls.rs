//! `act`: calls that clients of the agent make, each on a thread of its own. They are answered when they are done.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::Sender;
use grapevine::service::{ActError, IntoMessage, Message};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::agent::Agent;
use crate::agent::session::{Writer, write};
use crate::json::Json;
use crate::protocol::{Code, Problem, Reply, line};

/// Calls of one connection that may be under way. One more is refused rather than not read: who makes them may answer calls over the
/// same connection.
const CALLS: usize = 64;
/// Of all connections together: those of a connection that has closed go on until they end.
const CALLS_IN_ALL: usize = 512;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    message: Json,
    timeout_ms: Option<u64>,
    #[serde(default)]
    idempotent: bool,
    shard: Option<String>,
}

/// How many calls are under way.
#[derive(Clone, Default)]
pub struct InFlight(Arc<AtomicUsize>);

/// One of them, until it is dropped.
struct Counted(InFlight);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl InFlight {
    /// One more, if there may be so many.
    fn enter(&self, most: usize) -> Option<Counted> {
        let counted = Counted(self.clone());
        (self.0.fetch_add(1, Ordering::SeqCst) < most).then_some(counted)
    }
}

/// Makes a call, whose reply is written once there is one; `replying` is held until then.
pub fn start(
    agent: &Arc<Agent>,
    of_connection: &InFlight,
    writer: &Writer,
    replying: Sender<()>,
    id: &RawValue,
    act: Act,
) -> Result<(), Problem> {
    let refused = |most: usize, whose: &str| {
        let text = format!("{most} calls are under way {whose} already; wait until one has ended");
        Problem::new(Code::Overloaded, text)
    };
    let counted = of_connection.enter(CALLS).ok_or_else(|| refused(CALLS, "on this connection"))?;
    let counted_in_all = agent.calls.enter(CALLS_IN_ALL).ok_or_else(|| refused(CALLS_IN_ALL, "on all connections"))?;
    let (message, agent, writer, id) = (act.message()?, agent.clone(), writer.clone(), id.to_owned());
    let call = move || {
        let _held = (counted, replying);
        // The end of the agent waits for the reply.
        let _writing = agent.writing();
        let result = act.call(&agent, message);
        // Whoever does not read the reply holds up nobody else.
        drop(counted_in_all);
        let reply = result.map(|result| Reply { result: Some(result), ..Reply::default() });
        // Whoever asked may have gone.
        let _ = write(&writer, &line(&Reply::to(id, reply.map_err(Problem::from))));
    };
    let started = thread::Builder::new().name("call".to_owned()).spawn(call);
    started
        .map(drop)
        .map_err(|error: io::Error| Problem::new(Code::Overloaded, format!("cannot start a thread: {error}")))
}

impl Act {
    fn message(&self) -> Result<Message, Problem> {
        let Json(message) = &self.message;
        let message = match message {
            Value::String(text) => text.into_message(),
            other => other.into_message(),
        };
        message.map_err(Problem::from)
    }

    fn call(self, agent: &Agent, message: Message) -> Result<Box<RawValue>, ActError> {
        let mut call = agent.service.call(message);
        if let Some(timeout) = self.timeout_ms {
            call = call.timeout(Duration::from_millis(timeout));
        }
        if self.idempotent {
            call = call.idempotent();
        }
        if let Some(key) = &self.shard {
            call = call.shard(key);
        }
        call.send()
    }
}
