//! Bytes that somebody sent as a value: decoding and printing them.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/hostile/harness/values.rs"]
mod values;

fuzz_target!(|bytes: &[u8]| values::check(bytes));
