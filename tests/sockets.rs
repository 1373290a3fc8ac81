//! Real nodes on the loopback interface: sockets, threads, handles, subscriptions.
//!
//! Every wait is for a condition and has a deadline far above what it takes, so that a busy machine changes nothing.

mod common;

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use grapevine::config::Limits;
use grapevine::stats::Refusal;
use grapevine::transport::{Transport, UdpTransport};
use grapevine::{Builder, Config, Error, Event, EventFilter, EventKind, Gossiper, PeerState, Value};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use common::forge::{Forger, peer, row};
use common::{ms, secs};

/// Nothing takes so long.
const LONG: Duration = secs(60);

/// Held by every test, and by those alone that look at the whole process.
static PROCESS: RwLock<()> = RwLock::new(());

fn with_others() -> RwLockReadGuard<'static, ()> {
    PROCESS.read()
}

fn quick() -> Builder {
    Gossiper::builder().interval(ms(100))
}

/// A node that has `first` for its seed.
fn join(first: &Gossiper) -> Gossiper {
    quick().seed(first.peer().to_string()).start().unwrap()
}

/// Waits for something of which no event tells.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {LONG:?}: {what}");
        thread::sleep(ms(2));
    }
}

fn all_alive(nodes: &[&Gossiper]) {
    for node in nodes {
        let everyone = |node: &Gossiper| {
            let alive = node.live_peers();
            nodes.iter().all(|other| other.peer() == node.peer() || alive.contains(&other.peer()))
        };
        assert!(node.wait_until(LONG, everyone), "{node:?} sees {:?}", node.peers());
    }
}

fn arrives(node: &Gossiper, from: &Gossiper, key: &str, value: &str) {
    let shown = |node: &Gossiper| node.get_from(from.peer(), key).map(|value| value.to_string());
    assert!(node.wait_until(LONG, |node| shown(node).as_deref() == Some(value)), "{key}: {:?}", shown(node));
}

fn has_ipv6() -> bool {
    // Containers are often without it; then there is nothing to test.
    UdpSocket::bind("[::1]:0").is_ok()
}

// Addresses.

#[test]
fn nodes_find_each_other_over_either_family() {
    let _others = with_others();
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        if addr.starts_with('[') && !has_ipv6() {
            continue;
        }
        let first = quick().bind(addr).start().unwrap();
        let second = quick().bind(addr).seed(first.peer().to_string()).start().unwrap();
        assert_eq!(first.peer().addr(), first.local_addr());
        all_alive(&[&first, &second]);
        first.set("greeting", "hello").unwrap();
        arrives(&second, &first, "greeting", "\"hello\"");
    }
}

#[test]
fn a_dual_stack_node_has_peers_of_both_families() {
    let _others = with_others();
    if !has_ipv6() {
        return;
    }
    let both = quick().bind("[::]:0").advertise("127.0.0.1:0").start().unwrap();
    let port = both.local_addr().port();
    assert_eq!(both.peer(), peer(&format!("127.0.0.1:{port}")), "port 0 stands for the bound one");
    let four = quick().bind("127.0.0.1:0").seed(format!("127.0.0.1:{port}")).start().unwrap();
    let six = quick().bind("[::1]:0").seed(format!("[::1]:{port}")).start().unwrap();
    all_alive(&[&both, &four, &six]);
    four.set("from", "four").unwrap();
    six.set("from", "six").unwrap();
    arrives(&six, &four, "from", "\"four\"");
    arrives(&four, &six, "from", "\"six\"");
    arrives(&both, &six, "from", "\"six\"");
}

#[test]
fn an_address_in_use_is_an_error_and_the_first_goes_on() {
    let _others = with_others();
    let first = quick().start().unwrap();
    let error = quick().bind(first.local_addr()).start().unwrap_err();
    assert!(matches!(&error, Error::Bind { addr, .. } if *addr == first.local_addr()), "{error}");
    first.set("still", "here").unwrap();
    all_alive(&[&first, &join(&first)]);
}

#[test]
fn a_wildcard_needs_an_address_to_be_reached_at() {
    let _others = with_others();
    let error = quick().bind("0.0.0.0:0").start().unwrap_err().to_string();
    assert!(error.contains("advertise") && error.contains("0.0.0.0"), "{error}");
    let first = quick().bind("0.0.0.0:0").advertise("127.0.0.1:0").start().unwrap();
    all_alive(&[&first, &join(&first)]);
}

#[test]
fn a_seed_may_be_a_name() {
    let _others = with_others();
    let first = quick().start().unwrap();
    let seed = format!("localhost:{}", first.local_addr().port());
    let second = quick().seed(seed).seed("no-such-host.invalid:9000").start().unwrap();
    all_alive(&[&first, &second]);
    assert_eq!(second.peers().len(), 1, "the name is no peer");
}

// Ending.

#[test]
fn who_leaves_is_seen_as_left() {
    let _others = with_others();
    let first = quick().start().unwrap();
    let (second, third) = (join(&first), join(&first));
    all_alive(&[&first, &second, &third]);
    let events = first.subscribe_to(EventFilter::all().kinds([EventKind::PeerLeft]));
    third.set("mine", &1).unwrap();
    let started = Instant::now();
    third.leave(LONG).unwrap();
    assert!(started.elapsed() < secs(10), "{:?}", started.elapsed());
    for node in [&first, &second] {
        let left = |node: &Gossiper| node.peers_in(PeerState::Left) == [third.peer()];
        assert!(node.wait_until(LONG, left), "{:?}", node.peers());
    }
    assert!(matches!(events.recv_timeout(LONG), Some(Event::PeerLeft { peer, .. }) if peer == third.peer()));
    assert!(matches!(third.set("mine", &2), Err(Error::Stopped)));
    assert!(matches!(third.leave(LONG), Err(Error::Stopped)));
    assert!(third.get("mine").is_some(), "reading goes on");
}

#[test]
fn who_is_alone_leaves_at_once() {
    let _others = with_others();
    quick().start().unwrap().leave(LONG).unwrap();
}

/// The names of this process's threads that are a node's; the system cuts them after 15 bytes. Those that resolve a name are
/// not among them: how long that takes is up to the resolver, and they hold nothing of the node.
#[cfg(target_os = "linux")]
fn node_threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let names = names.map(|name| name.trim().to_owned());
    let mut names: Vec<String> =
        names.filter(|name| name.starts_with("grapevine-") && !name.starts_with("grapevine-resol")).collect();
    names.sort_unstable();
    names
}

#[test]
#[cfg(target_os = "linux")]
fn a_node_is_three_threads_until_it_is_dropped() {
    let _alone = PROCESS.write();
    until("others are gone", || node_threads().is_empty());
    let three = ["grapevine-detec", "grapevine-gossi", "grapevine-recei"];
    let first = quick().start().unwrap();
    until("three threads", || node_threads() == three);
    let second = join(&first);
    all_alive(&[&first, &second]);
    assert_eq!(node_threads().len(), 6);
    let clone = first.clone();
    drop(first);
    assert_eq!(node_threads().len(), 6, "a clone still holds it");
    for node in [clone, second] {
        let (events, started) = (node.subscribe(), Instant::now());
        drop(node);
        assert!(started.elapsed() < secs(2), "dropping took {:?}", started.elapsed());
        assert_eq!(events.iter().last(), Some(Event::Stopped { panicked: None }));
    }
    // They were joined; the system may list a thread for a moment after that.
    until("all threads are gone", || node_threads().is_empty());
}

// Handles and subscriptions.

#[test]
fn handles_work_from_many_threads_and_inside_an_event_loop() {
    let _others = with_others();
    let first = quick().start().unwrap();
    let second = join(&first);
    all_alive(&[&first, &second]);
    let (done, finished) = crossbeam_channel::unbounded();
    let (echo, events) = (first.clone(), first.subscribe_to(EventFilter::all().key_prefix("work/")));
    let loop_thread = thread::spawn(move || {
        for event in events.iter() {
            if let Event::Update { peer, key, value, .. } = event {
                if peer != echo.peer() {
                    // Everything may be called from here, on the node that the event came from.
                    echo.set_value(&key.replace("work", "echo"), value, None).unwrap();
                    let known = (echo.peers().len(), echo.entries("").len(), echo.stats().alive);
                    assert!(known.0 >= 1 && known.1 >= 1);
                    assert!(echo.wait_until(LONG, |node| node.get(&key.replace("work", "echo")).is_some()));
                }
            }
        }
    });
    for worker in 0..8 {
        let (node, done) = (second.clone(), done.clone());
        thread::spawn(move || {
            for n in 0..50 {
                node.set(&format!("work/{worker}"), &n).unwrap();
                node.set_for(&format!("brief/{worker}"), &n, ms(30)).unwrap();
                let events = node.subscribe();
                node.delete(&format!("brief/{worker}")).unwrap();
                let _ = (node.snapshot(), node.get(&format!("work/{worker}")), events.try_recv());
            }
            done.send(()).unwrap();
        });
    }
    for _ in 0..8 {
        finished.recv_timeout(LONG).expect("no deadlock");
    }
    for worker in 0..8 {
        arrives(&second, &first, &format!("echo/{worker}"), "49");
    }
    first.stop();
    until("the loop ends", || loop_thread.is_finished());
    loop_thread.join().unwrap();
}

#[test]
fn events_come_in_order_and_as_filtered() {
    let _others = with_others();
    let node = quick().start().unwrap();
    let all = node.subscribe();
    let some = node.subscribe_to(EventFilter::all().kinds([EventKind::Delete]).key_prefix("a/"));
    for n in 0..100 {
        node.set("a/x", &n).unwrap();
        node.set("b", &n).unwrap();
    }
    assert!(node.delete("b").unwrap() && node.delete("a/x").unwrap() && !node.delete("a/x").unwrap());
    let versions: Vec<u64> = (0..202).map(|_| version(&all.recv_timeout(LONG).unwrap())).collect();
    assert_eq!(versions, (2..204).collect::<Vec<_>>());
    assert!(matches!(some.recv_timeout(LONG), Some(Event::Delete { key, version: 203, .. }) if &*key == "a/x"));
    assert_eq!(some.try_recv(), None);
    assert_eq!(some.recv_timeout(ms(1)), None);
}

fn version(event: &Event) -> u64 {
    match event {
        Event::Update { version, .. } | Event::Delete { version, .. } => *version,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_is_too_slow_is_told_how_much_it_missed_and_the_end() {
    let _others = with_others();
    let limits = Limits { events: 8, ..Limits::default() };
    let node = quick().limits(limits).start().unwrap();
    let (slow, dropped) = (node.subscribe(), node.subscribe());
    drop(dropped);
    for n in 0..100 {
        node.set("n", &n).unwrap();
    }
    assert_eq!(slow.recv(), Some(Event::Missed { count: 92 }));
    assert_eq!((0..8).map(|_| version(&slow.recv().unwrap())).collect::<Vec<_>>(), (94..102).collect::<Vec<_>>());
    assert_eq!(node.stats().events_missed, 92, "and who is gone misses nothing");
    node.set("n", "last").unwrap();
    node.stop();
    assert_eq!(version(&slow.recv().unwrap()), 102);
    assert_eq!(slow.recv(), Some(Event::Stopped { panicked: None }));
    assert_eq!((slow.recv(), slow.try_recv(), slow.recv_timeout(LONG)), (None, None, None));
    assert_eq!(node.subscribe().recv(), None, "nor does a new one wait for ever");
}

#[test]
fn waiting_ends_with_the_condition_the_time_or_the_node() {
    let _others = with_others();
    let node = quick().start().unwrap();
    assert!(node.wait_until(Duration::ZERO, |_| true));
    assert!(!node.wait_until(Duration::ZERO, |_| false));
    let started = Instant::now();
    assert!(!node.wait_until(ms(50), |_| false));
    assert!(started.elapsed() >= ms(50));
    for (end, held) in [("set", true), ("stop", false)] {
        let waiter = node.clone();
        let waiting = thread::spawn(move || waiter.wait_until(Duration::MAX, |node| node.get("a").is_some()));
        if end == "set" {
            node.set("a", &1).unwrap();
            assert_eq!(waiting.join().unwrap(), held);
            node.delete("a").unwrap();
        } else {
            node.stop();
            assert_eq!(waiting.join().unwrap(), held);
        }
    }
}

// Transports that fail.

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
        Gossiper::start_with(Config { interval: ms(100), seeds, ..Config::default() }, self.clone()).unwrap()
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
        // It is the detector that ends lives, and mostly the one who tells it.
        let deadline = Instant::now() + LONG;
        let stopped = loop {
            let _ = node.set_for("brief", "x", ms(20));
            match events.recv_timeout(ms(100)) {
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

// Strangers.

#[test]
fn junk_is_counted_by_reason_and_changes_nothing() {
    let _others = with_others();
    let node = quick().initial("mine", &1).start().unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |bytes: &[u8]| {
        stranger.send_to(bytes, node.local_addr()).unwrap();
    };
    let mut damaged = Forger::new().news(&[row(peer("127.0.0.1:1"), 1, 1, 1)]);
    *damaged.last_mut().unwrap() ^= 1;
    let mut newer = Forger::new().news(&[]);
    newer[2] = 9;
    let foreign = Forger { cluster: "another", ..Forger::new() };
    send(b"hello\n");
    send(&[b'G'; 1_401]);
    send(&vec![0; 65_507]);
    send(&damaged);
    send(&newer);
    send(&common::forge::raw(&[127, 0, 0, 1, 0, 1], 77, &[]));
    send(&common::forge::raw(&[127, 0, 0, 1, 0, 1], 1, &[0xc1]));
    send(&foreign.news(&[]));
    let expected = [
        (Refusal::Foreign, 1),
        (Refusal::TooLarge, 2),
        (Refusal::Checksum, 1),
        (Refusal::UnknownVersion, 1),
        (Refusal::UnknownKind, 1),
        (Refusal::Malformed, 1),
        (Refusal::WrongCluster, 1),
    ];
    for (reason, count) in expected {
        until(reason.as_str(), || node.stats().refused.get(reason) == count);
    }
    assert_eq!(node.stats().refused.total(), 8);
    assert_eq!((node.peers().len(), node.keys(node.peer()).len()), (0, 1));
    node.check().unwrap();
}

/// An empty datagram wakes the receiver when a node sends it to itself; from a stranger it is junk like any other.
#[test]
fn empty_datagrams_of_strangers_are_counted() {
    let _others = with_others();
    let node = quick().start().unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..3 {
        stranger.send_to(&[], node.local_addr()).unwrap();
    }
    stranger.send_to(b"GV\x09 of another version", node.local_addr()).unwrap();
    // Datagrams on the loopback keep their order: when the last was counted the others were read.
    until("the last one is counted", || node.stats().refused.get(Refusal::UnknownVersion) == 1);
    assert_eq!(node.stats().refused.get(Refusal::Foreign), 3);
}

#[test]
fn clusters_with_different_names_stay_apart_and_say_so_once() {
    let _others = with_others();
    let (ours, told_us) = quick().cluster("ours").start_subscribed().unwrap();
    let (theirs, told_them) = quick().cluster("theirs").seed(ours.peer().to_string()).start_subscribed().unwrap();
    let met = |node: &Gossiper, times| node.stats().refused.get(Refusal::WrongCluster) >= times;
    until("they meet ten times", || met(&ours, 10) && met(&theirs, 1));
    for (events, addr, name) in [(told_us, theirs.local_addr(), "theirs"), (told_them, ours.local_addr(), "ours")] {
        let told: Vec<Event> = std::iter::from_fn(|| events.try_recv()).collect();
        assert_eq!(told, [Event::WrongCluster { addr, cluster: name.to_owned() }], "both notice, once a minute");
    }
    assert_eq!((ours.peers().len(), theirs.peers().len()), (0, 0));
}

// Amounts.

#[test]
fn a_value_as_large_as_the_limit_arrives_whole() {
    let _others = with_others();
    let first = quick().start().unwrap();
    let second = join(&first);
    all_alive(&[&first, &second]);
    let limit = Limits::default().value_bytes;
    let bytes: Vec<u8> = (0..limit).map(|n| (n * 7 + n / 251) as u8).collect();
    let value = Value::from_bytes(bytes);
    first.set_value("large", value.clone(), None).unwrap();
    assert!(second.wait_until(LONG, |node| node.get_from(first.peer(), "large").is_some()));
    assert_eq!(second.get_from(first.peer(), "large"), Some(value));
    let larger = Value::from_bytes(vec![0; limit + 1]);
    let told = first.set_value("larger", larger, None);
    assert!(matches!(told, Err(Error::ValueTooLarge { len, limit: most }) if len == limit + 1 && most == limit));
    assert!(matches!(first.set(&"k".repeat(300), &1), Err(Error::KeyTooLong { len: 300, limit: 256 })));
}

#[test]
fn a_late_joiner_gets_everything() {
    let _others = with_others();
    let first = quick().start().unwrap();
    let second = join(&first);
    for n in 0..300 {
        first.set(&format!("key{n}"), &n).unwrap();
        second.set(&format!("key{n}"), &vec![n; 20]).unwrap();
    }
    for n in 0..100 {
        first.delete(&format!("key{n}")).unwrap();
    }
    let late = join(&first);
    let keys = |node: &Gossiper| (node.keys(first.peer()).len(), node.keys(second.peer()).len());
    for node in [&late, &second] {
        assert!(node.wait_until(LONG, |node| keys(node) == (200, 300)), "{:?}", keys(node));
    }
    assert_eq!(late.get_from(first.peer(), "key299").unwrap().decode::<u32>().unwrap(), 299);
    assert_eq!(late.get_from(second.peer(), "key299").unwrap().decode::<Vec<u32>>().unwrap(), vec![299; 20]);
    assert_eq!(late.entries("key29").len(), 21, "key290 to key299 of two peers, and key29 of one");
    let snapshot = late.snapshot();
    assert_eq!(snapshot.peers.len(), 3);
    assert_eq!(snapshot.get(second.peer(), "key7"), late.get_from(second.peer(), "key7").as_ref());
}

#[test]
fn a_life_ends_at_its_owner_and_elsewhere() {
    let _others = with_others();
    let first = quick().start().unwrap();
    let second = join(&first);
    all_alive(&[&first, &second]);
    let expired = || EventFilter::all().kinds([EventKind::Expire]);
    let (here, there) = (first.subscribe_to(expired()), second.subscribe_to(expired()));
    let set = Instant::now();
    // Long enough to arrive on a machine that is busy.
    first.set_for("brief", "x", secs(3)).unwrap();
    arrives(&second, &first, "brief", "\"x\"");
    for (node, events) in [(&first, here), (&second, there)] {
        let event = events.recv_timeout(LONG).unwrap();
        assert!(set.elapsed() >= secs(3));
        assert!(
            matches!(&event, Event::Expire { peer, key, value, deadline: Some(_), .. }
            if *peer == first.peer() && &**key == "brief" && value.to_string() == "\"x\""),
            "{event:?}"
        );
        assert_eq!(node.get_from(first.peer(), "brief"), None);
    }
}
