// SPDX-License-Identifier: Apache-2.0

/// What has been read in the log and is not at the target yet.
///
/// A round reads some of the log at once and then sends its keys for as long as that takes. Were the log followed as soon as
/// it is read, a slow target would seem to follow nothing for a whole round, and very much in the moment between two.
#[derive(Default, Debug)]
pub(super) struct Backlog {
    /// Bytes and changes of the log that have been read.
    read: [u64; 2],
    /// Those of them that are not at the target.
    left: [u64; 2],
    /// Keys that they stand for.
    keys: u64,
}

impl Backlog {
    /// So many bytes and changes of the log have been read by now, and so many of their keys are not at the target. Each key
    /// that has come there takes its share of the rest with it.
    pub(super) fn observe(&mut self, bytes: u64, changes: u64, keys: u64) {
        for (index, read) in [bytes, changes].into_iter().enumerate() {
            self.left[index] += read.saturating_sub(self.read[index]);
            if keys < self.keys {
                self.left[index] = share(self.left[index], keys, self.keys);
            } else if keys == 0 {
                self.left[index] = 0;
            }
            self.read[index] = read;
        }
        self.keys = keys;
    }

    /// Bytes of the log that have been followed: they never become fewer.
    pub(super) fn bytes(&self) -> u64 {
        self.read[0] - self.left[0]
    }

    /// Changes in them.
    pub(super) fn changes(&self) -> u64 {
        self.read[1] - self.left[1]
    }
}

fn share(left: u64, keys: u64, of: u64) -> u64 {
    (left as f64 * (keys as f64 / of as f64)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_counts_as_its_keys_arrive() {
        let mut backlog = Backlog::default();
        backlog.observe(1000, 100, 50);
        assert_eq!((backlog.bytes(), backlog.changes()), (0, 0));
        backlog.observe(1000, 100, 40);
        assert_eq!((backlog.bytes(), backlog.changes()), (200, 20));
        backlog.observe(1000, 100, 0);
        assert_eq!((backlog.bytes(), backlog.changes()), (1000, 100));
    }

    #[test]
    fn a_log_without_keys_of_ours_is_followed_at_once() {
        let mut backlog = Backlog::default();
        backlog.observe(1000, 0, 0);
        assert_eq!((backlog.bytes(), backlog.changes()), (1000, 0));
    }

    #[test]
    fn what_was_followed_stays_followed() {
        let mut backlog = Backlog::default();
        let mut last = (0, 0);
        for step in 0..1000_u64 {
            // Sometimes nothing is read, sometimes few keys stand for much of the log, sometimes more keys wait than before.
            backlog.observe(step / 7 * 1000, step * 3 / 5, step * 7919 % 13);
            let now = (backlog.bytes(), backlog.changes());
            assert!(now.0 >= last.0 && now.1 >= last.1, "{step}: {now:?} after {last:?}");
            last = now;
        }
    }
}
