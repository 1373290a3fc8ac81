//! The agent's service, as its options want it.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use grapevine::service::{Pattern, Service, ServiceConfig};
use grapevine::{Error, Gossiper};

use crate::agent::serve::Commands;
use crate::args::AgentArgs;
use crate::failure::Failure;
use crate::place;
use crate::protocol::Problem;

/// Calls that are answered at once: by commands, by programs at the other end of a connection, or waiting for either. Each takes a
/// thread, for as long as it lasts.
const WORKERS: usize = 256;
/// Events that wait for a reader. There are few of them, and each may have all patterns of a node, 64 KiB.
const EVENTS_WAITING: usize = 64;

/// Its settings.
pub fn config(args: &AgentArgs) -> Result<ServiceConfig, Failure> {
    let mut config = ServiceConfig::default();
    (config.workers, config.events) = (WORKERS, EVENTS_WAITING);
    config.listen = address("--listen", args.listen.as_deref())?;
    config.listen_plain = address("--listen-plain", args.listen_plain.as_deref())?;
    config.advertise = address("--advertise-service", args.advertise_service.as_deref())?;
    for pin in given(&args.pin) {
        config.pins.push(pattern(&format!("--pin {pin}"), pin)?);
    }
    for client in given(&args.client) {
        let option = format!("--client {client}");
        let (addr, pin) = client.split_once('=').ok_or_else(|| {
            let text = format!("{option}: it has no `=`; write HOST:PORT=PATTERN, like 10.0.0.7:10201=role:api");
            Failure::Usage(text)
        })?;
        config.clients.push((addr.trim().to_owned(), pattern(&option, pin)?));
    }
    config.validate().map_err(failure)?;
    for addr in [config.listen, config.listen_plain].into_iter().flatten() {
        // Before anybody hears of a node that will not be.
        TcpListener::bind(addr).map_err(|source| Error::Bind { addr, source })?;
    }
    Ok(config)
}

/// Where the node gossips.
pub fn bind(args: &AgentArgs, config: &ServiceConfig) -> Result<String, Failure> {
    match (&args.bind, config.listen) {
        (Some(bind), _) => Ok(bind.clone()),
        (None, Some(mut listen)) => {
            let text = || format!("--listen {listen}: there is no port above it for gossip; give --bind an address");
            listen.set_port(place::port_above(listen.port()).ok_or_else(|| Failure::Usage(text()))?);
            Ok(listen.to_string())
        }
        (None, None) => Ok(place::default_bind().to_string()),
    }
}

/// Starts it on a node, with what commands answer.
pub fn start(config: ServiceConfig, commands: &Commands, node: &Gossiper) -> Result<Service, Failure> {
    let listens = config.listen.is_some() || config.listen_plain.is_some();
    let service = Service::start(config, node).map_err(failure)?;
    commands.offer(&service).map_err(failure)?;
    if !listens && !commands.is_empty() {
        log::warn!("nobody else can call what --serve offers: there is no address to listen on; give --listen");
    }
    Ok(service)
}

/// What is said about a setting of the service, by the option that it is given by.
fn failure(error: Error) -> Failure {
    let (setting, problem) = match error {
        Error::Config { setting, problem } => (setting, problem),
        // Nothing else is told to the others here.
        Error::ValueTooLarge { .. } => ("pattern", Problem::of_serving(error).message),
        error => return error.into(),
    };
    let problem = problem.replace("`listen`", "--listen");
    let option = match setting {
        "advertise" => "advertise-service".to_owned(),
        "pins" => "pin".to_owned(),
        "clients" => "client".to_owned(),
        "pattern" => "serve".to_owned(),
        setting => setting.replace('_', "-"),
    };
    Failure::Usage(format!("--{option}: {problem}"))
}

/// Without what variables may have too much of.
fn given(values: &[String]) -> impl Iterator<Item = &str> {
    values.iter().map(|value| value.trim()).filter(|value| !value.is_empty())
}

fn address(option: &str, addr: Option<&str>) -> Result<Option<SocketAddr>, Failure> {
    let Some(addr) = addr.filter(|addr| !addr.is_empty()) else { return Ok(None) };
    match addr.to_socket_addrs().map(|mut addrs| addrs.next()) {
        Ok(Some(addr)) => Ok(Some(addr)),
        Ok(None) => Err(Failure::Usage(format!("{option}: it stands for no address"))),
        Err(error) => Err(Failure::Usage(format!("{option}: it is no ADDRESS:PORT like 127.0.0.1:4444 ({error})"))),
    }
}

fn pattern(option: &str, text: &str) -> Result<Pattern, Failure> {
    text.parse().map_err(|error| Failure::Usage(format!("{option}: {error}")))
}
