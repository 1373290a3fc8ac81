//! What runs on a host: a node that does what it is told on its standard input and tells on its standard output what
//! happens.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use grapevine::keyring::{Keyring, SecretKey};
use grapevine::{Builder, Config, DetectorConfig, Gossiper, Subscription};
use serde::{Deserialize, Serialize};

/// The first argument of a process that is a node.
pub const ARGUMENT: &str = "--node";
/// What a line that tells of an event begins with, and what one that answers.
pub const EVENT: &str = "event ";
pub const ANSWER: &str = "answer ";

/// How a node is set up; the process takes it as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    pub bind: SocketAddr,
    pub advertise: Option<SocketAddr>,
    pub seeds: Vec<SocketAddr>,
    pub interval: Duration,
    pub grace: Duration,
    pub pause: f64,
    /// Whether the cluster has a key and requires encryption.
    pub keyed: bool,
    pub initial: BTreeMap<String, String>,
}

/// What it is told to do.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    Set(String, String),
    Delete(String),
    /// A [`Dump`] of everything.
    Dump,
    /// Its [`Figures`].
    Figures,
    /// Leaves, and starts again in the same process and on the same socket address, with its keys and another
    /// advertised address.
    Advertise(SocketAddr),
}

/// An event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub kind: String,
    /// Empty if it is about none.
    pub peer: String,
}

/// All peers that a node lists, itself included, with their maps.
pub type Dump = BTreeMap<String, Held>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    pub state: String,
    pub generation: u64,
    pub version: u64,
    pub entries: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Figures {
    pub sent: u64,
    pub received: u64,
    pub send_errors: u64,
    pub receive_errors: u64,
    pub pauses: u64,
}

/// Is a node until the input ends.
pub fn run(args: &[String]) {
    env_logger::init();
    let setup: Setup = serde_json::from_str(&args[0]).expect("a setup");
    let mut node = start(&setup);
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match serde_json::from_str(&line).expect("an order") {
            Order::Set(key, value) => answer(&node.set(&key, &value).unwrap()),
            Order::Delete(key) => answer(&node.delete(&key).unwrap()),
            Order::Dump => answer(&dump(&node)),
            Order::Figures => answer(&figures(&node)),
            Order::Advertise(addr) => {
                let initial = dump(&node).remove(&node.peer().to_string()).expect("its own map").entries;
                // Whoever did not hear it sees it fail instead.
                let left = node.leave(Duration::from_secs(5)).is_ok();
                drop(node);
                node = start(&Setup { advertise: Some(addr), initial, ..setup.clone() });
                answer(&left);
            }
        }
    }
}

fn start(setup: &Setup) -> Gossiper {
    let mut builder = Builder::from_config(Config { advertise: setup.advertise, ..Config::default() })
        .bind(setup.bind)
        .seeds(setup.seeds.iter().map(SocketAddr::to_string))
        .interval(setup.interval)
        .grace(setup.grace)
        .detector(DetectorConfig { pause: setup.pause, ..DetectorConfig::default() });
    if setup.keyed {
        builder = builder.keyring(Keyring::new(SecretKey::from_bytes(&[0x5a; 32])));
    }
    for (key, value) in &setup.initial {
        builder = builder.initial(key, value);
    }
    let (node, events) = builder.start_subscribed().expect("it starts");
    std::thread::spawn(move || tell(&events));
    node
}

/// Tells of everything but keys.
fn tell(events: &Subscription) {
    for event in events.iter().filter(|event| event.key().is_none()) {
        let peer = event.peer().map(|peer| peer.to_string());
        say(EVENT, &Told { kind: format!("{:?}", event.kind()), peer: peer.unwrap_or_default() });
    }
}

fn dump(node: &Gossiper) -> Dump {
    let peers = node.snapshot().peers.into_values().map(|seen| {
        let entries = seen.entries.iter().map(|entry| (entry.key.to_string(), entry.value.decode().expect("a string")));
        let held = Held {
            state: seen.info.state.to_string(),
            generation: seen.info.generation,
            version: seen.info.version,
            entries: entries.collect(),
        };
        (seen.info.peer.to_string(), held)
    });
    peers.collect()
}

fn figures(node: &Gossiper) -> Figures {
    let stats = node.stats();
    Figures {
        sent: stats.datagrams_sent,
        received: stats.datagrams_received,
        send_errors: stats.send_errors,
        receive_errors: stats.receive_errors,
        pauses: stats.pauses,
    }
}

fn answer<T: Serialize>(what: &T) {
    say(ANSWER, what);
}

fn say<T: Serialize>(mark: &str, what: &T) {
    let line = format!("{mark}{}\n", serde_json::to_string(what).expect("as JSON"));
    // When the test has ended nobody listens any more.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}
