// SPDX-License-Identifier: Apache-2.0
//! Reads JSON as Go's `encoding/json` does behind a handler that does not look at its errors: what cannot be read at all is
//! nothing, and a field of another type is zero. Codis answers 200 to both.

use serde_json::Value;

/// The elements of the array that a body begins with, none where it begins with something else.
pub(super) fn elements(body: &[u8]) -> Vec<Value> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
    match values.next() {
        Some(Ok(Value::Array(elements))) => elements,
        _ => Vec::new(),
    }
}

/// A field, found by its name in any case.
pub(super) fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let fields = value.as_object()?;
    fields.get(name).or_else(|| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// A whole number, 0 where there is none.
pub(super) fn integer(value: &Value, name: &str) -> i64 {
    field(value, name).and_then(Value::as_i64).unwrap_or_default()
}

/// A truth, `false` where there is none.
pub(super) fn boolean(value: &Value, name: &str) -> bool {
    field(value, name).and_then(Value::as_bool).unwrap_or_default()
}

/// A string, empty where there is none.
pub(super) fn text(value: &Value, name: &str) -> String {
    field(value, name).map(as_text).unwrap_or_default()
}

/// The elements of an array, none where there is none.
pub(super) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    field(value, name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The value as a string, empty when it is none.
pub(super) fn as_text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_nothing() {
        for body in ["", "garbage", "{}", "[{\"id\":5", "5", "[1,2"] {
            assert!(elements(body.as_bytes()).is_empty(), "{body}");
        }
        assert_eq!(elements(b"[{\"id\":5}] and more").len(), 1);
    }
}
