// SPDX-License-Identifier: Apache-2.0
//! The guard process: reads what its agent says, keeps the deadline, and acts when the agent does not.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use replication::SlotSet;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, Lines};

use super::act;
use super::journal::{Entry, Journal, Record};
use super::message::{Answer, Numbered, Request};
use super::state::{Input, Watch, Work};
use crate::record::Slots;
use crate::routing::RoutingControl;
use crate::{BoxFuture, Error, Result};

/// The guard of one agent, before it has begun to watch.
pub struct Guard {
    journal: Arc<Journal>,
    record: Record,
}

impl Guard {
    /// The guard that the fence journal at `path` asks for.
    ///
    /// # Errors
    /// When there is no such journal, or somebody is settling it.
    pub fn open(path: &Path) -> Result<Self> {
        let (journal, record) = Journal::join(path)?;
        Ok(Self { journal: Arc::new(journal), record })
    }

    /// The arguments that build the routing layer.
    pub fn routing(&self) -> &[String] {
        &self.record.header.routing
    }

    /// Watches until the agent says that it goes, or is gone and everything is tidy. The agent writes to `input` and
    /// reads from `output`. `terminated` is done when the guard is asked to go: it goes as soon as no fence is up. `say`
    /// tells the operator what it does, in a line each time.
    ///
    /// # Errors
    /// When what the agent changed in the routing layer could not be taken back; the journal stays then.
    pub async fn watch<I, O>(
        self,
        control: Arc<dyn RoutingControl>,
        (input, output): (I, O),
        terminated: impl Future<Output = ()>,
        say: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> Result<()>
    where
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
    {
        let mut pipe = Pipe { lines: Some(BufReader::new(input).lines()), output };
        let hands = Hands { control, journal: self.journal, agent: self.record.header.pid, say };
        let mut terminated = std::pin::pin!(terminated);
        let (mut is_terminated, mut watch) = (false, Watch::new());
        let mut work: Option<BoxFuture<'_, Result<()>>> = None;
        pipe.answer(0, Answer::Yes).await;
        while !watch.is_ended() {
            if work.is_none() {
                work = watch.work().map(|work| hands.begin(work, watch.is_orphaned()));
            }
            let (number, event) = tokio::select! {
                biased;
                done = done(&mut work) => {
                    work = None;
                    done?;
                    (None, Input::Done)
                }
                () = &mut terminated, if !is_terminated => {
                    is_terminated = true;
                    (None, Input::Terminated)
                }
                heard = pipe.hear(), if pipe.lines.is_some() => heard,
                () = sleep_until(watch.wake()) => (None, Input::Time),
            };
            let answer = watch.on(event, Instant::now());
            if let (Some(number), Some(answer)) = (number, answer) {
                pipe.answer(number, answer).await;
            }
        }
        Ok(())
    }
}

/// The two ends of the pipes to the agent.
struct Pipe<I, O> {
    /// `None` once the agent has closed it.
    lines: Option<Lines<BufReader<I>>>,
    output: O,
}

impl<I: AsyncRead + Unpin, O: AsyncWrite + Unpin> Pipe<I, O> {
    /// The next request. A line that is none can only come from an agent that died while it wrote it.
    async fn hear(&mut self) -> (Option<u64>, Input) {
        let line = match &mut self.lines {
            Some(lines) => lines.next_line().await,
            None => std::future::pending().await,
        };
        let request = line.ok().flatten().and_then(|line| line.parse::<Numbered<Request>>().ok());
        match request {
            Some(Numbered(number, request)) => (Some(number), Input::Request(request)),
            None => {
                self.lines = None;
                (None, Input::Closed)
            }
        }
    }

    async fn answer(&mut self, number: u64, answer: Answer) {
        let line = Numbered(number, answer).to_string();
        // An agent that does not read any more is gone, and the other pipe says so.
        let _ = self.output.write_all(line.as_bytes()).await;
        let _ = self.output.flush().await;
    }
}

/// What the guard acts with.
struct Hands {
    control: Arc<dyn RoutingControl>,
    journal: Arc<Journal>,
    agent: u32,
    say: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Hands {
    fn begin(&self, work: Work, is_orphaned: bool) -> BoxFuture<'_, Result<()>> {
        let agent = match is_orphaned {
            true => format!("the agent (pid {}) is gone", self.agent),
            false => format!("the agent (pid {}) has not gone on in time, or the guard was told to go", self.agent),
        };
        match work {
            Work::Lower { slots, again } => Box::pin(async move {
                self.lower(&slots, again, &agent).await;
                Ok(())
            }),
            Work::Switch(slots) => Box::pin(async move {
                self.switch(&slots, &agent).await;
                Ok(())
            }),
            Work::Finish => Box::pin(self.finish()),
        }
    }

    async fn lower(&self, slots: &SlotSet, again: bool, agent: &str) {
        if !again {
            self.say(&format!("{agent}: lowering the fence of slots {slots}"));
        }
        self.insist(|| Box::pin(act::lower(&*self.control, slots))).await;
        if !again {
            let owners = act::owners(&*self.control, slots).await;
            self.say(&format!("lowered the fence of slots {slots}: their clients go on at {owners}"));
        }
    }

    async fn switch(&self, slots: &SlotSet, agent: &str) {
        self.say(&format!("{agent} and may have sent the switch of slots {slots}: sending it again"));
        // Should the guard die as well, its agent or a later one learns that these slots must not be lowered.
        if let Err(error) = self.journal.add(&Entry::Switching { slots: Slots(slots.clone()) }) {
            self.say(&error.to_string());
        }
        self.insist(|| Box::pin(act::switch(&*self.control, slots))).await;
        self.say(&format!("switched slots {slots}: their clients go on at the target"));
    }

    async fn finish(&self) -> Result<()> {
        let mut attempt = 1;
        loop {
            match self.control.finish().await {
                Ok(()) => return self.journal.remove(),
                Err(error) if attempt < FINISH_ATTEMPTS => self.say(&format!("{error}; trying again")),
                Err(error) => return Err(error),
            }
            attempt += 1;
            tokio::time::sleep(PAUSE_LONGEST).await;
        }
    }

    /// Does it until it succeeds: clients wait.
    async fn insist<'a>(&self, attempt: impl Fn() -> BoxFuture<'a, Result<()>>) {
        let (mut pause, mut said) = (PAUSE_FIRST, None);
        while let Err(error) = attempt().await {
            if said.is_none_or(|at: Instant| at.elapsed() >= SAY_AGAIN) {
                said = Some(Instant::now());
                self.say(&format!("{error}; trying again until it succeeds"));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LONGEST);
        }
    }

    fn say(&self, line: &str) {
        (self.say)(line);
    }
}

async fn done(work: &mut Option<BoxFuture<'_, Result<()>>>) -> Result<(), Error> {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);
const SAY_AGAIN: Duration = Duration::from_secs(10);
const FINISH_ATTEMPTS: u32 = 5;
