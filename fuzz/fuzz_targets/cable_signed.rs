//! Any bytes: a signed name verifies exactly when HMAC and base64 written out say so.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanwire::oracle::cable_signed(bytes));
