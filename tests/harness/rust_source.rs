// SPDX-License-Identifier: Apache-2.0
//! The project's own sources as text: enough of Rust to tell who uses what.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file.
pub(crate) struct RustSource {
    /// Below the workspace, with slashes.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
    /// Without comments and without the tests at its end.
    pub(crate) code: String,
}

impl RustSource {
    /// Every file of the workspace below these directories.
    pub(crate) fn below(directories: &[&str]) -> Vec<Self> {
        let mut found = Vec::new();
        for directory in directories {
            collect(&workspace().join(directory), &mut found);
        }
        assert!(!found.is_empty(), "there are no sources below {directories:?}");
        found.sort_by(|one, other| one.path.cmp(&other.path));
        found
    }

    /// Whether all of it is compiled for tests only.
    pub(crate) fn is_test(&self) -> bool {
        let in_crate = self.path.split_once("/src/").map_or(&*self.path, |(_, inside)| inside);
        in_crate.contains("tests/") || in_crate.ends_with("tests.rs") || self.path.ends_with("sandbox/redis_server.rs")
    }

    /// The part of its crate that it belongs to: the first directory or file below `src`.
    pub(crate) fn part(&self) -> &str {
        let inside = self.path.split_once("/src/").map_or("", |(_, inside)| inside);
        inside.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// Paths in its code that begin with `root::`, such as `sink::Dialect`, without that beginning. A path that begins
    /// with `super` is one of its crate.
    pub(crate) fn paths(&self, root: &str) -> Vec<String> {
        let mut found = Vec::new();
        let begin = format!("{root}::");
        for (at, _) in self.code.match_indices(&begin) {
            let before = self.code[..at].chars().next_back().unwrap_or(' ');
            if !is_word(before) && before != ':' {
                let mut rest = &self.code[at + begin.len()..];
                tree(&mut rest, "", &mut found);
            }
        }
        found
    }

    /// All paths within its crate, from the root of it.
    pub(crate) fn crate_paths(&self) -> Vec<String> {
        let mut found = self.paths("crate");
        let mut module = self.module();
        let mut begin = "super".to_owned();
        while module.pop().is_some() {
            for path in self.paths(&begin).into_iter().filter(|path| !path.starts_with("super")) {
                let full: Vec<&str> = module.iter().map(String::as_str).chain([&*path]).collect();
                found.push(full.join("::"));
            }
            begin.push_str("::super");
        }
        found
    }

    fn module(&self) -> Vec<String> {
        let inside = self.path.split_once("/src/").map_or("", |(_, inside)| inside).trim_end_matches(".rs");
        inside.split('/').filter(|name| !matches!(*name, "mod" | "lib" | "main")).map(str::to_owned).collect()
    }
}

pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn collect(directory: &Path, found: &mut Vec<RustSource>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(workspace()).unwrap().to_str().unwrap().replace('\\', "/");
            found.push(RustSource { path, code: code(&text), text });
        }
    }
}

/// Only whole lines count as comments: one behind code names nothing that matters here.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Reads a path or a tree of them, as in `a::{b, c::{d, e}}`.
fn tree(rest: &mut &str, begin: &str, found: &mut Vec<String>) {
    skip_space(rest);
    if let Some(group) = rest.strip_prefix('{') {
        *rest = group;
        loop {
            tree(rest, begin, found);
            skip_space(rest);
            match rest.strip_prefix(',') {
                Some(more) => *rest = more,
                None => break,
            }
        }
        *rest = rest.strip_prefix('}').unwrap_or(rest);
        return;
    }
    let word = rest.trim_start_matches("r#");
    let length = word.find(|next| !is_word(next)).unwrap_or(word.len());
    let (name, behind) = word.split_at(length);
    *rest = behind;
    let path = [begin, name].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("::");
    match behind.strip_prefix("::") {
        Some(more) if !more.starts_with('<') => {
            *rest = more;
            tree(rest, &path, found);
        }
        _ if path.is_empty() => {}
        _ => found.push(path),
    }
    if let Some(alias) = rest.strip_prefix(" as ") {
        *rest = alias.trim_start_matches(is_word);
    }
}

fn skip_space(rest: &mut &str) {
    *rest = rest.trim_start();
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[test]
fn paths_are_read_out_of_trees() {
    let text = "use crate::a::{B, c::{D, E as F}, self};\nuse super::g;\nfn f() { crate::h::i(&super::super::j::K) }\n";
    let source = RustSource { path: "x/src/one/two/three.rs".to_owned(), text: String::new(), code: text.to_owned() };
    let mut paths = source.crate_paths();
    paths.sort();
    assert_eq!(paths, ["a::B", "a::c::D", "a::c::E", "a::self", "h::i", "one::j::K", "one::two::g"]);
}
