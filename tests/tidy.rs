// SPDX-License-Identifier: Apache-2.0
//! The rules that the sources keep among themselves, held by reading them.

use std::collections::BTreeMap;
use std::fs;

use crate::harness::{RustSource, workspace};

#[test]
fn crates_depend_in_one_direction() {
    for source in sources() {
        let siblings: &[&str] = match source.path.split('/').next() {
            Some("replication") => &["snapshot", "mover"],
            Some("snapshot") => &["mover"],
            _ => &[],
        };
        for sibling in siblings {
            assert_eq!(source.paths(sibling), [""; 0], "{} uses {sibling}", source.path);
        }
        if source.path.starts_with("snapshot/") {
            let beyond: Vec<_> = source.paths("replication").into_iter().filter(|path| path.contains("::")).collect();
            assert_eq!(beyond, [""; 0], "{}: snapshot knows replication's root only", source.path);
        }
    }
}

#[test]
fn parts_of_the_mover_know_what_they_may() {
    let sources: Vec<_> = sources().into_iter().filter(|source| source.path.starts_with("mover/src/")).collect();
    let mut used = BTreeMap::new();
    for source in &sources {
        let Some((_, allowed)) = MAY_USE.iter().find(|(part, _)| *part == source.part()) else { continue };
        for path in source.crate_paths() {
            let head = path.split("::").next().unwrap();
            let is_root_item = head.starts_with(char::is_uppercase);
            if is_root_item || head == source.part() {
                continue;
            }
            let rule = allowed.iter().find(|allowed| path == **allowed || path.starts_with(&format!("{allowed}::")));
            let rule = rule.unwrap_or_else(|| panic!("{} must not use crate::{path}", source.path));
            *used.entry((source.part(), *rule)).or_insert(0) += 1;
        }
    }
    for (part, allowed) in MAY_USE {
        assert!(sources.iter().any(|source| source.part() == *part), "there is no part {part}");
        for rule in *allowed {
            assert!(used.contains_key(&(*part, *rule)), "{part} does not use crate::{rule} any more: forbid it");
        }
    }
}

/// The parts of the mover with rules, and all that each of them may use besides the crate's root.
const MAY_USE: &[(&str, &[&str])] = &[
    ("batch", &[]),
    ("endpoint", &[]),
    ("error", &[]),
    ("inspect", &[]),
    ("record", &[]),
    ("routing", &["endpoint", "record"]),
    // The traits, never what implements them.
    ("flow", &["batch", "sink::Answers", "sink::Outlet", "sink::Sink"]),
    ("dialect", &["endpoint"]),
    ("source", &["batch", "dialect", "endpoint"]),
    ("sink", &["batch", "dialect", "endpoint", "error", "wire"]),
    ("wire", &["batch"]),
    ("receiver", &["batch", "dialect", "endpoint", "flow", "sink", "source", "wire"]),
    ("job", &["batch", "dialect", "endpoint", "flow", "record", "routing", "sink", "source"]),
    ("sandbox", &["endpoint", "job", "routing"]),
    ("main", &[]),
];

#[test]
fn packages_have_one_home() {
    for source in sources() {
        for (package, homes) in HOMES {
            let is_home = homes.iter().any(|home| source.path.starts_with(home));
            assert!(is_home || source.paths(package).is_empty(), "{} uses {package}", source.path);
        }
    }
}

const HOMES: &[(&str, &[&str])] = &[
    ("rocksdb", &["snapshot/src/"]),
    ("governor", &["mover/src/flow/meter.rs"]),
    ("flume", &["mover/src/flow/", "mover/src/sink/redis.rs", "mover/src/job/verify/"]),
    ("redis", &["mover/src/endpoint/", "mover/src/source/", "mover/src/sink/", "mover/src/job/verify/"]),
    ("clap", &["mover/src/cli/"]),
    ("indicatif", &["mover/src/cli/"]),
    ("anyhow", &["mover/src/cli/"]),
    ("humantime", &["mover/src/cli/", "mover/src/inspect/", "mover/src/sandbox/codis/process.rs"]),
    ("tracing_subscriber", &["mover/src/cli/"]),
    (
        "bytesize",
        &[
            "mover/src/cli/",
            "mover/src/flow/",
            "mover/src/error.rs",
            "mover/src/job/",
            "mover/src/lib.rs",
            "mover/src/receiver/",
        ],
    ),
    ("ureq", &["mover/src/routing/codis/http.rs"]),
    ("rustix", &["mover/src/routing/hooks/call.rs", "mover/src/routing/guard/settle.rs", "mover/src/cli/accident.rs"]),
    ("sha2", &["mover/src/routing/codis/xauth.rs", "mover/src/sandbox/codis/xauth.rs", "mover/src/wire/token.rs"]),
    ("hmac", &["mover/src/wire/token.rs"]),
    ("tokio_rustls", &["mover/src/wire/tls.rs"]),
    ("zstd_safe", &["mover/src/wire/compress.rs"]),
    ("itoa", &["mover/src/sink/render.rs", "mover/src/sink/compare/question.rs"]),
    ("hdrhistogram", &["mover/src/sandbox/"]),
    (
        "rand",
        &[
            "mover/src/sandbox/",
            "mover/src/endpoint/mod.rs",
            "mover/src/source/page.rs",
            "mover/src/job/cutover/",
            "mover/src/job/journal/",
            "mover/src/routing/codis/nonce.rs",
            "mover/src/wire/handshake.rs",
        ],
    ),
    ("tokio_stream", &["mover/src/job/updates.rs"]),
    ("lru", &["mover/src/source/known.rs", "mover/src/sandbox/"]),
];

#[test]
fn only_the_command_line_speaks_and_exits() {
    let speakers = ["mover/src/cli/", "mover/src/main.rs"];
    let words = ["println!", "eprint!", "print!(", "stdin()", "stdout()", "stderr()", "process::exit", "env::args"];
    for source in sources() {
        if speakers.iter().any(|speaker| source.path.starts_with(speaker)) {
            continue;
        }
        for word in words {
            assert!(!source.code.contains(word), "{} has {word}", source.path);
        }
    }
}

#[test]
fn files_and_functions_are_short() {
    for source in all() {
        let lines = source.text.lines().count();
        assert!(lines <= FILE_LINES, "{} has {lines} lines", source.path);
        for (name, lines) in functions(&source.text) {
            assert!(lines <= FUNCTION_LINES, "{}: {name} has {lines} lines", source.path);
        }
    }
}

#[test]
fn nothing_is_left_undone() {
    // In two halves, so that this file passes.
    // A test that is left out must say why.
    let words = [("dbg", "!"), ("todo", "!"), ("unimplemented", "!"), ("#[ign", "ore]"), ("FIX", "ME"), ("XX", "X:")];
    for source in all() {
        for (one, other) in words {
            let word = format!("{one}{other}");
            assert!(!source.text.contains(&word), "{} has {word}", source.path);
        }
        let head = source.text.lines().next();
        assert_eq!(head, Some("// SPDX-License-Identifier: Apache-2.0"), "{}", source.path);
    }
}

#[test]
fn no_file_names_a_place_of_one_machine() {
    let mut texts: Vec<_> = all().into_iter().map(|source| (source.path, source.text)).collect();
    for name in ["Cargo.toml", "Makefile", "README.md", "CHANGELOG.md", ".ci/run", ".ci/setup"] {
        // Not every one of them must exist.
        if let Ok(text) = fs::read_to_string(workspace().join(name)) {
            texts.push((name.to_owned(), text));
        }
    }
    let places = [("/wo", "rk/"), ("/ro", "ot/"), ("/ho", "me/"), ("/Us", "ers/"), ("/tm", "p/")];
    for (path, text) in texts {
        for (one, other) in places {
            let place = format!("{one}{other}");
            assert!(!text.contains(&place), "{path} names {place}");
        }
    }
}

/// What is compiled into the crates.
fn sources() -> Vec<RustSource> {
    let all = RustSource::below(&["replication/src", "snapshot/src", "mover/src"]);
    all.into_iter().filter(|source| !source.is_test()).collect()
}

fn all() -> Vec<RustSource> {
    let mut directories = vec!["replication", "snapshot", "mover", "tests"];
    directories.extend(workspace().join("benches").is_dir().then_some("benches"));
    RustSource::below(&directories)
}

/// The functions of a formatted file and their lines: from `fn` to the brace of the same indentation.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (begin, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some((modifiers, rest)) = code.split_once("fn ") else { continue };
        let is_head = modifiers
            .split_whitespace()
            .all(|word| matches!(word, "const" | "async" | "unsafe" | "extern") || word.starts_with("pub"));
        if !is_head || code.ends_with('}') || code.ends_with(';') {
            continue;
        }
        let name = rest.split(['(', '<']).next().unwrap_or_default();
        let end = format!("{}}}", &line[..line.len() - code.len()]);
        if let Some(length) = lines[begin..].iter().position(|line| *line == end) {
            found.push((name.to_owned(), length + 1));
        }
    }
    found
}

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

#[test]
fn functions_are_found_with_their_length() {
    let text = "impl X {\n    pub(crate) async fn a() {\n        b();\n    }\n}\nfn c(x: u8)\n{\n}\nfn d() {}\n";
    assert_eq!(functions(text), [("a".to_owned(), 3), ("c".to_owned(), 3)]);
}
