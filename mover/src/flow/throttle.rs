// SPDX-License-Identifier: Apache-2.0
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use bytesize::ByteSize;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Bytes per second, written as in `50MB` or `8MiB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rate(NonZeroU32);

impl Rate {
    /// So many bytes per second, in whole KiB; `None` below one KiB.
    pub fn per_second(bytes: ByteSize) -> Option<Self> {
        let cells = u32::try_from(bytes.as_u64() / CELL).unwrap_or(u32::MAX);
        NonZeroU32::new(cells).map(Self)
    }

    /// Bytes per second.
    pub fn bytes(self) -> u64 {
        u64::from(self.0.get()) * CELL
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", ByteSize(self.bytes()))
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size: ByteSize = text
            .trim_end_matches("/s")
            .parse()
            .map_err(|fault| format!("`{text}` is no rate such as 50MB: {fault}"))?;
        Self::per_second(size).ok_or_else(|| format!("`{text}` is below the smallest rate, 1KiB"))
    }
}

/// Holds the line to a number of bytes per second.
#[derive(Debug)]
pub struct Throttle {
    limiter: Option<(DefaultDirectRateLimiter, NonZeroU32)>,
}

impl Throttle {
    /// A throttle at `rate`, or one that never holds anything.
    pub fn new(rate: Option<Rate>) -> Self {
        let limiter = rate.map(|rate| {
            let burst = NonZeroU32::new(rate.0.get() / BURSTS_PER_SECOND).unwrap_or(NonZeroU32::MIN);
            (RateLimiter::direct(Quota::per_second(rate.0).allow_burst(burst)), burst)
        });
        Self { limiter }
    }

    /// Waits until `bytes` of user data in so many commands may go.
    pub async fn admit(&self, bytes: usize, _commands: usize) {
        let Some((limiter, burst)) = &self.limiter else { return };
        let mut cells = u32::try_from(bytes.div_ceil(CELL as usize)).unwrap_or(u32::MAX);
        // The limiter never admits more than its burst at once, so a big batch pays in instalments.
        while let Some(part) = NonZeroU32::new(cells.min(burst.get())) {
            if limiter.until_n_ready(part).await.is_err() {
                unreachable!("an instalment is never above the burst");
            }
            cells -= part.get();
        }
    }
}

/// The limiter counts KiB: with one cell per byte its interval, a whole number of nanoseconds, would be wrong by 20 %
/// at 200 MB/s and be none at all above 1 GB/s.
const CELL: u64 = 1024;

/// A burst of 25 ms: short enough to be even, long enough for a full batch at usual rates.
const BURSTS_PER_SECOND: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn rates_are_read_with_their_unit() {
        assert_eq!("50MB".parse::<Rate>().unwrap().bytes(), 50_000_000 / 1024 * 1024);
        assert_eq!("8MiB/s".parse::<Rate>().unwrap().bytes(), 8 << 20);
        assert!("fast".parse::<Rate>().is_err());
        assert!("12".parse::<Rate>().is_err());
    }

    #[tokio::test]
    async fn holds_what_is_above_the_rate() {
        let throttle = Throttle::new(Some("1MiB".parse().unwrap()));
        let begin = Instant::now();
        for _ in 0..4 {
            throttle.admit(64 << 10, 1).await;
        }
        // 256 KiB at 1 MiB/s take a quarter of a second, less the first burst of 25 ms.
        assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
    }
}
