//! Services on real sockets: each promise and each limit has a test that fails where it is broken.
//!
//! Every wait is for a condition and has a deadline far above what it takes, so that a busy machine changes nothing.

#[path = "../common/mod.rs"]
mod common;
mod harness;

mod bad_lines;
mod bad_providers;
mod calling;
mod choosing;
mod discovery;
mod ending;
mod handlers;
mod key_changes;
mod keyed;
mod keyed_attacks;
mod limits;
mod moving;
mod repeats;
mod reserved;
mod sharding;
mod stats;
mod time_outs;
