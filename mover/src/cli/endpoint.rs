// SPDX-License-Identifier: Apache-2.0
use std::path::Path;

use anyhow::{Context, Result, anyhow};

use crate::Side;
use crate::endpoint::{Endpoint, Password};

/// The endpoint of an address, with the password from `file` or else from the side's environment variable.
pub(super) fn endpoint(side: Side, address: &str, file: Option<&Path>) -> Result<Endpoint> {
    let password = secret("password", file, variable(side))?;
    Endpoint::parse(side, address, password.map(Password::new)).map_err(|fault| anyhow!(fault))
}

/// What stands in `file`, or else in the environment variable.
pub(super) fn secret(what: &str, file: Option<&Path>, variable: &str) -> Result<Option<String>> {
    match file {
        Some(path) => read(path).map(Some).with_context(|| format!("cannot read the {what} file {}", path.display())),
        None => Ok(std::env::var(variable).ok().filter(|text| !text.is_empty())),
    }
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
