#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mp_tests::fuzz::ring(input));
