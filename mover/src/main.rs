// SPDX-License-Identifier: Apache-2.0
//! The command `slotmover`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mover::cli::main()
}
