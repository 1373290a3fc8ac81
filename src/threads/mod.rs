//! The three threads of a node. Each is thin: take the lock, call one method of the core, publish its events, let go, send its
//! datagrams.

#[cfg(all(test, shuttle))]
mod model;
mod seeds;
mod shared;
#[cfg(all(test, not(shuttle)))]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use crate::error::Error;
use crate::instant::Instant;
use crate::node::{Node, Output};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{self, Ordering};

use shared::Alarm;
pub(crate) use shared::Shared;

/// A thread of the core needs some 20 KiB, in debug builds twice that; the rest is for loggers.
const STACK_BYTES: usize = 256 << 10;
/// After a receive error the receiver waits, at first so long and then longer, up to the second one.
const FIRST_BACKOFF: Duration = Duration::from_millis(1);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// A receive error is logged at most this often.
const LOG_PAUSE: Duration = Duration::from_secs(60);

type ThreadBody = fn(&Arc<Shared>);

/// Starts the three threads.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<Vec<JoinHandle<()>>, Error> {
    let threads: [(&'static str, ThreadBody); 3] =
        [("grapevine-receiver", receive), ("grapevine-gossip", gossip), ("grapevine-detector", detect)];
    let mut handles = Vec::with_capacity(threads.len());
    for (name, run) in threads {
        let thread_shared = shared.clone();
        let body = move || {
            if catch_unwind(AssertUnwindSafe(|| run(&thread_shared))).is_err() {
                log::error!("the thread {name} panicked; the node is stopped");
                thread_shared.stop(Some(name));
            }
        };
        match thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(body) {
            Ok(handle) => handles.push(handle),
            Err(error) => {
                shared.stop(None);
                for handle in handles {
                    let _ = handle.join();
                }
                return Err(Error::Thread(error));
            }
        }
    }
    Ok(handles)
}

/// The receiver thread: one datagram after the other.
fn receive(shared: &Arc<Shared>) {
    let mut out = Output::new();
    // One byte more than is allowed shows that a datagram was longer.
    let mut buffer = vec![0; shared.max_datagram + 1];
    let mut backoff = FIRST_BACKOFF;
    let mut last_log: Option<Clock> = None;
    while !shared.is_stopped() {
        let asked = shared.drain.asked();
        match shared.transport.receive(&mut buffer) {
            Ok(Some((len, from))) => {
                backoff = FIRST_BACKOFF;
                shared.act(&mut out, |node, now, out| node.handle_datagram(now, from, &buffer[..len], out));
            }
            // Asked meanwhile: this may be the interruption, but also a second without datagrams that ended before one came.
            Ok(None) if shared.drain.asked() != asked => shared.transport.interrupt(),
            Ok(None) => shared.drain.answer(asked),
            Err(error) => {
                shared.receive_errors.fetch_add(1, Ordering::Relaxed);
                if last_log.is_none_or(|last| sync::now() - last >= LOG_PAUSE) {
                    last_log = Some(sync::now());
                    log::warn!("cannot receive: {error}; trying again");
                }
                shared.receive_again.wait(backoff);
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        }
    }
}

/// The gossip-timer thread: rounds, news, repeated requests.
fn gossip(shared: &Arc<Shared>) {
    run_at_deadlines(shared, &shared.gossip, Node::next_gossip, |node, now, out| {
        node.wall_clock(now, sync::wall_clock());
        node.gossip(now, out);
    });
}

/// The failure-detector thread: failures, expiry, forgetting.
fn detect(shared: &Arc<Shared>) {
    run_at_deadlines(shared, &shared.detect, Node::next_detect, |node, now, out| {
        node.detect(now, out);
    });
}

fn run_at_deadlines(
    shared: &Arc<Shared>,
    alarm: &Alarm,
    next: impl Fn(&Node) -> Instant,
    mut work: impl FnMut(&mut Node, Instant, &mut Output),
) {
    let mut out = Output::new();
    let is_detector = std::ptr::eq(alarm, &shared.detect);
    loop {
        // First the promise until when it sleeps, then the look at the deadline: whoever moves it in between rings.
        alarm.sleeps_until.store(u64::MAX, Ordering::SeqCst);
        let due = shared.read(|node, _| next(node));
        alarm.sleeps_until.store(due.as_micros(), Ordering::SeqCst);
        let wait = due - shared.now();
        if !wait.is_zero() {
            alarm.wait(wait.min(Duration::from_secs(3600)));
        }
        if shared.is_stopped() {
            return;
        }
        if shared.now() < due {
            continue;
        }
        if is_detector && shared.act(&mut out, |node, now, _| node.suspects(now)) {
            drain(shared);
        }
        shared.act(&mut out, &mut work);
    }
}

/// Waits until the receiver has worked off what is in the socket: a peer is not to be suspected while its heartbeat waits
/// there. At most a second, should the receiver be stuck.
fn drain(shared: &Arc<Shared>) {
    let question = shared.drain.ask();
    shared.transport.interrupt();
    shared.drain.wait(question, Duration::from_secs(1));
}
