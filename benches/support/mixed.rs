// SPDX-License-Identifier: Apache-2.0
//! Keys of all types, in turn, of ten elements each.

use snapshot::StreamId;
use snapshot::format::{
    BaseKind, BaseMeta, Column, HashValue, LIST_INDEX_START, ListMeta, ListValue, SetValue, StreamMeta, StringValue,
    Version, ZsetValue, data_key, encode_entry, list_key, meta_key, score_key, stream_key,
};

use super::dump::{self, Rows};

/// Adds the key of this number.
pub(crate) fn write(number: u64, rows: &mut Rows<'_>) {
    let name = format!("mixed:{number:09}");
    let key = name.as_bytes();
    let elements = || (0..ELEMENTS).map(move |index| (index, format!("item:{:011}", number * ELEMENTS + index)));
    match number % 6 {
        0 => {
            let (value, expire_at) = (&dump::json(number, 100)[..], Some(FAR));
            let value = StringValue { value, hyperloglog: false, created: CREATED, expire_at }.encode();
            rows.row(key, Column::Default, meta_key(key), value);
        }
        1 => {
            put_base(rows, key, BaseKind::Hash);
            for (index, field) in elements() {
                let value = HashValue { value: &dump::json(index, 50), created: CREATED }.encode();
                rows.row(key, Column::Hash, data_key(key, VERSION, field.as_bytes()), value);
            }
        }
        2 => {
            let (left, right) = (LIST_INDEX_START - 1, LIST_INDEX_START + ELEMENTS);
            let meta = ListMeta { count: ELEMENTS, version: VERSION, left, right, created: CREATED, expire_at: None };
            rows.row(key, Column::Default, meta_key(key), meta.encode());
            for (index, element) in elements() {
                let value = ListValue { value: element.as_bytes(), created: CREATED }.encode();
                rows.row(key, Column::List, list_key(key, VERSION, LIST_INDEX_START + index), value);
            }
        }
        3 => {
            put_base(rows, key, BaseKind::Set);
            for (_, member) in elements() {
                let row = data_key(key, VERSION, member.as_bytes());
                rows.row(key, Column::Set, row, SetValue { created: CREATED }.encode());
            }
        }
        4 => {
            put_base(rows, key, BaseKind::Zset);
            for (index, member) in elements() {
                let (score, member) = (index as f64, member.as_bytes());
                let value = ZsetValue { score, created: CREATED }.encode();
                rows.row(key, Column::Zset, data_key(key, VERSION, member), value);
                let row = score_key(key, VERSION, score, member);
                rows.row(key, Column::ZsetScore, row, SetValue { created: CREATED }.encode());
            }
        }
        _ => put_stream(rows, key, elements()),
    }
}

fn put_base(rows: &mut Rows<'_>, key: &[u8], kind: BaseKind) {
    let meta = BaseMeta { kind, count: ELEMENTS as i32, version: VERSION, created: CREATED, expire_at: None };
    rows.row(key, Column::Default, meta_key(key), meta.encode());
}

fn put_stream(rows: &mut Rows<'_>, key: &[u8], elements: impl Iterator<Item = (u64, String)>) {
    let meta = StreamMeta {
        added: ELEMENTS,
        first_id: StreamId::new(1, 0),
        last_id: StreamId::new(ELEMENTS, 0),
        deleted_id_max: StreamId::default(),
        length: ELEMENTS as i32,
        version: Version(2),
    };
    rows.row(key, Column::Default, meta_key(key), meta.encode());
    for (index, element) in elements {
        let row = stream_key(key, Version(2), StreamId::new(index + 1, 0));
        rows.row(key, Column::Stream, row, encode_entry(["field", &*element]));
    }
}

const ELEMENTS: u64 = 10;
const VERSION: Version = Version(dump::CREATED.0);
const CREATED: Option<snapshot::UnixMillis> = Some(dump::CREATED);

/// The year 2100.
const FAR: snapshot::UnixMillis = snapshot::UnixMillis(4_102_444_800_000);
