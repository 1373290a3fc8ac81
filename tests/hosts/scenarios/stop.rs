//! A node's process is stopped for 20 s.

use std::time::{Duration, Instant};

use crate::host::Family;
use crate::network::{LONG, Network};
use crate::scenarios::last;

/// By then detectors have seen real intervals; the first ones they take to be twice as long.
const WARM_UP: Duration = Duration::from_secs(10);
const STOP: Duration = Duration::from_secs(20);
/// Longer than any verdict takes.
const AFTERMATH: Duration = Duration::from_secs(5);

/// The others see it fail and come back, and it convicts none of them when it goes on.
pub fn stop(name: &str) {
    let mut network = Network::new(name, Family::V4);
    network.start_all();
    let all = network.all();
    network.agree(&all, LONG);

    last(Instant::now(), WARM_UP);

    let stopped = 5;
    let others: Vec<usize> = all.iter().copied().filter(|index| *index != stopped).collect();
    let peer = network.peer(stopped);
    let start = Instant::now();
    network.hosts[stopped].signal("STOP");
    let noticed = network.list(&others, "failed", &[peer]);
    for index in &others {
        network.hosts[*index].set("name", "renamed meanwhile");
        network.hosts[*index].delete("long");
    }
    network.agree(&others, LONG);
    last(start, STOP);

    let went_on = Instant::now();
    network.hosts[stopped].signal("CONT");
    let together = network.agree(&all, LONG);
    last(went_on, AFTERMATH);
    assert!(network.hosts[stopped].figures().pauses > 0, "it did not notice that it had been stopped");
    assert_eq!(network.failures_since(went_on), []);
    network.say(&format!(
        "failed at all others after {:.1} intervals; alive again and all maps equal {together:.2?} after it went on ({:.1} intervals); convicted nobody",
        network.intervals(noticed),
        network.intervals(together)
    ));
}
