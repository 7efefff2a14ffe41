// SPDX-License-Identifier: Apache-2.0
//! What agent and guard say to each other: one line each, numbered, for an answer may be late.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use replication::SlotSet;

/// What the agent tells its guard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Request {
    /// A fence is about to be raised, and is to be lowered when this time has passed.
    Raise { slots: SlotSet, within: Duration },
    /// The fence stands and everything has arrived: may the switch be sent?
    Leave { slots: SlotSet },
    /// No switch was sent after all, and none will be: the fence is about to be lowered.
    Withdraw,
    /// The switch was done.
    Switched,
    /// The fence was lowered.
    Lowered,
    /// The agent has tidied up and goes.
    End,
}

/// What the guard answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Yes,
    /// With the reason.
    No(String),
}

/// A request or answer with its number. The guard's answer to nothing, number 0, says that it is ready.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Numbered<T>(pub(super) u64, pub(super) T);

/// A line that neither side writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Garbled;

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raise { slots, within } => write!(f, "raise {} {slots}", within.as_millis()),
            Self::Leave { slots } => write!(f, "leave {slots}"),
            Self::Withdraw => f.write_str("withdraw"),
            Self::Switched => f.write_str("switched"),
            Self::Lowered => f.write_str("lowered"),
            Self::End => f.write_str("end"),
        }
    }
}

impl FromStr for Request {
    type Err = Garbled;

    fn from_str(text: &str) -> Result<Self, Garbled> {
        let slots = |text: &str| text.parse().map_err(|_| Garbled);
        match text.split_once(' ') {
            Some(("raise", rest)) => {
                let (within, rest) = rest.split_once(' ').ok_or(Garbled)?;
                let within = Duration::from_millis(within.parse().map_err(|_| Garbled)?);
                Ok(Self::Raise { slots: slots(rest)?, within })
            }
            Some(("leave", rest)) => Ok(Self::Leave { slots: slots(rest)? }),
            None if text == "withdraw" => Ok(Self::Withdraw),
            None if text == "switched" => Ok(Self::Switched),
            None if text == "lowered" => Ok(Self::Lowered),
            None if text == "end" => Ok(Self::End),
            _ => Err(Garbled),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.write_str("yes"),
            Self::No(why) => write!(f, "no {}", why.replace('\n', " ")),
        }
    }
}

impl FromStr for Answer {
    type Err = Garbled;

    fn from_str(text: &str) -> Result<Self, Garbled> {
        match text.split_once(' ') {
            Some(("no", why)) => Ok(Self::No(why.to_owned())),
            None if text == "yes" => Ok(Self::Yes),
            _ => Err(Garbled),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Numbered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.0, self.1)
    }
}

impl<T: FromStr<Err = Garbled>> FromStr for Numbered<T> {
    type Err = Garbled;

    fn from_str(line: &str) -> Result<Self, Garbled> {
        let (number, text) = line.split_once(' ').ok_or(Garbled)?;
        Ok(Self(number.parse().map_err(|_| Garbled)?, text.parse()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_as_they_were_written() {
        let slots: SlotSet = "1,5-9".parse().unwrap();
        let requests = [
            Request::Raise { slots: slots.clone(), within: Duration::from_millis(700) },
            Request::Leave { slots },
            Request::Withdraw,
            Request::Switched,
            Request::Lowered,
            Request::End,
        ];
        for (number, request) in requests.into_iter().enumerate() {
            let line = Numbered(number as u64, request.clone()).to_string();
            assert_eq!(line.trim_end().parse(), Ok(Numbered(number as u64, request)), "{line}");
        }
        for answer in [Answer::Yes, Answer::No("a reason".to_owned())] {
            let line = Numbered(3, answer.clone()).to_string();
            assert_eq!(line.trim_end().parse(), Ok(Numbered(3, answer)), "{line}");
        }
        assert_eq!(Answer::No("two\nlines".to_owned()).to_string(), "no two lines");
    }

    #[test]
    fn other_lines_are_refused() {
        for line in ["", "raise", "1", "x lowered", "1 raise 5", "1 raise x 5", "1 raise 5 x", "1 leave", "1 end now"] {
            assert_eq!(line.parse::<Numbered<Request>>(), Err(Garbled), "{line}");
        }
        for line in ["", "yes", "1 ok", "1 no", "1 yes please"] {
            assert_eq!(line.parse::<Numbered<Answer>>(), Err(Garbled), "{line}");
        }
    }
}
