//! 30 % of all datagrams are lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::host::Family;
use crate::network::{HOSTS, LONG, Network};
use crate::scenarios::last;

const PERCENT: u64 = 30;
const WRITING: Duration = Duration::from_secs(20);
/// Then heartbeats come with the rounds alone.
const QUIET: Duration = Duration::from_secs(30);

/// Every host loses 30 % of what comes in, so that as much is lost each way between any two. The nodes have a pause of
/// 1, as is advised for networks that lose 10 % and more; even so a live peer may be listed as failed now and then, but
/// not for long.
pub fn loss(name: &str) {
    let mut network = Network::new(name, Family::V4);
    network.setup.pause = 1.0;
    let rule = format!("numgen random mod 100 < {PERCENT} counter name caught drop");
    for host in &network.hosts {
        host.set_rules(std::slice::from_ref(&rule), &[]);
    }
    network.start_all();
    let all = network.all();
    let joined = network.agree(&all, LONG);

    let start = Instant::now();
    let mut rounds = 0;
    let mut slowest = Duration::ZERO;
    while start.elapsed() < WRITING {
        for host in &mut network.hosts {
            host.set("round", &rounds.to_string());
            host.set(&format!("item/{rounds}"), "one of many");
            if rounds > 0 {
                host.delete(&format!("item/{}", rounds - 1));
            }
        }
        slowest = slowest.max(network.agree(&all, LONG));
        rounds += 1;
    }
    last(start, WRITING + QUIET);
    network.agree(&all, LONG);

    let (caught, passed) = packets(&network);
    let share = caught as f64 / (caught + passed) as f64;
    assert!((share - PERCENT as f64 / 100.0).abs() < 0.05, "{share} of {} datagrams were lost", caught + passed);
    let listings = listed_as_failed(&network);
    let longest = listings.iter().max().copied().unwrap_or_default();
    let alarms = match listings.len() {
        0 => "no false alarm".to_owned(),
        count => format!("{count} false alarms, over after {longest:.2?} at most,"),
    };
    network.say(&format!(
        "{:.1} % of {} datagrams lost; joined in {joined:.2?}; {rounds} times {} writes, equal everywhere after \
         {slowest:.2?} at most ({:.1} intervals); {alarms} among {} pairs in {:.0?}",
        share * 100.0,
        caught + passed,
        HOSTS * 3,
        network.intervals(slowest),
        HOSTS * (HOSTS - 1),
        start.elapsed()
    ));
    assert!(network.intervals(longest) < 20.0, "a live node was listed as failed for {longest:?}");
}

fn packets(network: &Network) -> (u64, u64) {
    let sum = |counter| network.hosts.iter().map(|host| host.packets(counter)).sum();
    (sum("caught"), sum("passed"))
}

/// How long each false alarm lasted. In the end all are alive, so each is over.
fn listed_as_failed(network: &Network) -> Vec<Duration> {
    let mut lengths = Vec::new();
    for host in &network.hosts {
        let mut failed: BTreeMap<String, Instant> = BTreeMap::new();
        for seen in host.events() {
            if seen.told.kind == "PeerFailed" {
                failed.insert(seen.told.peer, seen.at);
            } else if let Some(since) = failed.remove(&seen.told.peer) {
                lengths.push(seen.at - since);
            }
        }
    }
    lengths
}
