//! The simulator: what its words do, that it repeats itself exactly, and whole runs drawn from seeds. The long form of those is
//! `examples/torture`.

mod repeats;
mod seeds;
mod stories;
