// SPDX-License-Identifier: Apache-2.0
//! Whether compressing pays on a connection. No clock, no I/O: it is told what things took, and says what to do next.
//!
//! It pays when the network is what is waited for, and the data becomes smaller. So it is left off for a while when what was
//! sent hardly became smaller, and when most of the time went into compressing while the network took all that it was
//! given at once. After that while a window is compressed again, to look.

use std::time::Duration;

use super::compress::Compression;

/// What one frame took.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Seen {
    /// Bytes before compression.
    pub(super) raw: u64,
    /// Bytes that were sent.
    pub(super) sent: u64,
    /// Time that compressing took.
    pub(super) compressing: Duration,
    /// Time that the network took to accept the frame.
    pub(super) writing: Duration,
    /// Time since the frame before it: these two, and all else.
    pub(super) passed: Duration,
}

/// Decides for one connection.
#[derive(Debug)]
pub(super) struct Judge {
    compression: Compression,
    mode: Mode,
    window: Seen,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    On,
    /// Until so many bytes have gone.
    Off {
        left: u64,
        /// How long the next pause will be.
        pause: u64,
    },
    /// On, to look whether it pays again.
    Probe {
        pause: u64,
    },
}

impl Judge {
    pub(super) fn new(compression: Compression) -> Self {
        Self { compression, mode: Mode::On, window: Seen::default() }
    }

    /// Whether the next frame should be compressed.
    pub(super) fn wants(&self) -> bool {
        match self.compression {
            Compression::Off => false,
            Compression::Zstd(_) => true,
            Compression::Auto => !matches!(self.mode, Mode::Off { .. }),
        }
    }

    /// Takes note of a frame that was sent as [`wants`](Self::wants) said.
    pub(super) fn note(&mut self, seen: Seen) {
        self.window.raw += seen.raw;
        self.window.sent += seen.sent;
        self.window.compressing += seen.compressing;
        self.window.writing += seen.writing;
        self.window.passed += seen.passed;
        self.mode = match self.mode {
            Mode::Off { left, pause } if left > seen.raw => Mode::Off { left: left - seen.raw, pause },
            Mode::Off { pause, .. } => Mode::Probe { pause },
            mode @ (Mode::On | Mode::Probe { .. }) if self.window.raw < WINDOW => mode,
            _ if self.window.pays() => Mode::On,
            Mode::On => Mode::Off { left: PAUSE, pause: PAUSE * 2 },
            Mode::Probe { pause } => Mode::Off { left: pause, pause: (pause * 2).min(PAUSE_MAX) },
        };
        if self.window.raw >= WINDOW || matches!(self.mode, Mode::Off { .. }) {
            self.window = Seen::default();
        }
    }
}

impl Seen {
    fn pays(&self) -> bool {
        let becomes_smaller = self.raw * RATIO_MIN.1 >= self.sent * RATIO_MIN.0;
        let is_work_alone = self.compressing * 2 >= self.passed && self.writing * 10 < self.passed;
        becomes_smaller && !is_work_alone
    }
}

/// Bytes after which it decides anew.
const WINDOW: u64 = 1 << 20;

/// Bytes that go uncompressed before it looks again, at first and at most.
const PAUSE: u64 = 16 << 20;
const PAUSE_MAX: u64 = 256 << 20;

/// 1.2: below this ratio the receiver's time is worth more.
const RATIO_MIN: (u64, u64) = (6, 5);

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u64 = 64 << 10;

    fn frame(sent: u64, compressing: u64, writing: u64) -> Seen {
        let micros = Duration::from_micros;
        let passed = micros(compressing + writing + 20);
        Seen { raw: FRAME, sent, compressing: micros(compressing), writing: micros(writing), passed }
    }

    /// Sends frames until `bytes` have gone, and gives how many of them were compressed.
    fn compressed(judge: &mut Judge, bytes: u64, with: Seen) -> u64 {
        let plain = Seen { sent: FRAME, compressing: Duration::ZERO, ..with };
        (0..bytes / FRAME)
            .filter(|_| {
                let wants = judge.wants();
                judge.note(if wants { with } else { plain });
                wants
            })
            .count() as u64
    }

    #[test]
    fn it_goes_on_where_the_network_is_slow_and_the_data_becomes_smaller() {
        let mut judge = Judge::new(Compression::Auto);
        assert_eq!(compressed(&mut judge, 64 << 20, frame(FRAME / 3, 150, 400)), 1024);
    }

    #[test]
    fn it_stops_where_nothing_becomes_smaller_and_looks_again_ever_more_rarely() {
        let mut judge = Judge::new(Compression::Auto);
        let windows = compressed(&mut judge, 1 << 30, frame(FRAME * 9 / 10, 150, 400)) * FRAME / WINDOW;
        // At the start, and after 16, 32, 64, 128, 256 and 256 MiB.
        assert!((6..=8).contains(&windows), "{windows}");
    }

    #[test]
    fn it_stops_where_only_the_processor_works() {
        let mut judge = Judge::new(Compression::Auto);
        compressed(&mut judge, WINDOW, frame(FRAME / 3, 150, 5));
        assert!(!judge.wants());
    }

    #[test]
    fn it_comes_back_when_it_pays_again() {
        let mut judge = Judge::new(Compression::Auto);
        compressed(&mut judge, WINDOW, frame(FRAME, 150, 400));
        assert!(!judge.wants());
        compressed(&mut judge, PAUSE, frame(FRAME / 3, 150, 400));
        assert_eq!(compressed(&mut judge, 64 << 20, frame(FRAME / 3, 150, 400)), 1024);
    }

    #[test]
    fn what_was_ordered_is_done() {
        for (compression, wants) in [(Compression::Off, false), (Compression::Zstd(3), true)] {
            let mut judge = Judge::new(compression);
            compressed(&mut judge, 8 << 20, frame(FRAME, 150, 1));
            assert_eq!(judge.wants(), wants);
        }
    }
}
