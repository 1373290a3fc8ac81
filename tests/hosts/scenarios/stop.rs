//! Processes are stopped for 20 s.

use std::time::{Duration, Instant};

use crate::host::Family;
use crate::network::{LONG, Network};
use crate::scenarios::last;

/// By then detectors have seen real intervals; the first ones they take to be twice as long.
const WARM_UP: Duration = Duration::from_secs(10);
const STOP: Duration = Duration::from_secs(20);
/// Longer than any verdict takes.
const AFTERMATH: Duration = Duration::from_secs(5);

/// One process: the others see it fail and come back, and it convicts none of them when it goes on.
pub fn stop_one(name: &str) {
    stop(name, &[5]);
}

/// Half of all, the seed among them: nor do these convict each other.
pub fn stop_half(name: &str) {
    stop(name, &[0, 2, 4, 6, 8, 10]);
}

fn stop(name: &str, stopped: &[usize]) {
    let mut network = Network::new(name, Family::V4);
    network.start_all();
    let all = network.all();
    network.agree(&all, LONG);
    last(Instant::now(), WARM_UP);

    let others: Vec<usize> = all.iter().copied().filter(|index| !stopped.contains(index)).collect();
    let peers: Vec<String> = stopped.iter().map(|index| network.peer(*index)).collect();
    let start = Instant::now();
    for index in stopped {
        network.hosts[*index].signal("STOP");
    }
    let noticed = network.list(&others, "failed", &peers);
    for index in &others {
        network.hosts[*index].set("name", "renamed meanwhile");
        network.hosts[*index].delete("long");
    }
    network.agree(&others, LONG);
    last(start, STOP);

    let went_on = Instant::now();
    for index in stopped {
        network.hosts[*index].signal("CONT");
    }
    let together = network.agree(&all, LONG);
    last(went_on, AFTERMATH);
    for index in stopped {
        assert!(network.hosts[*index].figures().pauses > 0, "{index} did not notice that it had been stopped");
    }
    assert_eq!(network.failures_since(went_on), []);
    network.say(&format!(
        "failed at all others after {:.1} intervals; alive again and all maps equal {together:.2?} \
         after going on ({:.1} intervals); convicted nobody",
        network.intervals(noticed),
        network.intervals(together)
    ));
}
