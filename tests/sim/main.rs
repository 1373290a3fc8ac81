//! The simulator: what its words do, that it repeats itself exactly, and whole runs drawn from seeds. The long form of those is
//! `examples/torture`.

mod crowds;
mod keys;
mod repeats;
mod replays;
mod seeds;
mod stories;
