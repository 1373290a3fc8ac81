//! The tests of services once more, between nodes that have a key and require encryption: see `harness::is_keyed`.

mod common;
// A part of it is for tests that give their nodes keys of their own: `key_changes.rs`, `keyed.rs` and `keyed_attacks.rs`.
#[allow(dead_code, unused_imports)]
#[path = "service/harness/mod.rs"]
mod harness;

#[path = "service/bad_lines.rs"]
mod bad_lines;
#[path = "service/bad_providers.rs"]
mod bad_providers;
#[path = "service/calling.rs"]
mod calling;
#[path = "service/choosing.rs"]
mod choosing;
#[path = "service/discovery.rs"]
mod discovery;
#[path = "service/ending.rs"]
mod ending;
#[path = "service/handlers.rs"]
mod handlers;
#[path = "service/limits.rs"]
mod limits;
#[path = "service/moving.rs"]
mod moving;
#[path = "service/repeats.rs"]
mod repeats;
#[path = "service/reserved.rs"]
mod reserved;
#[path = "service/sharding.rs"]
mod sharding;
#[path = "service/stats.rs"]
mod stats;
#[path = "service/time_outs.rs"]
mod time_outs;
