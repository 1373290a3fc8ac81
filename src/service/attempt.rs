//! A call on its way: to a handler here, or to a provider elsewhere, and to the next one if that cannot take it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::service::actions::Action;
use crate::service::connection::Reply;
use crate::service::error::ActError;
use crate::service::message::{Message, shown};
use crate::service::oneshot::Oneshot;
use crate::service::pattern::Pattern;
use crate::service::pool::{self, Work};
use crate::service::provider::{NoConnection, Provider};
use crate::service::routes;
use crate::service::shared::{Shared, UnderWay};
use crate::service::stats::count;
use crate::service::wire::{Outcome, RequestWriter};
use crate::sync;

/// How often a call is made anew because keys change, without anybody being passed over for it.
const KEY_CHANGES: usize = 16;

/// A call on its way.
pub(super) struct Attempt<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) message: Message,
    pub(super) timeout: Duration,
    pub(super) deadline: Instant,
    pub(super) idempotent: bool,
    pub(super) shard: Option<Vec<u8>>,
    /// The result if nobody offers it.
    pub(super) default: Option<Value>,
}

/// Where a call is made.
enum Place {
    Here(Arc<Action>),
    There(Arc<Provider>),
}

/// What came of trying providers so far.
#[derive(Default)]
struct Tried {
    /// Not to be tried any more.
    excluded: Vec<String>,
    /// A connection of theirs broke, which may be due to a restart: tried once more when there are no others.
    again: Vec<String>,
    problems: Vec<(String, String)>,
    /// How often a connection was not used any more because keys changed.
    keys_changed: usize,
    lost: Option<ActError>,
    refused: Option<ActError>,
}

impl Attempt<'_> {
    pub(super) fn make(self, sync: bool) -> Outcome {
        let shared = self.shared;
        if shared.is_closed() {
            return Err(ActError::Stopped);
        }
        let _under_way = UnderWay::begin(shared);
        match self.try_all(sync) {
            // It was closed meanwhile, and that is why.
            Err(ActError::NotFound { .. } | ActError::Unreachable { .. } | ActError::Overloaded { .. })
                if shared.is_closed() =>
            {
                Err(ActError::Stopped)
            }
            outcome => outcome,
        }
    }

    fn try_all(self, sync: bool) -> Outcome {
        if self.shard.is_none()
            && let Some((_, action)) = self.shared.actions.find(&self.message)
        {
            return self.run_here(&action, sync);
        }
        let act = serde_json::to_string(&self.message).map_err(|error| ActError::InvalidMessage(error.to_string()))?;
        let mut tried = Tried::default();
        let mut moves = false;
        while let Some(place) = self.next_place(&mut tried) {
            if std::mem::replace(&mut moves, true) {
                count(&self.shared.counters.calls_moved);
            }
            let provider = match place {
                Place::Here(action) => return self.run_here(&action, sync),
                Place::There(provider) => provider,
            };
            if let Some(outcome) = self.try_provider(&provider, &act, sync, &mut tried)? {
                return Ok(outcome);
            }
            if sync::now() >= self.deadline {
                return Err(ActError::TimedOut { after: self.timeout });
            }
        }
        match (tried.conclude(&self.message), self.default) {
            (ActError::NotFound { .. }, Some(default)) if sync => Ok(default.to_string()),
            (error, _) => Err(error),
        }
    }

    fn next_place(&self, tried: &mut Tried) -> Option<Place> {
        let mut excluded = tried.excluded.clone();
        excluded.extend(tried.again.iter().cloned());
        self.place(&excluded).or_else(|| {
            while let Some(once_more) = tried.again.pop() {
                let others = |addr: &&String| **addr != once_more;
                let excluded: Vec<String> = excluded.iter().filter(others).cloned().collect();
                tried.excluded.push(once_more.clone());
                // That one may have gone meanwhile.
                if let Some(place) = self.place(&excluded) {
                    return Some(place);
                }
            }
            None
        })
    }

    fn place(&self, excluded: &[String]) -> Option<Place> {
        match &self.shard {
            None => self.shared.directory.choose(&self.message, excluded).map(Place::There),
            Some(key) => self.shard_place(key, excluded),
        }
    }

    /// The place with the highest weight for the key: among them this program, if it offers the action to others too.
    fn shard_place(&self, key: &[u8], excluded: &[String]) -> Option<Place> {
        let here = self.shared.actions.find(&self.message);
        let there = self.shared.directory.offers(&self.message);
        let (action, (pattern, providers)) = match (here, there) {
            (None, None) => return None,
            (Some((_, action)), None) => return Some(Place::Here(action)),
            (None, Some(there)) => (None, there),
            (Some((own, action)), Some(there)) => match self.shared.addr.zip(self.offered(&own)) {
                // What nobody else can call is no shard of anything.
                None => (None, there),
                Some((addr, own)) if own == there.0 => (Some((addr.to_string(), action)), there),
                Some((_, own)) if routes::is_better(&own, &there.0, &self.message) => return Some(Place::Here(action)),
                Some(_) => (None, there),
            },
        };
        drop(pattern);
        let places = providers.into_iter().filter(|provider| !excluded.contains(&provider.addr));
        let places = places.map(|provider| (routes::weight(key, &provider.addr), Place::There(provider)));
        let own = action.map(|(addr, action)| (routes::weight(key, &addr), Place::Here(action)));
        places.chain(own).max_by_key(|(weight, _)| *weight).map(|(_, place)| place)
    }

    /// The pattern by which others would send this message here, where `own` is the one that it runs: the pins narrow it.
    fn offered(&self, own: &Pattern) -> Option<Pattern> {
        let pins = &self.shared.config.pins;
        if pins.is_empty() {
            return Some(own.clone());
        }
        let narrowed = pins.iter().filter(|pin| pin.matches(&self.message)).filter_map(|pin| own.pinned_by(pin));
        narrowed.reduce(|best, other| if routes::is_better(&other, &best, &self.message) { other } else { best })
    }

    /// `None` if another one is to be tried.
    fn try_provider(
        &self,
        provider: &Arc<Provider>,
        act: &str,
        sync: bool,
        tried: &mut Tried,
    ) -> Result<Option<String>, ActError> {
        let addr = || provider.addr.clone();
        let _in_flight = provider.enter();
        let connection = match provider.connection(self.deadline) {
            Ok(connection) => connection,
            Err(NoConnection::Failed(problem)) => {
                provider.was_unreachable();
                tried.unreachable(addr(), problem);
                return Ok(None);
            }
            // The same address may be offered afresh.
            Err(NoConnection::Retired) => {
                tried.broken(addr(), "its node has failed, left or offers nothing any more".to_owned());
                return Ok(None);
            }
            Err(NoConnection::OutOfTime) => return Err(ActError::TimedOut { after: self.timeout }),
        };
        let now = sync::now();
        let writer = RequestWriter {
            instance: &self.shared.instance,
            now: self.shared.milliseconds(now),
            sync,
            timeout: self.deadline.saturating_duration_since(now),
        };
        let limit = self.shared.config.line_bytes;
        let len = writer.len(act);
        if len > limit {
            return Err(ActError::MessageTooLarge { len, limit });
        }
        provider.sent();
        let write = |id: &str| writer.write(id, act);
        let reply = match sync {
            true => connection.call(self.deadline, self.idempotent, write),
            false => match connection.tell(write) {
                Ok(()) => return Ok(Some("null".to_owned())),
                Err(reply) => reply,
            },
        };
        match reply {
            Reply::Result(result) => {
                provider.answered();
                Ok(Some(result))
            }
            Reply::Error(error) => {
                provider.answered();
                let is_not_run = error.is_not_run(&self.message);
                let moves = is_not_run || self.idempotent && error.may_be_not_run();
                let error = error.into_error(is_not_run, &provider.addr, self.timeout, len);
                if moves {
                    tried.refused(addr(), error);
                    return Ok(None);
                }
                Err(error)
            }
            Reply::TooLong(problem) => {
                provider.answered();
                Err(ActError::InvalidResult(problem.to_owned()))
            }
            Reply::NotSent(problem) => {
                tried.broken(addr(), problem);
                Ok(None)
            }
            Reply::KeysChanged => {
                tried.keys_changed(addr());
                Ok(None)
            }
            Reply::Lost(problem) => {
                provider.failed();
                let lost = ActError::ConnectionLost { addr: addr(), problem: problem.clone() };
                if !self.idempotent {
                    return Err(lost);
                }
                tried.lost = Some(lost);
                tried.broken(addr(), problem);
                Ok(None)
            }
            Reply::TimedOut => {
                provider.timed_out();
                Err(ActError::TimedOut { after: self.timeout })
            }
        }
    }

    /// Runs a handler of this program: on the pool, so that it can be waited for no longer than the call may take. Only where a
    /// handler waits for it and no thread is free it runs on that handler's own.
    fn run_here(self, action: &Arc<Action>, sync: bool) -> Outcome {
        let (reply, deadline) = (Oneshot::new(), self.deadline);
        let run = RunHere {
            action: action.clone(),
            message: self.message,
            deadline,
            reply: reply.clone(),
            under_way: UnderWay::begin(self.shared),
        };
        if sync && pool::is_worker() {
            if let Err(run) = self.shared.pool.run_if_free(run) {
                let too_deep = run.overloaded();
                return pool::nested(|| run.action.run(run.message, deadline)).unwrap_or(Err(too_deep));
            }
        } else {
            self.shared.pool.run(run);
        }
        if !sync {
            // What was refused is refused by now.
            return match reply.take() {
                Some(Err(error @ (ActError::Overloaded { .. } | ActError::Stopped))) => Err(error),
                _ => Ok("null".to_owned()),
            };
        }
        let timed_out = ActError::TimedOut { after: self.timeout };
        reply.wait_until(deadline).unwrap_or(Err(timed_out))
    }
}

struct RunHere {
    action: Arc<Action>,
    message: Message,
    deadline: Instant,
    reply: Arc<Oneshot<Outcome>>,
    under_way: UnderWay,
}

impl RunHere {
    fn overloaded(&self) -> ActError {
        ActError::Overloaded { addr: self.under_way.shared.node.peer().to_string() }
    }
}

impl Work for RunHere {
    fn run(self) {
        if sync::now() > self.deadline {
            // Whoever waited for it knows.
            return;
        }
        self.reply.give(self.action.run(self.message, self.deadline));
    }

    fn refuse(self) {
        let overloaded = self.overloaded();
        self.reply.give(Err(overloaded));
    }
}

impl Tried {
    fn unreachable(&mut self, addr: String, problem: String) {
        self.excluded.push(addr.clone());
        self.problems.push((addr, problem));
    }

    fn broken(&mut self, addr: String, problem: String) {
        if !self.excluded.contains(&addr) {
            self.again.push(addr.clone());
        }
        self.problems.push((addr, problem));
    }

    /// Another connection there will do.
    fn keys_changed(&mut self, addr: String) {
        self.keys_changed += 1;
        if self.keys_changed > KEY_CHANGES {
            self.broken(addr, "its keys keep changing".to_owned());
        }
    }

    fn refused(&mut self, addr: String, error: ActError) {
        self.excluded.push(addr);
        // That one does not know it says less than that another has no room.
        if self.refused.as_ref().is_none_or(|before| matches!(before, ActError::NotFound { .. })) {
            self.refused = Some(error);
        }
    }

    /// Why nobody took it: the most that is known.
    fn conclude(self, message: &Message) -> ActError {
        match (self.lost, self.refused) {
            (Some(lost), _) => lost,
            (None, Some(refused)) if !matches!(refused, ActError::NotFound { .. }) => refused,
            _ if !self.problems.is_empty() => ActError::Unreachable { problems: self.problems },
            _ => ActError::NotFound { message: shown(message) },
        }
    }
}
