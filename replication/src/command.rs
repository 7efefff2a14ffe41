// SPDX-License-Identifier: Apache-2.0
use bytes::{BufMut, Bytes, BytesMut};

/// One command as a RESP array of bulk strings: what a client sends and what the binlog holds.
///
/// Decoding copies nothing: the arguments are slices of the buffer they came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    args: Vec<Bytes>,
}

impl Command {
    /// A command of these arguments, the name first.
    pub fn new<A: Into<Bytes>>(args: impl IntoIterator<Item = A>) -> Self {
        Self { args: args.into_iter().map(Into::into).collect() }
    }

    /// All arguments, the name first.
    pub fn args(&self) -> &[Bytes] {
        &self.args
    }

    /// Its name in the sender's spelling; empty for an empty command.
    pub fn name(&self) -> &[u8] {
        self.args.first().map_or(&[], |name| name)
    }

    /// The argument behind the name: the key of nearly every command.
    pub fn key(&self) -> Option<&Bytes> {
        self.args.get(1)
    }

    /// Whether this is the command `name`, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name.as_bytes())
    }

    /// Appends the RESP form to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        put_length(out, b'*', self.args.len());
        for arg in &self.args {
            put_length(out, b'$', arg.len());
            out.put_slice(arg);
            out.put_slice(b"\r\n");
        }
    }

    /// Reads exactly one command that fills `input`.
    ///
    /// # Errors
    /// [`CommandError::Incomplete`] when bytes are missing, [`CommandError::Malformed`] with the offset of the fault
    /// when it is no RESP array or something follows it.
    pub fn decode(input: Bytes) -> Result<Self, CommandError> {
        let (command, length) = Self::parse(&input)?;
        match length == input.len() {
            true => Ok(command),
            false => Err(CommandError::Malformed { at: length }),
        }
    }

    /// Reads one command from the front of `input` and tells how many bytes it took.
    ///
    /// # Errors
    /// As [`Command::decode`], but what follows the command is left alone.
    pub fn parse(input: &Bytes) -> Result<(Self, usize), CommandError> {
        let mut at = 0;
        let count = take_length(input, &mut at, b'*')?;
        // A lying count must not reserve memory: an argument takes at least five bytes.
        let mut args = Vec::with_capacity(count.min(input.len() / 5 + 1));
        for _ in 0..count {
            let length = take_length(input, &mut at, b'$')?;
            let end = at.checked_add(length).ok_or(CommandError::Malformed { at })?;
            let tail = input.get(end..end.saturating_add(2)).ok_or(CommandError::Incomplete)?;
            if tail != b"\r\n" {
                return Err(CommandError::Malformed { at: end });
            }
            args.push(input.slice(at..end));
            at = end + 2;
        }
        Ok((Self { args }, at))
    }
}

/// Why bytes are no command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// The input ends before the command does.
    #[error("the command is cut short")]
    Incomplete,
    /// The input is no RESP array of bulk strings.
    #[error("not a RESP array of bulk strings at byte {at}")]
    Malformed {
        /// Bytes from the start of the input to the fault.
        at: usize,
    },
}

fn put_length(out: &mut BytesMut, sigil: u8, length: usize) {
    out.put_u8(sigil);
    out.put_slice(length.to_string().as_bytes());
    out.put_slice(b"\r\n");
}

/// Reads `<sigil><digits>\r\n` at `at` and moves `at` behind it.
fn take_length(input: &[u8], at: &mut usize, sigil: u8) -> Result<usize, CommandError> {
    let start = *at;
    let malformed = |at| CommandError::Malformed { at };
    match input.get(start) {
        None => return Err(CommandError::Incomplete),
        Some(&byte) if byte != sigil => return Err(malformed(start)),
        Some(_) => {}
    }
    let mut value = 0usize;
    let mut index = start + 1;
    loop {
        match input.get(index) {
            None => return Err(CommandError::Incomplete),
            Some(byte @ b'0'..=b'9') => {
                let digit = usize::from(byte - b'0');
                // No array or string of a command reaches a gigabyte of bytes; a longer number is garbage.
                value =
                    Some(value * 10 + digit).filter(|&value| value <= LENGTH_MAX).ok_or_else(|| malformed(start))?;
                index += 1;
            }
            Some(b'\r') if index > start + 1 => break,
            Some(_) => return Err(malformed(index)),
        }
    }
    match input.get(index + 1) {
        None => Err(CommandError::Incomplete),
        Some(b'\n') => {
            *at = index + 2;
            Ok(value)
        }
        Some(_) => Err(malformed(index + 1)),
    }
}

const LENGTH_MAX: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(command: &Command) -> Bytes {
        let mut out = BytesMut::new();
        command.encode(&mut out);
        out.freeze()
    }

    #[test]
    fn has_the_form_of_the_reference() {
        let command = Command::new(["set", "foo", "bar"]);
        assert_eq!(encoded(&command), "*3\r\n$3\r\nset\r\n$3\r\nfoo\r\n$3\r\nbar\r\n");
        assert!(command.is("SET"));
        assert_eq!(command.key().map(|key| &key[..]), Some(&b"foo"[..]));
    }

    #[test]
    fn rejects_what_is_no_command() {
        let malformed = |input: &'static str| Command::decode(Bytes::from(input));
        assert_eq!(malformed("*1\r\n$1\r\nab"), Err(CommandError::Incomplete));
        assert_eq!(malformed("*1\r\n$1\r\nabc\r\n"), Err(CommandError::Malformed { at: 9 }));
        assert_eq!(malformed("+OK\r\n"), Err(CommandError::Malformed { at: 0 }));
        assert_eq!(malformed("*-1\r\n"), Err(CommandError::Malformed { at: 1 }));
        assert_eq!(malformed("*0\r\nx"), Err(CommandError::Malformed { at: 4 }));
        assert_eq!(malformed("*99999999999999999999\r\n"), Err(CommandError::Malformed { at: 0 }));
    }

    proptest! {
        #[test]
        fn round_trips(args in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..8)) {
            let command = Command::new(args);
            prop_assert_eq!(Command::decode(encoded(&command)), Ok(command));
        }

        #[test]
        fn every_prefix_is_incomplete(
            args in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 1..4),
        ) {
            let whole = encoded(&Command::new(args));
            for length in 0..whole.len() {
                prop_assert_eq!(Command::decode(whole.slice(..length)), Err(CommandError::Incomplete));
            }
        }

        #[test]
        fn garbage_never_panics(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Command::parse(&Bytes::from(input));
        }
    }
}
