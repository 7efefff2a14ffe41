// SPDX-License-Identifier: Apache-2.0
#![no_main]

mod targets {
    pub(crate) mod reply;
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| targets::reply::check(input));
