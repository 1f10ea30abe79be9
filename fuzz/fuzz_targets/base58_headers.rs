#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fanwire::oracle::base58_headers(bytes, |text| bs58::decode(text).into_vec().ok());
});
