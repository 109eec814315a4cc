#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| penstock_datapath_fuzz::play(data));
