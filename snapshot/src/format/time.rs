// SPDX-License-Identifier: Apache-2.0
//! Times in rows: milliseconds with bit 63 set, or seconds without it when Pika 4.0.0 wrote them; zero is none.

use super::take_u64;
use crate::UnixMillis;

/// A time as Pika 4.0.1 writes it.
pub(super) fn encode_time(time: Option<UnixMillis>) -> [u8; 8] {
    time.map_or(0, |at| at.0 | BIT_MILLIS).to_le_bytes()
}

/// Takes a time off the front; the outer `None` is an end of the bytes.
pub(super) fn take_time(bytes: &mut &[u8]) -> Option<Option<UnixMillis>> {
    take_u64(bytes).map(decode_time)
}

/// A time in either unit.
pub(super) fn decode_time(raw: u64) -> Option<UnixMillis> {
    match raw & BIT_MILLIS {
        0 => nonzero(raw.saturating_mul(1000)),
        _ => nonzero(raw & !BIT_MILLIS),
    }
}

/// Zero is none.
pub(super) fn nonzero(millis: u64) -> Option<UnixMillis> {
    (millis != 0).then_some(UnixMillis(millis))
}

const BIT_MILLIS: u64 = 1 << 63;
