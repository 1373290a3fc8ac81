//! Nodes on real sockets once more, in clusters that require encryption: see `common::keyed`.

mod common;

#[path = "sockets/addresses.rs"]
mod addresses;
#[path = "sockets/ending.rs"]
mod ending;
#[path = "sockets/faults.rs"]
mod faults;
#[path = "sockets/handles.rs"]
mod handles;
#[path = "sockets/harness.rs"]
mod harness;
#[path = "sockets/maps.rs"]
mod maps;
#[path = "sockets/strangers.rs"]
mod strangers;

use harness::*;
