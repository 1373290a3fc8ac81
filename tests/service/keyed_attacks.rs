//! What is sent again, changed, cut off or held back on connections in a cluster with keys: it costs that connection, and nobody else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use grapevine::Builder;
use grapevine::keyring::Keyring;
use grapevine::service::{ActError, Service, ServiceBuilder};
use serde_json::{Value, json};

use crate::common::{ms, secs};
use crate::harness::{LONG, Relay, Way, by, calm, echo, finds, key, refused, until, with_others};

/// The preamble and the first message of a handshake, and the second message.
const HELLO: usize = 52;
const ANSWER: usize = 48;
/// The handshake and the frame with which it is over.
const BEGINNING: usize = HELLO + 19;

fn keyed() -> Builder {
    calm().keyring(Keyring::new(key(7)))
}

/// A provider, and one caller by way of a relay.
fn by_way_of(relay: &Relay, settings: ServiceBuilder) -> (Service, Service) {
    let caller = Service::builder().gossip(keyed()).start().unwrap();
    let seed = caller.node().peer().to_string();
    let provider = settings.listen("127.0.0.1:0").advertise(relay.addr()).gossip(keyed()).seed(seed).start().unwrap();
    relay.lead_to(provider.local_addr().unwrap());
    (caller, provider)
}

/// An action that counts how often it ran.
fn counting(provider: &Service, pattern: &str) -> Arc<AtomicUsize> {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let handler = move |_: Value| Ok(json!({"before": counted.fetch_add(1, Ordering::SeqCst)}));
    provider.add(pattern, handler).unwrap();
    runs
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

/// Everything that comes until the connection ends.
fn all(mut stream: &TcpStream) -> Vec<u8> {
    let (mut came, mut buffer) = (Vec::new(), [0; 4_096]);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        came.extend_from_slice(&buffer[..read]);
    }
    came
}

#[test]
fn what_was_recorded_runs_nothing_when_it_is_sent_again() {
    let _others = with_others();
    let relay = Relay::start();
    let (caller, provider) = by_way_of(&relay, Service::builder());
    let runs = counting(&provider, "a:1");
    finds(&caller, "a:1");
    for _ in 0..3 {
        caller.act::<Value>("a:1").unwrap();
    }
    let there = relay.recorded()[0][0].clone();
    let addr = provider.local_addr().unwrap();
    let requests = provider.stats().requests;
    // The first message alone is answered by one of which nothing follows: only who made it knows the other half of its key.
    let first = connect(addr);
    { &first }.write_all(&there[..HELLO]).unwrap();
    let mut answer = [0; ANSWER];
    { &first }.read_exact(&mut answer).unwrap();
    assert_ne!(answer[..], relay.recorded()[0][1][..ANSWER], "no two answers are the same");
    // It has the connection for as long as a handshake may take.
    assert_eq!(all(&first), b"");
    assert_eq!(refused(&provider.stats(), "handshake_too_slow"), 1);
    // Everything.
    let whole = connect(addr);
    { &whole }.write_all(&there).unwrap();
    assert_eq!(all(&whole).len(), ANSWER);
    assert_eq!(refused(&provider.stats(), "unauthentic_frame"), 1);
    // What was answered, to a caller that begins anew: every byte of it differs.
    assert_eq!(runs.load(Ordering::SeqCst), 3);
    assert_eq!(provider.stats().requests, requests);
    caller.act::<Value>("a:1").unwrap();
}

/// One bit of anything that goes either way.
#[test]
fn what_is_changed_on_its_way_ends_its_connection() {
    let _others = with_others();
    // Which way, and which byte: of the preamble, of the handshake, of a frame's length, of what is sealed.
    let places = [
        (Way::There, 0, "plain_connection"),
        (Way::There, 2, "unknown_version"),
        (Way::There, 3, "unknown_key"),
        (Way::There, 7, "unauthentic_handshake"),
        (Way::There, 50, "unauthentic_handshake"),
        (Way::There, HELLO, "unauthentic_frame"),
        (Way::There, HELLO + 60, "unauthentic_frame"),
        (Way::Back, 3, "unauthentic_handshake"),
        (Way::Back, 47, "unauthentic_handshake"),
        (Way::Back, ANSWER, "unauthentic_frame"),
        (Way::Back, ANSWER + 40, "unauthentic_frame"),
    ];
    for (way, place, reason) in places {
        let flipped = Arc::new(AtomicUsize::new(0));
        let count = flipped.clone();
        let relay = Relay::changing(move |this, before, bytes| {
            if this == way && (before..before + bytes.len()).contains(&place) {
                // The highest bit: of a length it makes one that no frame has.
                bytes[place - before] ^= 0x80;
                count.fetch_add(1, Ordering::SeqCst);
            }
            true
        });
        let (caller, provider) = by_way_of(&relay, Service::builder());
        let runs = counting(&provider, "a:1");
        finds(&caller, "a:1");
        let error = caller.act::<Value>("a:1").unwrap_err();
        let is_handshake = place < if way == Way::There { HELLO } else { ANSWER };
        match &error {
            // The connection may have ended before the call was sent.
            _ if way == Way::There && (HELLO..BEGINNING).contains(&place) => {}
            ActError::Unreachable { .. } => assert!(is_handshake, "{way:?} {place}: {error}"),
            ActError::ConnectionLost { .. } => assert!(!is_handshake, "{way:?} {place}: {error}"),
            _ => panic!("{way:?} {place}: {error}"),
        }
        assert!(flipped.load(Ordering::SeqCst) > 0);
        let counts = if way == Way::There { &provider } else { &caller };
        until(reason, || refused(&counts.stats(), reason) > 0);
        assert_eq!(runs.load(Ordering::SeqCst), usize::from(way == Way::Back && place >= ANSWER), "{way:?} {place}");
    }
}

/// Frames that nobody sealed: of no length, of too much, of a part; after a frame that was.
#[test]
fn bad_frames_end_their_connection() {
    let _others = with_others();
    let cases: [(&str, &[u8], bool); 5] = [
        ("none", &[0, 0], true),
        ("a tag alone", &[0, 16, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], true),
        ("too long", &[0xff, 0xff], true),
        ("a part", &[0, 30, 1, 2, 3], false),
        ("half a length", &[0], false),
    ];
    for (name, frame, goes_on) in cases {
        let once = AtomicUsize::new(0);
        let relay = Relay::changing(move |way, before, bytes| {
            let is_first =
                way == Way::There && before + bytes.len() > BEGINNING && once.fetch_add(1, Ordering::SeqCst) == 0;
            if is_first {
                bytes.extend_from_slice(frame);
            }
            goes_on || !is_first
        });
        let (caller, provider) = by_way_of(&relay, Service::builder());
        let runs = counting(&provider, "a:1");
        finds(&caller, "a:1");
        // Somebody else calls the same provider, by way of an address of its own.
        let other = Service::builder().gossip(keyed()).start().unwrap();
        let seed = other.node().peer().to_string();
        let same = Service::builder().listen("127.0.0.1:0").advertise(provider.local_addr().unwrap());
        let same = same.gossip(keyed()).seed(seed).start().unwrap();
        echo(&provider, "b:1", "it");
        echo(&same, "b:1", "nobody");
        finds(&other, "b:1");
        assert_eq!(by(&other.act::<Value>("b:1").unwrap()), "it");
        // What came before it is done; whether its answer is sent is a matter of time.
        let _ = caller.call("a:1").timeout(secs(20)).send::<Value>();
        until(name, || refused(&provider.stats(), "unauthentic_frame") == 1);
        until(name, || runs.load(Ordering::SeqCst) == 1);
        until("it is closed", || provider.stats().connections == 1);
        // The next one is as good as any.
        until("calls go on", || caller.act::<Value>("a:1").is_ok());
        assert_eq!(by(&other.act::<Value>("b:1").unwrap()), "it");
        assert_eq!(other.stats().providers[0].unanswered, 0, "somebody else's is as it was");
    }
}

/// A frame that does not become whole is waited for no longer than a line.
#[test]
fn a_frame_that_is_held_back_is_let_go() {
    let _others = with_others();
    let once = AtomicUsize::new(0);
    let relay = Relay::changing(move |way, before, bytes| {
        if way == Way::There && before + bytes.len() > BEGINNING && once.fetch_add(1, Ordering::SeqCst) == 0 {
            bytes.truncate(bytes.len() - 1);
        }
        true
    });
    let (caller, provider) = by_way_of(&relay, Service::builder().line_time(ms(200)));
    echo(&provider, "a:1", "it");
    finds(&caller, "a:1");
    let begun = Instant::now();
    let error = caller.call("a:1").timeout(LONG).send::<Value>().unwrap_err();
    assert!(matches!(error, ActError::ConnectionLost { .. }), "{error}");
    assert!(begun.elapsed() < secs(20), "{:?}", begun.elapsed());
    assert_eq!(refused(&provider.stats(), "line_too_slow"), 1);
}

/// Whoever does not go on with a handshake is let go, and so is who sends it a byte a second.
#[test]
fn slow_handshakes_end() {
    let _others = with_others();
    let service = Service::builder().listen("127.0.0.1:0").gossip(keyed()).start().unwrap();
    let addr = service.local_addr().unwrap();
    let id = u8::from_str_radix(&key(7).id().to_string()[..2], 16).unwrap().max(1);
    let begun = Instant::now();
    let halves: [&[u8]; 4] = [b"", b"G", b"GV", &[b'G', b'V', 1, id, 1, 2, 3]];
    let streams = halves.map(|half| {
        let stream = connect(addr);
        { &stream }.write_all(half).unwrap();
        stream
    });
    let trickling = connect(addr);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let hello = [b'G', b'V', 1, id].into_iter().chain([9; 48]);
            for byte in hello {
                if { &trickling }.write_all(&[byte]).is_err() {
                    break;
                }
                std::thread::sleep(ms(300));
            }
        });
        assert!(streams.iter().chain([&trickling]).all(|stream| all(stream).is_empty()));
    });
    assert!((secs(4)..secs(30)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(refused(&service.stats(), "handshake_too_slow"), 5);
    until("all are closed", || service.stats().connections == 0);
    // Those that end themselves are counted, too.
    let half = connect(addr);
    { &half }.write_all(b"GV").unwrap();
    half.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(all(&half).is_empty());
    assert_eq!(refused(&service.stats(), "handshake_cut_off"), 1);
}

/// Who has proven nothing gives way to who has, and so does who repeats what one said who had.
#[test]
fn half_handshakes_keep_nobody_out() {
    let _others = with_others();
    let relay = Relay::start();
    let (caller, provider) = by_way_of(&relay, Service::builder().connections(8));
    echo(&provider, "a:1", "it");
    finds(&caller, "a:1");
    assert_eq!(by(&caller.act::<Value>("a:1").unwrap()), "it");
    let recorded = relay.recorded()[0][0][..HELLO].to_vec();
    let addr = provider.local_addr().unwrap();
    let mut halves = Vec::new();
    for n in 0..100 {
        let stream = connect(addr);
        // Part of a handshake, or all of one that somebody recorded: more of these than there may be connections.
        if n % 20 < 10 {
            { &stream }.write_all(&b"GV\x01"[..n % 4]).unwrap();
        } else {
            { &stream }.write_all(&recorded).unwrap();
            { &stream }.read_exact(&mut [0; ANSWER]).unwrap();
        }
        halves.push(stream);
        if n % 20 == 19 {
            assert_eq!(by(&caller.act::<Value>("a:1").unwrap()), "it");
        }
    }
    until("all were taken in", || provider.stats().connections == 8);
    assert_eq!(relay.recorded().len(), 1, "it still has its first connection");
    // Somebody new, too.
    let seed = provider.node().peer().to_string();
    let newcomer = Service::builder().gossip(keyed()).seed(seed).start().unwrap();
    finds(&newcomer, "a:1");
    assert_eq!(by(&newcomer.act::<Value>("a:1").unwrap()), "it");
}

/// Newcomers push out who is idle, and not each other: what they have to show takes a moment, longer on a slow way.
#[test]
fn newcomers_are_given_the_time_for_a_handshake() {
    let _others = with_others();
    const CONNECTIONS: usize = 16;
    let provider = Service::builder().listen("127.0.0.1:0").connections(CONNECTIONS).gossip(keyed()).start().unwrap();
    echo(&provider, "a:1", "it");
    let (addr, seed) = (provider.local_addr().unwrap(), provider.node().peer().to_string());
    let member = |_| {
        let caller = Service::builder().gossip(keyed()).seed(seed.clone()).start().unwrap();
        finds(&caller, "a:1");
        assert_eq!(by(&caller.act::<Value>("a:1").unwrap()), "it");
        caller
    };
    let members: Vec<Service> = (0..CONNECTIONS).map(member).collect();
    until("all are connected", || provider.stats().connections == CONNECTIONS);
    let is_open = |mut stream: &TcpStream| {
        stream.set_read_timeout(Some(ms(50))).unwrap();
        !matches!(stream.read(&mut [0]), Ok(0))
    };
    // On a machine that is busy the second connection may come too late to tell.
    let newcomers = (0..20).find_map(|_| {
        let begun = Instant::now();
        let newcomers = [connect(addr), connect(addr)];
        let are_open = newcomers.iter().all(is_open);
        (are_open || begun.elapsed() < ms(900)).then_some((newcomers, are_open))
    });
    let (newcomers, are_open) = newcomers.expect("two connections in a second");
    assert!(are_open, "one pushed out the other");
    // But not too many: the first gives way to more of them, and not a member.
    let more = [connect(addr), connect(addr)];
    assert!(all(&newcomers[0]).is_empty());
    until("they are let go", || more.iter().chain(&newcomers).all(|stream| all(stream).is_empty()));
    members.iter().for_each(|caller| assert_eq!(by(&caller.act::<Value>("a:1").unwrap()), "it"));
}
