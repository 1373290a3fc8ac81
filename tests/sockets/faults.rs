//! Transports that fail, threads that panic.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use grapevine::transport::{Transport, UdpTransport};
use grapevine::{Config, Error, Event, EventFilter, Gossiper};
use parking_lot::Mutex;

use crate::common::keyed::keyring;
use crate::common::{ms, secs};
use crate::{LONG, all_alive, arrives, join, until, with_others};

/// UDP that does not always work.
struct Faulty {
    udp: UdpTransport,
    /// Returned by `receive`, one after each datagram or all at once.
    errors: Mutex<VecDeque<io::ErrorKind>>,
    error_is_due: AtomicBool,
    errors_in_a_row: AtomicBool,
    refuse_to_send: AtomicBool,
    panic_in: Mutex<Option<&'static str>>,
}

impl Faulty {
    fn new(errors: &[io::ErrorKind]) -> Arc<Faulty> {
        Arc::new(Faulty {
            udp: UdpTransport::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap(),
            errors: Mutex::new(errors.iter().copied().collect()),
            error_is_due: AtomicBool::new(true),
            errors_in_a_row: AtomicBool::new(false),
            refuse_to_send: AtomicBool::new(false),
            panic_in: Mutex::new(None),
        })
    }

    fn start(self: &Arc<Self>, seeds: Vec<String>) -> Gossiper {
        Gossiper::start_with(Config { interval: ms(100), seeds, keyring: keyring(), ..Config::default() }, self.clone())
            .unwrap()
    }

    fn maybe_panic(&self) {
        let mut panic_in = self.panic_in.lock();
        if panic_in.is_some() && *panic_in == thread::current().name() {
            *panic_in = None;
            drop(panic_in);
            panic!("as asked for by the test");
        }
    }
}

impl Transport for Faulty {
    fn local_addr(&self) -> SocketAddr {
        self.udp.local_addr()
    }

    fn can_reach(&self, to: SocketAddr) -> bool {
        self.udp.can_reach(to)
    }

    fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        self.maybe_panic();
        if self.refuse_to_send.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        self.udp.send(to, datagram)
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        self.maybe_panic();
        // Between datagrams each error is a first one, after which the receiver hardly waits.
        if self.error_is_due.swap(false, Ordering::SeqCst) || self.errors_in_a_row.load(Ordering::SeqCst) {
            if let Some(kind) = self.errors.lock().pop_front() {
                return Err(kind.into());
            }
        }
        let received = self.udp.receive(buffer);
        if matches!(received, Ok(Some(_))) {
            self.error_is_due.store(true, Ordering::SeqCst);
        }
        received
    }

    fn interrupt(&self) {
        self.udp.interrupt();
    }
}

/// "One UDP receive error ends the loop" (in the successor): none does here, whatever its kind.
#[test]
fn receive_errors_of_every_kind_are_counted_and_survived() {
    use io::ErrorKind::*;
    let _others = with_others();
    let kinds = [
        NotFound,
        PermissionDenied,
        ConnectionRefused,
        ConnectionReset,
        HostUnreachable,
        NetworkUnreachable,
        ConnectionAborted,
        NotConnected,
        AddrInUse,
        AddrNotAvailable,
        NetworkDown,
        BrokenPipe,
        AlreadyExists,
        WouldBlock,
        NotADirectory,
        IsADirectory,
        DirectoryNotEmpty,
        ReadOnlyFilesystem,
        StaleNetworkFileHandle,
        InvalidInput,
        InvalidData,
        TimedOut,
        WriteZero,
        StorageFull,
        NotSeekable,
        QuotaExceeded,
        FileTooLarge,
        ResourceBusy,
        ExecutableFileBusy,
        Deadlock,
        TooManyLinks,
        ArgumentListTooLong,
        Interrupted,
        Unsupported,
        UnexpectedEof,
        OutOfMemory,
        Other,
    ];
    let faulty = Faulty::new(&kinds);
    let node = faulty.start(Vec::new());
    let other = join(&node);
    until("every error was met", || node.stats().receive_errors == kinds.len() as u64);
    node.check().unwrap();
    other.set("after", "all").unwrap();
    arrives(&node, &other, "after", "\"all\"");
}

/// Errors in a row are backed off from, for 1, 2, 4 … milliseconds: a socket that is gone for good does not cost a core.
#[test]
fn errors_in_a_row_are_backed_off_from() {
    let _others = with_others();
    let faulty = Faulty::new(&[io::ErrorKind::Other; 8]);
    faulty.errors_in_a_row.store(true, Ordering::SeqCst);
    let started = Instant::now();
    let node = faulty.start(Vec::new());
    until("every error was met", || node.stats().receive_errors == 8);
    assert!(started.elapsed() >= ms(127), "{:?}", started.elapsed());
    all_alive(&[&node, &join(&node)]);
}

#[test]
fn send_errors_are_counted_and_survived() {
    let _others = with_others();
    let faulty = Faulty::new(&[]);
    let node = faulty.start(Vec::new());
    let other = join(&node);
    all_alive(&[&node, &other]);
    faulty.refuse_to_send.store(true, Ordering::SeqCst);
    until("what cannot be sent is counted", || node.stats().send_errors > 3);
    faulty.refuse_to_send.store(false, Ordering::SeqCst);
    node.set("after", "all").unwrap();
    arrives(&other, &node, "after", "\"all\"");
}

/// "A panic in a thread is an event and an error on the handle, not a silent half-dead node."
#[test]
fn a_panic_in_a_thread_stops_the_node_and_is_told() {
    let _others = with_others();
    for name in ["grapevine-receiver", "grapevine-gossip", "grapevine-detector"] {
        let faulty = Faulty::new(&[]);
        let node = faulty.start(Vec::new());
        let other = join(&node);
        all_alive(&[&node, &other]);
        let events = node.subscribe_to(EventFilter::all().kinds([]));
        let waiter = node.clone();
        let waiting = thread::spawn(move || waiter.wait_until(Duration::MAX, |_| false));
        *faulty.panic_in.lock() = Some(name);
        // It is the detector that ends lives, and it tells so at once, unless waves of earlier news (100 ms) still go out.
        let deadline = Instant::now() + LONG;
        let stopped = loop {
            let _ = node.set_for("brief", "x", ms(200));
            match events.recv_timeout(ms(300)) {
                Some(event) => break event,
                None => assert!(Instant::now() < deadline, "{name} has not panicked"),
            }
        };
        assert_eq!(stopped, Event::Stopped { panicked: Some(name) });
        assert!(matches!(node.check(), Err(Error::ThreadPanicked(told)) if told == name));
        assert!(matches!(node.set("a", &1), Err(Error::ThreadPanicked(_))));
        assert!(matches!(node.leave(LONG), Err(Error::ThreadPanicked(_))));
        assert!(!waiting.join().unwrap());
        let started = Instant::now();
        drop(node);
        assert!(started.elapsed() < secs(10));
    }
}
