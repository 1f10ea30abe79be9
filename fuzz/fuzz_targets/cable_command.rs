//! Any bytes: a command, and the identifier inside, is what serde_json's tree says.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanwire::oracle::cable_command(bytes));
