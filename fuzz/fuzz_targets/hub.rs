#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Whatever is asked in whatever order, the hub answers as plain lists would.
    fanwire::oracle::hub(bytes);
});
