//! Who answers.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use grapevine::service::ServiceConfig;

use crate::Outcome;
use crate::echo::writer::Writer;
use crate::echo::{number, put_number};

struct Request {
    line: Vec<u8>,
    writer: Arc<Writer>,
}

/// Requests that wait for a thread.
#[derive(Default)]
struct Queue {
    requests: Mutex<VecDeque<Request>>,
    arrived: Condvar,
}

impl Queue {
    fn put(&self, request: Request) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push_back(request);
        self.arrived.notify_one();
    }

    fn take(&self) -> Request {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(request) = requests.pop_front() {
                return request;
            }
            requests = self.arrived.wait(requests).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Listens on a port that the system gives, and answers every line with this one.
pub fn start(answer: String) -> Outcome<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let requests = Arc::new(Queue::default());
    for _ in 0..ServiceConfig::default().workers {
        let (requests, answer) = (requests.clone(), answer.clone());
        thread::spawn(move || answer_requests(&requests, answer.into_bytes()));
    }
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let requests = requests.clone();
            thread::spawn(move || read_requests(stream, &requests));
        }
    });
    Ok(addr)
}

/// One connection, until it ends.
fn read_requests(stream: TcpStream, requests: &Queue) {
    let Ok(()) = stream.set_nodelay(true) else { return };
    let Ok(writer) = stream.try_clone().map(Writer::new).map(Arc::new) else { return };
    let mut lines = BufReader::new(stream);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
        let request = Request { line: std::mem::take(&mut line), writer: writer.clone() };
        requests.put(request);
    }
}

/// One of the threads that answer.
fn answer_requests(requests: &Queue, mut answer: Vec<u8>) {
    loop {
        let Request { line, writer } = requests.take();
        let Some(number) = number(&line) else { continue };
        put_number(number, &mut answer);
        // Whoever has gone needs no answer.
        let _ = writer.send(&answer);
    }
}
