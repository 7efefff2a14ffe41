// SPDX-License-Identifier: Apache-2.0
//! Compression of one frame, and how much of it an operator wants.

use std::fmt;
use std::str::FromStr;

use zstd_safe::{CCtx, CParameter, DCtx, compress_bound, get_error_name, get_frame_content_size};

use super::error::{Error, Result, malformed};

/// How what is sent is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Compression {
    /// As long as it pays: see `judge.rs`.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// Always, at this level of zstd.
    Zstd(i32),
}

impl Compression {
    /// The level to compress at.
    pub(super) const fn level(self) -> i32 {
        match self {
            Self::Zstd(level) => level,
            Self::Auto | Self::Off => USUAL_LEVEL,
        }
    }
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let level = match text {
            "auto" => return Ok(Self::Auto),
            "off" => return Ok(Self::Off),
            "zstd" => return Ok(Self::Zstd(USUAL_LEVEL)),
            other => other.strip_prefix("zstd:").and_then(|level| level.parse().ok()),
        };
        match level {
            Some(level @ 1..=LEVEL_MAX) => Ok(Self::Zstd(level)),
            _ => Err(format!(
                "`{text}` is none of `auto`, `off`, `zstd` and `zstd:LEVEL` with a level from 1 to {LEVEL_MAX}"
            )),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

/// Makes frames smaller. Its memory is used again for each.
pub(super) struct Compressor {
    context: CCtx<'static>,
}

impl Compressor {
    pub(super) fn new(level: i32) -> Self {
        let mut context = CCtx::create();
        let set = context.set_parameter(CParameter::CompressionLevel(level));
        assert!(set.is_ok(), "every level that can be said is one of zstd's");
        Self { context }
    }

    /// Appends `raw` to `into`, compressed, and says how long that is.
    pub(super) fn compress(&mut self, raw: &[u8], into: &mut Vec<u8>) -> usize {
        let begin = into.len();
        into.resize(begin + compress_bound(raw.len()), 0);
        let written = self.context.compress2(&mut into[begin..], raw);
        let length = written.unwrap_or_else(|code| panic!("zstd had room and memory: {}", get_error_name(code)));
        into.truncate(begin + length);
        length
    }
}

/// Makes them as large as they were.
pub(super) struct Decompressor {
    context: DCtx<'static>,
}

impl Decompressor {
    pub(super) fn new() -> Self {
        Self { context: DCtx::create() }
    }

    /// Fills `raw` with what is in `compressed`, which must be exactly as much.
    pub(super) fn decompress(&mut self, compressed: &[u8], raw: &mut [u8]) -> Result<()> {
        // Known beforehand, so that nothing is decompressed that does not fit.
        match get_frame_content_size(compressed) {
            Ok(Some(size)) if size == raw.len() as u64 => {}
            _ => return Err(malformed("a compressed frame that is not as large as it says")),
        }
        match self.context.decompress(raw, compressed) {
            Ok(length) if length == raw.len() => Ok(()),
            _ => Err(Error::Malformed { what: "a compressed frame that cannot be decompressed" }),
        }
    }
}

/// The level that pays: on values like JSON, higher ones were slower and no smaller.
const USUAL_LEVEL: i32 = 1;

/// Beyond it zstd takes hundreds of megabytes of memory.
const LEVEL_MAX: i32 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_written() {
        for text in ["auto", "off", "zstd:1", "zstd:12"] {
            assert_eq!(text.parse::<Compression>().unwrap().to_string(), text);
        }
        assert_eq!("zstd".parse(), Ok(Compression::Zstd(1)));
        for text in ["", "on", "zstd:", "zstd:0", "zstd:13", "zstd:x", "lz4"] {
            assert!(text.parse::<Compression>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_compressed_comes_back_and_nothing_else_does() {
        let raw: Vec<u8> = (0..100_000u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        let mut compressed = b"before".to_vec();
        let length = Compressor::new(1).compress(&raw, &mut compressed);
        assert!(length < raw.len() / 2 && compressed.len() == 6 + length, "{length}");
        let mut back = vec![0; raw.len()];
        Decompressor::new().decompress(&compressed[6..], &mut back).unwrap();
        assert_eq!(back, raw);
        // A size that lies, in either direction, and what is no frame at all.
        assert!(Decompressor::new().decompress(&compressed[6..], &mut back[1..]).is_err());
        assert!(Decompressor::new().decompress(&compressed[6..], &mut vec![0; raw.len() + 1]).is_err());
        assert!(Decompressor::new().decompress(&compressed, &mut back).is_err());
        assert!(Decompressor::new().decompress(&compressed[6..6 + length - 1], &mut back).is_err());
    }
}
