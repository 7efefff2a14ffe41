// SPDX-License-Identifier: Apache-2.0
//! Points of the earth, which a sorted set keeps as scores.

use rand::RngExt;
use rand::rngs::StdRng;

/// Longitude and latitude in hundredths of a degree.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Point {
    longitude: i32,
    latitude: i32,
}

impl Point {
    /// A point of the north-east, whose scores leave room for halves.
    pub(super) fn any(rng: &mut StdRng) -> Self {
        Self { longitude: rng.random_range(100..9_000), latitude: rng.random_range(100..6_000) }
    }

    pub(super) fn longitude(self) -> f64 {
        f64::from(self.longitude) / 100.0
    }

    pub(super) fn latitude(self) -> f64 {
        f64::from(self.latitude) / 100.0
    }

    /// The score that a node keeps: the point's cell in a grid of 2^26 columns and rows, the bits of both numbers
    /// interleaved.
    pub(super) fn score(self) -> f64 {
        let cell = |share: f64| (share * f64::from(1u32 << 26)) as u64;
        let column = cell((self.longitude() + 180.0) / 360.0);
        let row = cell((self.latitude() + LATITUDE_MAX) / (LATITUDE_MAX * 2.0));
        let bit = |number: u64, place: u32| number >> place & 1;
        let bits = (0..26)
            .fold(0, |bits, place| bits | bit(row, place) << (place * 2) | bit(column, place) << (place * 2 + 1));
        bits as f64
    }
}

const LATITUDE_MAX: f64 = 85.051_128_78;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_what_a_server_has_recorded() {
        // tests/fixtures/cache-4.0.1: GEOADD K 13.3 38.1.
        let point = Point { longitude: 1330, latitude: 3810 };
        assert_eq!(point.score(), 3_479_076_843_417_631.0);
    }
}
