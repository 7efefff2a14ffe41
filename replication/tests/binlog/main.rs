// SPDX-License-Identifier: Apache-2.0
//! The binlog and the table of commands, against a real server's files and against damage, rotation and purge.
#![expect(clippy::unwrap_used, reason = "in a test a failed unwrap is the failure")]

mod damage;
mod follow;
mod golden;
mod mirror;
mod write;

use std::path::Path;

use bytes::BytesMut;
use replication::binlog::{Content, Item, Tail, UnixSeconds, first_file};
use replication::{BinlogOffset, Command, Result};

/// A time for items whose time does not matter.
const TIME: UnixSeconds = UnixSeconds(0x6740_57b0);

/// Everything that is left of the log in `dir`, up to its end or the first error.
fn read_all(dir: &Path) -> (Vec<Item>, Result<()>) {
    let opened = first_file(dir).and_then(|first| Tail::open(dir, BinlogOffset::new(first, 0)));
    match opened {
        Ok(mut tail) => drain(&mut tail),
        Err(error) => (Vec::new(), Err(error)),
    }
}

/// What `tail` gives until its end or its first error.
fn drain(tail: &mut Tail) -> (Vec<Item>, Result<()>) {
    let mut items = Vec::new();
    loop {
        match tail.next() {
            Ok(Some(item)) => items.push(item),
            Ok(None) => return (items, Ok(())),
            Err(error) => return (items, Err(error)),
        }
    }
}

/// The commands of `items`, none of which may be padding.
fn commands(items: &[Item]) -> Vec<Command> {
    let command = |item: &Item| match &item.content {
        Content::Command(command) => command.clone(),
        Content::Padding => panic!("padding at {}", item.start),
    };
    items.iter().map(command).collect()
}

/// `SET k <value>` that makes an item of exactly `length` bytes, the item's own header included.
fn item_of(length: usize) -> Command {
    let set = |value: usize| Command::new([b"SET".to_vec(), b"k".to_vec(), vec![b'v'; value]]);
    let shortest = length.checked_sub(34 + 40).unwrap();
    let found = (shortest..length).map(set).find(|command| 34 + encoded(command).len() == length);
    found.expect("no such length around a power of ten")
}

fn encoded(command: &Command) -> BytesMut {
    let mut out = BytesMut::new();
    command.encode(&mut out);
    out
}
