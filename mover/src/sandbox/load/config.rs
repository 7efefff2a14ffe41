// SPDX-License-Identifier: Apache-2.0
//! What a load does, and to which slots.

use std::net::SocketAddr;
use std::time::Duration;

use replication::{Slot, SlotCount};

/// How to start a [`Load`](super::Load).
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// Where the clients connect, most often a proxy or several in front of the same nodes: each command goes through one
    /// taken at random, after the reply to the one before.
    pub addrs: Vec<SocketAddr>,
    /// What they send as AUTH.
    pub password: Option<String>,
    /// The nodes behind these addresses. Before all keys are read back, their read caches are switched off: what a Pika
    /// answers from its cache may be stale. Where none is given, some keys cannot be checked in the end.
    pub nodes: Vec<SocketAddr>,
    /// The password of the nodes.
    pub node_password: Option<String>,
    /// Which commands the addresses take.
    pub commands: CommandSet,
    /// Clients at the same time, each with keys of its own.
    pub writers: usize,
    /// Where the choices come from: the same seed makes the same choices. It is part of every key name.
    pub seed: u64,
    /// The slots with keys, at least one.
    pub tags: Vec<Tag>,
    /// Which share of the commands goes to the hot tags, from 0 to 1, when there are hot and other tags.
    pub hot_share: f64,
    /// Ordinary keys of each writer in each tag.
    pub keys_per_tag: usize,
    /// Elements of each writer's big hash, big list and big sorted set in the first tag; 0 for none.
    pub big_elements: usize,
    /// Writes that are sent at once to a writer's big hash and stream. Each reply that is lost doubles the states that the
    /// key may be in, so more than a few are for servers that never die.
    pub burst: usize,
    /// Whether HyperLogLogs are among the types.
    pub hyperloglogs: bool,
    /// Whether commands for one key that are sent at once are done in their order. A Codis proxy with several connections
    /// to a server does not see to that.
    pub in_order: bool,
    /// Commands per second of all writers together; `None` for as many as they can.
    pub pace: Option<u32>,
    /// How far an expiry may be off: a target that keeps whole seconds rounds by up to one.
    pub expiry_slack: Duration,
    /// How long a command without an answer may still be running somewhere; its key is left alone until then.
    pub settle: Duration,
    /// How long to wait for a reply before the connection is given up.
    pub reply_time_max: Duration,
}

impl LoadConfig {
    /// Four writers that do all they can to these slots.
    pub fn new(addrs: impl Addrs, tags: Vec<Tag>) -> Self {
        Self {
            addrs: addrs.addrs(),
            password: None,
            nodes: Vec::new(),
            node_password: None,
            commands: CommandSet::OneKey,
            writers: 4,
            seed: 1,
            tags,
            hot_share: 0.75,
            keys_per_tag: 20,
            big_elements: 2000,
            burst: 8,
            hyperloglogs: false,
            in_order: true,
            pace: None,
            expiry_slack: Duration::from_secs(1),
            settle: Duration::from_secs(1),
            reply_time_max: Duration::from_secs(30),
        }
    }
}

/// Which commands a load may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandSet {
    /// Those of one key: what proxies pass on. A real Codis refuses RPOPLPUSH as the sandbox does.
    OneKey,
    /// All of a Pika, connected to without a proxy.
    Pika,
}

/// One address or several.
pub trait Addrs {
    /// All of them.
    fn addrs(self) -> Vec<SocketAddr>;
}

impl Addrs for SocketAddr {
    fn addrs(self) -> Vec<SocketAddr> {
        vec![self]
    }
}

impl Addrs for Vec<SocketAddr> {
    fn addrs(self) -> Vec<SocketAddr> {
        self
    }
}

/// A hash tag: the keys that carry it are all in one slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tag {
    /// The text between the braces.
    pub name: String,
    /// Whether most of the load goes there.
    pub hot: bool,
}

impl Tag {
    /// A tag of this slot.
    pub fn of_slot(slot: Slot, count: SlotCount) -> Self {
        Self { name: tag_for_slot(slot, count), hot: false }
    }

    /// One tag for each of these slots.
    pub fn of_slots(slots: impl IntoIterator<Item = Slot>, count: SlotCount) -> Vec<Self> {
        slots.into_iter().map(|slot| Self::of_slot(slot, count)).collect()
    }

    /// The same, hot.
    pub fn hot(self) -> Self {
        Self { hot: true, ..self }
    }
}

/// The first short text, in the order `0`, `1`, … `z`, `00`, …, that hashes to this slot as a hash tag.
///
/// # Panics
/// When there is no such slot: its number must be below the count.
pub fn tag_for_slot(slot: Slot, count: SlotCount) -> String {
    assert!(slot.number() < count.get(), "slot {slot} is not one of {count}");
    let mut tag = vec![b'0'];
    while count.slot_of(&tag) != slot {
        step(&mut tag);
    }
    tag.into_iter().map(char::from).collect()
}

/// The next number of base 36, one digit longer after the last of a length.
fn step(digits: &mut Vec<u8>) {
    for digit in digits.iter_mut().rev() {
        match *digit {
            b'z' => *digit = b'0',
            b'9' => return *digit = b'a',
            _ => return *digit += 1,
        }
    }
    digits.insert(0, b'0');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_short_tag() {
        for count in [1, 3, 1024, u16::MAX] {
            let count = SlotCount::new(count).expect("not zero");
            for number in (0..count.get()).step_by(usize::from(count.get() / 64).max(1)) {
                let tag = tag_for_slot(Slot::new(number), count);
                assert!(tag.len() <= 5, "{tag}");
                assert_eq!(count.slot_of(format!("{{{tag}}}:key").as_bytes()), Slot::new(number));
            }
        }
    }
}
