// SPDX-License-Identifier: Apache-2.0
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use clap::error::ErrorKind;

use crate::cli::routing::{Kind, RoutingArgs};
use crate::cli::usage;
use crate::job::CutoverOptions;

/// How clients are held and switched at the end.
#[derive(Args, Clone, Debug)]
pub(super) struct CutoverArgs {
    /// The longest that clients are held before they go on at the source, and it is tried again [default: 200ms].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    max_lock: Option<Duration>,

    /// Slots that are held and switched together, while the others are followed [default: 1; manual routing: all].
    #[arg(long, value_name = "N")]
    cutover_group: Option<NonZeroUsize>,

    /// How often slots that were not switched are tried again before the move fails [default: without end].
    #[arg(long, value_name = "N")]
    cutover_retries: Option<u32>,

    /// Switches slots although the target's replicas lag. Without it they are waited for: clients may read there.
    #[arg(long)]
    ignore_replicas: bool,

    /// While this file exists no client is held, and the slots keep being followed.
    #[arg(long, value_name = "FILE")]
    postpone_cutover: Option<PathBuf>,
}

impl CutoverArgs {
    /// A person switches all slots at once, takes the time it takes, and is not asked again.
    pub(super) fn options(&self, routing: &RoutingArgs) -> Result<CutoverOptions> {
        if self.max_lock == Some(Duration::ZERO) {
            return Err(usage(ErrorKind::ValueValidation, "--max-lock must not be 0"));
        }
        let (asks, usual) = (routing.routing == Kind::Manual && !routing.yes, CutoverOptions::default());
        if asks && self.max_lock.is_some() {
            let what = "--max-lock does not go with a person who is asked; say --yes, or choose another --routing";
            return Err(usage(ErrorKind::ArgumentConflict, what));
        }
        let group = match routing.routing {
            Kind::Manual => NonZeroUsize::MAX,
            Kind::Codis | Kind::Hooks => usual.group,
        };
        Ok(CutoverOptions {
            group: self.cutover_group.unwrap_or(group),
            max_lock: self.max_lock.or(usual.max_lock).filter(|_| !asks),
            retries: self.cutover_retries.or_else(|| asks.then_some(0)),
            ignore_replicas: self.ignore_replicas,
            postpone_file: self.postpone_cutover.clone(),
            ..usual
        })
    }
}
