//! Somebody between a caller and a provider, who records what goes by, and may change it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use parking_lot::Mutex;

/// Which way something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    There,
    Back,
}

/// What it makes of some bytes that came on a connection after so many others in this direction; false ends that connection.
type Change = dyn Fn(Way, usize, &mut Vec<u8>) -> bool + Send + Sync;

/// Takes connections, and makes one to the provider for each, until it is dropped.
pub struct Relay {
    addr: SocketAddr,
    state: Arc<State>,
}

struct State {
    ended: AtomicBool,
    to: Mutex<Option<SocketAddr>>,
    /// What went there and back on each connection.
    recorded: Mutex<Vec<[Vec<u8>; 2]>>,
    open: Mutex<Vec<TcpStream>>,
    change: Box<Change>,
}

impl Relay {
    /// One that changes nothing.
    pub fn start() -> Relay {
        Relay::changing(|_, _, _| true)
    }

    pub fn changing(change: impl Fn(Way, usize, &mut Vec<u8>) -> bool + Send + Sync + 'static) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State {
            ended: AtomicBool::new(false),
            to: Mutex::default(),
            recorded: Mutex::default(),
            open: Mutex::default(),
            change: Box::new(change),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                let caller = stream.unwrap();
                let Some(Ok(provider)) = shared.to.lock().map(TcpStream::connect) else { continue };
                caller.set_nodelay(true).unwrap();
                provider.set_nodelay(true).unwrap();
                let number = {
                    let mut recorded = shared.recorded.lock();
                    recorded.push([Vec::new(), Vec::new()]);
                    recorded.len() - 1
                };
                shared.open.lock().extend([caller.try_clone().unwrap(), provider.try_clone().unwrap()]);
                let ways = [(Way::There, &caller, &provider), (Way::Back, &provider, &caller)];
                for (way, from, to) in ways {
                    let (from, to, shared) = (from.try_clone().unwrap(), to.try_clone().unwrap(), shared.clone());
                    thread::spawn(move || shared.carry(number, way, from, to));
                }
            }
        });
        Relay { addr, state }
    }

    /// Where its connections go.
    pub fn lead_to(&self, addr: SocketAddr) {
        *self.state.to.lock() = Some(addr);
    }

    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// What went by, there and back, on each connection.
    pub fn recorded(&self) -> Vec<[Vec<u8>; 2]> {
        self.state.recorded.lock().clone()
    }
}

impl State {
    fn carry(&self, number: usize, way: Way, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let mut bytes = buffer[..read].to_vec();
            let before = {
                let record = &mut self.recorded.lock()[number][way as usize];
                record.extend_from_slice(&bytes);
                record.len() - read
            };
            let goes_on = (self.change)(way, before, &mut bytes);
            if to.write_all(&bytes).is_err() || !goes_on {
                break;
            }
        }
        // The other way may go on for a moment.
        let _ = (from.shutdown(Shutdown::Read), to.shutdown(Shutdown::Write));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        for stream in self.state.open.lock().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
