// SPDX-License-Identifier: Apache-2.0
//! By which names clients call commands.

use std::collections::{HashMap, HashSet};

use super::command_table::Entry;
use super::error::Error;

/// The names of the command table, but for the commands that are renamed.
pub(super) struct Names {
    renamed: HashMap<Vec<u8>, &'static Entry>,
    hidden: HashSet<Vec<u8>>,
}

impl Names {
    /// Renames commands one after the other. A command whose new name is empty or taken is lost, as on the server.
    pub(super) fn new(rename: &[(String, String)]) -> Result<Self, Error> {
        let mut names = Self { renamed: HashMap::new(), hidden: HashSet::new() };
        for (old, new) in rename {
            let entry = names.find(old.as_bytes()).ok_or_else(|| Error::NoCommand { name: old.clone() })?;
            let (old, new) = (old.to_ascii_lowercase().into_bytes(), new.to_ascii_lowercase().into_bytes());
            names.renamed.remove(&old);
            let is_taken = names.find(&new).is_some();
            names.hidden.insert(old);
            if !new.is_empty() && !is_taken {
                names.renamed.insert(new, entry);
            }
        }
        Ok(names)
    }

    /// The command that clients call so, in any case.
    pub(super) fn find(&self, name: &[u8]) -> Option<&'static Entry> {
        if self.hidden.is_empty() {
            return Entry::find(name);
        }
        let name = name.to_ascii_lowercase();
        let own = || if self.hidden.contains(&name) { None } else { Entry::find(&name) };
        self.renamed.get(&name).copied().or_else(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(rename: &[(&str, &str)]) -> Result<Names, Error> {
        Names::new(&rename.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn a_renamed_command_has_its_new_name_only() {
        let names = names(&[("FLUSHDB", "360flushdb"), ("CONFIG", "a-name-longer-than-any-of-the-table")]).unwrap();
        let found = |name: &str| names.find(name.as_bytes()).map(|entry| entry.name);
        assert_eq!(found("FlushDB"), None);
        assert_eq!(found("360FLUSHDB"), Some("flushdb"));
        assert_eq!(found("A-name-longer-than-any-of-the-table"), Some("config"));
        assert_eq!(found("get"), Some("get"));
    }

    #[test]
    fn what_is_not_there_cannot_be_renamed_and_a_taken_name_loses() {
        assert!(matches!(names(&[("nosuch", "other")]), Err(Error::NoCommand { name }) if name == "nosuch"));
        let names = names(&[("keys", "get"), ("scan", "")]).unwrap();
        assert_eq!(names.find(b"get").map(|entry| entry.name), Some("get"));
        assert!(names.find(b"keys").is_none() && names.find(b"scan").is_none());
    }
}
