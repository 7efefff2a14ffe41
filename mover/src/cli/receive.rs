// SPDX-License-Identifier: Apache-2.0
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytesize::ByteSize;
use clap::Args;
use tokio::time::interval;
use tracing::info;

use crate::Side;
use crate::cli::endpoint::endpoint;
use crate::cli::limits::SpeedArgs;
use crate::cli::r#move::memory;
use crate::cli::remote::token;
use crate::cli::renames::RenamesArgs;
use crate::cli::signal::stop_signal;
use crate::endpoint::Endpoint;
use crate::endpoint::Names;
use crate::flow::Limit;
use crate::receiver::{Receiver, ReceiverOptions, Status};
use crate::wire::ServerTls;

#[derive(Args, Debug)]
pub(super) struct ReceiveArgs {
    /// Where it listens for senders. Beyond this machine it needs a token or --tls-client-ca, and TLS or --insecure.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: String,

    /// The Redis (6 or newer) or Pika (4.0) that it writes to, best on this machine. It is waited for.
    #[arg(long, value_name = "HOST:PORT")]
    target: String,

    /// A file that holds the token that senders must know; the environment variable SLOTMOVER_TOKEN when not given.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// A file that holds the target's password.
    #[arg(long, value_name = "FILE")]
    target_password_file: Option<PathBuf>,

    #[command(flatten)]
    renames: RenamesArgs,

    /// Its certificate (PEM), and those between it and its authority.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The key (PEM) of its certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// The certificate (PEM) of the authority that every sender must have its own from.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,

    /// Listens beyond this machine without TLS: what is moved can then be read on its way. A token is wanted all the same.
    #[arg(long)]
    insecure: bool,

    /// The memory that it may take, about, however many send. An element that is bigger than a third of it is refused.
    #[arg(long, value_name = "SIZE", default_value = "256MB", value_parser = memory)]
    memory: ByteSize,

    #[command(flatten)]
    limits: SpeedArgs,
}

pub(super) async fn run(args: ReceiveArgs) -> Result<ExitCode> {
    let tls = match args.tls_cert.as_deref().zip(args.tls_key.as_deref()) {
        Some((certificate, key)) => Some(ServerTls::read(certificate, key, args.tls_client_ca.as_deref())?),
        None => None,
    };
    let target = Endpoint {
        names: Names::new(args.renames.renames()?),
        ..endpoint(Side::Target, &args.target, args.target_password_file.as_deref())?
    };
    let limit = Limit::new(args.limits.speed());
    let _watching = args.limits.watch(&limit);
    let options = ReceiverOptions {
        listen: args.listen,
        target: target.clone(),
        token: token(args.token_file.as_deref())?,
        tls,
        insecure: args.insecure,
        memory: args.memory,
        limit: limit.clone(),
    };
    let receiver = Receiver::bind(options).await?;
    let mut stop = std::pin::pin!(stop_signal());
    let told = |error: &crate::Error, pause: Duration| eprintln!("{error}; trying again in {pause:?}");
    let dialect = tokio::select! {
        dialect = receiver.wait_for_target(told) => dialect?,
        () = &mut stop => return Ok(ExitCode::SUCCESS),
    };
    println!("receiving on {} for the {dialect} at {}", receiver.addr(), target.address());
    let status = receiver.status();
    let telling = tokio::spawn(tell(Arc::clone(&status)));
    receiver.run(stop).await;
    telling.abort();
    eprintln!("{status}");
    Ok(ExitCode::SUCCESS)
}

/// Says now and then what has come, where somebody wants to know.
async fn tell(status: Arc<Status>) {
    let mut step = interval(STEP);
    let mut told = 0;
    loop {
        step.tick().await;
        if status.batches() != told {
            told = status.batches();
            info!("{status}");
        }
    }
}

const STEP: Duration = Duration::from_secs(10);
