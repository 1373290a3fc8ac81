//! Every setting, with its unit, range, default, and what it has to do with its neighbours.

use std::net::SocketAddr;
use std::time::Duration;

use crate::detector::DetectorConfig;
use crate::error::Error;
#[cfg(feature = "encryption")]
use crate::keyring::Keyring;
use crate::value::Value;

/// The settings of a node. `Config::default()` is a node on `127.0.0.1` with a port that the system gives.
///
/// ```
/// use grapevine::config::Config;
/// use std::time::Duration;
///
/// let config = Config { interval: Duration::from_millis(200), ..Config::default() };
/// config.validate()?;
/// # Ok::<(), grapevine::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The address of the socket. `[::]:PORT` takes IPv4 as well as IPv6. With a wildcard address (`0.0.0.0`, `[::]`)
    /// `advertise` must be given too. Default `127.0.0.1:0`: a port that the system gives.
    pub bind: SocketAddr,
    /// The address under which the others reach this node, where it is not `bind`: behind NAT, in a container. Port 0
    /// stands for the bound port. Default: the bound address.
    pub advertise: Option<SocketAddr>,
    /// Where to look for the cluster: `HOST:PORT` or `ADDRESS:PORT` of any of its nodes. A name is resolved again
    /// whenever it is tried, so it may stand for changing addresses. This node's own address among them does no harm.
    /// Default: none; the node waits to be found.
    pub seeds: Vec<String>,
    /// The cluster's name, 1 to 64 bytes. Nodes of clusters with different names never exchange anything.
    /// Default `grapevine`.
    pub cluster: String,
    /// The cluster's pre-shared keys, the same on every node. With them datagrams, and the calls of services, are encrypted and
    /// authenticated, and whoever has none of them is no member. Default: none; then everything is plain, for everyone who
    /// can read and write on the network. From a file they come by [`KeyFile`](crate::key_file::KeyFile).
    #[cfg(feature = "encryption")]
    pub keyring: Option<Keyring>,
    /// The time between two gossip rounds, 10 ms to 1 h, better the same on every node. Spreading (without early news)
    /// and failure detection take a few intervals; the idle cost is inversely proportional to it. Default 1 s.
    pub interval: Duration,
    /// How many live peers are chosen in each round, 1 to 16. Default 3.
    pub fanout: usize,
    /// How failures are detected; its times are in units of the expected interval between two advances of a heartbeat.
    pub detector: DetectorConfig,
    /// How long a peer that is not alive is remembered, and the least age at which tombstones of deleted keys are
    /// collected; 10 × `interval` to 30 days. Failed peers are offered to others, and tried, for half of it. A partition
    /// that lasts longer heals through seeds only. Default 1 h.
    pub grace: Duration,
    /// The largest datagram sent or accepted, in bytes of UDP payload, 576 to 65,507; the same on every node. Default
    /// 1,400: fits every usual path without fragments.
    pub max_datagram: usize,
    /// What digests and early news may take in one interval, in bytes: from `max_datagram` for each of `fanout`
    /// partners (two at least) to 1 GiB. A digest of N peers
    /// takes about 3 × N bytes in quiet times and 20 × N while the membership changes, for each partner; when not all
    /// fits, each round covers a random part of the peers and detection slows down in proportion. Answers and catching up are
    /// not counted. Default 32,768.
    pub bytes_per_round: usize,
    /// Whether news is told at once, and not only with the next round's digests. Without it a change takes a few
    /// intervals to reach everyone; with it a fraction of one. Default true.
    pub early_news: bool,
    /// The largest sizes of everything that can grow.
    pub limits: Limits,
    /// Keys that the map has from the start: what the others should see before anything else. Default none.
    pub initial: Vec<(String, Value)>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: None,
            seeds: Vec::new(),
            cluster: "grapevine".to_owned(),
            #[cfg(feature = "encryption")]
            keyring: None,
            interval: Duration::from_secs(1),
            fanout: 3,
            detector: DetectorConfig::default(),
            grace: Duration::from_secs(3600),
            max_datagram: 1_400,
            bytes_per_round: 32_768,
            early_news: true,
            limits: Limits::default(),
            initial: Vec::new(),
        }
    }
}

/// The largest sizes of everything that can grow. What exceeds one is refused and counted, never silently cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Peers held, this node not counted; 1 to 65,536. When full, a newcomer takes the place of a peer that was never
    /// alive, or is refused. Default 4,096.
    pub peers: usize,
    /// Keys of one peer, tombstones included; 1 to 1,048,576. Default 65,536.
    pub keys: usize,
    /// Length of a key in bytes, 1 to 256. Default 256.
    pub key_bytes: usize,
    /// Encoded size of a value in bytes, 1 to 16 MiB. One that does not fit a datagram travels in pieces.
    /// Default 65,536.
    pub value_bytes: usize,
    /// Size of one peer's map in bytes, each entry counted as key + value + 64; 1 KiB to 4 GiB. A copy may take twice as
    /// much while it catches up, what is old and what is new together. Default 64 MiB.
    pub map_bytes: usize,
    /// Datagrams that a catch-up may have in flight, 1 to 64; together they should fit the socket's receive buffer.
    /// Default 64.
    pub catch_up_datagrams: usize,
    /// Events that wait for one slow subscriber, 1 to 1,048,576; when full, the oldest gives way. Each subscription
    /// reserves about 100 bytes for each, and those that wait keep their values. Default 4,096.
    pub events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            peers: 4_096,
            keys: 65_536,
            key_bytes: 256,
            value_bytes: 65_536,
            map_bytes: 64 << 20,
            catch_up_datagrams: 64,
            events: 4_096,
        }
    }
}

impl Config {
    /// Checks every setting against its range and its neighbours.
    ///
    /// # Errors
    /// [`Error::Config`] for the first one that is wrong.
    pub fn validate(&self) -> Result<(), Error> {
        if !(1..=64).contains(&self.cluster.len()) {
            let problem = format!("it has {} bytes; the range is 1 to 64", self.cluster.len());
            return Err(wrong("cluster", problem));
        }
        in_range("fanout", self.fanout, 1, 16)?;
        in_range("max_datagram", self.max_datagram, 576, 65_507)?;
        let least = self.fanout.max(2) * self.max_datagram;
        if !(least..=1 << 30).contains(&self.bytes_per_round) {
            let problem = format!(
                "it is {}; the range is {least} (a datagram of `max_datagram` for each of `fanout` partners, two at least) \
                 to {}",
                self.bytes_per_round,
                1 << 30
            );
            return Err(wrong("bytes_per_round", problem));
        }
        let limits = &self.limits;
        in_range("limits.peers", limits.peers, 1, 65_536)?;
        in_range("limits.keys", limits.keys, 1, 1 << 20)?;
        in_range("limits.key_bytes", limits.key_bytes, 1, 256)?;
        in_range("limits.value_bytes", limits.value_bytes, 1, 16 << 20)?;
        in_range("limits.map_bytes", limits.map_bytes, 1 << 10, 4 << 30)?;
        in_range("limits.catch_up_datagrams", limits.catch_up_datagrams, 1, 64)?;
        in_range("limits.events", limits.events, 1, 1 << 20)?;
        self.validate_times()?;
        for seed in &self.seeds {
            validate_seed(seed)?;
        }
        let detector = self.detector.validate();
        detector.map_err(|problem| wrong("detector", problem.trim_start_matches("detector: ").to_owned()))
    }

    fn validate_times(&self) -> Result<(), Error> {
        let hour = Duration::from_secs(3600);
        if self.interval < Duration::from_millis(10) || self.interval > hour {
            return Err(wrong("interval", format!("it is {:?}; the range is 10 ms to 1 h", self.interval)));
        }
        if self.grace < self.interval * 10 || self.grace > hour * 24 * 30 {
            let problem =
                format!("it is {:?}; the range is 10 intervals ({:?}) to 30 days", self.grace, self.interval * 10);
            return Err(wrong("grace", problem));
        }
        Ok(())
    }
}

fn validate_seed(seed: &str) -> Result<(), Error> {
    let port = seed.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
    match port {
        Some((host, Ok(1..))) if !host.is_empty() => {
            if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
                let problem = format!("`{seed}` is ambiguous; write an IPv6 address in brackets, like [::1]:9000");
                return Err(wrong("seeds", problem));
            }
            Ok(())
        }
        _ => Err(wrong(
            "seeds",
            format!("`{seed}` is not HOST:PORT with a port from 1 to 65535, like node1.example:9000"),
        )),
    }
}

fn in_range(setting: &'static str, value: usize, low: usize, high: usize) -> Result<(), Error> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(wrong(setting, format!("it is {value}; the range is {low} to {high}")))
    }
}

fn wrong(setting: &'static str, problem: String) -> Error {
    Error::Config { setting, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(config: Config) -> String {
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_valid() {
        Config::default().validate().unwrap();
    }

    #[test]
    fn what_is_wrong_is_named_with_its_range() {
        let bad = Config { fanout: 0, ..Config::default() };
        assert_eq!(problem(bad), "the setting `fanout` cannot be used: it is 0; the range is 1 to 16");
        let bad = Config { interval: Duration::from_millis(1), ..Config::default() };
        assert!(problem(bad).contains("10 ms to 1 h"));
        let bad = Config { grace: Duration::from_secs(1), ..Config::default() };
        assert!(problem(bad).contains("10 intervals (10s)"));
        let bad = Config { cluster: String::new(), ..Config::default() };
        assert!(problem(bad).contains("cluster"));
    }

    #[test]
    fn seeds_are_host_and_port() {
        for good in ["localhost:9000", "127.0.0.1:1", "[::1]:9000", "node-1.example.org:65535"] {
            validate_seed(good).unwrap();
        }
        for bad in ["", "localhost", "localhost:0", ":9000", "::1:9000", "h:99999", "h:x"] {
            assert!(validate_seed(bad).is_err(), "{bad}");
        }
    }
}
