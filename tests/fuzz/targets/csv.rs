#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    haishin_fuzz::targets::run("csv", bytes);
});
