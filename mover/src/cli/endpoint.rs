// SPDX-License-Identifier: Apache-2.0
use std::path::Path;

use anyhow::{Context, Result, anyhow};

use crate::Side;
use crate::endpoint::{Endpoint, Password};

/// The endpoint of an address, with the password from `file` or else from the side's environment variable.
pub(super) fn endpoint(side: Side, address: &str, file: Option<&Path>) -> Result<Endpoint> {
    let password = match file {
        Some(path) => Some(read(path).with_context(|| format!("cannot read the password file {}", path.display()))?),
        None => std::env::var(variable(side)).ok().filter(|text| !text.is_empty()),
    };
    Endpoint::parse(side, address, password.map(Password::new)).map_err(|fault| anyhow!(fault))
}

fn read(path: &Path) -> std::io::Result<String> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn variable(side: Side) -> &'static str {
    match side {
        Side::Source => "SLOTMOVER_SOURCE_PASSWORD",
        _ => "SLOTMOVER_TARGET_PASSWORD",
    }
}
