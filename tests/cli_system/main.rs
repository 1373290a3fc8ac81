//! The agent and the system around it: systemd's readiness protocol, the first process of a container, names that point elsewhere.
#![cfg(target_os = "linux")]

mod container;
#[path = "../common/program/mod.rs"]
mod harness;
mod systemd;
