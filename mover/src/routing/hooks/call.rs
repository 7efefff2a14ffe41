// SPDX-License-Identifier: Apache-2.0
//! One run of a hook, which ends in time whatever the hook does.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::{Error, Result};

/// A hook that is about to run.
pub(super) struct Call {
    path: PathBuf,
    command: Command,
    limit: Duration,
}

/// How a hook ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// For a message: which hook.
    pub(super) what: String,
    /// `None` when a signal ended it.
    pub(super) code: Option<i32>,
    how: String,
    /// The last line it printed that is not empty, on standard output or else on standard error.
    pub(super) last_line: String,
}

impl Call {
    pub(super) fn new(path: PathBuf, limit: Duration) -> Self {
        let mut command = Command::new(&path);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C in the terminal is for us: a hook is not to be stopped half way. And all that it starts can be killed.
        command.process_group(0).kill_on_drop(true);
        Self { path, command, limit }
    }

    pub(super) fn with(mut self, variable: &str, value: &str) -> Self {
        self.command.env(variable, value);
        self
    }

    /// Runs it. When the future is dropped, or its time is over, the hook is killed with all that it has started.
    pub(super) async fn run(mut self) -> Result<Ended> {
        let what = format!("the hook {}", self.path.display());
        let fault = |fault: std::io::Error| Error::Routing { what: format!("{what} did not start: {fault}") };
        let mut child = self.command.spawn().map_err(fault)?;
        let mut group = Group(child.id());
        let (output, errors) = (tail(child.stdout.take()), tail(child.stderr.take()));
        let Ok(status) = tokio::time::timeout(self.limit, wait(&mut child)).await else {
            return Err(Error::Routing {
                what: format!("{what} was killed, for it took longer than {:?}", self.limit),
            });
        };
        let status = status.map_err(fault)?;
        // What it leaves running on purpose goes on.
        group.0 = None;
        let (output, errors) = (finish(output).await, finish(errors).await);
        let last_line = last_line(&output).or_else(|| last_line(&errors)).unwrap_or_default();
        Ok(Ended { what, code: status.code(), how: status.to_string(), last_line })
    }
}

impl Ended {
    /// For a message: what it said, or how it ended.
    pub(super) fn reason(&self) -> String {
        match self.last_line.as_str() {
            "" => format!("{} ended with {}", self.what, self.how),
            line => format!("{} ended with {}: {line}", self.what, self.how),
        }
    }
}

/// The processes of a hook that has not ended.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self.0.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It fails when all of them are gone, which is what is wanted.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

async fn wait(child: &mut Child) -> std::io::Result<std::process::ExitStatus> {
    child.wait().await
}

/// Reads all of it, so that the hook never waits for us, and keeps the end.
fn tail(stream: Option<impl AsyncRead + Unpin + Send + 'static>) -> JoinHandle<Vec<u8>> {
    tokio::spawn(async move {
        let (mut kept, mut piece) = (Vec::new(), [0; TAIL]);
        let Some(mut stream) = stream else { return kept };
        // A stream that fails has ended.
        while let Ok(length @ 1..) = stream.read(&mut piece).await {
            kept.extend_from_slice(&piece[..length]);
            kept.drain(..kept.len().saturating_sub(TAIL));
        }
        kept
    })
}

/// A process that the hook has left running may hold the pipe open for ever: what it says is not waited for.
async fn finish(mut reading: JoinHandle<Vec<u8>>) -> Vec<u8> {
    match tokio::time::timeout(LAST_WORDS, &mut reading).await {
        Ok(kept) => kept.unwrap_or_default(),
        Err(_) => {
            reading.abort();
            Vec::new()
        }
    }
}

fn last_line(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// Bytes of a hook's output that are kept.
const TAIL: usize = 4096;

/// How long the output of a hook that has ended may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(100);
