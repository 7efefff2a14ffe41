// SPDX-License-Identifier: Apache-2.0
//! Which routing layer, as the command line says it and as a fence journal repeats it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::error::ErrorKind;
use clap::{Args, Parser, ValueEnum};
use replication::SlotCount;

use crate::cli::operator::Terminal;
use crate::cli::usage;
use crate::endpoint::Password;
use crate::routing::{Codis, CodisOptions, Hooks, HooksOptions, Manual, RoutingControl};
use crate::{BoxFuture, Error};

/// What the agent, its guard and a settlement build the routing layer of.
#[derive(Args, Clone, Debug)]
pub(super) struct RoutingArgs {
    /// Who redirects the clients at the end.
    #[arg(long, value_enum, default_value_t = Kind::Manual)]
    pub(super) routing: Kind,

    /// Answers every question of the manual routing with yes: no client writes to these slots.
    #[arg(long)]
    pub(super) yes: bool,

    /// The admin address of the Codis dashboard, as HOST:PORT or http://HOST:PORT.
    #[arg(long, value_name = "URL")]
    dashboard: Option<String>,

    /// A file that holds the product_auth of dashboard and proxies.
    #[arg(long, value_name = "FILE")]
    product_auth_file: Option<PathBuf>,

    /// The source's group, when the dashboard knows its master by another address.
    #[arg(long, value_name = "N")]
    source_group: Option<u32>,

    /// The target's group, likewise.
    #[arg(long, value_name = "N")]
    target_group: Option<u32>,

    /// The directory of the hooks: executables raise, switch and lower, and if you like before-raise, holds, owner,
    /// after-switch and on-failure.
    #[arg(long, value_name = "DIR")]
    hooks: Option<PathBuf>,

    /// The longest that a hook may take [default: 10s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    hook_timeout: Option<Duration>,

    /// The dashboard's own slot moves are to go on at the end; a fence journal says so.
    #[arg(long, hide = true)]
    restore_native_actions: bool,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// You are asked to stop the clients, and to send them to the target.
    Manual,
    /// A Codis dashboard and its proxies hold the clients and send them to the target.
    Codis,
    /// Programs of yours do.
    Hooks,
}

/// What a routing layer routes.
#[derive(Clone, Debug)]
pub(super) struct Course {
    pub(super) source: String,
    pub(super) target: String,
    pub(super) slot_count: SlotCount,
    pub(super) job: String,
    pub(super) max_lock: Option<Duration>,
}

impl Course {
    /// The same way back.
    pub(super) fn reversed(&self) -> Self {
        Self { source: self.target.clone(), target: self.source.clone(), ..self.clone() }
    }
}

/// A routing layer, and what only one of its kind can do.
pub(super) struct Layer {
    pub(super) control: Arc<dyn RoutingControl>,
    pub(super) hooks: Option<Arc<Hooks>>,
    pub(super) codis: Option<Codis>,
}

impl RoutingArgs {
    /// That no option was given that this routing would pass over, and none is missing.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let fits = [
            ("--yes", self.yes, Kind::Manual),
            ("--dashboard", self.dashboard.is_some(), Kind::Codis),
            ("--product-auth-file", self.product_auth_file.is_some(), Kind::Codis),
            ("--source-group", self.source_group.is_some(), Kind::Codis),
            ("--target-group", self.target_group.is_some(), Kind::Codis),
            ("--hooks", self.hooks.is_some(), Kind::Hooks),
            ("--hook-timeout", self.hook_timeout.is_some(), Kind::Hooks),
        ];
        for (option, given, kind) in fits {
            if given && self.routing != kind {
                let what =
                    format!("{option} is for --routing {}, not for --routing {}", kind.name(), self.routing.name());
                return Err(usage(ErrorKind::ArgumentConflict, &what));
            }
        }
        let missing = match self.routing {
            Kind::Codis if self.dashboard.is_none() => "--routing codis needs --dashboard <URL>",
            Kind::Hooks if self.hooks.is_none() => "--routing hooks needs --hooks <DIR>",
            _ => return Ok(()),
        };
        Err(usage(ErrorKind::MissingRequiredArgument, missing))
    }

    /// What builds it for the way back.
    pub(super) fn reversed(&self) -> Self {
        Self { source_group: self.target_group, target_group: self.source_group, ..self.clone() }
    }

    /// Builds the routing layer; wrong addresses, passwords and programs show here. Nothing is changed.
    pub(super) async fn connect(&self, course: &Course) -> anyhow::Result<Layer> {
        let Course { source, target, slot_count, job, max_lock } = course.clone();
        match (self.routing, &self.dashboard, &self.hooks) {
            (Kind::Codis, Some(dashboard), _) => {
                let options = CodisOptions {
                    product_auth: password(self.product_auth_file.as_deref())?,
                    source_group: self.source_group,
                    target_group: self.target_group,
                    slot_count,
                    restore_native_actions: self.restore_native_actions,
                    ..CodisOptions::new(dashboard, source, target)
                };
                let codis = Codis::connect(options).await?;
                Ok(Layer { control: Arc::new(codis.clone()), hooks: None, codis: Some(codis) })
            }
            (Kind::Hooks, _, Some(dir)) => {
                let timeout = self.hook_timeout.unwrap_or(HOOK_TIMEOUT);
                let dir = std::path::absolute(dir)?;
                let hooks = Hooks::open(HooksOptions { dir, source, target, job, timeout, max_lock })?;
                Ok(Layer { control: Arc::clone(&hooks) as _, hooks: Some(hooks), codis: None })
            }
            (Kind::Manual, ..) => {
                let operator = Box::new(Terminal { assume_yes: self.yes });
                Ok(Layer { control: Arc::new(Manual::new(source, target, operator)), hooks: None, codis: None })
            }
            (Kind::Codis | Kind::Hooks, ..) => Err(anyhow!("the routing's own options are missing")),
        }
    }

    /// Arguments that [`rebuild`] makes the same routing layer of, wherever it is called.
    pub(super) fn record(&self, course: &Course) -> anyhow::Result<Vec<String>> {
        let path = |path: &Path| -> anyhow::Result<String> {
            let text = std::path::absolute(path)?.into_os_string().into_string();
            text.map_err(|path| anyhow!("the file name {} is no text", path.display()))
        };
        let mut arguments = Vec::new();
        let mut add = |option: &str, value: Option<String>| {
            arguments.extend(value.into_iter().flat_map(|value| [format!("--{option}"), value]));
        };
        add("routing", Some(self.routing.name()));
        add("source", Some(course.source.clone()));
        add("target", Some(course.target.clone()));
        add("slot-count", Some(course.slot_count.to_string()));
        add("job", Some(course.job.clone()));
        add("dashboard", self.dashboard.clone());
        add("product-auth-file", self.product_auth_file.as_deref().map(path).transpose()?);
        add("source-group", self.source_group.map(|group| group.to_string()));
        add("target-group", self.target_group.map(|group| group.to_string()));
        add("hooks", self.hooks.as_deref().map(path).transpose()?);
        add("hook-timeout", self.hook_timeout.map(|time| humantime::format_duration(time).to_string()));
        Ok(arguments)
    }
}

impl Layer {
    /// What [`RoutingArgs::record`] cannot know: what the layer has changed since it was built.
    pub(super) fn further(&self) -> impl Fn() -> Vec<String> + Send + Sync + 'static {
        let codis = self.codis.clone();
        move || {
            let must_restore = codis.as_ref().is_some_and(Codis::must_restore);
            must_restore.then(|| "--restore-native-actions".to_owned()).into_iter().collect()
        }
    }
}

impl Kind {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// What a fence journal says.
#[derive(Parser, Debug)]
#[command(no_binary_name = true)]
struct Recorded {
    #[arg(long)]
    source: String,
    #[arg(long)]
    target: String,
    #[arg(long)]
    slot_count: u16,
    #[arg(long)]
    job: String,
    #[command(flatten)]
    routing: RoutingArgs,
}

/// Builds the routing layer of a fence journal.
pub(super) fn rebuild(arguments: Vec<String>) -> BoxFuture<'static, crate::Result<Arc<dyn RoutingControl>>> {
    Box::pin(async move {
        let fault = |what: String| Error::Routing { what: format!("the routing layer of the fence journal: {what}") };
        let recorded = Recorded::try_parse_from(arguments).map_err(|error| fault(error.to_string()))?;
        let slot_count = SlotCount::new(recorded.slot_count).ok_or_else(|| fault("it has no slots".to_owned()))?;
        let Recorded { source, target, job, routing, .. } = recorded;
        let course = Course { source, target, slot_count, job, max_lock: None };
        match routing.connect(&course).await {
            Ok(layer) => Ok(layer.control),
            Err(error) => Err(error.downcast().unwrap_or_else(|error| fault(format!("{error:#}")))),
        }
    })
}

fn password(file: Option<&Path>) -> anyhow::Result<Password> {
    let Some(path) = file else { return Ok(Password::new("")) };
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read the file of the product_auth, {}", path.display()))?;
    Ok(Password::new(text.trim_end_matches(['\r', '\n'])))
}

const HOOK_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser)]
    #[command(no_binary_name = true)]
    struct Line {
        #[command(flatten)]
        routing: RoutingArgs,
    }

    fn parse(line: &str) -> RoutingArgs {
        Line::try_parse_from(line.split_whitespace()).unwrap().routing
    }

    #[test]
    fn what_is_recorded_is_read_the_same() {
        let course = Course {
            source: "h:1".to_owned(),
            target: "h:2".to_owned(),
            slot_count: SlotCount::CODIS,
            job: "job".to_owned(),
            max_lock: None,
        };
        let lines = [
            "--routing codis --dashboard d:1 --product-auth-file auth --source-group 1 --target-group 2",
            "--routing hooks --hooks my-hooks --hook-timeout 1500ms",
        ];
        for line in lines {
            let recorded = parse(line).record(&course).unwrap();
            let read = Recorded::try_parse_from(&recorded).unwrap();
            assert_eq!((&*read.source, &*read.target, read.slot_count, &*read.job), ("h:1", "h:2", 1024, "job"));
            assert_eq!(read.routing.record(&course).unwrap(), recorded);
            let files = [&read.routing.product_auth_file, &read.routing.hooks];
            assert!(files.into_iter().flatten().all(|file| file.is_absolute()), "{recorded:?}");
        }
    }

    #[test]
    fn options_of_another_routing_are_refused() {
        for fit in ["--yes", "--routing codis --dashboard d:1 --source-group 1", "--routing hooks --hooks d"] {
            parse(fit).check().unwrap();
        }
        let misfits = [
            ("--dashboard d:1", "--dashboard is for --routing codis"),
            ("--hooks d", "--hooks is for --routing hooks"),
            ("--routing codis --dashboard d:1 --yes", "--yes is for --routing manual"),
            ("--routing codis --dashboard d:1 --hook-timeout 1s", "--hook-timeout is for"),
            ("--routing hooks --hooks d --target-group 3", "--target-group is for"),
            ("--routing hooks --hooks d --product-auth-file f", "--product-auth-file is for"),
            ("--routing codis", "--routing codis needs --dashboard"),
            ("--routing hooks", "--routing hooks needs --hooks"),
        ];
        for (line, what) in misfits {
            let error = parse(line).check().unwrap_err().to_string();
            assert!(error.contains(what), "{line}: {error}");
        }
    }
}
