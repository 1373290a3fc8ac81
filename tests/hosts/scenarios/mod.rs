//! The scenarios, each on a network of its own. They sleep for what they are about, such as a partition of 60 s;
//! everything else they wait for.

mod addresses;
mod cuts;
mod interfaces;
mod join;
mod loss;
mod stop;
mod unreachable;

use std::thread;
use std::time::{Duration, Instant};

use crate::host::Family;

/// Its name, by which it is chosen, and what it does.
pub type Scenario = (&'static str, fn(&str));

/// The longest first, so that the rest fits in beside them.
pub const SCENARIOS: &[Scenario] = &[
    ("partition", cuts::partition),
    ("loss", loss::loss),
    ("addresses", addresses::addresses),
    ("taken-over", addresses::taken_over),
    ("one-way-cut", cuts::one_way_cut),
    ("stop-one", stop::stop_one),
    ("stop-half", stop::stop_half),
    ("unreachable-ipv4", |name| unreachable::unreachable(name, Family::V4)),
    ("unreachable-ipv6", |name| unreachable::unreachable(name, Family::V6)),
    ("partition-beyond-grace", cuts::partition_beyond_grace),
    ("interfaces-ipv4", |name| interfaces::interfaces(name, Family::V4)),
    ("interfaces-ipv6", |name| interfaces::interfaces(name, Family::V6)),
    ("switch", interfaces::switch),
    ("translated", addresses::translated),
    ("join-ipv4", |name| join::join(name, Family::V4)),
    ("join-ipv6", |name| join::join(name, Family::V6)),
];

/// What a scenario is about has to last for so long.
fn last(since: Instant, time: Duration) {
    thread::sleep(time.saturating_sub(since.elapsed()));
}
