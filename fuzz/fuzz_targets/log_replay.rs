#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // However a file is damaged, nothing comes out of it that was not put in.
    fanwire::oracle::log_replay(bytes);
});
