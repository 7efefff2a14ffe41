// SPDX-License-Identifier: Apache-2.0
//! The keys of a checkpoint.
//!
//! ```text
//! {"key":"Zm9v","slot":289,"type":"string","expire_at_ms":null,"value":"YmFy"}
//!   hash        [[field, value], …]
//!   list, set   [element, …]
//!   zset        [[member, "score"], …]
//!   stream      [["id", [field, value, …]], …]
//!   hyperloglog the registers, as a string
//! {"summary":{"keys":1,"skipped_expired":0,"skipped_stale":0,"corrupt_names":0, …}}
//! ```

use std::fs;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use replication::{SlotCount, SlotSet};
use serde_json::json;
use snapshot::{Body, Checkpoint, FaultKind, Info, Piece, ScanRequest, Summary, UnixMillis, score_text};

use super::{Error, base64, quiet};

/// Which checkpoint to show, and how.
#[derive(Clone, Debug)]
pub struct CheckpointOptions {
    /// The dump's directory, or the one above it when that holds a single database.
    pub dir: PathBuf,
    /// Only the keys of these slots; `None` for all.
    pub slots: Option<SlotSet>,
    /// Into how many slots the keys fall.
    pub slot_count: SlotCount,
    /// How many instances there must be; `None` takes those that are there.
    pub instances: Option<usize>,
    /// Keys that expired before are left out.
    pub now: UnixMillis,
    /// One JSON object per line instead of a table.
    pub json: bool,
}

/// Writes the keys of a checkpoint and a summary.
///
/// # Errors
///
/// The checkpoint cannot be read to the end, or the output cannot be written. What was written before is right.
pub fn checkpoint(options: &CheckpointOptions, out: &mut dyn Write) -> Result<(), Error> {
    quiet(write_checkpoint(options, &mut BufWriter::new(out)))
}

fn write_checkpoint(options: &CheckpointOptions, out: &mut dyn Write) -> Result<(), Error> {
    let checkpoint = Checkpoint::open(database(&options.dir)?, options.slot_count, options.instances)?;
    let slots = options.slots.clone().unwrap_or_else(|| SlotSet::all(options.slot_count));
    let request = ScanRequest { now: options.now, ..ScanRequest::new(slots) };
    let mut keys = KeyWriter { out, slots: options.slot_count, json: options.json, elements: 0, bytes: 0 };
    keys.head(&checkpoint)?;
    let mut total = None;
    for instance in 0..checkpoint.instances() {
        let mut written = Ok(());
        let summary = checkpoint.scan(instance, &request, |piece| {
            written = keys.piece(&piece);
            if written.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        written?;
        total = Some(match total {
            Some(total) => Summary::merge(total, summary),
            None => summary,
        });
    }
    keys.summary(&total.unwrap_or_default())?;
    Ok(keys.out.flush()?)
}

/// The directory of the dump: `dir` itself, or the only database in it.
fn database(dir: &Path) -> Result<PathBuf, Error> {
    if dir.join(Info::FILE).exists() {
        return Ok(dir.to_owned());
    }
    let cannot_list = |source| snapshot::Error::Io { path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(cannot_list)? {
        let path = entry.map_err(cannot_list)?.path();
        let is_database = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("db"));
        if is_database && path.join(Info::FILE).exists() {
            found.push(path);
        }
    }
    match found.len() {
        // Without a database the directory itself is refused, with the reason.
        0 => Ok(dir.to_owned()),
        1 => Ok(found.remove(0)),
        _ => {
            let what = "holds several databases: name the directory of one of them".to_owned();
            Err(snapshot::Error::Layout { path: dir.to_owned(), what }.into())
        }
    }
}

struct KeyWriter<'a> {
    out: &'a mut dyn Write,
    slots: SlotCount,
    json: bool,
    /// Of the key that is being written, for the table.
    elements: usize,
    bytes: usize,
}

impl KeyWriter<'_> {
    fn head(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        let Info { host, port, offset, duration } = checkpoint.info();
        let instances = checkpoint.instances();
        let took = duration.as_secs();
        writeln!(self.out, "{}: saved by {host}:{port} in {took} s", checkpoint.dir().display())?;
        writeln!(self.out, "cut at binlog offset {offset}, {instances} instances, {} slots\n", self.slots)?;
        writeln!(self.out, "{:>5}  {:<11}  {:>10}  {:>12}  {:<24}  KEY", "SLOT", "TYPE", "ELEMENTS", "BYTES", "EXPIRES")
    }

    fn piece(&mut self, piece: &Piece) -> io::Result<()> {
        match self.json {
            true => self.json_piece(piece),
            false => self.table_piece(piece),
        }
    }

    fn json_piece(&mut self, piece: &Piece) -> io::Result<()> {
        let is_whole = matches!(piece.body, Body::String(_) | Body::HyperLogLog(_));
        if piece.part.is_first() {
            let (key, slot, kind) = (base64(&piece.key), self.slots.slot_of(&piece.key), piece.body.kind().name());
            // The stream's type is not the `streams` that the server answers.
            write!(self.out, r#"{{"key":"{key}","slot":{slot},"type":"{kind}","expire_at_ms":"#)?;
            match piece.expire_at {
                Some(UnixMillis(at)) => write!(self.out, "{at}")?,
                None => self.out.write_all(b"null")?,
            }
            self.out.write_all(if is_whole { b",\"value\":" } else { b",\"value\":[" })?;
        } else {
            self.out.write_all(b",")?;
        }
        self.json_body(&piece.body)?;
        if piece.part.is_last() {
            self.out.write_all(if is_whole { b"}\n" } else { b"]}\n" })?;
        }
        Ok(())
    }

    fn json_body(&mut self, body: &Body) -> io::Result<()> {
        match body {
            Body::String(value) | Body::HyperLogLog(value) => write!(self.out, r#""{}""#, base64(value)),
            Body::Hash(fields) => self
                .separated(fields, |out, (field, value)| write!(out, r#"["{}","{}"]"#, base64(field), base64(value))),
            Body::List(elements) | Body::Set(elements) => {
                self.separated(elements, |out, element| write!(out, r#""{}""#, base64(element)))
            }
            Body::Zset(members) => self.separated(members, |out, (member, score)| {
                write!(out, r#"["{}","{}"]"#, base64(member), score_text(*score))
            }),
            Body::Stream { entries, .. } => self.separated(entries, |out, entry| {
                write!(out, r#"["{}",["#, entry.id)?;
                for (index, field) in entry.fields.iter().enumerate() {
                    write!(out, r#"{}"{}""#, if index == 0 { "" } else { "," }, base64(field))?;
                }
                out.write_all(b"]]")
            }),
        }
    }

    fn separated<T>(
        &mut self,
        items: &[T],
        mut write: impl FnMut(&mut dyn Write, &T) -> io::Result<()>,
    ) -> io::Result<()> {
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.write_all(b",")?;
            }
            write(self.out, item)?;
        }
        Ok(())
    }

    fn table_piece(&mut self, piece: &Piece) -> io::Result<()> {
        if piece.part.is_first() {
            (self.elements, self.bytes) = (0, piece.key.len());
        }
        self.elements += piece.body.len();
        self.bytes += piece.body.size();
        if !piece.part.is_last() {
            return Ok(());
        }
        let (slot, kind) = (self.slots.slot_of(&piece.key), piece.body.kind().name());
        let expires = piece.expire_at.map_or_else(|| "-".to_owned(), date);
        let key = piece.key.escape_ascii();
        writeln!(self.out, "{slot:>5}  {kind:<11}  {:>10}  {:>12}  {expires:<24}  {key}", self.elements, self.bytes)
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        match self.json {
            true => self.json_summary(summary),
            false => self.table_summary(summary),
        }
    }

    fn json_summary(&mut self, summary: &Summary) -> io::Result<()> {
        let findings = &summary.findings;
        let counts: serde_json::Map<_, _> =
            findings.counts().map(|(kind, count)| (kind.name().to_owned(), count.into())).collect();
        let first: Vec<_> = findings
            .kept()
            .iter()
            .map(|finding| {
                let key = base64(&finding.key).to_string();
                json!({ "key": key, "kind": finding.fault.kind().name(), "text": finding.to_string() })
            })
            .collect();
        let summary = json!({ "summary": {
            "keys": summary.keys,
            "elements": summary.elements,
            "bytes": summary.bytes,
            "skipped_expired": summary.skipped_expired,
            "skipped_stale": summary.skipped_stale,
            "internal": summary.internal,
            "corrupt_names": findings.count(FaultKind::CorruptName),
            "findings": counts,
            "first_findings": first,
        }});
        writeln!(self.out, "{summary}")
    }

    fn table_summary(&mut self, summary: &Summary) -> io::Result<()> {
        let Summary { keys, elements, bytes, skipped_expired, skipped_stale, internal, findings, .. } = summary;
        writeln!(self.out, "\n{keys} keys with {elements} elements and {bytes} bytes")?;
        let skipped = format!("{skipped_expired} expired, {skipped_stale} deleted, {internal} of the server's own");
        writeln!(self.out, "left out: {skipped}")?;
        for (kind, count) in findings.counts() {
            let effect = if kind.leaves_out() { "not shown" } else { "shown as it is" };
            writeln!(self.out, "{kind}: {count}, {effect}")?;
        }
        for finding in findings.kept() {
            writeln!(self.out, "  {finding}")?;
        }
        Ok(())
    }
}

/// A point in time as a date; as bare milliseconds when it lies behind the year 9999.
fn date(at: UnixMillis) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_millis(at.0)).filter(|_| at.0 < YEAR_10000_MILLIS) {
        Some(time) => humantime::format_rfc3339_millis(time).to_string(),
        None => format!("{} ms", at.0),
    }
}

const YEAR_10000_MILLIS: u64 = 253_402_300_800_000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::super::testing::{Closing, fixtures};
    use super::*;

    fn options(json: bool) -> CheckpointOptions {
        CheckpointOptions {
            dir: fixtures().join("dump/20261122"),
            slots: None,
            slot_count: SlotCount::CODIS,
            instances: Some(3),
            now: UnixMillis(1_795_329_436_775),
            json,
        }
    }

    fn shown(options: &CheckpointOptions) -> String {
        let mut out = Vec::new();
        checkpoint(options, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Collections without an order of their own, sorted.
    fn sorted(kind: &str, value: &Value) -> Value {
        let mut value = value.clone();
        if let (Value::Array(elements), "hash" | "set" | "zset") = (&mut value, kind) {
            elements.sort_by_key(Value::to_string);
        }
        value
    }

    #[test]
    fn json_is_what_the_server_answered() {
        let text = shown(&options(true));
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let summary = lines.pop().unwrap();
        let mut keys: BTreeMap<String, Value> =
            lines.into_iter().map(|line| (line["key"].as_str().unwrap().to_owned(), line)).collect();
        assert_eq!(summary["summary"]["keys"], keys.len());
        assert_eq!(summary["summary"]["corrupt_names"], 0);

        let expected = fs::read(fixtures().join("expected-at-bgsave.json")).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        for answer in expected["keys"].as_array().unwrap() {
            let kind = match (answer["type"].as_str().unwrap(), answer["hll_count"].is_u64()) {
                ("streams", _) => "stream",
                (_, true) => "hyperloglog",
                (kind, false) => kind,
            };
            let key = keys.remove(answer["key"].as_str().unwrap()).unwrap_or_else(|| panic!("{}", answer["show"]));
            assert_eq!((&key["type"], &key["slot"]), (&json!(kind), &answer["slot"]), "{}", answer["show"]);
            assert_eq!(sorted(kind, &key["value"]), sorted(kind, &answer["value"]), "{}", answer["show"]);
            if answer["expire_at_ms_exact"].is_u64() {
                assert_eq!(key["expire_at_ms"], answer["expire_at_ms_exact"], "{}", answer["show"]);
            }
        }
        assert!(keys.is_empty(), "{:?}", keys.keys());
    }

    #[test]
    fn slots_choose_keys() {
        let text = shown(&CheckpointOptions { slots: Some("767".parse().unwrap()), ..options(true) });
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.len() > 5);
        assert!(lines[..lines.len() - 1].iter().all(|line| line["slot"] == 767));
    }

    #[test]
    fn the_table_has_a_line_per_key() {
        let (table, json) = (shown(&options(false)), shown(&options(true)));
        let keys = json.lines().count() - 1;
        assert!(
            table.contains("saved by 127.0.0.1:9301 in 1 s\ncut at binlog offset 1:212177, 3 instances, 1024 slots\n")
        );
        assert!(table.contains(&format!("\n{keys} keys with ")), "{table}");
        assert_eq!(
            table.lines().skip_while(|line| !line.ends_with("KEY")).skip(1).take_while(|line| !line.is_empty()).count(),
            keys
        );
    }

    #[test]
    fn a_closed_output_is_a_quiet_end() {
        for room in [0, 100, 10_000] {
            checkpoint(&options(true), &mut Closing(room)).unwrap();
            checkpoint(&options(false), &mut Closing(room)).unwrap();
        }
    }

    #[test]
    fn a_directory_without_a_dump_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = || {
            let options = CheckpointOptions { dir: dir.path().to_owned(), ..options(true) };
            checkpoint(&options, &mut io::sink()).unwrap_err().to_string()
        };
        assert!(refused().contains("no file `info`"), "{}", refused());
        for name in ["db0", "db1"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("info"), "").unwrap();
        }
        assert!(refused().contains("several databases"), "{}", refused());
    }

    #[test]
    fn dates_end_with_the_year_9999() {
        assert_eq!(date(UnixMillis(2_000_000_014_000)), "2033-05-18T03:33:34.000Z");
        assert_eq!(date(UnixMillis(YEAR_10000_MILLIS - 1)), "9999-12-31T23:59:59.999Z");
        assert_eq!(date(UnixMillis(u64::MAX)), "18446744073709551615 ms");
    }
}
