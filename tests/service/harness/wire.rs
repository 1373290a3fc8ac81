//! A client that speaks the wire by hand.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use grapevine::service::Service;
use serde_json::{Value, json};
use socket2::SockRef;

use super::{LONG, plain_addr};

pub struct Client {
    stream: BufReader<TcpStream>,
}

/// A request as Seneca's clients send it.
pub fn request(id: &str, act: &Value) -> Value {
    json!({"id": id, "kind": "act", "origin": "tester/1/1/-", "track": ["tester/1/1/-"], "time": {"client_sent": 1}, "act": act})
}

impl Client {
    pub fn of(service: &Service) -> Client {
        let stream = TcpStream::connect(plain_addr(service)).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    /// Hangs up at once, as a program that crashes: it wants no answers.
    pub fn reset(self) {
        SockRef::from(self.stream.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    pub fn send(&mut self, line: &Value) {
        self.send_bytes(format!("{line}\n").as_bytes());
    }

    /// How many bytes have come and were not read, up to a million.
    pub fn arrived(&self) -> usize {
        self.stream.get_ref().peek(&mut vec![0; 1_000_000]).unwrap()
    }

    /// The next line; `None` if the connection has ended.
    pub fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no line within {LONG:?}: {error}"),
        }
    }

    /// The next line, or what came of it before the connection ended.
    pub fn line_or_part(&mut self) -> Option<usize> {
        let mut bytes = Vec::new();
        match self.stream.read_until(b'\n', &mut bytes) {
            Ok(0) => None,
            Ok(read) => Some(read),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no line within {LONG:?}: {error}"),
        }
    }

    pub fn ask(&mut self, line: &Value) -> Value {
        self.send(line);
        self.line().expect("an answer")
    }

    /// Sends a request that is made of this.
    pub fn act(&mut self, id: &str, act: &Value) -> Value {
        self.ask(&request(id, act))
    }

    /// Reads until the connection ends; gives how many lines came before.
    pub fn ends(&mut self) -> usize {
        std::iter::from_fn(|| self.line()).count()
    }

    /// Sends nothing more, and goes on reading.
    pub fn close_sending(&mut self) {
        self.stream.get_mut().shutdown(Shutdown::Write).unwrap();
    }
}
