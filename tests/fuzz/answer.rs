// SPDX-License-Identifier: Apache-2.0
#![no_main]

mod targets {
    pub(crate) mod answer;
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| targets::answer::check(input));
