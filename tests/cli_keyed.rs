//! The tests of the program once more, with agents that have a key and require encryption: see `harness::is_keyed`.
//!
//! Not among them: those that bring keys of their own (`cli/keys`) and those without a running agent (`cli/bad_starts.rs`).
#![cfg(unix)]

#[path = "cli/bad_lines.rs"]
mod bad_lines;
#[path = "cli/commands.rs"]
mod commands;
#[path = "cli/crowds.rs"]
mod crowds;
#[path = "cli/ending.rs"]
mod ending;
#[path = "cli/events.rs"]
mod events;
#[path = "cli/followers.rs"]
mod followers;
#[path = "common/program/mod.rs"]
mod harness;
#[path = "cli/hooks.rs"]
mod hooks;
#[path = "cli/outputs.rs"]
mod outputs;
#[path = "cli/refusals.rs"]
mod refusals;
#[path = "cli/remember.rs"]
mod remember;
#[path = "cli/requests.rs"]
mod requests;
#[path = "cli/services/mod.rs"]
mod services;
#[path = "cli/settings.rs"]
mod settings;
