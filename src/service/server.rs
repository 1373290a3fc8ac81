//! Connections that others open here: taken in, counted, and closed.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::service::caller::Caller;
use crate::service::greeting::{self, Greeted, NotGreeted, Taken};
use crate::service::keys::Protection;
use crate::service::lines::{Ending, Line, Lines};
use crate::service::lock::Mutex;
use crate::service::outbox::Outbox;
use crate::service::requests;
use crate::service::shared::Shared;
use crate::service::{sockets, threads};
use crate::sync::{self, AtomicU64, Ordering, Receiver, Sender, bounded};

/// After an error while a connection is taken in: most often too few descriptors are left.
const BACK_OFF: Duration = Duration::from_millis(100);
/// What may wait for a client that does not read, in bytes, beside a single line of any length.
const OUTBOX_BYTES: usize = 1 << 20;
/// Whoever has a connection that must not be used any more, because keys have changed, is told so and has so long to close it.
const LEAVING_TIME: Duration = Duration::from_secs(5);
/// So many milliseconds a handshake has, if there are too many connections; a caller waits about as long for it.
const PROVING_MS: u64 = 1_000;
/// How long closing waits for the thread that takes connections in, which has nothing else to do.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// Where calls from others are taken.
pub(super) struct Server {
    /// The address of the socket.
    pub(super) bound: SocketAddr,
    /// Plain calls are taken whatever the keys say, and no others: for whoever is outside of the cluster.
    pub(super) is_plain: bool,
    connections: Arc<Connections>,
    /// Nothing is sent: it ends when the socket is closed.
    listening: Mutex<Option<Sender<()>>>,
    listener: Mutex<Weak<TcpListener>>,
    ended: Receiver<()>,
}

/// Those of all servers of a service.
#[derive(Default)]
pub(super) struct Connections {
    open: Mutex<HashMap<u64, Arc<Caller>>>,
    last_id: AtomicU64,
}

impl Server {
    /// Binds the socket; nobody is taken in before [`Server::start`].
    pub(super) fn bind(
        addr: SocketAddr,
        is_plain: bool,
        connections: &Arc<Connections>,
    ) -> io::Result<(Server, TcpListener)> {
        let listener = sockets::listen(addr)?;
        let bound = listener.local_addr()?;
        let (listening, ended) = bounded(0);
        Ok((
            Server {
                bound,
                is_plain,
                connections: connections.clone(),
                listening: Mutex::new(Some(listening)),
                listener: Mutex::default(),
                ended,
            },
            listener,
        ))
    }

    pub(super) fn start(&self, listener: TcpListener, shared: &Arc<Shared>) -> io::Result<()> {
        let (shared, connections, is_plain) = (shared.clone(), self.connections.clone(), self.is_plain);
        let listening = self.listening.lock().take();
        let listener = Arc::new(listener);
        *self.listener.lock() = Arc::downgrade(&listener);
        threads::spawn("service", move || {
            take_in(&listener, is_plain, &connections, &shared);
            drop(listener);
            drop(listening);
        })
    }

    /// Closes the socket, and every connection. `shared` is closed already.
    pub(super) fn close(&self) {
        let listener = self.listener.lock().upgrade();
        listener.iter().for_each(|listener| sockets::end_listening(listener));
        drop(listener);
        // Whoever waits for a connection all the same gets one.
        let ip = match self.bound.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let _ = TcpStream::connect_timeout(&SocketAddr::new(ip, self.bound.port()), CLOSING_TIME);
        // Then the address is free for the next one, and no connection comes after those that are closed here.
        let _ = self.ended.recv_timeout(CLOSING_TIME);
        self.connections.close();
    }
}

fn take_in(listener: &TcpListener, is_plain: bool, connections: &Arc<Connections>, shared: &Arc<Shared>) {
    loop {
        let taken = listener.accept();
        if shared.is_closed() {
            return;
        }
        let started = taken.and_then(|(stream, addr)| start_connection(stream, addr, is_plain, connections, shared));
        if let Err(error) = started {
            shared.counters.refuse("connection_failed", None, &error);
            // Descriptors may be what there are too few of.
            connections.close_idle(shared);
            // Or until it is closed.
            let _ = shared.ended.recv_timeout(BACK_OFF);
        }
    }
}

fn start_connection(
    stream: TcpStream,
    addr: SocketAddr,
    is_plain: bool,
    connections: &Arc<Connections>,
    shared: &Arc<Shared>,
) -> io::Result<()> {
    if sockets::prepare(&stream).is_err() {
        // It is closed again already.
        return Ok(());
    }
    if !connections.make_room(shared) {
        shared.counters.refuse("too_many_connections", Some(addr), &"none of those that are open is idle");
        return Ok(());
    }
    let stream = Arc::new(stream);
    let outbox = Outbox::new(&stream, OUTBOX_BYTES);
    let id = connections.last_id.fetch_add(1, Ordering::Relaxed);
    let taken = (!is_plain).then(|| Taken::now(&shared.keys));
    let is_proven = taken.is_none_or(|taken| taken.takes_plain);
    let caller = Arc::new(Caller::new(id, addr, outbox, shared.milliseconds(sync::now()), is_proven));
    connections.open.lock().insert(id, caller.clone());
    if shared.is_closed() {
        caller.outbox.close();
    }
    let (shared, open) = (shared.clone(), connections.clone());
    let started = threads::spawn("connection", move || {
        if let Some(greeted) = greet(&stream, taken, &caller, &shared) {
            serve(greeted, &caller, &shared, is_plain);
        }
        caller.outbox.close();
        open.open.lock().remove(&id);
    });
    started.inspect_err(|_| drop(connections.open.lock().remove(&id)))
}

/// Finds out how somebody begins; `None` if nothing comes of it.
fn greet(stream: &Arc<TcpStream>, taken: Option<Taken>, caller: &Caller, shared: &Shared) -> Option<Greeted> {
    let Some(taken) = taken else { return Some(Greeted::plain(stream)) };
    match greeting::answer(stream, &shared.keys, taken) {
        Ok(mut greeted) => {
            caller.prove(shared.milliseconds(sync::now()));
            if let Some(session) = greeted.session.take() {
                caller.outbox.seal(session);
            }
            Some(greeted)
        }
        Err(NotGreeted::Gone) => None,
        Err(NotGreeted::Refused(refused)) => {
            if !shared.is_closed() {
                shared.counters.refuse(refused.0, Some(caller.addr), &refused.1);
            }
            None
        }
    }
}

/// Whether a connection may go on after keys have changed.
struct Permit {
    protection: Protection,
    /// The version of the keys that was looked at last.
    version: u64,
    /// Since when it may not.
    leaving: Option<Instant>,
}

impl Permit {
    fn look(&mut self, now: Instant, caller: &Caller, shared: &Shared) {
        let version = shared.keys.version();
        if version == self.version || self.leaving.is_some() {
            return;
        }
        self.version = version;
        if !shared.keys.take(self.protection) {
            self.leaving = Some(now);
            requests::ask_to_go(caller, shared);
        }
    }
}

fn serve(greeted: Greeted, caller: &Arc<Caller>, shared: &Arc<Shared>, is_plain: bool) {
    let config = &shared.config;
    let Greeted { incoming, protection, version, .. } = greeted;
    let mut permit = Permit { protection, version, leaving: None };
    let mut lines = Lines::new(incoming, config.line_bytes, config.line_time, &shared.room);
    let ending = loop {
        let line = match lines.next() {
            Ok(_) if shared.is_closed() => return,
            Ok(line) => line,
            Err(ending) => break ending,
        };
        let now = sync::now();
        if !is_plain {
            permit.look(now, caller, shared);
        }
        if permit.leaving.is_some_and(|since| now - since > LEAVING_TIME) {
            return caller.wait_until_done(shared);
        }
        if line != Line::None {
            caller.use_at(shared.milliseconds(now));
        }
        match line {
            Line::None => {}
            Line::Whole(line) => {
                let goes_on = match permit.leaving {
                    None => requests::take(line, now, caller, shared),
                    Some(_) => requests::turn_away(line, now, caller, shared),
                };
                if !goes_on {
                    return caller.wait_until_done(shared);
                }
            }
            Line::Beginning(line, why) => requests::refuse_beginning(line, why, caller, shared),
        }
    };
    match ending {
        // Only its own side is closed.
        Ending::Closed => {}
        Ending::Broken(_) => return,
        Ending::Unauthentic(error) => return shared.counters.refuse(greeting::UNAUTHENTIC, Some(caller.addr), &error),
        Ending::TooSlow => {
            let problem = format!("the limit is {:?} (`line_time`)", config.line_time);
            requests::refuse_line("line_too_slow", &problem, caller, shared);
        }
    }
    // What is under way is answered.
    caller.wait_until_done(shared);
}

impl Connections {
    /// Whether an answer is still on its way to somebody.
    pub(super) fn are_sending(&self) -> bool {
        self.open.lock().values().any(|caller| caller.outbox.is_sending())
    }

    pub(super) fn number(&self) -> usize {
        self.open.lock().len()
    }

    fn close(&self) {
        let open: Vec<Arc<Caller>> = self.open.lock().values().cloned().collect();
        open.iter().for_each(|caller| caller.outbox.close());
    }

    /// Closes a connection if there are as many as there may be. False if none is idle.
    fn make_room(&self, shared: &Shared) -> bool {
        let mut open = self.open.lock();
        open.len() < shared.config.connections || Connections::close_one(&mut open, shared)
    }

    /// Closes one, if any is idle.
    fn close_idle(&self, shared: &Shared) {
        Connections::close_one(&mut self.open.lock(), shared);
    }

    /// Whoever has not shown that it is a member gives way to those who have, but not before it could: unless there are many of them,
    /// it has a second. Otherwise newcomers would push each other out, and not who is idle.
    fn close_one(open: &mut HashMap<u64, Arc<Caller>>, shared: &Shared) -> bool {
        let longest = |is_proven| {
            let those = open.iter().filter(|(_, caller)| caller.is_proven() == is_proven);
            those.filter_map(|(id, caller)| Some((caller.idle_since()?, *id))).min()
        };
        let (proven, unproven) = (longest(true), longest(false));
        let latest = shared.milliseconds(sync::now()).saturating_sub(PROVING_MS);
        let are_many = || open.values().filter(|caller| !caller.is_proven()).count() > shared.config.connections / 8;
        let gives_way = unproven.filter(|(since, _)| *since < latest || are_many());
        let Some((_, id)) = gives_way.or(proven).or(unproven) else { return false };
        if let Some(caller) = open.remove(&id) {
            caller.outbox.close();
        }
        true
    }
}
