// SPDX-License-Identifier: Apache-2.0
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::Control;
use crate::flow::{CommandRate, JobLimits, Kindness, Limit, Rate, Speed};

/// How fast it may go.
#[derive(Args, Clone, Debug)]
pub(super) struct SpeedArgs {
    /// The most user data to send to the target per second, as in 50MB; no limit when not given.
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,

    /// The most commands to send to the target per second, as in 20000 or 20k; no limit when not given.
    #[arg(long, value_name = "N")]
    command_rate: Option<CommandRate>,

    /// A file that changes these limits while it runs, as lines `rate = 20MB`, `command-rate = none`; for a move also
    /// `kind = gentle`.
    #[arg(long, value_name = "FILE")]
    limits_file: Option<PathBuf>,
}

/// How fast a move may go, and how kind it is.
#[derive(Args, Clone, Debug)]
pub(super) struct LimitsArgs {
    #[command(flatten)]
    speed: SpeedArgs,

    /// How much it gives way to clients: `gentle` (they notice nothing), `normal` (it backs off when a server answers
    /// slowly) or `full`.
    #[arg(long, value_name = "KIND", default_value_t)]
    pub(super) kind: Kindness,
}

impl SpeedArgs {
    pub(super) fn speed(&self) -> Speed {
        Speed { rate: self.rate, command_rate: self.command_rate }
    }

    /// Follows the limits file, if there is one, until what it gives is dropped.
    pub(super) fn watch(&self, limit: &Limit) -> JoinSet<()> {
        let (usual, limit) = (self.speed(), limit.clone());
        self.follow(move |text| {
            let Lines { speed, kind } = parse(text, usual)?;
            match kind {
                None => limit.set(speed),
                Some(_) => return Err("a receiver has no kind, its senders have".to_owned()),
            }
            Ok(())
        })
    }

    fn follow(&self, apply: impl Fn(&str) -> Result<(), String> + Send + 'static) -> JoinSet<()> {
        let mut task = JoinSet::new();
        if let Some(path) = self.limits_file.clone() {
            task.spawn(follow(path, apply));
        }
        task
    }
}

impl LimitsArgs {
    pub(super) fn speed(&self) -> Speed {
        self.speed.speed()
    }

    /// As [`SpeedArgs::watch`].
    pub(super) fn watch(&self, control: &Control) -> JoinSet<()> {
        let (usual, control) = (control.limits(), control.clone());
        self.speed.follow(move |text| {
            let Lines { speed, kind } = parse(text, usual.speed)?;
            control.set_limits(JobLimits { speed, kind: kind.unwrap_or(usual.kind) });
            Ok(())
        })
    }
}

/// Looks at the file again and again. What is wrong with it is told once, and changes nothing.
async fn follow(path: PathBuf, apply: impl Fn(&str) -> Result<(), String>) {
    let mut last = None;
    loop {
        let read = read(&path);
        if last.as_ref() != Some(&read) {
            match read.as_deref().map_err(String::clone).and_then(&apply) {
                Ok(()) => info!("took the limits of {}", path.display()),
                Err(fault) => warn!("{}: {fault}; the limits stay as they are", path.display()),
            }
            last = Some(read);
        }
        sleep(STEP).await;
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|fault| match fault.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => fault.to_string(),
    })
}

/// What a file sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Lines {
    speed: Speed,
    kind: Option<Kindness>,
}

/// What it does not name is as `usual`.
fn parse(text: &str, usual: Speed) -> Result<Lines, String> {
    let mut lines = Lines { speed: usual, kind: None };
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.split_once('=').ok_or_else(|| format!("`{line}` is not of the form name = value"))?;
        match (name.trim(), value.trim()) {
            ("rate", "none") => lines.speed.rate = None,
            ("rate", value) => lines.speed.rate = Some(value.parse()?),
            ("command-rate", "none") => lines.speed.command_rate = None,
            ("command-rate", value) => lines.speed.command_rate = Some(value.parse()?),
            ("kind", value) => lines.kind = Some(value.parse()?),
            (name, _) => return Err(format!("`{name}` is none of rate, command-rate and kind")),
        }
    }
    Ok(lines)
}

/// Between two looks at the file.
const STEP: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn usual() -> Speed {
        Speed { rate: Some("1MB".parse().unwrap()), command_rate: Some("10".parse().unwrap()) }
    }

    #[test]
    fn a_file_sets_what_it_names() {
        assert_eq!(parse("", usual()), Ok(Lines { speed: usual(), kind: None }));
        let text = "# for the night\n\n rate = none\ncommand-rate=20k/s\n  kind =gentle\n";
        let speed = Speed { rate: None, command_rate: Some("20k".parse().unwrap()) };
        assert_eq!(parse(text, usual()), Ok(Lines { speed, kind: Some(Kindness::Gentle) }));
        let rate = parse("rate = 20 MB/s", usual()).map(|lines| lines.speed.rate);
        assert_eq!(rate, Ok(Some("20MB".parse().unwrap())));
    }

    #[test]
    fn a_file_with_a_fault_sets_nothing() {
        for text in
            ["rate", "rate = ", "rate = fast", "command-rate = 0", "kind = none", "speed = 1MB", "rate = 1MB\nx"]
        {
            assert!(parse(text, usual()).is_err(), "{text}");
        }
    }
}
