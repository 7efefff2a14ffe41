// SPDX-License-Identifier: Apache-2.0
//! The agent's end of its guard: starts the process, asks it, and knows when it is gone.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};

use super::message::{Answer, Numbered, Request};
use crate::{Error, Result};

/// A running guard. Dropping it closes its pipe: the guard then does what is left to do and goes.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    lines: mpsc::Sender<String>,
    waiting: Waiting,
    next: u64,
}

/// Who waits for which answer; nobody can any more once the guard is gone.
type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>>;

impl Process {
    /// Starts a guard and waits until it is ready.
    pub(super) async fn start(program: &Path, journal: &Path) -> Result<Self> {
        let fault = |fault: io::Error| failed(format!("cannot start {} fence-guard: {fault}", program.display()));
        let mut child = Command::new(program)
            .arg("fence-guard")
            .arg(journal)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C in the terminal is for the agent.
            .process_group(0)
            .spawn()
            .map_err(fault)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else { unreachable!("both were asked for") };
        let (ready, is_ready) = oneshot::channel();
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::from([(0, ready)]))));
        let (lines, unsent) = mpsc::channel(QUEUE);
        tokio::spawn(write(input, unsent));
        tokio::spawn(read(output, Arc::clone(&waiting)));
        let mut process = Self { child, lines, waiting, next: 1 };
        match tokio::time::timeout(START_LIMIT, is_ready).await {
            Ok(Ok(Answer::Yes)) => Ok(process),
            _ => {
                let status = process.kill().await.map_err(fault)?;
                Err(failed(format!("the fence guard did not start ({status}); see its lines above")))
            }
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Asks, and waits for the answer. The writing is not ours but a task's, so a caller that stops waiting leaves no
    /// half line behind.
    ///
    /// # Errors
    /// When the guard is gone or does not answer.
    pub(super) async fn ask(&mut self, request: Request) -> Result<Answer> {
        let number = self.next;
        self.next += 1;
        let (send, answer) = oneshot::channel();
        let gone = || failed("the fence guard is gone".to_owned());
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut().ok_or_else(gone)?.insert(number, send);
        self.lines.try_send(Numbered(number, request).to_string()).map_err(|_| gone())?;
        match tokio::time::timeout(ANSWER_LIMIT, answer).await {
            Ok(answer) => answer.map_err(|_| gone()),
            Err(_) => Err(failed(format!("the fence guard has not answered for {ANSWER_LIMIT:?}"))),
        }
    }

    /// Tells, and does not wait. Whether it was heard shows at the next question.
    pub(super) fn tell(&mut self, request: Request) {
        let number = self.next;
        self.next += 1;
        let _ = self.lines.try_send(Numbered(number, request).to_string());
    }

    /// Ends a guard that does not answer: what it would do when it wakes up must not come in between.
    pub(super) async fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.start_kill()?;
        self.child.wait().await
    }

    /// Waits until it is gone by itself; `None` when it is still at work after [`END_LIMIT`].
    pub(super) async fn ended(&mut self) -> Option<io::Result<ExitStatus>> {
        tokio::time::timeout(END_LIMIT, self.child.wait()).await.ok()
    }
}

/// Writes until the handle is dropped, then closes the pipe.
async fn write(mut input: ChildStdin, mut lines: mpsc::Receiver<String>) {
    while let Some(line) = lines.recv().await {
        if input.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }
}

async fn read(output: ChildStdout, waiting: Waiting) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(Numbered(number, answer)) = line.parse::<Numbered<Answer>>() else { break };
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = waiting.as_mut().and_then(|waiting| waiting.remove(&number)) {
            // Who has stopped waiting needs no answer.
            let _ = waiting.send(answer);
        }
    }
    *waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

fn failed(what: String) -> Error {
    Error::Routing { what }
}

/// Lines on their way to the guard: a few for each step of a fence, and a guard that leaves more unread is stuck.
const QUEUE: usize = 64;

const START_LIMIT: Duration = Duration::from_secs(10);

/// An answer takes no work, only a process that runs.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// How long the end of a job waits for a guard that is still at work.
const END_LIMIT: Duration = Duration::from_secs(5);
