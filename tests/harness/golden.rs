// SPDX-License-Identifier: Apache-2.0
//! What a real Pika 4.0.1 held, was sent and answered.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::contents::{Score, Value};

/// A command that was sent after the dump.
#[derive(Deserialize)]
pub(crate) struct Sent {
    args: Vec<String>,
    pub(crate) show: String,
    pub(crate) reply: Json,
}

/// What the server answered for every key at one moment.
#[derive(Deserialize)]
pub(crate) struct Expected {
    pub(crate) keys: Vec<Key>,
    pub(crate) absent: Vec<Absent>,
}

#[derive(Deserialize)]
pub(crate) struct Key {
    key: String,
    #[serde(rename = "type")]
    kind: String,
    pub(crate) pttl: i64,
    pub(crate) expire_at_ms_exact: Option<u64>,
    pub(crate) hll_count: Option<i64>,
    value: Json,
}

#[derive(Deserialize)]
pub(crate) struct Absent {
    key: String,
}

impl Sent {
    pub(crate) fn all() -> Vec<Self> {
        load("commands.json")
    }

    pub(crate) fn args(&self) -> Vec<Vec<u8>> {
        self.args.iter().map(|arg| unbase64(arg)).collect()
    }
}

impl Expected {
    pub(crate) fn after() -> Self {
        load("expected-after.json")
    }
}

impl Absent {
    pub(crate) fn name(&self) -> Vec<u8> {
        unbase64(&self.key)
    }
}

impl Key {
    pub(crate) fn name(&self) -> Vec<u8> {
        unbase64(&self.key)
    }

    /// What it holds; `None` for an empty stream.
    pub(crate) fn value(&self) -> Option<Value> {
        let items = || self.value.as_array().unwrap().iter();
        let strings = |json: &Json| json.as_array().unwrap().iter().map(string).collect::<Vec<_>>();
        Some(match &*self.kind {
            "string" => Value::String(string(&self.value)),
            "hash" => Value::Hash(items().map(|pair| (string(&pair[0]), string(&pair[1]))).collect()),
            "list" => Value::List(items().map(string).collect()),
            "set" => Value::Set(items().map(string).collect()),
            "zset" => {
                let score = |pair: &Json| Score::parse(pair[1].as_str().unwrap().as_bytes());
                Value::Zset(items().map(|pair| (string(&pair[0]), score(pair))).collect())
            }
            "streams" if items().len() == 0 => return None,
            "streams" => {
                let id = |entry: &Json| entry[0].as_str().unwrap().to_owned();
                Value::Stream(items().map(|entry| (id(entry), strings(&entry[1]))).collect())
            }
            other => panic!("`{}` is a {other}", self.name().escape_ascii()),
        })
    }
}

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pika-4.0.1")
}

pub(crate) fn unbase64(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text).unwrap()
}

fn string(json: &Json) -> Vec<u8> {
    unbase64(json.as_str().unwrap())
}

fn load<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&std::fs::read(fixtures().join(name)).unwrap()).unwrap()
}
