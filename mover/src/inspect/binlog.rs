// SPDX-License-Identifier: Apache-2.0
//! The items of a binlog, and where each says to look again.
//!
//! ```text
//! {"start":"1:34","offset":"1:99","logic_id":7,"time":1795329436,"command":["c2V0","Zm9v","YmFy"],"change":{"key":"Zm9v"}}
//!   offset   the item's end, as Pika names it
//!   command  [] for padding
//!   change   {"key": …} · {"key": …, "elements": […]} when not the whole key · "all" when the database was emptied ·
//!            "anything" when it names none of the keys that it may have changed · null · [ … ] for several
//!   unknown  true, only when the command is none that is known
//! ```

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use replication::binlog::{Content, Item, Tail, first_file};
use replication::{BinlogOffset, Change, Effect, Extent, Renames};
use serde_json::{Value, json};

use super::{Error, base64, quiet};

/// Which log to show, and how.
#[derive(Clone, Debug)]
pub struct BinlogOptions {
    /// The log's folder, which holds `manifest`.
    pub dir: PathBuf,
    /// Where to begin: the end of an item, or the start of a file. `None` is the start of the oldest file.
    pub from: Option<BinlogOffset>,
    /// One JSON object per line instead of text.
    pub json: bool,
    /// The commands that the server knows by other names.
    pub renames: Renames,
}

/// Writes the items of a log up to where it ends now.
///
/// # Errors
///
/// The log cannot be read to its end, or the output cannot be written. What was written before is right.
pub fn binlog(options: &BinlogOptions, out: &mut dyn Write) -> Result<(), Error> {
    quiet(write_binlog(options, &mut BufWriter::new(out)))
}

fn write_binlog(options: &BinlogOptions, out: &mut dyn Write) -> Result<(), Error> {
    let from = match options.from {
        Some(from) => from,
        None => BinlogOffset::new(first_file(&options.dir)?, 0),
    };
    let mut tail = Tail::open(&options.dir, from)?;
    while let Some(item) = tail.next()? {
        match options.json {
            true => writeln!(out, "{}", json_item(&item, &options.renames))?,
            false => text_item(&item, &options.renames, out)?,
        }
    }
    Ok(out.flush()?)
}

fn json_item(item: &Item, renames: &Renames) -> Value {
    let encoded = |bytes: &Bytes| base64(bytes).to_string();
    let change = |change: &Change| match change {
        Change::All => json!("all"),
        Change::Anything => json!("anything"),
        Change::Key { key, extent: Extent::Whole | Extent::Value { .. } | Extent::Steps(_) } => {
            json!({ "key": encoded(key) })
        }
        Change::Key { key, extent: Extent::Cut { elements, cut } } if cut.is_open() => {
            let elements: Vec<_> = elements.iter().map(encoded).collect();
            json!({ "key": encoded(key), "elements": elements, "cut": true })
        }
        Change::Key { key, extent: Extent::Elements(elements) | Extent::Cut { elements, .. } } => {
            let elements: Vec<_> = elements.iter().map(encoded).collect();
            json!({ "key": encoded(key), "elements": elements })
        }
    };
    let (changes, unknown) = changes(item, renames);
    let mut line = json!({
        "start": item.start.to_string(),
        "offset": item.end.to_string(),
        "logic_id": item.logic_id,
        "time": item.time.0,
        "command": arguments(item).iter().map(encoded).collect::<Vec<_>>(),
        "change": match &changes[..] {
            [] => Value::Null,
            [only] => change(only),
            several => several.iter().map(change).collect(),
        },
    });
    if unknown {
        line["unknown"] = true.into();
    }
    line
}

fn text_item(item: &Item, renames: &Renames, out: &mut dyn Write) -> io::Result<()> {
    let time = UNIX_EPOCH + Duration::from_secs(item.time.0.into());
    let time = humantime::format_rfc3339_seconds(time);
    write!(out, "{:<14} {time} #{:<8}", item.end.to_string(), item.logic_id)?;
    match item.content {
        Content::Command(_) => {
            for argument in arguments(item) {
                write!(out, " {}", shortened(argument))?;
            }
        }
        Content::Padding => out.write_all(b" (padding)")?,
    }
    let (changes, unknown) = changes(item, renames);
    out.write_all(if unknown { b"  -> unknown," } else { b"  ->" })?;
    if changes.is_empty() {
        out.write_all(b" nothing")?;
    }
    for change in &changes {
        match change {
            Change::All => out.write_all(b" everything")?,
            Change::Anything => out.write_all(b" anything")?,
            Change::Key { key, extent: Extent::Whole | Extent::Value { .. } | Extent::Steps(_) } => {
                write!(out, " {}", shortened(key))?;
            }
            Change::Key { key, extent: Extent::Cut { elements, cut } } if cut.is_open() => {
                write!(out, " {elements} and an end of {}", shortened(key), elements = elements.len())?;
            }
            Change::Key { key, extent: Extent::Elements(elements) | Extent::Cut { elements, .. } } => {
                write!(out, " {elements} of {}", shortened(key), elements = elements.len())?;
            }
        }
    }
    writeln!(out)
}

fn arguments(item: &Item) -> &[Bytes] {
    match &item.content {
        Content::Command(command) => command.args(),
        Content::Padding => &[],
    }
}

/// Where to look again, and whether that is a guess.
fn changes(item: &Item, renames: &Renames) -> (Vec<Change>, bool) {
    match Effect::of_item(item, renames) {
        Effect::Ignored => (Vec::new(), false),
        Effect::Changes(changes) => (changes, false),
        Effect::Unknown(changes) => (changes, true),
    }
}

/// The start of some bytes as a string literal.
fn shortened(bytes: &Bytes) -> String {
    match bytes.get(..SHOWN_BYTES) {
        Some(start) if bytes.len() > SHOWN_BYTES => format!("\"{}…\"", start.escape_ascii()),
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}

const SHOWN_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::super::testing::{Closing, fixtures};
    use super::*;

    fn options(from: Option<BinlogOffset>, json: bool) -> BinlogOptions {
        BinlogOptions { dir: fixtures().join("log/log_db0"), from, json, renames: Renames::default() }
    }

    fn shown(options: &BinlogOptions) -> String {
        let mut out = Vec::new();
        binlog(options, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn lines(text: &str) -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn json_is_what_another_reader_found() {
        let expected = std::fs::read_to_string(fixtures().join("binlog-decoded.jsonl")).unwrap();
        let shown = lines(&shown(&options(None, true)));
        let expected = lines(&expected);
        assert_eq!(shown.len(), expected.len());
        for (line, record) in shown.iter().zip(&expected) {
            let end = format!("{}:{}", record["file"], record["end"]);
            assert_eq!((&line["offset"], &line["logic_id"]), (&json!(end), &record["logic_id"]));
            assert_eq!(line.get("unknown"), None, "{line}");
        }
        assert!(shown.windows(2).all(|pair| {
            let new_file = pair[1]["start"].as_str().unwrap().ends_with(":0");
            new_file || pair[0]["offset"] == pair[1]["start"]
        }));
    }

    #[test]
    fn begins_at_the_cut() {
        let text = shown(&options(Some(BinlogOffset::new(1, 212_177)), true));
        let all = lines(&text);
        assert_eq!(all[0]["start"], "1:212177");
        assert_eq!(all[0]["logic_id"], 1477);
        let changed = all.iter().filter(|line| line["change"]["key"].is_string()).count();
        let partly = all.iter().filter(|line| line["change"]["elements"].is_array()).count();
        assert!(changed > 100 && partly > 10, "{changed} {partly}");
        for line in &all {
            // Whatever changes is named by the command.
            let command: Vec<_> = line["command"].as_array().unwrap().iter().collect();
            if line["change"]["key"].is_string() {
                assert!(command.contains(&&line["change"]["key"]), "{line}");
            }
            assert!(!STANDARD.decode(command[0].as_str().unwrap()).unwrap().is_empty());
        }
    }

    #[test]
    fn text_has_a_line_per_item() {
        let (text, json) = (shown(&options(None, false)), shown(&options(None, true)));
        assert_eq!(text.lines().count(), json.lines().count());
        assert!(text.lines().all(|line| line.contains("  ->")));
    }

    #[test]
    fn a_closed_output_is_a_quiet_end() {
        for room in [0, 100, 10_000] {
            binlog(&options(None, true), &mut Closing(room)).unwrap();
            binlog(&options(None, false), &mut Closing(room)).unwrap();
        }
    }

    #[test]
    fn an_offset_within_an_item_is_refused() {
        let error = binlog(&options(Some(BinlogOffset::new(1, 212_178)), true), &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("write2file1"), "{error}");
        let error = binlog(&options(Some(BinlogOffset::new(9, 0)), true), &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("9:0"), "{error}");
    }
}
