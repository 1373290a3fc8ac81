//! The two systems that this library replaces: what their own tests checked, and how they failed.
//!
//! Each test says in its name what holds here; its comment quotes the line of the originals' record that it answers.

#[path = "../common/mod.rs"]
mod common;

mod behaviours;
mod keys;
mod lies;
mod lives;
