//! One node under observation, in a state that a real cluster brought it into, and what it promises whatever arrives.
//!
//! The mutation test of this folder and the fuzz targets in `fuzz/` share it, so it names nothing but the library.
#![allow(dead_code)] // Each of those programs uses a part of it.

pub mod envelope;
pub mod input;
pub mod mutation;
pub mod promises;
pub mod states;
pub mod structure;
pub mod subject;
pub mod values;
pub mod view;
pub mod world;
