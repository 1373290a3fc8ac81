//! What a node promises when others lie: real datagrams, taken apart, changed field by field and put together again, handed to nodes
//! in every state; and the corpus of the fuzz targets in `fuzz/`, which share the harness.

mod corpus;
mod envelope;
mod found;
mod harness;
mod healing;
mod mutated;
