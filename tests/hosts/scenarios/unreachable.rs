//! Datagrams that draw errors: to ports where nobody listens, to hosts that reject them, and through a firewall at
//! home.

use std::time::{Duration, Instant};

use crate::commands;
use crate::host::{Family, PORT};
use crate::network::{HOSTS, LONG, Network};

const STORM: Duration = Duration::from_secs(20);
/// In the storm each living host rejects this much of what comes in, and says so to the sender.
const REJECTED_PERCENT: u64 = 20;
const KILLED: std::ops::Range<usize> = 8..HOSTS;

/// Four processes are killed without a word, so that their hosts answer with errors; the others' hosts reject a part of
/// everything. Gossip among the living goes on and nobody's receiver ends.
pub fn unreachable(name: &str, family: Family) {
    let mut network = Network::new(name, family);
    network.setup.pause = 1.0;
    // The system sends one such error a second to each destination otherwise.
    for host in &network.hosts {
        let limit = if family == Family::V4 { "ipv4/icmp_ratelimit" } else { "ipv6/icmp/ratelimit" };
        commands::set_net(&host.namespace, limit, 0).unwrap();
    }
    network.start_all();
    let all = network.all();
    network.agree(&all, LONG);

    let (living, killed) = all.split_at(KILLED.start);
    let reject = format!(
        "numgen random mod 100 < {REJECTED_PERCENT} counter name caught reject with icmpx type port-unreachable"
    );
    let last_ip = network.hosts[HOSTS - 1].ip;
    let family_name = if family == Family::V4 { "ip" } else { "ip6" };
    for index in living {
        // One of the killed is behind a firewall at home as well: there `send` itself fails.
        let at_home = format!("{family_name} daddr {last_ip} udp dport {PORT} reject");
        network.hosts[*index].set_rules(std::slice::from_ref(&reject), &[at_home]);
    }
    for index in killed {
        network.hosts[*index].set_rules(&[], &[]);
        network.hosts[*index].kill();
    }
    let start = Instant::now();
    let killed_peers: Vec<String> = killed.iter().map(|index| network.peer(*index)).collect();
    network.list(living, "failed", &killed_peers);
    let (mut rounds, mut slowest) = (0, Duration::ZERO);
    while start.elapsed() < STORM {
        for index in living {
            network.hosts[*index].set("round", &rounds.to_string());
        }
        slowest = slowest.max(network.agree(living, LONG));
        rounds += 1;
    }

    let sum = |counter: &str, of: &[usize]| of.iter().map(|index| network.hosts[*index].packets(counter)).sum::<u64>();
    let (rejected, errors) = (sum("caught", living), sum("unreachable", living));
    let at_closed_ports = sum("passed", killed);
    let (mut send_errors, mut receive_errors) = (0, 0);
    for index in living {
        let figures = network.hosts[*index].figures();
        assert!(figures.send_errors > 0, "{index} has counted none");
        send_errors += figures.send_errors;
        receive_errors += figures.receive_errors;
    }
    assert!(rejected > 0 && at_closed_ports > 0 && errors > rejected / 2, "{rejected} {at_closed_ports} {errors}");
    network.say(&format!(
        "{rejected} datagrams rejected and {at_closed_ports} sent to closed ports, {errors} errors came back by ICMP; \
         {send_errors} errors of sending and {receive_errors} of receiving counted; \
         {rounds} times {} writes, equal after {slowest:.2?} at most",
        living.len()
    ));

    for index in living {
        network.hosts[*index].remove_rules();
    }
    for index in killed {
        network.start(*index);
    }
    network.agree(&all, LONG);
}
