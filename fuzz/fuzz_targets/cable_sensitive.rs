//! Any bytes: what is left of an object has no listed name, and otherwise the same bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanwire::oracle::cable_sensitive(bytes));
