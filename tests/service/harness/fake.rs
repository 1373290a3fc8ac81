//! Providers that do as they are told: they answer something else, nothing, or hang up.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

/// Takes connections and does with each line what it was told, until it is dropped.
pub struct Fake {
    addr: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    ended: AtomicBool,
    connections: AtomicUsize,
    requests: Mutex<Vec<Value>>,
    open: Mutex<Vec<TcpStream>>,
}

/// A line that came, and the connection to answer it on.
pub struct Line<'a> {
    pub request: Value,
    stream: &'a TcpStream,
}

impl Line<'_> {
    pub fn send_bytes(&self, bytes: &[u8]) -> bool {
        let mut stream = self.stream;
        stream.write_all(bytes).is_ok()
    }

    pub fn send(&self, line: &Value) -> bool {
        self.send_bytes(format!("{line}\n").as_bytes())
    }

    /// Answers with a result.
    pub fn answer(&self, result: &Value) -> bool {
        self.send(&json!({"id": self.request["id"], "kind": "res", "origin": self.request["origin"], "res": result}))
    }

    /// Answers with an error.
    pub fn refuse(&self, code: &str) -> bool {
        self.send(&self.refusal(code))
    }

    /// With one that says that nothing was run.
    pub fn refuse_unrun(&self, code: &str) -> bool {
        let mut refusal = self.refusal(code);
        refusal["not_run"] = json!(true);
        self.send(&refusal)
    }

    fn refusal(&self, code: &str) -> Value {
        let error = json!({"message": "as told", "code": code, "seneca": true, "eraro": true});
        json!({"id": self.request["id"], "kind": "res", "origin": self.request["origin"], "error": error})
    }
}

impl Fake {
    /// `answer` is called for each line; the connection is closed once it gives false.
    pub fn start(answer: impl Fn(&Line<'_>) -> bool + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (addr, state) = (listener.local_addr().unwrap(), Arc::new(State::default()));
        let (answer, shared) = (Arc::new(answer), state.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                shared.connections.fetch_add(1, Ordering::SeqCst);
                shared.open.lock().push(stream.try_clone().unwrap());
                let (answer, shared) = (answer.clone(), shared.clone());
                thread::spawn(move || serve(&stream, &shared, &*answer));
            }
        });
        Fake { addr, state }
    }

    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// The lines that came.
    pub fn requests(&self) -> Vec<Value> {
        self.state.requests.lock().clone()
    }

    /// Closes every connection; others may come.
    pub fn hang_up(&self) {
        for stream in self.state.open.lock().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        self.hang_up();
    }
}

fn serve(stream: &TcpStream, state: &State, answer: &dyn Fn(&Line<'_>) -> bool) {
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { break };
        let request: Value = serde_json::from_str(&line).unwrap();
        state.requests.lock().push(request.clone());
        if !answer(&Line { request, stream }) {
            break;
        }
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

/// An address that refuses connections as long as the socket is held: it is bound, and nobody listens.
pub fn refusing() -> (Socket, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr.to_string())
}

/// An address like that of a host that has gone: connections to it neither open nor fail. Its queue of one is full, and nobody takes
/// anything out.
pub struct Deaf {
    addr: SocketAddr,
    socket: Socket,
    queued: Mutex<Vec<Socket>>,
}

impl Deaf {
    pub fn start() -> Deaf {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        let deaf = Deaf { addr, socket, queued: Mutex::default() };
        deaf.fill();
        deaf
    }

    fn fill(&self) {
        for _ in 0..3 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let _ = socket.connect_timeout(&self.addr.into(), Duration::from_millis(50));
            self.queued.lock().push(socket);
        }
    }

    /// Takes in those that fill the queue, and then whoever comes.
    pub fn hear(&self) -> TcpStream {
        let known: Vec<_> = self.queued.lock().drain(..).filter_map(|socket| socket.local_addr().ok()).collect();
        loop {
            let (stream, from) = self.socket.accept().unwrap();
            if !known.iter().any(|addr| addr.as_socket() == from.as_socket()) {
                return stream.into();
            }
        }
    }

    /// Takes in nobody more.
    pub fn be_deaf(&self) {
        self.fill();
    }

    pub fn addr(&self) -> String {
        self.addr.to_string()
    }
}
