//! What surrounds a message: bytes of strangers, encrypted bytes of whoever has the key, datagrams altered on the way.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/hostile/harness/mod.rs"]
mod harness;

fuzz_target!(|input: &[u8]| harness::envelope::check(input));
