//! Interfaces, and the switch, that go down and up again.

use std::time::Instant;

use crate::host::Family;
use crate::network::{HOSTS, LONG, Network};

const CUT_OFF: [usize; 2] = [4, 9];
/// Everyone is alive and all maps are equal within so many intervals of the interfaces' coming up.
const BACK_WITHIN: f64 = 20.0;

/// Two nodes cannot even send for a while. They live on, and join again by themselves.
pub fn interfaces(name: &str, family: Family) {
    let mut network = Network::new(name, family);
    network.start_all();
    let all = network.all();
    network.agree(&all, LONG);

    let others: Vec<usize> = all.iter().copied().filter(|index| !CUT_OFF.contains(index)).collect();
    let down = Instant::now();
    for index in CUT_OFF {
        network.hosts[index].set_interface("down");
    }
    let peers: Vec<String> = CUT_OFF.iter().map(|index| network.peer(*index)).collect();
    let noticed = network.list(&others, "failed", &peers);
    for index in CUT_OFF {
        let everyone_else: Vec<String> =
            (0..HOSTS).filter(|other| *other != index).map(|other| network.peer(other)).collect();
        network.list(&[index], "failed", &everyone_else);
        assert!(network.hosts[index].figures().send_errors > 0, "{index} could send all the time");
    }
    for index in [0, CUT_OFF[0]] {
        network.hosts[index].set("name", "renamed meanwhile");
        network.hosts[index].delete("long");
    }
    network.agree(&others, LONG);
    let time_down = down.elapsed();

    for index in CUT_OFF {
        network.hosts[index].set_interface("up");
        if family == Family::V6 {
            // Of an interface that goes down the system takes the IPv6 addresses.
            network.hosts[index].add_address(network.hosts[index].ip);
        }
    }
    network.until("the interfaces carry packets", LONG, |network| {
        let missing = CUT_OFF.iter().find(|index| !network.hosts[**index].is_up());
        missing.map_or(Ok(()), |index| Err(format!("that of {index} does not")))
    });
    let up = Instant::now();
    let together = network.agree(&all, LONG);
    let errors: Vec<u64> = CUT_OFF.iter().map(|index| network.hosts[*index].figures().send_errors).collect();
    network.say(&format!(
        "down for {time_down:.1?}: failed at all others after {:.1} intervals, {errors:?} errors of sending; \
         all alive and equal {together:.2?} after it was up ({:.1} intervals)",
        network.intervals(noticed),
        network.intervals(together)
    ));
    assert!(network.intervals(together) < BACK_WITHIN, "{together:?}");
    assert_eq!(network.failures_since(up), [], "nobody fails for having been away");
}

/// The switch is down until everyone has found everyone else to have failed. Nobody is left to tell anybody anything;
/// still all come back.
pub fn switch(name: &str) {
    let mut network = Network::new(name, Family::V4);
    network.start_all();
    let all = network.all();
    network.agree(&all, LONG);

    network.set_switch("down");
    for index in 0..HOSTS {
        let everyone_else: Vec<String> =
            (0..HOSTS).filter(|other| *other != index).map(|other| network.peer(other)).collect();
        network.list(&[index], "failed", &everyone_else);
        network.hosts[index].set("name", "renamed meanwhile");
        network.hosts[index].delete("long");
    }
    network.set_switch("up");
    let up = Instant::now();
    let together = network.agree(&all, LONG);
    network.say(&format!(
        "everyone had failed for everyone; all alive and equal {together:.2?} after the switch was up ({:.1} intervals)",
        network.intervals(together)
    ));
    assert!(network.intervals(together) < BACK_WITHIN, "{together:?}");
    assert_eq!(network.failures_since(up), [], "nobody fails for having been away");
}
