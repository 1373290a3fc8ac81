//! Requests of others: read, checked against the pins, handed to the pool, answered.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::service::actions::Action;
use crate::service::answers::{Key, Seen};
use crate::service::caller::Caller;
use crate::service::error::{ActError, code};
use crate::service::lines::NotTaken;
use crate::service::message::{Message, shown};
use crate::service::pool::Work;
use crate::service::room::Share;
use crate::service::shared::{Shared, UnderWay};
use crate::service::stats::count;
use crate::service::wire::{self, Envelope, Outcome, Refused, Request};
use crate::sync;

/// Whatever a request says, nothing is done for it later than this.
const LONGEST: Duration = Duration::from_secs(86_400);

const NO_ROOM: &str = "lines longer than 64 KiB take up what there is for them (`buffered_bytes`)";

/// Takes a line. False if nothing more is to be read from whoever sent it.
pub(super) fn take(line: &[u8], now: Instant, caller: &Arc<Caller>, shared: &Arc<Shared>) -> bool {
    let received = shared.milliseconds(now);
    let request = match Request::read(line, &shared.instance) {
        Ok(request) => request,
        Err(refused) => return refuse(&refused, received, caller, shared),
    };
    count(&shared.counters.requests);
    let answer_at_once = |outcome: Outcome| {
        count(&shared.counters.request_errors);
        if request.sync {
            let head = request.envelope.head(&shared.instance, received);
            caller.outbox.send_or_close(&wire::answer(&head, shared.milliseconds(sync::now()), &outcome));
        }
    };
    let message = match request.message() {
        Ok(message) => message,
        Err(problem) => {
            shared.counters.refuse(code::INVALID_MESSAGE, Some(caller.addr), &problem);
            answer_at_once(Err(ActError::InvalidMessage(format!("`act` cannot be read: {problem}"))));
            return true;
        }
    };
    let action = if shared.is_open_to_others(&message) { shared.actions.find(&message) } else { None };
    let Some((_, action)) = action else {
        answer_at_once(Err(ActError::NotFound { message: shown(&message) }));
        return true;
    };
    let Some(share) = Share::take(&shared.room, line.len()) else {
        shared.counters.refuse(code::OVERLOADED, Some(caller.addr), &NO_ROOM);
        answer_at_once(Err(ActError::Overloaded { addr: shared.node.peer().to_string() }));
        return true;
    };
    let key = shared.answers.key(&request.envelope.key(caller.id));
    if let Seen::Again = shared.answers.see(key, &caller.outbox) {
        return true;
    }
    caller.begin(shared);
    let under_way = UnderWay::begin(shared);
    let deadline = now + request.timeout.unwrap_or(shared.config.timeout).min(LONGEST);
    let head = request.envelope.head(&shared.instance, received);
    let caller = Arc::downgrade(caller);
    shared.pool.run(Job {
        key,
        head,
        sync: request.sync,
        now,
        deadline,
        action,
        message,
        caller,
        under_way,
        _share: share,
    });
    true
}

/// What somebody is told whose connection must not be used any more.
const KEYS_CHANGED: &str =
    "the keys have changed, and this connection is not protected by one that is in use; open another one";

/// Refuses a line of such a connection; the call can be made over another one. False if nothing more is to be read from whoever sent it.
pub(super) fn turn_away(line: &[u8], now: Instant, caller: &Arc<Caller>, shared: &Arc<Shared>) -> bool {
    let received = shared.milliseconds(now);
    let request = match Request::read(line, &shared.instance) {
        Ok(request) => request,
        Err(refused) => return refuse(&refused, received, caller, shared),
    };
    shared.counters.refuse(code::KEYS_CHANGED, Some(caller.addr), &KEYS_CHANGED);
    if request.sync {
        let head = request.envelope.head(&shared.instance, received);
        let now = shared.milliseconds(sync::now());
        caller.outbox.send_or_close(&wire::refusal(&head, now, code::KEYS_CHANGED, KEYS_CHANGED));
    }
    true
}

/// Says beforehand that the next lines will be turned away.
pub(super) fn ask_to_go(caller: &Caller, shared: &Shared) {
    tell_nobody(code::KEYS_CHANGED, KEYS_CHANGED, caller, shared);
}

/// A request that is to be done.
struct Job {
    key: Key,
    head: String,
    sync: bool,
    now: Instant,
    deadline: Instant,
    action: Arc<Action>,
    message: Message,
    /// Whose descriptor is not kept for whoever has gone.
    caller: Weak<Caller>,
    under_way: UnderWay,
    /// Of the room for long lines.
    _share: Share,
}

impl Work for Job {
    fn run(mut self) {
        let begun = sync::now();
        if begun > self.deadline {
            count(&self.under_way.shared.counters.requests_expired);
            let after = self.deadline - self.now;
            return self.finish(Err(ActError::TimedOut { after }), true);
        }
        let outcome = self.action.run(std::mem::take(&mut self.message), self.deadline);
        self.finish(outcome, false);
    }

    fn refuse(self) {
        let addr = self.under_way.shared.node.peer().to_string();
        self.finish(Err(ActError::Overloaded { addr }), true);
    }
}

impl Job {
    fn finish(self, outcome: Outcome, may_be_done_later: bool) {
        let Job { key, head, sync, now, caller, under_way, .. } = self;
        let shared = &under_way.shared;
        if outcome.is_err() {
            count(&shared.counters.request_errors);
        }
        let sent = sync::now();
        shared.counters.request_time.add(sent - now);
        let mut answer = Vec::new();
        if sync {
            answer = wire::answer(&head, shared.milliseconds(sent), &outcome);
            let limit = shared.config.line_bytes;
            if answer.len() > limit + 1 {
                let error = ActError::InvalidResult(format!(
                    "it takes {} bytes and the limit is {limit}; split it, or raise `line_bytes` on both sides",
                    answer.len() - 1
                ));
                answer = wire::answer(&head, shared.milliseconds(sent), &Err(error));
            }
        }
        let answer = Arc::new(answer);
        // Before it is sent: whoever has an answer finds it kept.
        if may_be_done_later {
            shared.answers.forget(key, &answer);
        } else {
            shared.answers.give(key, answer.clone());
        }
        let Some(caller) = caller.upgrade() else { return };
        if sync {
            caller.outbox.send_or_close(&answer);
        }
        caller.finish();
    }
}

/// Answers a line that is no request as well as that can be done. False if the next ones will be no better.
fn refuse(refused: &Refused<'_>, received: u64, caller: &Arc<Caller>, shared: &Arc<Shared>) -> bool {
    shared.counters.refuse(refused.code, Some(caller.addr), &refused.problem);
    match &refused.envelope {
        Some(envelope) => {
            let head = envelope.head(&shared.instance, received);
            let now = shared.milliseconds(sync::now());
            caller.outbox.send_or_close(&wire::refusal(&head, now, refused.code, &refused.problem));
        }
        None => tell_nobody(refused.code, &refused.problem, caller, shared),
    }
    // What follows something that is no JSON may be the rest of it.
    refused.code != wire::INVALID_JSON
}

/// Refuses a line of which this is the beginning: under its id, if that is there.
pub(super) fn refuse_beginning(line: &[u8], why: NotTaken, caller: &Caller, shared: &Shared) {
    let (now, limit) = (shared.milliseconds(sync::now()), shared.config.line_bytes);
    let head = match Envelope::of_beginning(line) {
        Some(envelope) => envelope.head(&shared.instance, now),
        None => wire::head_for_nobody(&shared.instance, now),
    };
    let answer = match why {
        NotTaken::TooLong => {
            let problem = format!("it is longer than {limit} bytes (`line_bytes`)");
            shared.counters.refuse(code::LINE_TOO_LONG, Some(caller.addr), &problem);
            wire::too_long(&head, now, limit)
        }
        NotTaken::NoRoom => {
            shared.counters.refuse(code::OVERLOADED, Some(caller.addr), &NO_ROOM);
            wire::refusal(&head, now, code::OVERLOADED, NO_ROOM)
        }
    };
    caller.outbox.send_or_close(&answer);
}

/// Refuses a line of which nothing is known.
pub(super) fn refuse_line(code: &'static str, problem: &str, caller: &Caller, shared: &Shared) {
    shared.counters.refuse(code, Some(caller.addr), &problem);
    tell_nobody(code, problem, caller, shared);
}

/// Tells whoever is at the other end, whose request is not known, what was wrong.
fn tell_nobody(code: &str, problem: &str, caller: &Caller, shared: &Shared) {
    let now = shared.milliseconds(sync::now());
    caller.outbox.send_or_close(&wire::refusal(&wire::head_for_nobody(&shared.instance, now), now, code, problem));
}
