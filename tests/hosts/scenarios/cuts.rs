//! Cuts: one way between two, and between two halves.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::host::{Family, PORT, drop_from, from};
use crate::network::{HOSTS, LONG, Network};
use crate::scenarios::last;

const ONE_WAY_CUT: Duration = Duration::from_secs(30);
/// Between writes, so that for most of the time heartbeats come with the rounds alone.
const QUIET: Duration = Duration::from_secs(4);
const PARTITION: Duration = Duration::from_secs(60);
/// Once the halves can hear each other, everyone is alive and all maps are equal within so many intervals.
const HEALS_WITHIN: f64 = 12.0;

/// One node hears nothing from another one, which hears it. Heartbeats come around by the rest, so nobody is convicted.
pub fn one_way_cut(name: &str) {
    let mut network = Network::new(name, Family::V4);
    network.start_all();
    let all = network.all();
    network.agree(&all, LONG);

    let (deaf, heard_not) = (3, 7);
    let deaf_ip = network.hosts[deaf].ip;
    network.hosts[deaf].set_rules(&[drop_from(&network.ips(&[heard_not]))], &[]);
    network.hosts[heard_not].set_rules(&[format!("{} counter name caught", from(&[deaf_ip]))], &[]);
    let start = Instant::now();
    let (mut rounds, mut slowest) = (0_u32, Duration::ZERO);
    while start.elapsed() < ONE_WAY_CUT {
        for index in [deaf, heard_not, 0, HOSTS - 1] {
            network.hosts[index].set("round", &rounds.to_string());
        }
        slowest = slowest.max(network.agree(&all, LONG));
        rounds += 1;
        last(start, QUIET * rounds);
    }

    let (lost, heard) = (network.hosts[deaf].packets("caught"), network.hosts[heard_not].packets("caught"));
    assert!(lost > 0 && heard > 0, "{lost} were lost one way and {heard} came the other");
    assert_eq!(network.failures_since(start), []);
    network.say(&format!(
        "{lost} datagrams lost one way, {heard} came the other; {rounds} times 4 writes, equal after \
         {slowest:.2?} at most ({:.1} intervals); nobody convicted",
        network.intervals(slowest)
    ));
}

/// Two halves for 60 s, with writes and deletions on both sides.
pub fn partition(name: &str) {
    let mut network = Network::new(name, Family::V4);
    network.start_all();
    let all = network.all();
    network.agree(&all, LONG);

    let (left, right) = all.split_at(HOSTS / 2);
    let cut = Instant::now();
    part(&network, left, right);
    let noticed = lists_all_failed(&mut network, left, right);
    write_on_both_sides(&mut network);
    network.agree(left, LONG);
    network.agree(right, LONG);
    last(cut, PARTITION);
    lists_all_failed(&mut network, left, right);

    let caught: u64 = network.hosts.iter().map(|host| host.packets("caught")).sum();
    assert!(caught > 0);
    let healed = Instant::now();
    heal(&network);
    let together = network.agree(&all, LONG);
    network.say(&format!(
        "all of the other half failed after {:.1} intervals at most; {caught} datagrams lost; all alive and equal \
         {together:.2?} after the heal ({:.1} intervals)",
        network.intervals(noticed),
        network.intervals(together)
    ));
    assert!(network.intervals(together) < HEALS_WITHIN, "{together:?}");
    assert_eq!(network.failures_since(healed), [], "nobody fails for having been away");
}

/// Two halves until each has forgotten the other: they find each other through the seeds, which are all on one side.
pub fn partition_beyond_grace(name: &str) {
    let mut network = Network::new(name, Family::V4);
    network.setup.interval = Duration::from_millis(300);
    network.setup.grace = Duration::from_secs(5);
    network.setup.seeds = network.ips(&[0, 1]).into_iter().map(|ip| SocketAddr::new(ip, PORT)).collect();
    network.start_all();
    let all = network.all();
    network.agree(&all, LONG);

    let (left, right) = all.split_at(HOSTS / 2);
    part(&network, left, right);
    lists_all_failed(&mut network, left, right);
    write_on_both_sides(&mut network);
    for (side, others) in [(left, right), (right, left)] {
        for other in others {
            let peer = network.peer(*other);
            network.know_nothing_of(side, &peer);
        }
    }
    network.agree(left, LONG);
    network.agree(right, LONG);

    heal(&network);
    let together = network.agree(&all, LONG);
    network.say(&format!(
        "halves that had forgotten each other are together {together:.2?} after the heal ({:.1} intervals)",
        network.intervals(together)
    ));
}

fn part(network: &Network, left: &[usize], right: &[usize]) {
    for (side, others) in [(left, right), (right, left)] {
        for index in side {
            network.hosts[*index].set_rules(&[drop_from(&network.ips(others))], &[]);
        }
    }
}

fn heal(network: &Network) {
    for host in &network.hosts {
        host.remove_rules();
    }
}

fn lists_all_failed(network: &mut Network, left: &[usize], right: &[usize]) -> Duration {
    let peers = |side: &[usize], network: &Network| side.iter().map(|index| network.peer(*index)).collect::<Vec<_>>();
    let (left_peers, right_peers) = (peers(left, network), peers(right, network));
    network.list(left, "failed", &right_peers) + network.list(right, "failed", &left_peers)
}

fn write_on_both_sides(network: &mut Network) {
    for host in &mut network.hosts {
        host.set("name", "renamed while apart");
        host.set("apart", "new");
        host.delete("long");
    }
}
