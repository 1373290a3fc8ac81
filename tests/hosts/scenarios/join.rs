//! Nodes find each other, and every map reaches every node.

use std::net::SocketAddr;

use crate::host::{Family, PORT};
use crate::network::{HOSTS, LONG, Network};

pub fn join(name: &str, family: Family) {
    let mut network = Network::new(name, family);
    // Each of the two seeds knows only the other.
    network.setup.seeds = network.ips(&[0, 1]).into_iter().map(|ip| SocketAddr::new(ip, PORT)).collect();
    network.start_all();
    let all = network.all();
    let joined = network.agree(&all, LONG);
    let distinct: std::collections::BTreeSet<String> = all.iter().map(|index| network.peer(*index)).collect();
    assert_eq!(distinct.len(), HOSTS);

    for index in 0..HOSTS {
        network.hosts[index].set("name", &format!("node {index}, renamed"));
        network.hosts[index].delete("long");
    }
    let rewritten = network.agree(&all, LONG);
    network.say(&format!(
        "{HOSTS} processes agree after {joined:.2?}, after another write and a deletion by each in {rewritten:.2?}"
    ));
}
