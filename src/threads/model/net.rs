//! A network without sockets, and nodes on it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::config::{Config, Limits};
use crate::error::Error;
use crate::gossiper::Gossiper;
use crate::subscription::Subscription;
use crate::sync::{self, Condvar, Mutex, thread};
use crate::threads::model::secs;
use crate::transport::Transport;

/// What was sent, and where from.
type Datagram = (Vec<u8>, SocketAddr);
type Sockets = Arc<Scenery<BTreeMap<SocketAddr, Weak<Socket>>>>;

/// What the sockets are bound to.
#[derive(Clone, Default)]
pub(super) struct Net {
    sockets: Sockets,
}

/// One socket: a queue of datagrams and, as `None`, interruptions.
pub(super) struct Socket {
    addr: SocketAddr,
    queue: Mutex<VecDeque<Option<Datagram>>>,
    arrived: Condvar,
    net: Sockets,
    /// Threads that are to panic when they next send or receive.
    pub(super) panics: Scenery<Vec<&'static str>>,
    pub(super) receive_errors: Scenery<Vec<io::ErrorKind>>,
    /// Called once, by the next thread of the node that sends.
    pub(super) when_sending: Scenery<Option<Box<dyn FnOnce() + Send>>>,
}

/// What no step of the program's is about: it is held for no longer than a step.
type Scenery<T> = std::sync::Mutex<T>;

fn held<T>(scenery: &Scenery<T>) -> std::sync::MutexGuard<'_, T> {
    scenery.lock().unwrap()
}

impl Net {
    pub(super) fn bind(&self, port: u16) -> Arc<Socket> {
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let socket = Arc::new(Socket {
            addr,
            queue: Mutex::default(),
            arrived: Condvar::new(),
            net: self.sockets.clone(),
            panics: Scenery::default(),
            receive_errors: Scenery::default(),
            when_sending: Scenery::default(),
        });
        held(&self.sockets).insert(addr, Arc::downgrade(&socket));
        socket
    }
}

impl Socket {
    pub(super) fn arrive(&self, datagram: &[u8], from: SocketAddr) {
        self.push(Some((datagram.to_vec(), from)));
    }

    fn push(&self, item: Option<Datagram>) {
        self.queue.lock().push_back(item);
        self.arrived.notify_one();
    }

    fn maybe_panic(&self) {
        let name = thread::current().name().map(str::to_owned);
        let place = held(&self.panics).iter().position(|other| Some(*other) == name.as_deref());
        if let Some(place) = place {
            held(&self.panics).remove(place);
            // Not `panic!`, which has shuttle report a failure.
            resume_unwind(Box::new("as asked for by the test"));
        }
    }
}

impl Transport for Socket {
    fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    fn can_reach(&self, to: SocketAddr) -> bool {
        to.is_ipv4()
    }

    fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        self.maybe_panic();
        let call = thread::current().name().and_then(|_| held(&self.when_sending).take());
        if let Some(call) = call {
            call();
        }
        let socket = held(&self.net).get(&to).and_then(Weak::upgrade);
        if let Some(socket) = socket {
            socket.arrive(datagram, self.addr);
        }
        Ok(())
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        self.maybe_panic();
        let error = held(&self.receive_errors).pop();
        if let Some(error) = error {
            return Err(error.into());
        }
        let deadline = sync::now() + secs(1);
        let mut queue = self.queue.lock();
        loop {
            match queue.pop_front() {
                Some(Some((datagram, from))) => {
                    let len = datagram.len().min(buffer.len());
                    buffer[..len].copy_from_slice(&datagram[..len]);
                    return Ok(Some((len, from)));
                }
                Some(None) => return Ok(None),
                None if self.arrived.wait_until(&mut queue, deadline).timed_out() => return Ok(None),
                None => {}
            }
        }
    }

    fn interrupt(&self) {
        self.maybe_panic();
        self.push(None);
    }
}

pub(super) fn settings() -> Config {
    Config { interval: secs(1), limits: Limits { events: 2, ..Limits::default() }, ..Config::default() }
}

pub(super) fn start_with(socket: &Arc<Socket>, config: Config) -> Result<Gossiper, Error> {
    Gossiper::start_with(config, socket.clone())
}

/// A node by itself, with a subscription to what it does from its first moment on.
pub(super) fn alone() -> (Gossiper, Subscription, Arc<Socket>) {
    let socket = Net::default().bind(1);
    let (node, events) = Gossiper::start_after(settings(), socket.clone(), Gossiper::subscribe).unwrap();
    (node, events, socket)
}

/// A node that sees another one alive, and that one; with the first one's socket.
pub(super) fn pair() -> (Gossiper, Gossiper, Arc<Socket>) {
    let net = Net::default();
    let (socket, other) = (net.bind(1), net.bind(2));
    let other = start_with(&other, settings()).unwrap();
    let seeds = vec![other.peer().to_string()];
    let node = start_with(&socket, Config { seeds, ..settings() }).unwrap();
    assert!(node.wait_until(Duration::MAX, |node| node.live_peers() == [other.peer()]));
    (node, other, socket)
}
