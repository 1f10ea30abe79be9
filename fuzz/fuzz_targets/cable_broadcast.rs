//! Any bytes: bodies of publishers publish what serde_json's tree says, or say why not.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanwire::oracle::cable_broadcast(bytes));
