//! A host: a network namespace with an interface, addresses, firewall rules, and at most one node.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::commands::{self, ip, nft};
use crate::node::{Dump, Figures, Order, Setup};
use crate::process::{Process, Seen};

/// Every node's port: the addresses are its host's own, so nobody else has it.
pub const PORT: u16 = 9_000;
/// A host's table of rules, and that of a host behind a router.
const TABLE: &str = "faults";
const TRANSLATION: &str = "translation";

/// Addresses: IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

pub struct Host {
    pub namespace: String,
    pub ip: IpAddr,
    node: Option<Process>,
    /// Of every process that ran here.
    events: Arc<Mutex<Vec<Seen>>>,
    /// What its node was told to hold.
    pub written: BTreeMap<String, String>,
}

impl Host {
    /// Makes the namespace and plugs it into the switch, which is a bridge in a namespace.
    pub fn plug_in(namespace: String, switch: &str, number: u8, family: Family) -> Host {
        let ip_address = address(family, number);
        let host = Host { namespace, ip: ip_address, node: None, events: Arc::default(), written: BTreeMap::new() };
        let name = &host.namespace;
        ip(&format!("netns add {name}")).unwrap();
        ip(&format!("link add port{number} netns {switch} type veth peer name eth0 netns {name}")).unwrap();
        ip(&format!("-n {switch} link set port{number} master bridge up")).unwrap();
        ip(&format!("-n {name} link set lo up")).unwrap();
        ip(&format!("-n {name} link set eth0 up")).unwrap();
        host.add_address(ip_address);
        host
    }

    /// The identity of its node, unless that advertises something else.
    pub fn peer(&self) -> String {
        SocketAddr::new(self.ip, PORT).to_string()
    }

    pub fn add_address(&self, address: IpAddr) {
        // IPv6 looks for duplicates otherwise, which takes a second.
        let options = if address.is_ipv4() { "" } else { "nodad" };
        let length = prefix_length(address);
        ip(&format!("-n {} addr add {address}/{length} dev eth0 {options}", self.namespace)).unwrap();
    }

    pub fn remove_address(&self, address: IpAddr) {
        let length = prefix_length(address);
        ip(&format!("-n {} addr del {address}/{length} dev eth0", self.namespace)).unwrap();
    }

    pub fn set_interface(&self, state: &str) {
        ip(&format!("-n {} link set eth0 {state}", self.namespace)).unwrap();
    }

    /// Whether the interface carries packets: the system says so some time after it was set up.
    pub fn is_up(&self) -> bool {
        ip(&format!("-n {} -o link show eth0", self.namespace)).unwrap().contains("state UP")
    }

    pub fn start(&mut self, setup: &Setup) {
        // The one before has to be gone, or the address is in use.
        self.kill();
        let setup = Setup { initial: self.written.clone(), ..setup.clone() };
        self.node = Some(Process::start(&self.namespace, &setup, self.events.clone()));
    }

    /// Ends the node as a crash does.
    pub fn kill(&mut self) {
        self.node = None;
    }

    pub fn signal(&self, signal: &str) {
        self.node.as_ref().expect("a node").signal(signal);
    }

    pub fn set(&mut self, key: &str, value: &str) {
        let _: u64 = self.node().order(&Order::Set(key.to_owned(), value.to_owned()));
        self.written.insert(key.to_owned(), value.to_owned());
    }

    pub fn delete(&mut self, key: &str) {
        let deleted: Option<u64> = self.node().order(&Order::Delete(key.to_owned()));
        assert!(deleted.is_some(), "there was no {key}");
        self.written.remove(key);
    }

    /// Leaves and starts again with this address. Returns whether the others confirmed that it left.
    pub fn advertise(&mut self, addr: SocketAddr) -> bool {
        self.node().order(&Order::Advertise(addr))
    }

    pub fn dump(&mut self) -> Dump {
        self.node().order(&Order::Dump)
    }

    pub fn figures(&mut self) -> Figures {
        self.node().order(&Order::Figures)
    }

    pub fn events(&self) -> Vec<Seen> {
        self.events.lock().clone()
    }

    /// Puts these rules, each with the counters `caught` and `passed` at hand, in place of those before. They are about
    /// what comes in over the wire for the node, and what goes out from it.
    pub fn set_rules(&self, incoming: &[String], outgoing: &[String]) {
        self.remove_rules();
        let (incoming, outgoing) = (incoming.join("\n"), outgoing.join("\n"));
        let script = format!(
            "table inet {TABLE} {{
                counter caught {{ }}
                counter passed {{ }}
                counter unreachable {{ }}
                chain incoming {{
                    type filter hook input priority 0;
                    iifname lo accept
                    icmp type destination-unreachable counter name unreachable
                    icmpv6 type destination-unreachable counter name unreachable
                    udp dport != {PORT} accept
                    meta l4proto != udp accept
                    {incoming}
                    counter name passed
                }}
                chain outgoing {{
                    type filter hook output priority 0;
                    {outgoing}
                }}
            }}"
        );
        nft(&self.namespace, &script).unwrap();
    }

    /// Has everything that the node sends come from another port, as a router that translates addresses does. What is
    /// sent to that port in answer is handed to the node.
    pub fn translate(&self, port: u16) {
        let script = format!(
            "table inet {TRANSLATION} {{
                counter translated {{ }}
                chain leaving {{
                    type nat hook postrouting priority 100;
                    oifname eth0 udp sport {PORT} counter name translated masquerade to :{port}
                }}
            }}"
        );
        nft(&self.namespace, &script).unwrap();
    }

    /// To how many peers what the node sends was translated.
    pub fn translated(&self) -> u64 {
        commands::packets(&self.namespace, TRANSLATION, "translated").unwrap()
    }

    pub fn remove_rules(&self) {
        // One to delete is there then, whether there was one before or not.
        nft(&self.namespace, &format!("add table inet {TABLE}; delete table inet {TABLE}")).unwrap();
    }

    /// Packets that one of the counters `caught`, `passed`, `unreachable` has seen.
    pub fn packets(&self, counter: &str) -> u64 {
        commands::packets(&self.namespace, TABLE, counter).unwrap()
    }

    fn node(&mut self) -> &mut Process {
        self.node.as_mut().expect("a node runs there")
    }
}

/// The address of a host; there are others up to 250 that nobody has.
pub fn address(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 77, 0, number).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, number.into()).into(),
    }
}

/// A rule that drops and counts what comes from these addresses.
pub fn drop_from(addresses: &[IpAddr]) -> String {
    format!("{} counter name caught drop", from(addresses))
}

/// The beginning of a rule about what comes from these addresses, which are of one family.
pub fn from(addresses: &[IpAddr]) -> String {
    let family = if addresses[0].is_ipv4() { "ip" } else { "ip6" };
    let list: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    format!("{family} saddr {{ {} }}", list.join(", "))
}

fn prefix_length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 24 } else { 64 }
}
