//! Real nodes on the loopback interface: sockets, threads, handles, subscriptions.
//!
//! Every wait is for a condition and has a deadline far above what it takes, so that a busy machine changes nothing.

#[path = "../common/mod.rs"]
mod common;

mod addresses;
mod ending;
mod faults;
mod handles;
mod harness;
mod maps;
mod strangers;

use harness::*;
