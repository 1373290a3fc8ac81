//! A service that adds and multiplies, for any node of its cluster and for Seneca's clients. It ends at the end of its input.
//!
//! Each in a terminal of its own; gossip is on the port above that of the calls:
//! ```sh
//! cargo run --release --example service -- --listen 127.0.0.1:4444
//! cargo run --release --example service -- --listen 127.0.0.1:5555 --seed 127.0.0.1:4445
//! cargo run --release --example client -- --seed 127.0.0.1:4445
//! ```

use std::time::Duration;
use std::{env, error, io, process, thread};

use grapevine::service::{Failure, Pattern, Service, ServiceBuilder, ServiceEvent};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Numbers {
    left: i64,
    right: i64,
}

#[derive(Serialize)]
struct Answer {
    result: i64,
}

fn main() {
    env_logger::init();
    if let Err(error) = run() {
        eprintln!("error: {error}");
        process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn error::Error>> {
    let service = configure(env::args().skip(1))?.pin("role:api").start()?;
    service.add("role:api,cmd:add", |numbers: Numbers| answer(numbers.left.checked_add(numbers.right)))?;
    service.add("role:api,cmd:mcl", |numbers: Numbers| answer(numbers.left.checked_mul(numbers.right)))?;
    let node = service.node().clone();
    let addr = service.local_addr().ok_or("--listen is missing")?;
    println!("calls at {addr}, gossip at {}", node.peer());
    let events = service.subscribe();
    thread::spawn(move || events.iter().for_each(|event| tell(&event)));
    io::copy(&mut io::stdin(), &mut io::sink())?;
    // What is under way is answered, and nobody calls here any more.
    service.drain(Duration::from_secs(5));
    Ok(node.leave(Duration::from_secs(5))?)
}

fn answer(result: Option<i64>) -> Result<Answer, Failure> {
    let result = result.ok_or(Failure::new("overflow", "the result is too large for 64 bits"))?;
    Ok(Answer { result })
}

fn configure(mut args: impl Iterator<Item = String>) -> Result<ServiceBuilder, String> {
    let mut builder = Service::builder();
    while let Some(arg) = args.next() {
        let value = args.next().unwrap_or_default();
        builder = match arg.as_str() {
            "--listen" => builder.listen(value),
            "--seed" => builder.seed(value),
            _ => return Err("usage: service --listen ADDRESS:PORT [--seed HOST:PORT]...".to_owned()),
        }
    }
    Ok(builder)
}

fn tell(event: &ServiceEvent) {
    match event {
        ServiceEvent::Offered(info) | ServiceEvent::Changed(info) => {
            let patterns: Vec<String> = info.patterns.iter().map(Pattern::to_string).collect();
            println!("{} offers {}", info.addr, patterns.join(" and "));
        }
        ServiceEvent::Withdrawn(info) => println!("{} offers nothing any more", info.addr),
        _ => {}
    }
}
