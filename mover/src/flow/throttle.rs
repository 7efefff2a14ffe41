// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::flow::control::Control;
use crate::flow::ledger::{Cause, Held, HeldReport, Ledger};
use crate::flow::limit::{Limit, Limits, Load, Measure, Scope, Speed};
use crate::flow::meter::Meter;
use crate::flow::pace::{Pace, Permit};
use crate::flow::rate::Rate;

/// Everything that holds a line back: the limits of its job, of its target and of the agent, and the pace that its servers
/// bear. What wants to go pays each of them, a little at a time, so that all of them hold together.
#[derive(Debug)]
pub struct Throttle {
    limits: Vec<(Scope, Limit)>,
    permit: watch::Sender<Permit>,
    /// Weight per second, as bits, for whoever pays by it.
    pace: AtomicU64,
    pace_meter: Meter,
    urgent: watch::Sender<usize>,
    ledger: Ledger,
}

/// How much should travel together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unit {
    /// Bytes of a batch, as [`Batch::size`](crate::batch::Batch::size) counts them.
    pub bytes: usize,
    /// Writes in a batch.
    pub writes: usize,
}

impl Throttle {
    /// A throttle that holds to `rate`, or to nothing.
    pub fn new(rate: Option<Rate>) -> Self {
        Self::over([(Scope::Job, Limit::new(Speed { rate, command_rate: None }))])
    }

    /// The throttle of a job: its own limit, which `control` changes, and those that it shares with others.
    pub fn of_job(control: &Control, shared: Option<(&Limits, &str)>) -> Self {
        let job = (Scope::Job, control.limit().clone());
        let shared = shared.into_iter().flat_map(|(limits, target)| {
            [(Scope::Target, limits.of_target(target)), (Scope::Agent, limits.of_agent())]
        });
        Self::over(std::iter::once(job).chain(shared))
    }

    /// A throttle over limits that others may share, say [`Limits::of_target`] of everyone who sends to one.
    pub fn over(limits: impl IntoIterator<Item = (Scope, Limit)>) -> Self {
        Self {
            limits: limits.into_iter().collect(),
            permit: watch::Sender::new(Permit::Free),
            pace: AtomicU64::new(FREE.to_bits()),
            pace_meter: Meter::new(PACE_BURST),
            urgent: watch::Sender::new(0),
            ledger: Ledger::new(),
        }
    }

    /// Waits until so many bytes of user data in so many commands may go. While someone is [urgent](Self::urgent), nobody
    /// waits.
    pub async fn admit(&self, bytes: usize, commands: usize) {
        let load = Load { bytes: bytes as f64, commands: commands as f64 };
        if self.holds() && *self.urgent.borrow() == 0 {
            let mut urgent = self.urgent.subscribe();
            tokio::select! {
                biased;
                // The sender is ours, so it does not end.
                _ = urgent.wait_for(|urgent| *urgent > 0) => {}
                () = self.pay(load) => {}
            }
        }
        self.ledger.went(load);
    }

    /// Lets everything go until the guard is dropped: clients wait for it.
    pub fn urgent(self: &Arc<Self>) -> Urgent {
        self.urgent.send_modify(|urgent| *urgent += 1);
        Urgent { throttle: Arc::clone(self) }
    }

    /// Whether someone is in a hurry.
    pub fn is_urgent(&self) -> bool {
        *self.urgent.borrow() > 0
    }

    /// How much should travel together now: a lane asks before each batch. At low rates and for gentle moves it is little,
    /// for a batch goes at once.
    pub fn unit(&self) -> Unit {
        let mut unit = match &*self.permit.borrow() {
            Permit::Slow { small: true, .. } => UNIT_SMALL,
            Permit::Slow { .. } | Permit::Free | Permit::Stop(_) => UNIT,
        };
        for (_, limit) in &self.limits {
            let share = limit.share();
            unit.bytes = unit.bytes.min(share.bytes as usize).max(UNIT_MIN.bytes);
            unit.writes = unit.writes.min(share.commands as usize).max(UNIT_MIN.writes);
        }
        unit
    }

    /// The bytes of [`unit`](Self::unit).
    pub fn batch_size(&self) -> usize {
        self.unit().bytes
    }

    /// Lets the line go as `pace` permits it from now on.
    pub fn regulate(&self, pace: &mut Pace) {
        let permit = pace.permit(self.ledger.speed());
        let speed = match &permit {
            Permit::Free => FREE,
            Permit::Slow { speed, .. } => *speed,
            Permit::Stop(_) => 0.0,
        };
        self.pace.store(speed.to_bits(), Ordering::Relaxed);
        self.permit.send_if_modified(|now| {
            let changed = *now != permit;
            *now = permit;
            changed
        });
    }

    /// Whether the line stands still because its servers do not bear more, and why.
    pub fn stopped(&self) -> Option<(Cause, String)> {
        match &*self.permit.borrow() {
            Permit::Stop(why) => Some((why.cause, why.text.clone())),
            Permit::Slow { .. } | Permit::Free => None,
        }
    }

    /// What holds the line back, if anything really does.
    pub fn held(&self) -> Option<Held> {
        let (cause, since) = self.ledger.holder()?;
        // A cause that has gone may have held it most in the last second; then what there is now is told.
        let (cause, why) = match (self.name(cause), &*self.permit.borrow()) {
            (Some(limit), _) => (cause, limit),
            (None, Permit::Slow { why, .. } | Permit::Stop(why)) => (why.cause, why.text.clone()),
            (None, Permit::Free) => (cause, cause.to_string()),
        };
        Some(Held { cause, why, since, bytes_per_second: self.ledger.speed().bytes as u64 })
    }

    /// For how long the line was held by what.
    pub fn report(&self) -> Vec<HeldReport> {
        self.ledger.report()
    }

    fn holds(&self) -> bool {
        self.pace() < FREE || self.limits.iter().any(|(_, limit)| limit.speed() != Speed::default())
    }

    /// Pays everything in slices: while one limit is waited for, the time of the others must not be lost.
    async fn pay(&self, load: Load) {
        let mut left = load;
        loop {
            let of_limits = self.meters().map(|(.., meter, price)| price(left) / meter.slice());
            let longest = of_limits.fold(self.pace_price(left) / self.pace_meter.slice(), f64::max);
            let share = 1.0 / longest.max(1.0);
            let part = left.times(share);
            self.keep_pace(part).await;
            for (cause, meter, price) in self.meters() {
                if let Some(since) = meter.pay(|| price(part)).await {
                    self.ledger.waited(cause, since);
                }
            }
            if share >= 1.0 {
                return;
            }
            left = left.times(1.0 - share);
        }
    }

    async fn keep_pace(&self, part: Load) {
        let mut permit = self.permit.subscribe();
        loop {
            let stop = match &*permit.borrow_and_update() {
                Permit::Stop(why) => why.cause,
                Permit::Free | Permit::Slow { .. } => break,
            };
            let since = Instant::now();
            // So that it can be told while it lasts.
            let _ = timeout(STOP_STEP, permit.changed()).await;
            self.ledger.waited(stop, since);
        }
        if let Some(since) = self.pace_meter.pay(|| self.pace_price(part)).await
            && let Permit::Slow { why, .. } = &*self.permit.borrow()
        {
            self.ledger.waited(why.cause, since);
        }
    }

    fn meters(&self) -> impl Iterator<Item = (Cause, &Meter, impl Fn(Load) -> f64)> {
        self.limits.iter().flat_map(|(scope, limit)| {
            limit.meters().map(move |(measure, meter)| {
                (Cause::of(*scope, measure), meter, move |load| limit.price(measure, load))
            })
        })
    }

    fn pace(&self) -> f64 {
        f64::from_bits(self.pace.load(Ordering::Relaxed))
    }

    fn pace_price(&self, load: Load) -> f64 {
        // One that has just been stopped is asked again at the next slice.
        Pace::weight(load) / self.pace().max(1.0)
    }

    /// A limit, for a person.
    fn name(&self, cause: Cause) -> Option<String> {
        for (scope, limit) in &self.limits {
            let Speed { rate, command_rate } = limit.speed();
            let (whose, of_commands) = match scope {
                Scope::Job => ("--rate ", "--command-rate "),
                Scope::Target => ("the target's limit of ", "the target's limit of commands, "),
                Scope::Agent => ("the agent's limit of ", "the agent's limit of commands, "),
            };
            if cause == Cause::of(*scope, Measure::Bytes)
                && let Some(rate) = rate
            {
                return Some(format!("{whose}{rate}"));
            }
            if cause == Cause::of(*scope, Measure::Commands)
                && let Some(rate) = command_rate
            {
                return Some(format!("{of_commands}{rate}"));
            }
        }
        None
    }
}

/// Someone is in a hurry: while this lives, a throttle lets everything go.
#[derive(Debug)]
pub struct Urgent {
    throttle: Arc<Throttle>,
}

impl Drop for Urgent {
    fn drop(&mut self) {
        self.throttle.urgent.send_modify(|urgent| *urgent -= 1);
    }
}

/// The pace of a line that may go as it can.
const FREE: f64 = f64::INFINITY;

/// Where the servers set the pace, units are spaced evenly; it is about what a timer can do.
const PACE_BURST: Duration = Duration::from_millis(4);

/// How often a stop is booked.
const STOP_STEP: Duration = Duration::from_millis(50);

/// Large enough that a batch's round trip does not matter, small enough that a few of them stay far below the memory
/// limit.
const UNIT: Unit = Unit { bytes: 64 << 10, writes: usize::MAX };

/// Some ten microseconds of a server's time.
const UNIT_SMALL: Unit = Unit { bytes: 8 << 10, writes: 32 };
const UNIT_MIN: Unit = Unit { bytes: 256, writes: 1 };

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    fn speed(rate: &str, command_rate: &str) -> Speed {
        Speed { rate: rate.parse().ok(), command_rate: command_rate.parse().ok() }
    }

    async fn time_of(throttle: &Throttle, batches: usize, bytes: usize, commands: usize) -> f64 {
        let begin = Instant::now();
        for _ in 0..batches {
            throttle.admit(bytes, commands).await;
        }
        begin.elapsed().as_secs_f64()
    }

    fn near(took: f64, wanted: f64) -> bool {
        (took - wanted).abs() < wanted * 0.01 + 0.05
    }

    #[tokio::test(start_paused = true)]
    async fn both_measures_hold() {
        let limit = Limit::new(speed("1MiB", "100/s"));
        let throttle = Throttle::over([(Scope::Job, limit.clone())]);
        let by_bytes = time_of(&throttle, 100, 64 << 10, 1).await;
        assert!(near(by_bytes, 6.25), "{by_bytes}");
        let by_commands = time_of(&throttle, 100, 64, 7).await;
        assert!(near(by_commands, 7.0), "{by_commands}");
        limit.set(Speed::default());
        assert_eq!(time_of(&throttle, 100, 64 << 10, 1000).await, 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn limits_in_a_row_hold_like_the_lowest_of_them() {
        let limits = Limits::new().agent(speed("3MiB", "")).each_target(speed("2MiB", "10k"));
        let control = Control::new();
        control.limit().set(speed("2MiB", ""));
        let throttle = Throttle::of_job(&control, Some((&limits, "h:1")));
        let took = time_of(&throttle, 10, 1 << 20, 100).await;
        assert!(near(took, 5.0), "{took}");
        assert!(throttle.held().is_some_and(|held| held.why.ends_with("2 MiB/s")), "{:?}", throttle.held());
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_limit_holds_for_whoever_waits_already() {
        let limit = Limit::new(speed("16KiB", "10/s"));
        let throttle = Throttle::over([(Scope::Job, limit.clone())]);
        let begin = Instant::now();
        tokio::join!(throttle.admit(100 << 20, 100_000), async {
            sleep(Duration::from_secs(10)).await;
            limit.set(Speed::default());
        });
        assert!(begin.elapsed() < Duration::from_millis(10_100), "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn one_in_a_hurry_is_let_go_at_once() {
        let throttle = Arc::new(Throttle::over([(Scope::Job, Limit::new(speed("16KiB", "10/s")))]));
        let begin = Instant::now();
        tokio::join!(throttle.admit(100 << 20, 1), throttle.admit(100 << 20, 1), async {
            sleep(Duration::from_secs(10)).await;
            let urgent = throttle.urgent();
            throttle.admit(100 << 20, 100_000).await;
            assert!(throttle.is_urgent());
            sleep(Duration::from_millis(1)).await;
            drop(urgent);
            assert!(!throttle.is_urgent());
        });
        assert!(begin.elapsed() < Duration::from_millis(10_010), "{:?}", begin.elapsed());
        assert!(time_of(&throttle, 1, 64 << 10, 1).await > 3.0, "the limit holds again");
    }

    #[tokio::test(start_paused = true)]
    async fn batches_are_small_where_the_rate_is() {
        let limit = Limit::new(Speed::default());
        let throttle = Throttle::over([(Scope::Job, limit.clone())]);
        assert_eq!(throttle.batch_size(), 64 << 10);
        limit.set(speed("16KiB", "100/s"));
        assert_eq!(throttle.unit(), Unit { bytes: 819, writes: 5 });
        limit.set(speed("1KiB", "1/s"));
        assert_eq!(throttle.unit(), Unit { bytes: 256, writes: 1 });
        limit.set(speed("50MB", "5M"));
        assert_eq!(throttle.unit(), Unit { bytes: 64 << 10, writes: 250_000 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_does_not_hold_is_no_cause() {
        let throttle = Throttle::over([(Scope::Job, Limit::new(speed("20MB", "")))]);
        for _ in 0..100 {
            throttle.admit(100_000, 100).await;
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(throttle.held(), None);
        time_of(&throttle, 600, 100_000, 100).await;
        let held = throttle.held().unwrap();
        assert_eq!(held.cause, Cause::JobRate);
        assert!(held.to_string().starts_with("held by --rate 20 MB/s for "), "{held}");
        let [report] = throttle.report()[..] else { panic!("one cause") };
        assert!(report.cause == Cause::JobRate && report.seconds > 2.0, "{report:?}");
    }
}
