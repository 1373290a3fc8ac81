//! The lines of a real call, as they are on the wire.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use grapevine::service::Service;

use crate::{Outcome, ours};

/// What a caller and a provider say to each other.
pub struct Recording {
    pub request: String,
    pub answer: String,
}

/// Makes one call, with a listener in between that writes down what passes.
pub fn record() -> Outcome<Recording> {
    let provider = ours::provide(false)?;
    let addr = provider.local_addr().ok_or("the provider does not listen")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let between = listener.local_addr()?.to_string();
    let caller = thread::spawn(move || {
        let service = Service::builder().client(between, "role:api").start().map_err(|error| error.to_string())?;
        let sum = service.act::<serde_json::Value>("role:api,cmd:add,left:2,right:3");
        sum.map_err(|error| error.to_string())
    });
    let mut from_caller = BufReader::new(listener.accept()?.0);
    let mut from_provider = BufReader::new(TcpStream::connect(addr)?);
    let recording = Recording {
        request: pass_on(&mut from_caller, from_provider.get_mut())?,
        answer: pass_on(&mut from_provider, from_caller.get_mut())?,
    };
    caller.join().map_err(|_| "the caller panicked")??;
    Ok(recording)
}

fn pass_on(from: &mut BufReader<TcpStream>, to: &mut TcpStream) -> Outcome<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    to.write_all(line.as_bytes())?;
    Ok(line)
}
