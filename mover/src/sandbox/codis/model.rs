// SPDX-License-Identifier: Apache-2.0
//! What Codis' servers tell each other: the JSON of its models, absent fields and all.

use serde::Serialize;
use serde_json::Value;

use super::lenient;

/// A slot as a proxy holds it. Zero fields are left out of the JSON.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct SlotRecord {
    /// The slot's number.
    pub id: i64,
    /// Whether its requests wait.
    #[serde(skip_serializing_if = "is_default")]
    pub locked: bool,
    /// Host and port of the node that serves it; empty: none.
    #[serde(skip_serializing_if = "is_default")]
    pub backend_addr: String,
    /// The group of that node, kept and not looked at.
    #[serde(skip_serializing_if = "is_default")]
    pub backend_addr_group_id: i64,
    /// The node that a native migration takes the keys from; kept and not looked at.
    #[serde(skip_serializing_if = "is_default")]
    pub migrate_from: String,
    /// The group of that node.
    #[serde(skip_serializing_if = "is_default")]
    pub migrate_from_group_id: i64,
    /// How a native migration moves the keys that are asked for: 0 or 1.
    #[serde(skip_serializing_if = "is_default")]
    pub forward_method: i64,
    /// Where reads could go; kept and not looked at.
    #[serde(skip_serializing_if = "is_default")]
    pub replica_groups: Vec<Vec<String>>,
}

impl SlotRecord {
    /// A slot that nobody serves.
    pub(super) fn offline(id: i64) -> Self {
        Self { id, ..Self::default() }
    }

    /// Read as Codis reads it: a field of another type is as good as none.
    pub(super) fn decode(value: &Value) -> Self {
        let groups = lenient::list(value, "replica_groups").iter();
        let group = |group: &Value| group.as_array().into_iter().flatten().map(lenient::as_text).collect();
        Self {
            id: lenient::integer(value, "id"),
            locked: lenient::boolean(value, "locked"),
            backend_addr: lenient::text(value, "backend_addr"),
            backend_addr_group_id: lenient::integer(value, "backend_addr_group_id"),
            migrate_from: lenient::text(value, "migrate_from"),
            migrate_from_group_id: lenient::integer(value, "migrate_from_group_id"),
            forward_method: lenient::integer(value, "forward_method"),
            replica_groups: groups.map(group).collect(),
        }
    }

    /// What a proxy keeps of a record that it was filled with: groups are those of an address, empty lists are none.
    pub(super) fn kept(mut self) -> Self {
        if self.backend_addr.is_empty() {
            self.backend_addr_group_id = 0;
        }
        if self.migrate_from.is_empty() {
            self.migrate_from_group_id = 0;
        }
        self.replica_groups.retain(|group| !group.is_empty());
        self
    }
}

/// A slot as the dashboard and its coordinator hold it.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct SlotMapping {
    /// The slot's number.
    pub id: i64,
    /// The group that owns it; 0: none.
    pub group_id: i64,
    /// The native migration that it is in.
    pub action: SlotAction,
}

impl SlotMapping {
    /// A slot of this group, at rest.
    pub(super) fn at(id: i64, group_id: i64) -> Self {
        Self { id, group_id, action: SlotAction::default() }
    }

    /// Read as Codis reads it.
    pub(super) fn decode(value: &Value) -> Self {
        let action = lenient::field(value, "action").unwrap_or(&Value::Null);
        let action = SlotAction {
            index: lenient::integer(action, "index"),
            state: lenient::text(action, "state"),
            target_id: lenient::integer(action, "target_id"),
        };
        Self { id: lenient::integer(value, "id"), group_id: lenient::integer(value, "group_id"), action }
    }

    /// Whether a native migration has to do with it.
    pub(super) fn is_busy(&self) -> bool {
        !self.action.state.is_empty()
    }
}

/// A native migration of a slot.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct SlotAction {
    /// The order among those that wait.
    #[serde(skip_serializing_if = "is_default")]
    pub index: i64,
    /// Empty, `pending`, `preparing`, `prepared`, `migrating` or `finished`.
    #[serde(skip_serializing_if = "is_default")]
    pub state: String,
    /// The group that is to have the slot.
    #[serde(skip_serializing_if = "is_default")]
    pub target_id: i64,
}

/// A group of servers; the first is its master.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub(super) struct Group {
    pub(super) id: i64,
    pub(super) servers: Vec<GroupServer>,
    /// Of a promotion by hand, which this dashboard does not do.
    pub(super) promoting: GroupAction,
    pub(super) out_of_sync: bool,
}

impl Group {
    /// Host and port of its master, empty where it has none.
    pub(super) fn master(&self) -> &str {
        self.servers.first().map_or("", |master| &master.server)
    }
}

#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub(super) struct GroupServer {
    pub(super) server: String,
    pub(super) datacenter: String,
    pub(super) action: GroupAction,
    pub(super) role: String,
    pub(super) binlog_file_num: u64,
    pub(super) binlog_offset: u64,
    pub(super) is_eligible_for_master_election: bool,
    /// 0: normal, 1: it has not answered once, 2: offline.
    pub(super) state: u8,
    pub(super) recall_times: i8,
    pub(super) replica_group: bool,
}

#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub(super) struct GroupAction {
    #[serde(skip_serializing_if = "is_default")]
    pub(super) index: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) state: String,
}

/// What a proxy says of itself.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub(super) struct ProxyModel {
    #[serde(skip_serializing_if = "is_default")]
    pub(super) id: i64,
    pub(super) token: String,
    pub(super) start_time: String,
    pub(super) admin_addr: String,
    pub(super) proto_type: String,
    pub(super) proxy_addr: String,
    pub(super) product_name: String,
    pub(super) pid: i64,
    pub(super) pwd: String,
    pub(super) sys: String,
    pub(super) max_slot_num: i64,
    pub(super) hostname: String,
    pub(super) datacenter: String,
}

impl ProxyModel {
    pub(super) fn decode(value: &Value) -> Self {
        Self {
            id: lenient::integer(value, "id"),
            token: lenient::text(value, "token"),
            start_time: lenient::text(value, "start_time"),
            admin_addr: lenient::text(value, "admin_addr"),
            proto_type: lenient::text(value, "proto_type"),
            proxy_addr: lenient::text(value, "proxy_addr"),
            product_name: lenient::text(value, "product_name"),
            pid: lenient::integer(value, "pid"),
            pwd: lenient::text(value, "pwd"),
            sys: lenient::text(value, "sys"),
            max_slot_num: lenient::integer(value, "max_slot_num"),
            hostname: lenient::text(value, "hostname"),
            datacenter: lenient::text(value, "datacenter"),
        }
    }
}

/// What a dashboard says of itself.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub(super) struct DashboardModel {
    pub(super) token: String,
    pub(super) start_time: String,
    pub(super) admin_addr: String,
    pub(super) product_name: String,
    pub(super) pid: i64,
    pub(super) pwd: String,
    pub(super) sys: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn zero_fields_are_left_out() {
        let text = |record: &SlotRecord| serde_json::to_string(record).expect("it has a JSON form");
        assert_eq!(text(&SlotRecord::offline(5)), r#"{"id":5}"#);
        let record = SlotRecord { locked: true, backend_addr: "a:1".to_owned(), ..SlotRecord::offline(5) };
        assert_eq!(text(&record), r#"{"id":5,"locked":true,"backend_addr":"a:1"}"#);
        let mapping = serde_json::to_string(&SlotMapping::at(5, 0)).expect("it has a JSON form");
        assert_eq!(mapping, r#"{"id":5,"group_id":0,"action":{}}"#);
    }

    #[test]
    fn a_field_of_another_type_is_none() {
        let decoded = SlotRecord::decode(&json!({"id": 5, "locked": "yes", "BACKEND_addr": "a:1"}));
        assert_eq!(decoded, SlotRecord { backend_addr: "a:1".to_owned(), ..SlotRecord::offline(5) });
        assert_eq!(SlotRecord::decode(&json!(7)), SlotRecord::offline(0));
    }

    #[test]
    fn what_is_kept_has_no_group_without_an_address() {
        let record = SlotRecord { backend_addr_group_id: 2, migrate_from_group_id: 1, ..SlotRecord::offline(5) };
        assert_eq!(record.kept(), SlotRecord::offline(5));
    }
}
