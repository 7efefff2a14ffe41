// SPDX-License-Identifier: Apache-2.0
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use clap::Args;

use crate::Side;
use crate::cli::endpoint::secret;
use crate::endpoint::Endpoint;
use crate::sink::ReceiverOptions;
use crate::wire::{ClientTls, Compression, Token};

/// Through which receiver batches go.
#[derive(Args, Debug)]
pub(super) struct RemoteArgs {
    /// The `slotmover receive` on the target's machine that batches go through; straight to the target when not given. It
    /// also reads the target's log out, for `--reverse-window`.
    #[arg(long, value_name = "HOST:PORT")]
    receiver: Option<String>,

    /// A file that holds the token that the receiver wants; the environment variable SLOTMOVER_TOKEN when not given.
    #[arg(long, value_name = "FILE", requires = "receiver")]
    token_file: Option<PathBuf>,

    /// The certificate (PEM) of the authority that the receiver has its own from; no TLS when not given.
    #[arg(long, value_name = "FILE", requires = "receiver")]
    receiver_ca: Option<PathBuf>,

    /// Our certificate (PEM), for a receiver that wants one.
    #[arg(long, value_name = "FILE", requires_all = ["receiver_ca", "receiver_key"])]
    receiver_cert: Option<PathBuf>,

    /// The key (PEM) of our certificate.
    #[arg(long, value_name = "FILE", requires = "receiver_cert")]
    receiver_key: Option<PathBuf>,

    /// How batches to the receiver are compressed: `auto` (while it pays), `off`, `zstd` or `zstd:LEVEL` (1 to 12).
    #[arg(long, value_name = "HOW", default_value = "auto", requires = "receiver")]
    compression: Compression,
}

impl RemoteArgs {
    pub(super) fn options(&self) -> Result<Option<ReceiverOptions>> {
        let Some(address) = &self.receiver else { return Ok(None) };
        let endpoint = Endpoint::parse(Side::Receiver, address, None).map_err(|fault| anyhow!(fault))?;
        let own = self.receiver_cert.as_deref().zip(self.receiver_key.as_deref());
        let tls = match &self.receiver_ca {
            Some(authority) => Some(ClientTls::read(authority, own)?),
            None => None,
        };
        let token = token(self.token_file.as_deref())?;
        Ok(Some(ReceiverOptions { endpoint, token, tls, compression: self.compression }))
    }
}

/// The token from `file`, or else from the environment.
pub(super) fn token(file: Option<&Path>) -> Result<Option<Token>> {
    let text = secret("token", file, "SLOTMOVER_TOKEN")?;
    text.map(Token::new).transpose().map_err(|fault| anyhow!(fault))
}
