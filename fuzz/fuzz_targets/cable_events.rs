//! Any bytes: a list of events names the streams of the grammar as it is written.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanwire::oracle::cable_events(bytes));
