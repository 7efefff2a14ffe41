// SPDX-License-Identifier: Apache-2.0
//! The source end of the line: its files on this machine, and its live keys.

mod cut;
mod elements;
mod estimate;
mod inquiry;
mod known;
mod large;
mod layout;
mod list;
mod local;
mod node;
mod page;
mod presence;
mod quarantine;
mod reply;
mod reread;
mod revived;
mod small;
mod stream;
mod value;

pub use known::Known;
pub use large::LargeStrings;
pub use layout::{Layout, log_dir};
pub(crate) use local::STRONG_REPLICATION;
pub use local::{Local, own_dumps, until_saved};
pub use node::Node;
pub use page::Strings;
pub use reread::{Reading, Reread, Unsettled, Wanted};
pub use revived::StreamCheck;
