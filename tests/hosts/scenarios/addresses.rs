//! Hosts whose addresses change: a lease that ends, a container that moves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::host::{Family, Host, PORT, address};
use crate::network::{HOSTS, LONG, Network};
use crate::node::Setup;
use crate::scenarios::last;

/// Nodes that are bound to every address of their hosts, and say which one to use.
const ON_ANY_ADDRESS: [usize; 2] = [5, 6];

pub fn addresses(name: &str) {
    let mut network = Network::new(name, Family::V4);
    network.setup.interval = Duration::from_millis(300);
    network.setup.grace = Duration::from_secs(8);
    network.start_all();
    for index in ON_ANY_ADDRESS {
        start_on_any_address(&mut network, index);
    }
    let all = network.all();
    network.agree(&all, LONG);

    moved_and_restarted(&mut network, 4);
    advertises_the_new_address(&mut network, 5);
    advertises_the_old_address(&mut network, 6);
    bound_to_the_old_address(&mut network, 7);
    assert_eq!(network.hosts[0].figures().receive_errors, 0);
}

/// The process is killed with its host's address and comes up under another one.
fn moved_and_restarted(network: &mut Network, index: usize) {
    let old = network.peer(index);
    network.hosts[index].kill();
    change_address(&mut network.hosts[index], 104);
    network.start(index);
    let all = network.all();
    let moved = network.agree(&all, LONG);
    let others: Vec<usize> = all.iter().copied().filter(|other| *other != index).collect();
    network.list(&others, "failed", std::slice::from_ref(&old));
    let forgotten = network.know_nothing_of(&all, &old);
    stays_forgotten(network, &old);
    network.say(&format!(
        "moved and restarted: alive with its keys under the new address after {moved:.2?}; the old one was forgotten \
         {forgotten:.1?} after it failed and stayed so (grace period {:?})",
        network.setup.grace
    ));
}

/// The program goes on: it leaves and starts its node anew, with another address to advertise.
fn advertises_the_new_address(network: &mut Network, index: usize) {
    let old = network.peer(index);
    change_address(&mut network.hosts[index], 105);
    let addr = SocketAddr::new(network.hosts[index].ip, PORT);
    let heard = network.hosts[index].advertise(addr);
    let all = network.all();
    let others: Vec<usize> = all.iter().copied().filter(|other| *other != index).collect();
    assert!(heard, "nobody confirmed that {old} left");
    network.list(&others, "left", std::slice::from_ref(&old));
    let moved = network.agree(&all, LONG);
    network.know_nothing_of(&all, &old);
    stays_forgotten(network, &old);
    network.say(&format!("advertises the new address: the old one left, all agree {moved:.2?} later"));
}

/// Nobody told the program. What it sends still arrives, and so do answers to it; only what others begin is lost. That
/// is enough: it stays alive, and all maps go on to spread.
fn advertises_the_old_address(network: &mut Network, index: usize) {
    let old = network.hosts[index].ip;
    change_address(&mut network.hosts[index], 106);
    network.hosts[index].ip = old;
    // What other hosts send to the old address, and what of that arrives.
    let count = format!("ip daddr {old} counter name caught");
    let others: Vec<usize> = network.all().into_iter().filter(|other| *other != index).collect();
    for other in &others {
        network.hosts[*other].set_rules(&[], std::slice::from_ref(&count));
    }
    network.hosts[index].set_rules(std::slice::from_ref(&count), &[]);
    let start = Instant::now();
    network.hosts[index].set("name", "under an address that is no more");
    network.hosts[0].set("name", "while another one's address is no more");
    let all = network.all();
    let agreed = network.agree(&all, LONG);
    last(start, network.setup.grace);
    network.agree(&all, LONG);
    let sent: u64 = others.iter().map(|other| network.hosts[*other].packets("caught")).sum();
    let (there, by_other_ways) = (network.hosts[index].packets("caught"), network.hosts[index].packets("passed"));
    assert!(
        sent > 0 && there == 0 && by_other_ways > 0,
        "{sent} sent, {there} arrived, {by_other_ways} came elsewhere"
    );
    assert_eq!(network.failures_since(start), []);
    network.say(&format!(
        "advertises an address that is no more: {sent} datagrams sent there, none arrived, {by_other_ways} came in \
         answer; alive all the time, writes equal after {agreed:.2?}"
    ));
    network.hosts[index].add_address(old);
}

/// The socket has an address that its host has not any more: nothing can be sent. When the address is back, so is the
/// node.
fn bound_to_the_old_address(network: &mut Network, index: usize) {
    let old = network.hosts[index].ip;
    change_address(&mut network.hosts[index], 107);
    network.hosts[index].ip = old;
    let all = network.all();
    let others: Vec<usize> = all.iter().copied().filter(|other| *other != index).collect();
    let peer = network.peer(index);
    network.list(&others, "failed", &[peer]);
    let errors = network.hosts[index].figures().send_errors;
    assert!(errors > 0, "it could send all the time");
    network.hosts[index].set("name", "nobody hears this yet");
    network.hosts[index].add_address(old);
    let back = network.agree(&all, LONG);
    network.say(&format!(
        "bound to an address that was taken away: failed to the others, {errors} errors of sending; back {back:.2?} \
         after the address"
    ));
}

/// A host gets another address, its node is not told, and another host with a node gets the old one. One of the two
/// nodes learns that somebody else uses its address; when the first one is told its new address at last, all is well.
pub fn taken_over(name: &str) {
    let mut network = Network::new(name, Family::V4);
    network.start_all();
    let (first, second) = (6, 9);
    start_on_any_address(&mut network, first);
    let all = network.all();
    network.agree(&all, LONG);

    let wanted = network.hosts[first].ip;
    change_address(&mut network.hosts[first], 106);
    network.hosts[second].kill();
    network.hosts[second].remove_address(network.hosts[second].ip);
    network.hosts[second].add_address(wanted);
    network.hosts[second].ip = wanted;
    network.start(second);
    let told = network.until("one of the two is told of the conflict", LONG, |network| {
        let told = |index: usize| network.hosts[index].events().iter().any(|seen| seen.told.kind == "AddressConflict");
        if told(first) || told(second) { Ok(()) } else { Err("neither is".to_owned()) }
    });

    let addr = SocketAddr::new(network.hosts[first].ip, PORT);
    network.hosts[first].advertise(addr);
    // If it was the first one's goodbye that the others believe, the second one overrules it when a minute has passed.
    let agreed = network.agree(&all, LONG * 2);
    network.say(&format!(
        "an address taken over: the conflict is told after {told:.2?}; all agree {agreed:.2?} after the first node \
         was moved"
    ));
}

/// Behind routers that translate ports: what comes from there has another port than the node advertises, which is open
/// too, as usual with containers.
pub fn translated(name: &str) {
    let mut network = Network::new(name, Family::V4);
    let hidden = [0, 3, 4, 8];
    for index in hidden {
        network.hosts[index].translate(20_000 + index as u16);
    }
    network.start_all();
    let all = network.all();
    let joined = network.agree(&all, LONG);
    let start = Instant::now();
    for host in &mut network.hosts {
        host.set("name", "renamed");
        host.set("long", &"x".repeat(30_000));
    }
    let agreed = network.agree(&all, LONG);
    last(start, Duration::from_secs(5));
    assert_eq!(network.failures_since(start), []);
    // Where the other one began, a router translates nothing: those flows go to and from the open port.
    let translated: Vec<u64> = hidden.iter().map(|index| network.hosts[*index].translated()).collect();
    assert!(translated.iter().all(|peers| *peers > 0), "translated to {translated:?} peers");
    network.say(&format!(
        "{} nodes whose datagrams come from other ports than they advertise, to {translated:?} peers: all agree after \
         {joined:.2?}, on {} KB more after {agreed:.2?}",
        hidden.len(),
        30 * HOSTS
    ));
}

fn start_on_any_address(network: &mut Network, index: usize) {
    let advertise = SocketAddr::new(network.hosts[index].ip, PORT);
    let bind = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT);
    network.hosts[index].start(&Setup { bind, advertise: Some(advertise), ..network.setup.clone() });
}

fn change_address(host: &mut Host, number: u8) {
    let new = address(Family::V4, number);
    host.remove_address(host.ip);
    host.add_address(new);
    host.ip = new;
}

/// For a grace period more nobody hears of that peer.
fn stays_forgotten(network: &mut Network, peer: &str) {
    let start = Instant::now();
    last(start, network.setup.grace);
    for host in &mut network.hosts {
        let heard = host.events().iter().any(|seen| seen.at >= start && seen.told.peer == peer);
        assert!(!heard && !host.dump().contains_key(peer), "{peer} is back at {}", host.ip);
    }
}
