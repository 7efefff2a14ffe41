// SPDX-License-Identifier: Apache-2.0
//! Commands under other names: `rename-command` of a server's configuration.

use std::fmt;
use std::str::FromStr;

use crate::table;

/// One command that a server knows by another name only, written `NAME=NEWNAME`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rename {
    /// The usual name, in upper case.
    name: String,
    /// The name at that server.
    new_name: String,
}

/// The commands that a server knows by other names. Names are compared without case, as servers do.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Renames(Vec<Rename>);

/// Why some renames cannot be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RenameError {
    /// The text does not have the form.
    #[error("`{0}` is no rename: write it as NAME=NEWNAME")]
    Form(String),
    /// The new name already means something else in a log.
    #[error("`{0}` cannot be a new name: it is the name of another command")]
    Taken(String),
    /// A name is renamed twice, or two commands get the same name.
    #[error("`{0}` is named by two renames")]
    Twice(String),
}

impl Rename {
    /// The usual name, in upper case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name at that server.
    pub fn new_name(&self) -> &str {
        &self.new_name
    }
}

impl Renames {
    /// Collects renames of one server.
    ///
    /// # Errors
    /// [`RenameError`] for renames that would leave the meaning of a name open.
    pub fn new(renames: impl IntoIterator<Item = Rename>) -> Result<Self, RenameError> {
        let mut all = Self::default();
        for rename in renames {
            if all.0.contains(&rename) {
                continue;
            }
            for name in [&rename.name, &rename.new_name] {
                let is_same = |other: &str| other.eq_ignore_ascii_case(name);
                if all.0.iter().any(|other| is_same(&other.name) || is_same(&other.new_name)) {
                    return Err(RenameError::Twice(name.clone()));
                }
            }
            all.0.push(rename);
        }
        Ok(all)
    }

    /// Whether every command has its usual name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Rename> {
        self.0.iter()
    }

    /// The name that the server knows the command `name` by.
    pub fn new_name<'a>(&'a self, name: &'a str) -> &'a str {
        let renamed = self.0.iter().find(|rename| rename.name.eq_ignore_ascii_case(name));
        renamed.map_or(name, |rename| &rename.new_name)
    }

    /// The usual name of the command that the server knows as `name`. Names of the server's own making stay as they are:
    /// Pika logs some entries under the usual name, whatever clients have to send.
    pub fn usual_name<'a>(&'a self, name: &'a [u8]) -> &'a [u8] {
        let renamed = self.0.iter().find(|rename| rename.new_name.as_bytes().eq_ignore_ascii_case(name));
        renamed.map_or(name, |rename| rename.name.as_bytes())
    }
}

impl FromStr for Rename {
    type Err = RenameError;

    fn from_str(text: &str) -> Result<Self, RenameError> {
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        match text.split_once('=') {
            Some((name, new_name)) if is_name(name) && is_name(new_name) => {
                // An entry of this name could then be of either command.
                if table::is_known(new_name.as_bytes()) {
                    return Err(RenameError::Taken(new_name.to_owned()));
                }
                Ok(Self { name: name.to_ascii_uppercase(), new_name: new_name.to_owned() })
            }
            _ => Err(RenameError::Form(text.to_owned())),
        }
    }
}

impl fmt::Display for Rename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.new_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renames(texts: &[&str]) -> Result<Renames, RenameError> {
        Renames::new(texts.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>()?)
    }

    #[test]
    fn names_are_found_in_any_case() {
        let renames = renames(&["flushdb=360flushdb", "Config=cfg", "CONFIG=cfg"]).unwrap();
        assert_eq!((renames.new_name("FLUSHDB"), renames.new_name("config")), ("360flushdb", "cfg"));
        assert_eq!(renames.new_name("INFO"), "INFO");
        assert_eq!(renames.usual_name(b"360FlushDB"), b"FLUSHDB");
        assert_eq!(renames.usual_name(b"flushdb"), b"flushdb");
        assert_eq!(renames.iter().map(Rename::to_string).collect::<Vec<_>>(), ["FLUSHDB=360flushdb", "CONFIG=cfg"]);
        assert!(Renames::default().is_empty() && !renames.is_empty());
    }

    #[test]
    fn what_would_be_ambiguous_is_refused() {
        for text in ["", "A", "A=", "=B", "A B=C", "A=B C"] {
            assert_eq!(renames(&[text]), Err(RenameError::Form(text.to_owned())), "{text}");
        }
        assert_eq!(renames(&["DEL=set"]), Err(RenameError::Taken("set".to_owned())));
        assert_eq!(renames(&["DEL=a", "DEL=b"]), Err(RenameError::Twice("DEL".to_owned())));
        assert_eq!(renames(&["DEL=a", "UNLINK=A"]), Err(RenameError::Twice("A".to_owned())));
        assert_eq!(renames(&["DEL=a", "a=b"]), Err(RenameError::Twice("A".to_owned())));
    }
}
