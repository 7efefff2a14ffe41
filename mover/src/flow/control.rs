// SPDX-License-Identifier: Apache-2.0
use tokio::sync::watch;

use crate::flow::limit::{JobLimits, Kindness, Limit, Speed};
use crate::{Error, Result};

/// The operator's handle on a running job: pause, go on, cancel, let it go faster or slower, and keep it from its switch
/// for a while. Clones are the same handle, and it may be used from any thread.
#[derive(Clone, Debug)]
pub struct Control {
    wishes: watch::Sender<Wishes>,
    limit: Limit,
}

#[derive(Clone, Copy, Debug)]
struct Wishes {
    run: Run,
    postponed: bool,
    kind: Kindness,
    window: WindowWish,
}

/// What is to become of the time in which a job can be rolled back.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum WindowWish {
    /// It ends when it is over.
    #[default]
    Keep,
    /// It ends now.
    Close,
    /// The slots go back.
    RollBack,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
enum Run {
    Go,
    Pause,
    Stop,
    Cancel,
}

impl Control {
    /// A handle on a job that is to run and to switch as soon as it can.
    pub fn new() -> Self {
        let wishes =
            Wishes { run: Run::Go, postponed: false, kind: Kindness::default(), window: WindowWish::default() };
        Self { wishes: watch::Sender::new(wishes), limit: Limit::new(Speed::default()) }
    }

    /// Stops the line before its next batch. A raised fence is lowered or switched first.
    pub fn pause(&self) {
        self.set(Run::Pause);
    }

    /// Goes on after a pause.
    pub fn resume(&self) {
        self.set(Run::Go);
    }

    /// Ends the job at the next safe point with [`Error::Stopped`], so that somebody can go on with it later; a job
    /// without a journal is taken back like a cancelled one.
    pub fn stop(&self) {
        self.set(Run::Stop);
    }

    /// Ends the job at the next safe point with [`Error::Cancelled`]: what was not switched by then is taken back, at the
    /// source and at the target. There is no way back.
    pub fn cancel(&self) {
        self.set(Run::Cancel);
    }

    /// From now on no fence is raised, or one may be raised again; slots keep being followed meanwhile. A fence that
    /// stands already is lowered or switched as if nothing had been said.
    pub fn postpone_cutover(&self, postponed: bool) {
        self.wishes.send_if_modified(|now| std::mem::replace(&mut now.postponed, postponed) != postponed);
    }

    /// Whether the switch is kept back.
    pub fn cutover_postponed(&self) -> bool {
        self.wishes.borrow().postponed
    }

    /// Moves every slot back to the source, in the reverse window of a job whose slots are all at the target.
    pub fn roll_back(&self) {
        self.wishes.send_modify(|now| now.window = WindowWish::RollBack);
    }

    /// Ends the reverse window of a job, or lets it have none: it tidies up and is done. A rollback that was asked for is not
    /// stopped by it.
    pub fn close_window(&self) {
        self.wishes.send_if_modified(|now| {
            let is_change = now.window == WindowWish::Keep;
            if is_change {
                now.window = WindowWish::Close;
            }
            is_change
        });
    }

    /// Sets how fast the job may go and how much it gives way. It holds at once, also for what waits already.
    pub fn set_limits(&self, limits: JobLimits) {
        self.limit.set(limits.speed);
        self.wishes.send_if_modified(|now| std::mem::replace(&mut now.kind, limits.kind) != limits.kind);
    }

    /// How fast it may go now and how much it gives way.
    pub fn limits(&self) -> JobLimits {
        JobLimits { speed: self.limit.speed(), kind: self.wishes.borrow().kind }
    }

    pub(super) fn limit(&self) -> &Limit {
        &self.limit
    }

    /// The reading side.
    pub fn gate(&self) -> Gate {
        Gate { wishes: self.wishes.subscribe() }
    }

    fn set(&self, run: Run) {
        self.wishes.send_if_modified(|now| {
            let change = now.run != run && now.run < Run::Stop;
            if change {
                now.run = run;
            }
            change
        });
    }
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a job asks whether it may go on: before each batch and between phases, nowhere else.
#[derive(Clone, Debug)]
pub struct Gate {
    wishes: watch::Receiver<Wishes>,
}

impl Gate {
    /// Waits while the job is paused.
    ///
    /// # Errors
    /// [`Error::Cancelled`] once the job is cancelled, [`Error::Stopped`] once it is stopped.
    pub async fn admit(&mut self) -> Result<()> {
        // A dropped handle cannot cancel any more, so the last wish stands.
        match self.wishes.wait_for(|wishes| wishes.run != Run::Pause).await.map(|wishes| wishes.run) {
            Ok(Run::Cancel) => Err(Error::Cancelled),
            Ok(Run::Stop) => Err(Error::Stopped),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Waits until the job is to end, and for ever when nobody can say so any more.
    pub async fn ended(&mut self) {
        if self.wishes.wait_for(|wishes| wishes.run >= Run::Stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// How much the job gives way to clients.
    pub fn kind(&self) -> Kindness {
        self.wishes.borrow().kind
    }

    /// Whether the job is to be rolled back, or its reverse window to end.
    pub fn window(&self) -> WindowWish {
        self.wishes.borrow().window
    }

    /// Whether no fence may be raised now: [`Control::postpone_cutover`].
    pub fn cutover_postponed(&self) -> bool {
        self.wishes.borrow().postponed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_pause_holds_and_a_cancel_ends() {
        let control = Control::new();
        let mut gate = control.gate();
        gate.admit().await.unwrap();
        control.pause();
        assert!(tokio::time::timeout(Duration::from_millis(20), gate.admit()).await.is_err());
        control.resume();
        gate.admit().await.unwrap();
        control.cancel();
        control.resume();
        assert!(matches!(gate.admit().await, Err(Error::Cancelled)));
    }

    #[tokio::test]
    async fn limits_are_read_back() {
        let control = Control::new();
        assert_eq!(control.limits(), JobLimits::default());
        let speed = Speed { rate: Some("2MB".parse().unwrap()), command_rate: Some("7k".parse().unwrap()) };
        let limits = JobLimits { speed, kind: Kindness::Gentle };
        control.set_limits(limits);
        assert_eq!((control.limits(), control.gate().kind()), (limits, Kindness::Gentle));
    }

    #[tokio::test]
    async fn a_postponed_switch_holds_nothing_else() {
        let control = Control::new();
        let mut gate = control.gate();
        assert!(!gate.cutover_postponed());
        control.clone().postpone_cutover(true);
        assert!(gate.cutover_postponed() && control.cutover_postponed());
        gate.admit().await.unwrap();
        control.pause();
        control.resume();
        assert!(gate.cutover_postponed(), "it is a wish of its own");
        control.postpone_cutover(false);
        assert!(!gate.cutover_postponed() && !control.cutover_postponed());
    }
}
