//! What the tests share. Each test program uses a part of it.
#![allow(dead_code, unused_imports)]

pub mod forge;
pub mod keyed;
pub mod net;

use std::time::Duration;

pub use net::{Net, config};

pub const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
