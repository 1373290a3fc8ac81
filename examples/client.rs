//! Calls what the example `service` offers, without knowing where it runs: once a second, or `--once`.
//!
//! ```sh
//! cargo run --release --example client -- --seed 127.0.0.1:4445
//! ```

use std::time::Duration;
use std::{env, error, process, thread};

use grapevine::service::Service;
use serde::{Deserialize, Serialize};

#[derive(Serialize)]
struct Numbers {
    left: i64,
    right: i64,
}

#[derive(Deserialize)]
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
    let mut builder = Service::builder();
    let mut once = false;
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seed" => builder = builder.seed(args.next().unwrap_or_default()),
            "--once" => once = true,
            _ => return Err("usage: client --seed HOST:PORT... [--once]".into()),
        }
    }
    let service = builder.timeout(Duration::from_secs(5)).start()?;
    if !service.wait_for("role:api,cmd:add", Duration::from_secs(10)) {
        return Err(
            "nobody offers role:api,cmd:add; start the example `service`, and give its gossip address as --seed".into(),
        );
    }
    loop {
        // An answer, or an error that says why there is none: the service may be restarted meanwhile.
        for (sign, cmd) in [("+", "add"), ("*", "mcl")] {
            let numbers = Numbers { left: 2, right: 3 };
            match service.call((&*format!("role:api,cmd:{cmd}"), numbers)).idempotent().send::<Answer>() {
                Ok(answer) => println!("2 {sign} 3 = {}", answer.result),
                Err(error) if once => return Err(error.into()),
                Err(error) => println!("2 {sign} 3: {error}"),
            }
        }
        if once {
            return Ok(service.node().leave(Duration::from_secs(5))?);
        }
        thread::sleep(Duration::from_secs(1));
    }
}
