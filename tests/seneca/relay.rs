//! A relay between a client and a server on loopback: it hears every line, and breaks connections.

use std::io::{Read, Write};
use std::mem;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// It takes in connections until the test ends.
pub struct Relay {
    pub port: u16,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard {
    requests: Mutex<Vec<u8>>,
    responses: Mutex<Vec<u8>>,
    /// Both ends of every connection that was open since the last cut.
    streams: Mutex<Vec<TcpStream>>,
    /// How many there were ever.
    connections: AtomicUsize,
}

impl Relay {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let heard = Arc::<Heard>::default();
        let relay = Self { port: listener.local_addr().expect("its port").port(), heard: heard.clone() };
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        thread::spawn(move || listener.incoming().flatten().for_each(|client| connect(client, server, &heard)));
        relay
    }

    /// Breaks every connection. The next ones are taken in as before.
    pub fn cut(&self) {
        let streams = mem::take(&mut *self.heard.streams.lock().unwrap());
        streams.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }

    /// How many connections were made through it so far.
    pub fn connections(&self) -> usize {
        self.heard.connections.load(Ordering::SeqCst)
    }

    /// Every line that a client sent, in the order of their ends.
    pub fn requests(&self) -> Vec<String> {
        lines(&self.heard.requests)
    }

    /// Every line that the server sent.
    pub fn responses(&self) -> Vec<String> {
        lines(&self.heard.responses)
    }

    /// The first request for this `cmd`, and what it says.
    pub fn request(&self, cmd: &str) -> (String, Value) {
        let requests = self.requests().into_iter().map(|line| {
            let request: Value = serde_json::from_str(&line).expect("a request");
            (line, request)
        });
        let mut with_cmd = requests.filter(|(_, request)| request["act"]["cmd"] == cmd);
        with_cmd.next().unwrap_or_else(|| panic!("nobody asked for {cmd}"))
    }
}

/// One connection at a time is open to most servers here, so that lines of several do not mix.
fn lines(bytes: &Mutex<Vec<u8>>) -> Vec<String> {
    let text = String::from_utf8(bytes.lock().unwrap().clone()).expect("UTF-8");
    text.split_terminator('\n').map(str::to_owned).collect()
}

fn connect(client: TcpStream, server: SocketAddr, heard: &Arc<Heard>) {
    // Nobody may listen there just now: then the client's connection is closed as well.
    let Ok(server) = TcpStream::connect(server) else { return };
    let both = || Some([client.try_clone().ok()?, server.try_clone().ok()?]);
    let Some(streams) = both() else { return };
    heard.streams.lock().unwrap().extend(streams);
    heard.connections.fetch_add(1, Ordering::SeqCst);
    for (from, to, is_request) in [(&client, &server, true), (&server, &client, false)] {
        let (Ok(from), Ok(to), heard) = (from.try_clone(), to.try_clone(), heard.clone()) else { return };
        thread::spawn(move || {
            pass_on(&from, &to, if is_request { &heard.requests } else { &heard.responses });
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}

fn pass_on(mut from: &TcpStream, mut to: &TcpStream, heard: &Mutex<Vec<u8>>) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut chunk) {
        heard.lock().unwrap().extend_from_slice(&chunk[..length]);
        if to.write_all(&chunk[..length]).is_err() {
            return;
        }
    }
}
