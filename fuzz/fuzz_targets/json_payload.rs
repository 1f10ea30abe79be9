//! Any bytes: `json::compact` agrees with serde_json and our extra rules.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanwire::oracle::json_payload(bytes));
