// SPDX-License-Identifier: Apache-2.0
//! Line time, handed out at the pace of the clock.
//!
//! A cell of the limiter is a microsecond, and a microsecond has one cell, whatever is limited: only the price of what
//! wants to go depends on the rate. So the limiter's interval is a whole number of nanoseconds and right for 10 commands
//! per second as well as for gigabytes, a rate may change under someone who waits, and a new rate comes with no burst.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// A queue in which everyone waits until his price is paid.
#[derive(Debug)]
pub(super) struct Meter {
    limiter: RateLimiter<NotKeyed, InMemoryState, Ticks, NoOpMiddleware<Duration>>,
    slice: f64,
    /// What was paid too little so far, below one cell. Whoever holds it is next: the lock is fair, so those who share a
    /// limit take turns.
    turn: Mutex<f64>,
}

impl Meter {
    /// At most `burst` may go at once after a quiet time.
    pub(super) fn new(burst: Duration) -> Self {
        let cells = u32::try_from(burst.as_micros()).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(CELL).expect("a cell takes some time").allow_burst(cells);
        let limiter = RateLimiter::direct_with_clock(quota, Ticks(Instant::now()));
        Self { limiter, slice: f64::from(cells.get()) * SLICE, turn: Mutex::new(0.0) }
    }

    /// The largest price that is paid at once, in seconds: a part of the burst, so that whoever is woken late loses
    /// nothing.
    pub(super) fn slice(&self) -> f64 {
        self.slice * CELL.as_secs_f64()
    }

    /// Pays a price and waits as long as that takes. The price is asked for again at each instalment: it falls and rises
    /// with the rate, and without a limit it is nothing. Gives the time since which it waited, if it had to.
    ///
    /// Whoever stops waiting has paid for a part of it.
    pub(super) async fn pay(&self, price: impl Fn() -> f64) -> Option<Instant> {
        let (mut carry, mut since) = match self.turn.try_lock() {
            Ok(turn) => (turn, None),
            Err(_) => {
                let begin = Instant::now();
                (self.turn.lock().await, Some(begin))
            }
        };
        let mut left = 1.0;
        loop {
            let whole = price() / CELL.as_secs_f64();
            let due = whole * left + *carry;
            let part = due.min(self.slice);
            let Some(cells) = NonZeroU32::new(part as u32) else {
                *carry = due;
                return since;
            };
            match self.limiter.check_n(cells) {
                Ok(Ok(())) if part < due => {
                    left = (due - part) / whole;
                    *carry = part - f64::from(cells.get());
                }
                Ok(Ok(())) => {
                    *carry = due - f64::from(cells.get());
                    return since;
                }
                Ok(Err(not_until)) => {
                    since.get_or_insert_with(Instant::now);
                    sleep(not_until.wait_time_from(self.limiter.clock().now())).await;
                }
                Err(_) => unreachable!("a slice is never above the burst"),
            }
        }
    }
}

/// Time since a beginning, on the clock that the waiting goes by.
#[derive(Clone, Debug)]
struct Ticks(Instant);

impl Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

const CELL: Duration = Duration::from_micros(1);

/// The part of a burst that is paid at once.
const SLICE: f64 = 0.125;

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const BURST: Duration = Duration::from_millis(40);

    /// How long it takes to pay so many prices one after the other.
    async fn time_of(meter: &Meter, count: u32, price: f64) -> f64 {
        let begin = Instant::now();
        for _ in 0..count {
            meter.pay(|| price).await;
        }
        begin.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn time_is_handed_out_as_it_passes() {
        // From a million per second to one in ten seconds.
        for (count, price) in [(500_000, 1e-6), (200_000, 3.3e-6), (1000, 0.001), (30, 0.1), (1, 10.0)] {
            let (wanted, took) = (f64::from(count) * price, time_of(&Meter::new(BURST), count, price).await);
            let allowed = BURST.as_secs_f64() + wanted * 0.002 + 0.002;
            assert!((took - wanted).abs() <= allowed, "{count} x {price}: {took}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_ends_soon_after_the_price_has_fallen() {
        let (meter, price) = (Meter::new(BURST), Cell::new(1000.0));
        let begin = Instant::now();
        tokio::join!(meter.pay(|| price.get()), async {
            sleep(Duration::from_secs(1)).await;
            price.set(0.0);
        });
        assert!(begin.elapsed() <= Duration::from_millis(1010), "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_of_a_wait_goes_at_the_new_price() {
        let (meter, price) = (Meter::new(BURST), Cell::new(2.0));
        let begin = Instant::now();
        tokio::join!(meter.pay(|| price.get()), async {
            sleep(Duration::from_secs(1)).await;
            price.set(20.0);
        });
        let took = begin.elapsed().as_secs_f64();
        assert!((10.3..11.2).contains(&took), "half of it at each price: {took}");
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_share_it_take_turns() {
        let meter = Meter::new(BURST);
        let served = [Cell::new(0), Cell::new(0)];
        let serve = |index: usize, price: f64| {
            let (meter, served) = (&meter, &served);
            async move {
                loop {
                    meter.pay(|| price).await;
                    served[index].set(served[index].get() + 1);
                }
            }
        };
        let time = sleep(Duration::from_secs(10));
        tokio::select! {
            () = serve(0, 0.001) => {}
            () = serve(1, 0.001) => {}
            () = time => {}
        }
        let [one, two] = served.map(Cell::into_inner);
        assert!((4900..5100).contains(&one) && (4900..5100).contains(&two), "{one} and {two}");
    }
}
