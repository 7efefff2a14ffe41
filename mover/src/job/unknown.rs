// SPDX-License-Identifier: Apache-2.0
//! Commands in the source's log that the table does not know, or that do not name what they change.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use replication::BinlogOffset;
use replication::binlog::{Content, Item};
use serde::Serialize;
use tracing::warn;

/// A command that was not known, and where it first stood in the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct UnknownCommand {
    /// Its name as it was logged, escaped.
    pub name: String,
    /// The start of its first entry, as FILE:OFFSET.
    pub offset: String,
    /// How many entries had this name.
    pub count: u64,
}

/// The unknown commands of a job, over all its attempts in this process. It tells of each name once.
#[derive(Default, Debug)]
pub(super) struct UnknownCommands(Mutex<State>);

#[derive(Default, Debug)]
struct State {
    count: u64,
    first: Vec<UnknownCommand>,
}

impl UnknownCommands {
    /// Notes an entry whose arguments are all read again as keys.
    pub(super) fn note(&self, item: &Item) {
        if let Some(UnknownCommand { name, offset, .. }) = self.count(item) {
            warn!(
                "the log holds the unknown command `{name}` at {offset}: each of its arguments is read again as a key"
            );
        }
    }

    /// Notes an entry after which any key may have another value.
    pub(super) fn note_unnamed(&self, item: &Item) {
        if let Some(UnknownCommand { name, offset, .. }) = self.count(item) {
            warn!("the log holds `{name}` at {offset}, which names none of the keys that it may have changed");
        }
    }

    /// How many entries there were in all.
    pub(super) fn total(&self) -> u64 {
        self.lock().count
    }

    /// The first names.
    pub(super) fn first(&self) -> Vec<UnknownCommand> {
        self.lock().first.clone()
    }

    /// The command when this is the first entry with its name.
    fn count(&self, item: &Item) -> Option<UnknownCommand> {
        let name = name_of(item);
        let mut state = self.lock();
        state.count += 1;
        if let Some(known) = state.first.iter_mut().find(|known| known.name.eq_ignore_ascii_case(&name)) {
            known.count += 1;
            return None;
        }
        let new = UnknownCommand { name, offset: item.start.to_string(), count: 1 };
        if state.first.len() == NAMES_MAX {
            return None;
        }
        state.first.push(new.clone());
        Some(new)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Counts are right after each line of the code that changes them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for UnknownCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, offset, count } = self;
        write!(f, "`{name}` at {offset}")?;
        if *count > 1 {
            write!(f, " and {} times more", count - 1)?;
        }
        Ok(())
    }
}

/// The name of an entry's command, escaped and not too long.
pub(super) fn name_of(item: &Item) -> String {
    let Content::Command(command) = &item.content else { return String::new() };
    let name = command.name();
    name[..name.len().min(NAME_LENGTH_MAX)].escape_ascii().to_string()
}

/// Refuses an entry of a node whose log runs ahead of its data.
pub(super) fn has_strong_replication(item: &Item) -> Option<(u32, BinlogOffset)> {
    (item.term != 0).then_some((item.term, item.start))
}

/// Names that are told and reported; all entries are counted.
const NAMES_MAX: usize = 20;

/// Bytes of a name that are shown.
const NAME_LENGTH_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use replication::Command;
    use replication::binlog::UnixSeconds;

    use super::*;

    fn item(name: &str, position: u64) -> Item {
        Item {
            start: BinlogOffset::new(1, position),
            end: BinlogOffset::new(1, position + 10),
            time: UnixSeconds(1),
            term: 0,
            logic_id: 1,
            header: BinlogOffset::new(1, position),
            content: Content::Command(Command::new([name.to_owned()])),
        }
    }

    #[test]
    fn each_name_is_told_once_and_counted() {
        let unknown = UnknownCommands::default();
        unknown.note(&item("new", 0));
        unknown.note_unnamed(&item("NEW", 10));
        unknown.note(&item("other\n", 20));
        let first: Vec<String> = unknown.first().iter().map(UnknownCommand::to_string).collect();
        assert_eq!(first, ["`new` at 1:0 and 1 times more", "`other\\n` at 1:20"]);
        (0..100).for_each(|number| unknown.note(&item(&format!("n{number}"), number)));
        assert_eq!((unknown.total(), unknown.first().len()), (103, NAMES_MAX));
        let json = serde_json::to_value(&unknown.first()[0]).unwrap();
        assert_eq!(json, serde_json::json!({ "name": "new", "offset": "1:0", "count": 2 }));
    }

    #[test]
    fn a_term_is_that_of_strong_replication() {
        assert_eq!(has_strong_replication(&item("set", 0)), None);
        assert_eq!(has_strong_replication(&Item { term: 3, ..item("set", 7) }), Some((3, BinlogOffset::new(1, 7))));
    }
}
