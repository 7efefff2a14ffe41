// SPDX-License-Identifier: Apache-2.0
//! Progress for a person: a line that moves on a terminal, a plain line now and then elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::job::{ChangeRates, Phase, Progress, Status, Undo};

/// Shows a job's progress on standard error until it is told to end.
pub(super) struct Display {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Display {
    pub(super) fn start(progress: Arc<Progress>, job: &str) -> Self {
        let (end, ended) = oneshot::channel();
        let meter = Meter { job: job.to_owned(), ..Meter::default() };
        let task = match std::io::stderr().is_terminal() {
            true => tokio::spawn(live(progress, meter, ended)),
            false => tokio::spawn(plain(progress, meter, ended)),
        };
        Self { end, task }
    }

    pub(super) async fn end(self) {
        // Both fail only when the task has ended by itself, and then there is nothing to end.
        let _ = self.end.send(());
        let _ = self.task.await;
    }
}

async fn live(progress: Arc<Progress>, mut meter: Meter, mut ended: oneshot::Receiver<()>) {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {prefix:<9} {wide_msg}").expect("the template is fixed");
    bar.set_style(style);
    let mut shown = None;
    loop {
        let status = progress.status();
        if shown.is_some_and(|phase| phase != status.phase) {
            bar.suspend(|| eprintln!("{} done", shown.map(|phase: Phase| phase.to_string()).unwrap_or_default()));
        }
        shown = Some(status.phase);
        bar.set_prefix(status.phase.to_string());
        bar.set_message(meter.text(&status));
        bar.tick();
        tokio::select! {
            _ = &mut ended => break,
            () = tokio::time::sleep(LIVE_STEP) => {}
        }
    }
    bar.finish_and_clear();
}

async fn plain(progress: Arc<Progress>, mut meter: Meter, mut ended: oneshot::Receiver<()>) {
    let mut shown: Option<(Phase, Duration)> = None;
    loop {
        let status = progress.status();
        let due = shown.is_none_or(|(phase, at)| phase != status.phase || status.for_now >= at + PLAIN_STEP);
        if due {
            eprintln!("{}: {}", status.phase, meter.text(&status));
            shown = Some((status.phase, status.for_now));
        }
        tokio::select! {
            _ = &mut ended => break,
            () = tokio::time::sleep(LIVE_STEP) => {}
        }
    }
}

/// Remembers where a phase began, for its rate.
#[derive(Default)]
struct Meter {
    job: String,
    phase: Option<Phase>,
    begin: (u64, u64),
}

impl Meter {
    /// What the job does, and what it waits for once that is worth telling.
    fn text(&mut self, status: &Status) -> String {
        let mut done = self.done(status);
        if let Some(held) = status.held.as_ref().filter(|held| held.since >= WAIT_SHOWN) {
            done = format!("{done}; {held}");
        }
        if let Some((why, since)) = &status.outrun {
            let since = humantime::format_duration(Duration::from_secs(since.as_secs()));
            done = format!("{done}; falling behind for {since}: {why}");
        }
        match &status.waiting {
            Some((why, since)) if *since >= WAIT_SHOWN => {
                let since = humantime::format_duration(Duration::from_secs(since.as_secs()));
                format!("{done}; waiting for {since}: {why}")
            }
            Some(_) | None => done,
        }
    }

    fn done(&mut self, status: &Status) -> String {
        if self.phase != Some(status.phase) {
            self.phase = Some(status.phase);
            self.begin = (status.keys, status.bytes);
        }
        let seconds = status.for_now.as_secs_f64().max(0.001);
        let keys = status.keys.saturating_sub(self.begin.0);
        let bytes = status.bytes.saturating_sub(self.begin.1);
        let rate = ByteSize((bytes as f64 / seconds) as u64);
        let lag = ByteSize(status.lag);
        match status.phase {
            Phase::Plan => "checking both sides".to_owned(),
            Phase::Snapshot => match &status.sides {
                Some([source, target]) => {
                    format!("taking a checkpoint of the source, {source}; the target is {target}")
                }
                None => "taking a checkpoint of the source".to_owned(),
            },
            Phase::Copy => {
                let eta = eta(status.keys, status.expected_keys, seconds);
                let of = match status.expected_keys > status.keys {
                    true => format!(" of about {}", status.expected_keys),
                    false => String::new(),
                };
                format!("{keys}{of} keys, {}, {rate}/s{eta}", ByteSize(bytes))
            }
            Phase::CatchUp => {
                let (changes, rates) = (status.changes, status.rates);
                let rates = match rates == ChangeRates::default() {
                    true => String::new(),
                    false => format!(" ({:.0} come in a second, {:.0} are followed)", rates.come, rates.followed),
                };
                format!("{changes} changes followed{rates}, {lag} of the log to go")
            }
            Phase::Verify => {
                let eta = eta(status.verified, status.expected_keys, seconds);
                let followed = match (status.changes, status.lag) {
                    // Of a comparison on its own nothing is followed.
                    (0, 0) => String::new(),
                    (changes, _) => format!(", {changes} changes followed, lag {lag}"),
                };
                format!("{} keys compared{followed}{eta}", status.verified)
            }
            Phase::Cutover => format!("{} of {} slots at the target, lag {lag}", status.switched, status.slots),
            Phase::Watch => self.watch(status),
            Phase::Cleanup if status.undo == Some(Undo::Begun) => {
                format!("{} keys deleted at the target", status.cleaned)
            }
            Phase::Cleanup => format!("{} keys deleted at the source", status.cleaned),
            Phase::Done => format!("{} slots at the target", status.switched),
        }
    }
}

impl Meter {
    /// What can be done in a reverse window, and for how long.
    fn watch(&self, status: &Status) -> String {
        let (job, changes, lag) = (&self.job, status.changes, ByteSize(status.lag));
        let left = match &status.undo {
            Some(Undo::Possible { left }) => {
                let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
                format!(
                    "all slots are at the target; `slotmover rollback {job}` undoes it for {left} more, `slotmover finish {job}` ends that"
                )
            }
            Some(undo) => format!("the job {undo}"),
            None => "all slots are at the target".to_owned(),
        };
        format!("{left}; {changes} changes brought back, lag {lag}")
    }
}

fn eta(done: u64, expected: u64, seconds: f64) -> String {
    if done == 0 || done >= expected {
        return String::new();
    }
    let left = seconds * (expected - done) as f64 / done as f64;
    format!(", {} to go", humantime::format_duration(Duration::from_secs(left as u64 + 1)))
}

const LIVE_STEP: Duration = Duration::from_millis(100);
const PLAIN_STEP: Duration = Duration::from_secs(5);
const WAIT_SHOWN: Duration = Duration::from_secs(1);
