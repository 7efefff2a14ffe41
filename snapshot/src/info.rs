// SPDX-License-Identifier: Apache-2.0
use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use replication::BinlogOffset;

use crate::error::{Error, Result};
use crate::piece::UnixMillis;

/// The file `info` that BGSAVE writes beside the instances when they are complete.
///
/// ```text
/// 1s           how long the save took
/// 127.0.0.1    the server's host
/// 9301         and port
/// 1            the binlog file at the cut
/// 212177       and the byte in it: the first entry that is not in the dump
/// ```
///
/// A server with strong replication writes term and index of its log behind that. There the log runs ahead of the data, so
/// such a dump is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Info {
    /// How long the save took, in whole seconds.
    pub duration: Duration,
    /// The server's host.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// Where in the binlog the dump was cut: the start of the first entry that is not in it.
    pub offset: BinlogOffset,
}

impl Info {
    /// Its name in the dump's directory.
    pub const FILE: &str = "info";

    /// Reads the `info` of the dump in `dir`.
    ///
    /// # Errors
    ///
    /// The file is missing, or a line of it is not what it must be.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(Self::FILE);
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        let fault = |line: usize, what: &str| Error::Info { path: path.clone(), line, what: what.to_owned() };
        let is_foreign = bytes.iter().filter(|&&byte| byte == b'\n').count() > LINES;
        if is_foreign {
            return Err(Error::foreign(
                &path,
                "has more lines than Pika 4.0 writes: its server has strong replication",
            ));
        }
        let text = str::from_utf8(&bytes).map_err(|error| {
            let line = bytes[..error.valid_up_to()].split(|&byte| byte == b'\n').count();
            fault(line, "is no text")
        })?;
        Self::parse(text).map_err(|(line, what)| fault(line, what))
    }

    /// Writes it into the dump's directory, through a temporary file, so that it is there whole or not at all.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(Self::FILE);
        let partial = dir.join("info.partial");
        fs::write(&partial, self.text()).map_err(Error::io(&partial))?;
        fs::rename(&partial, &path).map_err(Error::io(&path))
    }

    /// When the file in `dir` was written. A hard link of it says the same.
    pub(crate) fn written_at(dir: &Path) -> Result<UnixMillis> {
        let path = dir.join(Self::FILE);
        let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).map_err(Error::io(&path))?;
        let since_1970 = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(UnixMillis(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)))
    }

    fn text(&self) -> String {
        let Self { duration, host, port, offset } = self;
        format!("{}s\n{host}\n{port}\n{}\n{}\n", duration.as_secs(), offset.file, offset.position)
    }

    fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let lines = text.strip_suffix('\n').ok_or_else(|| (text.lines().count().max(1), "does not end"))?;
        let lines: Vec<&str> = lines.split('\n').collect();
        let (&[duration, host, port, file, position], more) =
            lines.split_first_chunk().ok_or_else(|| (lines.len() + 1, "is missing"))?;
        let duration = duration.strip_suffix('s').and_then(number).ok_or((1, "is no duration in seconds"))?;
        if host.is_empty() {
            return Err((2, "is no host"));
        }
        let port = number(port).ok_or((3, "is no port"))?;
        let file = number(file).ok_or((4, "is no number of a binlog file"))?;
        let position = number(position).ok_or((5, "is no position in a binlog file"))?;
        if !more.is_empty() {
            return Err((LINES + 1, "is one too many"));
        }
        let offset = BinlogOffset { file, position };
        Ok(Self { duration: Duration::from_secs(duration), host: host.to_owned(), port, offset })
    }
}

/// Lines of a whole file.
const LINES: usize = 5;

/// Digits only: no sign, no spaces.
fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = "1s\n127.0.0.1\n9301\n1\n212177\n";

    #[test]
    fn reads_and_writes_what_a_server_does() {
        let info = Info {
            duration: Duration::from_secs(1),
            host: "127.0.0.1".to_owned(),
            port: 9301,
            offset: BinlogOffset::new(1, 212177),
        };
        assert_eq!(Info::parse(REAL), Ok(info.clone()));
        let dir = tempfile::tempdir().unwrap();
        info.write(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("info")).unwrap(), REAL);
        assert_eq!(Info::read(dir.path()).unwrap(), info);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn names_the_line_that_is_wrong() {
        let wrong = [
            ("", 1),
            ("1\nh\n1\n1\n1\n", 1),
            ("s\nh\n1\n1\n1\n", 1),
            ("1s\n\n1\n1\n1\n", 2),
            ("1s\nh\n65536\n1\n1\n", 3),
            ("1s\nh\n1\n-1\n1\n", 4),
            ("1s\nh\n1\n1\n+1\n", 5),
            ("1s\nh\n1\n1\n", 5),
            ("1s\nh\n1\n1\n1", 5),
            ("1s\nh\n1\n1\n1\nx\n", 6),
            ("1s\nh\n1\n1\n1\n0\n0\n", 6),
        ];
        for (text, line) in wrong {
            assert_eq!(Info::parse(text).map_err(|(line, _)| line), Err(line), "{text:?}");
        }
    }

    #[test]
    fn names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Info::read(dir.path()).unwrap_err();
        assert!(matches!(&missing, Error::Io { path, .. } if path.ends_with("info")), "{missing}");
        fs::write(dir.path().join("info"), b"1s\nho\xffst\n1\n1\n1\n").unwrap();
        let garbled = Info::read(dir.path()).unwrap_err();
        assert!(garbled.to_string().ends_with("info: line 2: is no text"), "{garbled}");
        for more in ["0\n0\n", "3\n17\n", "0\n"] {
            fs::write(dir.path().join("info"), format!("{REAL}{more}")).unwrap();
            let foreign = Info::read(dir.path()).unwrap_err();
            assert!(foreign.is_foreign() && foreign.to_string().contains("strong replication"), "{foreign}");
        }
    }
}
