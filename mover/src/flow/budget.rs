// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Error, Result};

/// A number of bytes that are shared: whoever needs some takes them, waits while there are too few, and gives them back by
/// dropping its [`Share`]. Those who wait are served in their order, so the small are not starved by the big, nor the
/// other way round.
#[derive(Clone, Debug)]
pub struct Budget {
    room: Arc<Semaphore>,
    size: u32,
}

/// Bytes taken from a [`Budget`].
#[derive(Debug)]
pub struct Share {
    permit: OwnedSemaphorePermit,
}

impl Budget {
    /// So many bytes.
    pub fn new(bytes: usize) -> Self {
        let size = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
        Self { room: Arc::new(Semaphore::new(size as usize)), size }
    }

    /// Takes `bytes`; whoever needs more than there are in all takes all of them, and is then the only one.
    ///
    /// # Errors
    /// [`Error::LineStopped`] when the budget was [closed](Self::close).
    pub async fn take(&self, bytes: usize) -> Result<Share> {
        let permit = Arc::clone(&self.room).acquire_many_owned(self.clamped(bytes)).await;
        permit.map(|permit| Share { permit }).map_err(|_| Error::LineStopped)
    }

    /// [`take`](Self::take) for a thread of its own, within a runtime.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn take_blocking(&self, bytes: usize) -> Result<Share> {
        match Arc::clone(&self.room).try_acquire_many_owned(self.clamped(bytes)) {
            Ok(permit) => Ok(Share { permit }),
            Err(_) => Handle::current().block_on(self.take(bytes)),
        }
    }

    /// Whoever waits or comes from now on is turned away.
    pub fn close(&self) {
        self.room.close();
    }

    fn clamped(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.size)
    }
}

impl Share {
    /// Gives back what is more than `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let surplus = self.permit.num_permits().saturating_sub(bytes);
        drop(self.permit.split(surplus));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn more_than_there_is_waits_for_all_of_it() {
        let budget = Budget::new(100);
        let small = budget.take(30).await.unwrap();
        let huge = budget.take(1000);
        tokio::pin!(huge);
        assert!(tokio::time::timeout(Duration::from_millis(10), &mut huge).await.is_err());
        // The small one behind it waits its turn, though there would be room.
        let behind = budget.take(1);
        tokio::pin!(behind);
        assert!(tokio::time::timeout(Duration::from_millis(10), &mut behind).await.is_err());
        drop(small);
        drop(huge.await.unwrap());
        behind.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_too_much_can_be_given_back() {
        let budget = Budget::new(100);
        let mut share = budget.take(90).await.unwrap();
        share.shrink(200);
        share.shrink(30);
        let other = budget.take(70).await.unwrap();
        drop((share, other));
        drop(budget.take(100).await.unwrap());
    }

    #[tokio::test]
    async fn nobody_waits_for_a_budget_that_is_closed() {
        let budget = Budget::new(1);
        let _all = budget.take(1).await.unwrap();
        let other = budget.clone();
        let waiting = tokio::spawn(async move { other.take(1).await.is_err() });
        tokio::task::yield_now().await;
        budget.close();
        assert!(waiting.await.unwrap());
    }
}
