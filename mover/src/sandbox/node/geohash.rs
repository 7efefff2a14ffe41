// SPDX-License-Identifier: Apache-2.0
//! Points of the earth as 52-bit numbers: the score of a geo set's member.
//!
//! A cell of `step` bits per axis is the pair of longitude and latitude, each cut into 2^step parts, with their bits
//! interleaved, longitude in the odd places.

use std::f64::consts::PI;

/// A cell of the grid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cell {
    bits: u64,
    step: u32,
}

/// Longitude and latitude in degrees.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Point {
    pub(super) longitude: f64,
    pub(super) latitude: f64,
}

impl Point {
    /// The score of the point. One outside of the map gets the score 0, as on the server.
    pub(super) fn score(self) -> f64 {
        if !self.is_on_map() {
            return 0.0;
        }
        Cell::around(self, STEP_MAX, LATITUDE_MAX).bits as f64
    }

    /// The point in the middle of the cell that a score stands for.
    pub(super) fn of_score(score: f64) -> Self {
        let area = Cell { bits: score as u64, step: STEP_MAX }.area();
        Self {
            longitude: f64::midpoint(area.longitude.0, area.longitude.1),
            latitude: f64::midpoint(area.latitude.0, area.latitude.1),
        }
    }

    /// Metres between two points along the surface.
    pub(super) fn distance(self, other: Self) -> f64 {
        let half_longitude = ((radians(other.longitude) - radians(self.longitude)) / 2.0).sin();
        let (here, there) = (radians(self.latitude), radians(other.latitude));
        if half_longitude == 0.0 {
            return EARTH_RADIUS * (there - here).abs();
        }
        let half_latitude = ((there - here) / 2.0).sin();
        let chord = half_latitude * half_latitude + here.cos() * there.cos() * half_longitude * half_longitude;
        2.0 * EARTH_RADIUS * chord.sqrt().asin()
    }

    /// The standard geohash text of eleven characters.
    pub(super) fn text(self) -> String {
        let bits = Cell::around(self, STEP_MAX, 90.0).bits;
        (1..=11)
            .map(|place: u32| {
                // Ten places are 50 bits; the last one is cut short like on the server, where it shifts by a negative.
                let index = if place < 11 { (bits >> (52 - place * 5)) & 31 } else { 0 };
                char::from(ALPHABET[index as usize])
            })
            .collect()
    }

    fn is_on_map(self) -> bool {
        self.longitude.abs() <= 180.0 && self.latitude.abs() <= LATITUDE_MAX
    }
}

/// The ranges of scores that together hold every point within `radius` metres, both ends included.
pub(super) fn score_ranges(center: Point, radius: f64) -> Vec<(f64, f64)> {
    let mut ranges: Vec<(f64, f64)> = Vec::new();
    let mut last = None;
    for cell in cells(center, radius) {
        if last == Some(cell) {
            continue;
        }
        last = Some(cell);
        let shift = 52 - cell.step * 2;
        ranges.push(((cell.bits << shift) as f64, ((cell.bits + 1) << shift) as f64));
    }
    ranges
}

const STEP_MAX: u32 = 26;
const LATITUDE_MAX: f64 = 85.051_128_78;
const EARTH_RADIUS: f64 = 6_372_797.560_856;
const MERCATOR_MAX: f64 = 20_037_726.37;
const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";

/// The edges of a cell: (low, high) of each axis.
struct Area {
    longitude: (f64, f64),
    latitude: (f64, f64),
}

impl Cell {
    fn around(point: Point, step: u32, latitude_max: f64) -> Self {
        let parts = (1u64 << step) as f64;
        let row = ((point.latitude + latitude_max) / (latitude_max * 2.0) * parts) as u32;
        let column = ((point.longitude + 180.0) / 360.0 * parts) as u32;
        Self { bits: spread(row) | spread(column) << 1, step }
    }

    fn area(self) -> Area {
        let parts = (1u64 << self.step) as f64;
        let edges = |index: u32, max: f64| {
            let edge = |index: f64| -max + index / parts * max * 2.0;
            (edge(f64::from(index)), edge(f64::from(index) + 1.0))
        };
        Area { longitude: edges(gather(self.bits >> 1), 180.0), latitude: edges(gather(self.bits), LATITUDE_MAX) }
    }

    /// The cell so many columns east and rows north, around the edges of the map.
    fn moved(self, columns: i32, rows: i32) -> Self {
        let mask = (1u64 << self.step) as u32 - 1;
        let column = gather(self.bits >> 1).wrapping_add_signed(columns) & mask;
        let row = gather(self.bits).wrapping_add_signed(rows) & mask;
        Self { bits: spread(row) | spread(column) << 1, step: self.step }
    }
}

/// The cell of the center and those of its neighbours that the circle can reach, in the server's order.
fn cells(center: Point, radius: f64) -> Vec<Cell> {
    let reach = degrees(radius / EARTH_RADIUS);
    let (south, north) = (center.latitude - reach, center.latitude + reach);
    let pole_side = if center.latitude < 0.0 { south } else { north };
    let width = degrees(radius / EARTH_RADIUS / radians(pole_side).cos());
    let (west, east) = (center.longitude - width, center.longitude + width);

    let mut step = step_for(radius, center.latitude);
    let mut cell = Cell::around(center, step, LATITUDE_MAX);
    let too_small = cell.moved(0, 1).area().latitude.1 < north
        || cell.moved(0, -1).area().latitude.0 > south
        || cell.moved(1, 0).area().longitude.1 < east
        || cell.moved(-1, 0).area().longitude.0 > west;
    if step > 1 && too_small {
        step -= 1;
        cell = Cell::around(center, step, LATITUDE_MAX);
    }
    let area = cell.area();
    let skips = |columns: i32, rows: i32| {
        step >= 2
            && (rows < 0 && area.latitude.0 < south
                || rows > 0 && area.latitude.1 > north
                || columns < 0 && area.longitude.0 < west
                || columns > 0 && area.longitude.1 > east)
    };
    [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)]
        .into_iter()
        .filter(|&(columns, rows)| !skips(columns, rows))
        .map(|(columns, rows)| cell.moved(columns, rows))
        .collect()
}

/// How fine a grid must be for nine cells to cover the circle.
fn step_for(radius: f64, latitude: f64) -> u32 {
    if radius <= 0.0 {
        return STEP_MAX;
    }
    let mut step = 1i32;
    let mut reach = radius;
    while reach < MERCATOR_MAX {
        reach *= 2.0;
        step += 1;
    }
    step -= 2;
    step -= i32::from(latitude.abs() > 66.0) + i32::from(latitude.abs() > 80.0);
    step.clamp(1, STEP_MAX as i32) as u32
}

/// The bits of a number moved to the even places.
fn spread(number: u32) -> u64 {
    (0..32).fold(0, |bits, place| bits | u64::from(number >> place & 1) << (place * 2))
}

/// The even bits of a number moved together.
fn gather(bits: u64) -> u32 {
    (0..32).fold(0, |number, place| number | ((bits >> (place * 2) & 1) as u32) << place)
}

fn radians(degrees: f64) -> f64 {
    degrees * (PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (PI / 180.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PALERMO: Point = Point { longitude: 13.361389, latitude: 38.115556 };
    const CATANIA: Point = Point { longitude: 15.087269, latitude: 37.502669 };

    #[test]
    fn agrees_with_the_published_values() {
        assert_eq!(PALERMO.score(), 3_479_099_956_230_698.0);
        assert_eq!(CATANIA.score(), 3_479_447_370_796_909.0);
        let distance = Point::of_score(PALERMO.score()).distance(Point::of_score(CATANIA.score()));
        assert_eq!(format!("{distance:.4}"), "166274.1516");
        assert_eq!(Point::of_score(PALERMO.score()).text(), "sqc8b49rny0");
        assert_eq!(Point::of_score(CATANIA.score()).text(), "sqdtr74hyu0");
    }

    #[test]
    fn the_ranges_hold_what_is_near() {
        let center = Point { longitude: 15.0, latitude: 37.0 };
        let holds = |point: Point| {
            score_ranges(center, 200_000.0).iter().any(|&(low, high)| (low..=high).contains(&point.score()))
        };
        assert!(holds(PALERMO) && holds(CATANIA));
        assert!(!holds(Point { longitude: -70.0, latitude: -30.0 }));
    }
}
