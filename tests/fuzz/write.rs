// SPDX-License-Identifier: Apache-2.0
#![no_main]

mod targets {
    pub(crate) mod frame;
    pub(crate) mod write;
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| targets::write::check(input));
