//! The program `grapevine`, driven from outside as people and programs drive it: its commands, the line protocol, signals.
#![cfg(unix)]

mod bad_lines;
mod bad_starts;
mod commands;
mod crowds;
mod ending;
mod events;
mod followers;
#[path = "../common/program/mod.rs"]
mod harness;
mod hooks;
mod keys;
mod outputs;
mod refusals;
mod remember;
mod requests;
mod services;
mod settings;
