//! A network of hosts, and waiting until the nodes on them agree.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::commands::{self, ip, nft};
use crate::host::{Family, Host, PORT, address};
use crate::node::{Dump, Setup};

/// In every network.
pub const HOSTS: usize = 12;
/// Nothing takes so long unless a scenario says so.
pub const LONG: Duration = Duration::from_secs(60);
/// Before a condition is looked at again.
const PAUSE: Duration = Duration::from_millis(50);
/// What the names of all namespaces begin with; then come the process and the scenario.
const PREFIX: &str = "grapevine-hosts-";

/// Looks whether everything is there that networks need, and removes what a killed run has left behind.
///
/// # Errors
/// What is missing.
pub fn prepare() -> Result<(), String> {
    for namespace in namespaces()? {
        let owner = namespace[PREFIX.len()..].split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(owner).exists() {
            remove_namespace(&namespace);
        }
    }
    let trial = format!("{PREFIX}{}-trial", process::id());
    ip(&format!("netns add {trial}"))?;
    let can_filter = nft(&trial, "table inet trial { }");
    remove_namespace(&trial);
    can_filter.map(drop)
}

pub struct Network {
    name: String,
    pub hosts: Vec<Host>,
    pub setup: Setup,
}

impl Network {
    /// A network without nodes.
    pub fn new(name: &str, family: Family) -> Network {
        let setup = Setup {
            bind: SocketAddr::new(address(family, 1), PORT),
            advertise: None,
            seeds: vec![SocketAddr::new(address(family, 1), PORT)],
            interval: Duration::from_millis(500),
            grace: Duration::from_secs(3600),
            pause: 0.1,
            keyed: crate::KEYED.load(Ordering::Relaxed),
            initial: BTreeMap::new(),
        };
        let mut network = Network { name: name.to_owned(), hosts: Vec::new(), setup };
        let switch = network.namespace("switch");
        ip(&format!("netns add {switch}")).unwrap();
        ip(&format!("-n {switch} link add bridge type bridge forward_delay 0")).unwrap();
        ip(&format!("-n {switch} link set bridge up")).unwrap();
        for number in 1..=HOSTS as u8 {
            let host = Host::plug_in(network.namespace(&number.to_string()), &switch, number, family);
            network.hosts.push(host);
        }
        network
    }

    /// Starts a node on every host. Each has a few keys, one of them too long for one datagram.
    pub fn start_all(&mut self) {
        for index in 0..HOSTS {
            let host = &mut self.hosts[index];
            host.written.insert("name".to_owned(), format!("node {index}"));
            host.written.insert("long".to_owned(), index.to_string().repeat(10_000));
            self.start(index);
        }
    }

    pub fn start(&mut self, index: usize) {
        let bind = SocketAddr::new(self.hosts[index].ip, PORT);
        self.hosts[index].start(&Setup { bind, ..self.setup.clone() });
    }

    /// The switch itself goes down or up, and with it all that hosts have to do with each other.
    pub fn set_switch(&self, state: &str) {
        ip(&format!("-n {} link set bridge {state}", self.namespace("switch"))).unwrap();
    }

    pub fn all(&self) -> Vec<usize> {
        (0..HOSTS).collect()
    }

    pub fn peer(&self, index: usize) -> String {
        self.hosts[index].peer()
    }

    pub fn ips(&self, indices: &[usize]) -> Vec<IpAddr> {
        indices.iter().map(|index| self.hosts[*index].ip).collect()
    }

    /// Waits until each of these nodes lists the others of them as alive, and nobody else, and holds exactly their
    /// maps: what they were told to hold, under the owner's version. Returns how long it took.
    pub fn agree(&mut self, members: &[usize], patience: Duration) -> Duration {
        let what = format!("{members:?} agree");
        self.until(&what, patience, |network| network.compare(members))
    }

    /// Waits until each of these nodes lists each of those in this state.
    pub fn list(&mut self, observers: &[usize], state: &str, peers: &[String]) -> Duration {
        self.until(&format!("{observers:?} list {peers:?} as {state}"), LONG, |network| {
            observers.iter().try_for_each(|observer| {
                let dump = network.hosts[*observer].dump();
                peers.iter().try_for_each(|peer| match dump.get(peer) {
                    Some(held) if held.state == state => Ok(()),
                    found => Err(format!("{observer} lists {peer} as {:?}", found.map(|held| &held.state))),
                })
            })
        })
    }

    /// Waits until none of these nodes knows that peer.
    pub fn know_nothing_of(&mut self, observers: &[usize], peer: &str) -> Duration {
        self.until(&format!("{peer} is forgotten"), LONG, |network| {
            observers.iter().try_for_each(|observer| match network.hosts[*observer].dump().get(peer) {
                None => Ok(()),
                Some(held) => Err(format!("{observer} lists it as {}", held.state)),
            })
        })
    }

    pub fn until(
        &mut self,
        what: &str,
        patience: Duration,
        mut holds: impl FnMut(&mut Network) -> Result<(), String>,
    ) -> Duration {
        let start = Instant::now();
        loop {
            match holds(self) {
                Ok(()) => return start.elapsed(),
                Err(problem) => assert!(start.elapsed() < patience, "not within {patience:?}: {what}; {problem}"),
            }
            thread::sleep(PAUSE);
        }
    }

    /// Which nodes told since then that whom they have failed.
    pub fn failures_since(&self, since: Instant) -> Vec<(usize, String)> {
        let mut failures = Vec::new();
        for (index, host) in self.hosts.iter().enumerate() {
            let events = host.events();
            let failed = events.iter().filter(|seen| seen.at >= since && seen.told.kind == "PeerFailed");
            failures.extend(failed.map(|seen| (index, seen.told.peer.clone())));
        }
        failures
    }

    pub fn say(&self, what: &str) {
        println!("[{}] {what}", self.name);
    }

    pub fn intervals(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.setup.interval.as_secs_f64()
    }

    fn compare(&mut self, members: &[usize]) -> Result<(), String> {
        let names: BTreeSet<String> = members.iter().map(|index| self.peer(*index)).collect();
        let dumps: BTreeMap<usize, Dump> = members.iter().map(|index| (*index, self.hosts[*index].dump())).collect();
        for (index, dump) in &dumps {
            let alive = dump.iter().filter(|(_, held)| held.state == "alive");
            let alive: BTreeSet<String> = alive.map(|(peer, _)| peer.clone()).collect();
            if alive != names {
                return Err(format!("{index} lists {alive:?} as alive"));
            }
            for owner in members {
                let peer = self.peer(*owner);
                let (held, own) = (&dump[&peer], &dumps[owner][&peer]);
                if held != own || held.entries != self.hosts[*owner].written {
                    let keys =
                        |entries: &BTreeMap<String, String>| entries.keys().cloned().collect::<Vec<_>>().join(" ");
                    return Err(format!(
                        "{index} holds of {owner} version {} and not {}, generation {} and not {}: {} and not {}",
                        held.version,
                        own.version,
                        held.generation,
                        own.generation,
                        keys(&held.entries),
                        keys(&self.hosts[*owner].written)
                    ));
                }
            }
        }
        Ok(())
    }

    fn namespace(&self, host: &str) -> String {
        format!("{PREFIX}{}-{}-{host}", process::id(), self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // First the processes, then what they live in.
        for host in &mut self.hosts {
            host.kill();
        }
        let there = namespaces().unwrap_or_default();
        let numbers = (1..=HOSTS).map(|number| number.to_string());
        for name in numbers.chain(["switch".to_owned()]).map(|host| self.namespace(&host)) {
            if there.contains(&name) {
                remove_namespace(&name);
            }
        }
    }
}

/// All namespaces of this test's, of this run and of others.
fn namespaces() -> Result<Vec<String>, String> {
    let list = ip("netns list")?;
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.filter(|name| name.starts_with(PREFIX)).map(str::to_owned).collect())
}

/// Ends what still runs in a namespace, and deletes it.
fn remove_namespace(namespace: &str) {
    for process in ip(&format!("netns pids {namespace}")).unwrap_or_default().lines() {
        if let Ok(process) = process.trim().parse() {
            let _ = commands::signal(process, "KILL");
        }
    }
    if let Err(problem) = ip(&format!("netns del {namespace}")) {
        eprintln!("{problem}");
    }
}
