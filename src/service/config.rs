//! Every setting of a service.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::Error;
use crate::service::pattern::Pattern;

/// Settings of a [`Service`](crate::service::Service). [`Service::builder`](crate::service::Service::builder) sets them one by one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServiceConfig {
    /// Where calls from others are taken, over TCP; port 0 for one that the system gives. `None`, the default: this program
    /// calls and is not called.
    pub listen: Option<SocketAddr>,
    /// Where plain calls are taken whatever the keys of the node say, over TCP; port 0 for one that the system gives. For Seneca, and
    /// for other programs without keys: whoever reaches this address can call what the pins let through, and whoever is between can
    /// read and change it. It is not told to the cluster. `None`, the default: on a node that requires encryption nobody calls in
    /// plain.
    pub listen_plain: Option<SocketAddr>,
    /// The address under which the others reach it; port 0 for the bound port. Default: the bound address, and where that is a
    /// wildcard the one that the node advertises.
    pub advertise: Option<SocketAddr>,
    /// What others may call: a message that comes from outside must match one of these. Default: none, then they may call every
    /// action. Own calls are not affected.
    pub pins: Vec<Pattern>,
    /// Services outside of the cluster, such as Seneca's: `HOST:PORT`, and the messages that they are sent. They are called in plain,
    /// whatever the keys of the node say. Default: none.
    pub clients: Vec<(String, Pattern)>,
    /// How long a call may take if it says nothing else. Default 22,222 ms, as in Seneca 3; from 1 ms to 24 h.
    pub timeout: Duration,
    /// Threads on which handlers run; they start as they are needed, and end after ten idle seconds. Default 16; from 1 to 1,024.
    pub workers: usize,
    /// Calls that may wait for one of them; those beyond are refused as `overloaded`. Default 4,096; from 1 to 1,048,576.
    pub queue: usize,
    /// The longest line, which is a message with what surrounds it, in bytes. Default 8 MiB; from 1 KiB to 1 GiB.
    pub line_bytes: usize,
    /// What all lines longer than 64 KiB may take up together, while they are read and while what they ask for is under way, in
    /// bytes: as much again for what providers answer. A longer one waits for room for up to 1 s, and is refused as
    /// `overloaded` then. Default 64 MiB; from four times `line_bytes` to 1 TiB.
    pub buffered_bytes: usize,
    /// How long a line may take to arrive after its first byte. Default 30 s; from 10 ms to 1 h.
    pub line_time: Duration,
    /// Connections that others may have open here. One more takes the place of the one that was idle the longest, and is
    /// refused if none is idle. Default 2,048; from 1 to 65,536.
    pub connections: usize,
    /// Connections to one provider at most; another one is opened when all are busy. Default 2; from 1 to 64.
    pub connections_per_provider: usize,
    /// How long a connection may take to open, and as long again its handshake where there are keys. Default 1 s; from 1 ms to 1 min.
    pub connect_timeout: Duration,
    /// Events that may wait for a subscriber. Default 1,024; from 1 to 1,048,576.
    pub events: usize,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        ServiceConfig {
            listen: None,
            listen_plain: None,
            advertise: None,
            pins: Vec::new(),
            clients: Vec::new(),
            timeout: Duration::from_millis(22_222),
            workers: 16,
            queue: 4_096,
            line_bytes: 8 << 20,
            buffered_bytes: 64 << 20,
            line_time: Duration::from_secs(30),
            connections: 2_048,
            connections_per_provider: 2,
            connect_timeout: Duration::from_secs(1),
            events: 1_024,
        }
    }
}

impl ServiceConfig {
    /// Whether every setting is in its range.
    ///
    /// # Errors
    /// [`Error::Config`] with the first that is not.
    pub fn validate(&self) -> Result<(), Error> {
        let milliseconds = Duration::from_millis;
        let day = Duration::from_secs(86_400);
        within("timeout", self.timeout, milliseconds(1)..=day)?;
        within("workers", self.workers, 1..=1_024)?;
        within("queue", self.queue, 1..=1 << 20)?;
        within("line_bytes", self.line_bytes, 1 << 10..=1 << 30)?;
        within("buffered_bytes", self.buffered_bytes, self.line_bytes * 4..=1 << 40)?;
        within("line_time", self.line_time, milliseconds(10)..=Duration::from_secs(3_600))?;
        within("connections", self.connections, 1..=65_536)?;
        within("connections_per_provider", self.connections_per_provider, 1..=64)?;
        within("connect_timeout", self.connect_timeout, milliseconds(1)..=Duration::from_secs(60))?;
        within("events", self.events, 1..=1 << 20)?;
        if self.listen.is_none() && self.advertise.is_some() {
            return Err(config("advertise", "it needs an address to listen on; give `listen` as well".to_owned()));
        }
        if self.listen.is_none() && self.listen_plain.is_none() && !self.pins.is_empty() {
            return Err(config("pins", "they are for calls from others; give `listen` as well".to_owned()));
        }
        if let Some(advertise) = self.advertise.filter(|addr| addr.ip().is_unspecified()) {
            let problem = format!("nobody can reach {advertise}; give the address that the others see");
            return Err(config("advertise", problem));
        }
        for (addr, _) in &self.clients {
            let port = addr.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none_or(|port| port == 0) {
                let problem = format!("{addr:?} is no HOST:PORT like 10.0.0.7:10201");
                return Err(config("clients", problem));
            }
        }
        Ok(())
    }
}

fn within<T: PartialOrd + std::fmt::Debug>(
    setting: &'static str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), Error> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(config(setting, format!("{value:?} is not within {:?} and {:?}", range.start(), range.end())))
}

pub(crate) fn config(setting: &'static str, problem: String) -> Error {
    Error::Config { setting, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_named() {
        let refused = |change: fn(&mut ServiceConfig)| {
            let mut config = ServiceConfig::default();
            change(&mut config);
            config.validate().map_err(|error| error.to_string())
        };
        assert_eq!(refused(|_| ()), Ok(()));
        assert!(refused(|config| config.workers = 0).unwrap_err().contains("workers"));
        assert!(refused(|config| config.timeout = Duration::ZERO).unwrap_err().contains("timeout"));
        assert!(refused(|config| config.line_bytes = 10).unwrap_err().contains("line_bytes"));
        assert!(refused(|config| config.advertise = "10.0.0.1:1".parse().ok()).unwrap_err().contains("listen"));
        let client = |config: &mut ServiceConfig| config.clients.push(("10.0.0.1".to_owned(), "a:1".parse().unwrap()));
        assert!(refused(client).unwrap_err().contains("HOST:PORT"));
    }
}
