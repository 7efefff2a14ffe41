// SPDX-License-Identifier: Apache-2.0
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tracing::warn;

/// Warnings about what others do: one in a while, so that nobody fills the log.
#[derive(Default, Debug)]
pub(super) struct Warnings {
    last: Mutex<(Option<Instant>, u64)>,
}

impl Warnings {
    pub(super) fn warn(&self, what: impl FnOnce() -> String) {
        if let Some(suppressed) = self.admit(Instant::now()) {
            warn!(suppressed, "{}", what());
        }
    }

    /// How many were suppressed since the last one; `None` where this one is too.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match last.0 {
            Some(at) if now.duration_since(at) < PAUSE => {
                last.1 += 1;
                None
            }
            _ => {
                last.0 = Some(now);
                Some(std::mem::take(&mut last.1))
            }
        }
    }
}

const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_while_says_how_many_there_were() {
        let (warnings, now) = (Warnings::default(), Instant::now());
        assert_eq!(warnings.admit(now), Some(0));
        assert_eq!(warnings.admit(now), None);
        assert_eq!(warnings.admit(now + PAUSE / 2), None);
        assert_eq!(warnings.admit(now + PAUSE), Some(2));
        assert_eq!(warnings.admit(now + PAUSE), None);
    }
}
