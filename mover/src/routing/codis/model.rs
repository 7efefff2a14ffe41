// SPDX-License-Identifier: Apache-2.0
//! The JSON that a dashboard and proxies speak: the fields we need.
//!
//! An answer is 100 KB for 1024 slots and is read while clients wait, so what is not needed is skipped, not kept.

use std::collections::HashMap;
use std::fmt;

use replication::{Slot, SlotSet};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The number of a group, 1 to 9999; 0 stands for none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct GroupId(pub(super) u32);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}", self.0)
    }
}

/// What a dashboard says about itself and its cluster, all at one moment.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Overview {
    pub(super) config: Config,
    pub(super) model: Dashboard,
    pub(super) stats: Stats,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Config {
    pub(super) product_name: String,
    pub(super) max_slot_num: Option<u32>,
}

/// One life of a dashboard.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Dashboard {
    pub(super) start_time: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Stats {
    pub(super) slots: Vec<Mapping>,
    pub(super) group: Groups,
    pub(super) proxy: Proxies,
    pub(super) slot_action: SlotAction,
}

impl Stats {
    /// The mapping of a slot.
    pub(super) fn mapping(&self, slot: Slot) -> Option<&Mapping> {
        let at_its_place = self.slots.get(usize::from(slot.number())).filter(|mapping| mapping.id == slot.number());
        at_its_place.or_else(|| self.slots.iter().find(|mapping| mapping.id == slot.number()))
    }

    /// A group by its number.
    pub(super) fn group(&self, id: GroupId) -> Option<&Group> {
        self.group.models.iter().find(|group| group.id == id)
    }
}

/// Which group serves a slot, and what the dashboard's own mover does with it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Mapping {
    pub(super) id: u16,
    #[serde(default)]
    pub(super) group_id: GroupId,
    #[serde(default, skip_serializing)]
    pub(super) action: Action,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Action {
    #[serde(default)]
    pub(super) state: String,
    #[serde(default)]
    pub(super) target_id: GroupId,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Groups {
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(super) models: Vec<Group>,
    #[serde(default, deserialize_with = "null_is_none_of_them")]
    pub(super) stats: HashMap<String, ServerStats>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Group {
    pub(super) id: GroupId,
    /// The first one is the master.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(super) servers: Vec<Server>,
    #[serde(default)]
    pub(super) promoting: Action,
}

impl Group {
    /// The address of the server that serves the slots.
    pub(super) fn master(&self) -> Option<&str> {
        self.servers.first().map(|server| server.server.as_str())
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Server {
    pub(super) server: String,
    /// 0 is well, 1 has missed a check, 2 is given up.
    #[serde(default)]
    pub(super) state: i64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct ServerStats {
    #[serde(default)]
    pub(super) unixtime: i64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Proxies {
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(super) models: Vec<Proxy>,
    /// By token.
    #[serde(default, deserialize_with = "null_is_none_of_them")]
    pub(super) stats: HashMap<String, ProxyStats>,
}

/// One life of a proxy. The token is that of its place and stays when it restarts.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub(super) struct Proxy {
    pub(super) token: String,
    pub(super) start_time: String,
    pub(super) admin_addr: String,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proxy {}", self.admin_addr)
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct ProxyStats {
    pub(super) stats: Option<Online>,
    pub(super) error: Option<Cause>,
    #[serde(default)]
    pub(super) unixtime: i64,
    #[serde(default)]
    pub(super) timeout: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Online {
    #[serde(default)]
    pub(super) online: bool,
}

/// Why a call failed, as the other side says.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Cause {
    #[serde(rename = "Cause", default)]
    pub(super) cause: String,
}

/// The dashboard's own mover.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SlotAction {
    #[serde(default)]
    pub(super) disabled: bool,
    /// Copies that run now.
    #[serde(default)]
    pub(super) executor: i64,
}

/// What a proxy holds for one slot. A fill replaces all of it, so what we do not know is kept as well.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize)]
pub(super) struct Record {
    pub(super) id: u16,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) locked: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) backend_addr: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) backend_addr_group_id: i64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) migrate_from: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) replica_groups: Vec<Vec<String>>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// Picks the records of some slots out of all that a proxy holds, in the order of the slots.
pub(super) struct RecordsOf(pub(super) SlotSet);

impl RecordsOf {
    /// Reads an answer of `/proxy/slots`.
    pub(super) fn read(self, json: &[u8]) -> serde_json::Result<Vec<Record>> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let records = self.deserialize(&mut reader)?;
        reader.end()?;
        Ok(records)
    }
}

impl<'de> DeserializeSeed<'de> for RecordsOf {
    type Value = Vec<Record>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Vec<Record>, D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RecordsOf {
    type Value = Vec<Record>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the slots of a proxy")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Vec<Record>, A::Error> {
        let mut records = Vec::with_capacity(self.0.len());
        for number in 0..=u16::MAX {
            let wanted = self.0.contains(Slot::new(number));
            let more = match wanted {
                true => all.next_element::<Record>()?.map(|record| records.push(record)),
                false => all.next_element::<IgnoredAny>()?.map(|_| ()),
            };
            if more.is_none() {
                break;
            }
            if let Some(record) = records.last().filter(|record| wanted && record.id != number) {
                return Err(de::Error::custom(format!("slot {} stands in the place of slot {number}", record.id)));
            }
        }
        match records.len() == self.0.len() {
            true => Ok(records),
            false => Err(de::Error::custom(format!("{} of the slots {} are not there", self.0.len(), self.0))),
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A list without elements may be written as null.
fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(reader: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(reader)?.unwrap_or_default())
}

fn null_is_none_of_them<'de, D, T>(reader: D) -> Result<HashMap<String, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(reader)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_picked_and_kept_whole() {
        let json = br#"[{"id":0},{"id":1,"locked":true,"backend_addr":"127.0.0.1:24001","backend_addr_group_id":1,
            "forward_method":1,"replica_groups":[["127.0.0.1:24001","127.0.0.1:24003"]],"new_field":[7]},{"id":2}]"#;
        let records = RecordsOf("1".parse().unwrap()).read(json).unwrap();
        assert_eq!(records.len(), 1);
        assert!(records[0].locked && records[0].backend_addr == "127.0.0.1:24001");
        let all: Value = serde_json::from_slice(json).unwrap();
        assert_eq!(serde_json::to_value(&records[0]).unwrap(), all[1], "a fill must send back what it does not know");
    }

    #[test]
    fn records_that_are_not_where_they_should_be_are_refused() {
        let read = |slots: &str, json: &str| RecordsOf(slots.parse().unwrap()).read(json.as_bytes());
        assert!(read("1", r#"[{"id":1},{"id":0}]"#).is_err());
        assert!(read("0-2", r#"[{"id":0},{"id":1}]"#).is_err());
        assert!(read("0", r#"{"id":0}"#).is_err());
        assert!(read("0", r#"[{"id":0}"#).is_err());
        assert!(read("0", r#"[{"id":0,"locked":"yes"}]"#).is_err());
    }
}
