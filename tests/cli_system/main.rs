//! The agent and the system around it: systemd's readiness protocol, the first process of a container, names that point elsewhere.
#![cfg(target_os = "linux")]

#[path = "../common/agent.rs"]
mod agent;

mod container;
mod systemd;
