// SPDX-License-Identifier: Apache-2.0
use std::path::PathBuf;
use std::time::Duration;

use replication::{BinlogOffset, SlotSet};

use super::entry::{Entry, Node, Outcome, Place};
use crate::job::Phase;

/// What all entries of a journal come to.
#[derive(Clone, PartialEq, Debug, Default)]
pub(in crate::job) struct State {
    /// The phase that was entered last.
    pub(in crate::job) phase: Option<Phase>,
    /// The process that the source was last.
    pub(in crate::job) source: Option<String>,
    /// Whether it was another one before. One that crashed may have done what its log does not tell.
    pub(in crate::job) source_restarted: bool,
    /// Settings that are not as they were.
    pub(in crate::job) settings: Vec<Setting>,
    /// Directories of ours.
    pub(in crate::job) directories: Vec<PathBuf>,
    /// Where dumps of ours may lie, and what their names begin with.
    pub(in crate::job) dumps: Option<(PathBuf, String)>,
    /// The checkpoint that is being copied, or whose log is followed.
    pub(in crate::job) checkpoint: Option<Taken>,
    /// What the target holds of the slots.
    pub(in crate::job) target: Holding,
    /// An attempt may have written to the target since it was emptied: what its writes have done to the number of keys is
    /// not known to those behind it.
    pub(in crate::job) is_written: bool,
    /// Connections that may have written to the target last.
    pub(in crate::job) connections: Vec<String>,
    /// How far the copy had come, and the log at the same time, when that was last written down.
    pub(in crate::job) reached: Option<Reached>,
    /// What was not as it should be in what was scanned by those before us.
    pub(in crate::job) found: Found,
    /// What was copied, once all of it has landed.
    pub(in crate::job) copied: Option<Copied>,
    /// Every change before it has landed; known only once the copy is over.
    pub(in crate::job) followed: Option<BinlogOffset>,
    /// The log that is kept where there is no checkpoint.
    pub(in crate::job) retained: Option<Retained>,
    /// Slots that may have been switched.
    pub(in crate::job) approached: SlotSet,
    /// Slots whose switch may have been sent, and where the log ended behind their fence.
    pub(in crate::job) switching: Option<(SlotSet, BinlogOffset)>,
    /// Slots that are at the target.
    pub(in crate::job) switched: Vec<Switched>,
    /// The source holds writes that are nowhere else.
    pub(in crate::job) is_late: bool,
    /// Everything is to be taken back.
    pub(in crate::job) cancelling: bool,
    /// But for what the target holds.
    pub(in crate::job) leaves_target: bool,
    /// Until when it can be rolled back, in milliseconds since 1970, once every slot is at the target.
    pub(in crate::job) window: Option<u64>,
    /// It is being rolled back.
    pub(in crate::job) rolling_back: bool,
    /// Why it cannot be rolled back.
    pub(in crate::job) no_way_back: Option<String>,
    /// The same of the way back, with both sides changed over.
    pub(in crate::job) back: Option<Box<Self>>,
    /// Keys of the source may have been deleted.
    pub(in crate::job) cleaning: bool,
    pub(in crate::job) ended: Option<Outcome>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::job) struct Setting {
    pub(in crate::job) node: Node,
    pub(in crate::job) name: String,
    pub(in crate::job) before: String,
}

/// A checkpoint and the log from there on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::job) struct Taken {
    pub(in crate::job) checkpoint: PathBuf,
    pub(in crate::job) spool: PathBuf,
    pub(in crate::job) offset: BinlogOffset,
    /// It holds nothing of what stands in the log from here on.
    pub(in crate::job) until: BinlogOffset,
}

/// A log that is kept from an offset on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::job) struct Retained {
    pub(in crate::job) spool: PathBuf,
    pub(in crate::job) offset: BinlogOffset,
    pub(in crate::job) is_mirror: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::job) enum Holding {
    /// What others put there, if anything.
    #[default]
    Theirs,
    /// That, or less of it, or nothing.
    Some,
    /// What we put there, into the process of this run.
    Ours { run: String },
}

/// All keys up to these places are at the target, as new as the log at this offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::job) struct Reached {
    pub(in crate::job) places: Vec<Place>,
    pub(in crate::job) offset: BinlogOffset,
}

/// What was copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::job) struct Copied {
    pub(in crate::job) keys: u64,
    pub(in crate::job) bytes: u64,
    pub(in crate::job) took: Duration,
}

/// What a scan has found that was not as it should be, in lines.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::job) struct Found {
    /// What is told.
    pub(in crate::job) noted: Vec<String>,
    /// What stops the move.
    pub(in crate::job) unmovable: Vec<String>,
}

/// Slots that are at the target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::job) struct Switched {
    pub(in crate::job) slots: SlotSet,
    /// Where the source's log ended behind the fence: whatever comes later came too late.
    pub(in crate::job) end: BinlogOffset,
    /// How long clients were held.
    pub(in crate::job) stood: Duration,
}

impl State {
    /// Whether there is nothing that somebody would have to go on with or take back.
    pub(in crate::job) fn is_blank(&self) -> bool {
        let Self { settings, directories, dumps, target, switched, back, .. } = self;
        let nothing_of_ours = settings.is_empty() && directories.is_empty() && dumps.is_none();
        let nothing_there = back.as_ref().is_none_or(|back| back.is_blank());
        nothing_of_ours && nothing_there && *target == Holding::Theirs && switched.is_empty()
    }

    /// Whether every slot is known to be at the target, for good or until it is rolled back.
    pub(in crate::job) fn has_arrived(&self) -> bool {
        self.window.is_some() || self.cleaning
    }

    /// The slots that are known to have been switched to the target.
    pub(in crate::job) fn moved(&self) -> SlotSet {
        self.switched.iter().flat_map(|switched| switched.slots.iter()).collect()
    }

    /// Those of them that have not come back.
    pub(in crate::job) fn at_target(&self) -> SlotSet {
        let back = self.back.as_ref().map(|back| back.moved()).unwrap_or_default();
        self.moved().iter().filter(|slot| !back.contains(*slot)).collect()
    }

    pub(super) fn fold(&mut self, entry: Entry) {
        match entry {
            Entry::Enter { phase } => self.phase = Some(phase),
            Entry::Source { run } => {
                self.source_restarted |= self.source.as_ref().is_some_and(|before| *before != run);
                self.source = Some(run);
            }
            Entry::Setting { node, name, before } => {
                self.forget_setting(node, &name);
                self.settings.push(Setting { node, name, before });
            }
            Entry::Restored { node, name } => self.forget_setting(node, &name),
            Entry::Directory { path } if self.directories.contains(&path) => {}
            Entry::Directory { path } => self.directories.push(path),
            Entry::Dumps { path, prefix } => self.dumps = Some((path, prefix)),
            Entry::Removed => {
                self.directories.clear();
                self.dumps = None;
            }
            Entry::Checkpoint { checkpoint, spool, offset, until } => {
                let until = until.unwrap_or(offset).0;
                self.checkpoint = Some(Taken { checkpoint, spool, offset: offset.0, until });
                self.forget_copy();
            }
            Entry::Retained { spool, offset, is_mirror } => {
                self.retained = Some(Retained { spool, offset: offset.0, is_mirror });
                self.forget_copy();
            }
            Entry::Outdated { .. } => {
                self.checkpoint = None;
                self.forget_copy();
            }
            Entry::Emptying => {
                (self.target, self.is_written) = (Holding::Some, false);
                self.forget_copy();
            }
            Entry::Emptied { run } => self.target = Holding::Ours { run },
            Entry::Connected { connections } => (self.connections, self.is_written) = (connections, true),
            Entry::Copied { places, offset } => self.reached = Some(Reached { places, offset: offset.0 }),
            Entry::Found { noted, unmovable } => {
                self.found.noted.extend(noted);
                self.found.unmovable.extend(unmovable);
            }
            Entry::CopyEnded { keys, bytes, millis } => {
                self.copied = Some(Copied { keys, bytes, took: Duration::from_millis(millis) });
            }
            Entry::Followed { offset } => (self.reached, self.followed) = (None, Some(offset.0)),
            Entry::Verified { .. } => {}
            Entry::Approach { slots } => slots.0.iter().for_each(|slot| {
                self.approached.insert(slot);
            }),
            Entry::Switching { slots, end } => self.switching = Some((slots.0, end.0)),
            Entry::Lowered => self.switching = None,
            Entry::Switched { slots, end, micros } => {
                self.switching = None;
                self.switched.push(Switched { slots: slots.0, end: end.0, stood: Duration::from_micros(micros) });
            }
            Entry::Late => self.is_late = true,
            Entry::Cancelling { leave_target } => (self.cancelling, self.leaves_target) = (true, leave_target),
            Entry::Window { until } => self.window = Some(until),
            Entry::RollingBack => self.rolling_back = true,
            Entry::NoWayBack { why } => (self.no_way_back, self.rolling_back) = (Some(why), false),
            Entry::Back { step } => self.back.get_or_insert_default().fold(*step),
            Entry::Cleaning => self.cleaning = true,
            Entry::Ended { outcome } => self.ended = Some(outcome),
        }
    }

    fn forget_copy(&mut self) {
        (self.reached, self.copied, self.followed) = (None, None, None);
        self.found = Found::default();
    }

    fn forget_setting(&mut self, node: Node, name: &str) {
        self.settings.retain(|setting| (setting.node, &*setting.name) != (node, name));
    }
}
