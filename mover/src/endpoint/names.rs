// SPDX-License-Identifier: Apache-2.0
//! The names by which a server knows its commands, and whether it knows them at all.

use std::sync::Arc;

use redis::{Arg, Cmd, Pipeline, Value};
use replication::Renames;

use crate::Result;
use crate::endpoint::{Client, Endpoint, error_text};

/// The names by which a server knows its commands. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Names {
    renames: Arc<Renames>,
    only_of_pika: bool,
}

impl Names {
    /// A server that knows commands by these names, whatever server it is.
    pub fn new(renames: Renames) -> Self {
        Self { renames: Arc::new(renames), only_of_pika: false }
    }

    /// A server that knows commands by these names if it is a Pika, and by their usual names otherwise.
    pub fn of_pika(renames: Renames) -> Self {
        Self { renames: Arc::new(renames), only_of_pika: true }
    }

    /// What the server knows by other names.
    pub fn renames(&self) -> &Renames {
        &self.renames
    }

    /// The name that the server knows the command `name` by.
    pub fn of<'a>(&'a self, name: &'a str) -> &'a str {
        self.renames.new_name(name)
    }

    /// Whether the names are those of a Pika, and not yet known to be the server's.
    pub(crate) fn are_only_of_pika(&self) -> bool {
        self.only_of_pika
    }

    /// The same commands under the server's names; `None` when nothing is renamed.
    pub(crate) fn renamed(&self, pipeline: &Pipeline) -> Option<Pipeline> {
        if self.renames.is_empty() {
            return None;
        }
        let mut renamed = Pipeline::with_capacity(pipeline.len());
        if pipeline.is_transaction() {
            renamed.atomic();
        }
        for command in pipeline.cmd_iter() {
            renamed.add_command(self.command(command));
        }
        Some(renamed)
    }

    fn command(&self, command: &Cmd) -> Cmd {
        let mut renamed = Cmd::with_capacity(command.args_iter().len(), 0);
        for (index, argument) in command.args_iter().enumerate() {
            match argument {
                Arg::Simple(name) if index == 0 => {
                    renamed.arg(std::str::from_utf8(name).map_or(name, |name| self.of(name).as_bytes()));
                }
                Arg::Simple(argument) => {
                    renamed.arg(argument);
                }
                // A cursor of the driver's own iterators, which are not used here.
                Arg::Cursor => {
                    renamed.cursor_arg(0);
                }
                _ => {}
            }
        }
        renamed
    }
}

/// Whether a server answered that it does not know the command: Pika and Redis begin alike.
pub(crate) fn is_unknown_command(error: &str) -> bool {
    error.trim_start_matches("ERR ").starts_with("unknown command")
}

impl Endpoint {
    /// The error that this server does not know the command that is usually called `name`.
    pub(crate) fn lacks(&self, name: &str) -> crate::Error {
        let (side, known) = (self.side, self.names.of(name));
        let what = if known == name {
            format!("it does not know {name}")
        } else {
            format!("it does not know {name} by the name `{known}`")
        };
        let option = match side {
            crate::Side::Target => "--target-rename",
            _ => "--rename",
        };
        self.unfit(what, format!("renamed? say `{option} {name}=NEWNAME`"))
    }
}

impl Client {
    /// Checks that the server knows these commands, and lets us send them, without having it execute any: each is sent with
    /// a number of arguments that it refuses.
    ///
    /// # Errors
    /// [`Error::Unfit`](crate::Error::Unfit) with the first one that it does not know.
    pub(crate) async fn check_commands(&mut self, names: &[&'static str]) -> Result<()> {
        let mut pipeline = Pipeline::with_capacity(names.len());
        for name in names {
            pipeline.add_command(refused_form(name));
        }
        let replies = self.send(&mut pipeline).await?;
        for (name, reply) in names.iter().zip(replies) {
            let Value::ServerError(error) = reply else { continue };
            let error = error_text(&error);
            if is_unknown_command(&error) {
                return Err(self.endpoint().lacks(name));
            }
            if error.starts_with("NOPERM") {
                let what = format!("it does not let us send {name}: {error}");
                return Err(self.endpoint().unfit(what, "give our user the right to"));
            }
        }
        Ok(())
    }
}

/// The command with arguments for which no server executes it.
fn refused_form(name: &str) -> Cmd {
    let mut command = redis::cmd(name);
    match name {
        // They take none.
        "EXEC" | "MULTI" | "TIME" => {
            command.arg(NOTHING);
        }
        // It takes any number, but no database has this name.
        "BGSAVE" => {
            command.arg(NOTHING);
        }
        _ => {}
    }
    command
}

/// An argument that means nothing to any command.
const NOTHING: &str = "slotmover-asks";

/// What both sides are asked about keys.
pub(crate) const READS: [&str; 27] = [
    "EXISTS",
    "GET",
    "GETRANGE",
    "HGETALL",
    "HLEN",
    "HMGET",
    "HSCAN",
    "LLEN",
    "LRANGE",
    "MGET",
    "PFCOUNT",
    "PTTL",
    "SCAN",
    "SCARD",
    "SISMEMBER",
    "SMEMBERS",
    "SSCAN",
    "STRLEN",
    "TYPE",
    "XINFO",
    "XLEN",
    "XRANGE",
    "ZCARD",
    "ZRANGE",
    "ZREVRANGE",
    "ZSCAN",
    "ZSCORE",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn renames(texts: &[&str]) -> Renames {
        Renames::new(texts.iter().map(|text| text.parse().unwrap())).unwrap()
    }

    #[test]
    fn only_names_are_replaced() {
        let names = Names::new(renames(&["CONFIG=cfg", "GET=fetch"]));
        let mut pipeline = Pipeline::new();
        pipeline.cmd("config").arg("GET").arg("config").cmd("SET").arg("GET").arg(b"\xff\r\n");
        let mut expected = Pipeline::new();
        expected.cmd("cfg").arg("GET").arg("config").cmd("SET").arg("GET").arg(b"\xff\r\n");
        let renamed = names.renamed(&pipeline).unwrap();
        assert_eq!(renamed.get_packed_pipeline(), expected.get_packed_pipeline());
        assert!(Names::default().renamed(&pipeline).is_none());
        assert_eq!((names.of("Config"), names.of("INFO")), ("cfg", "INFO"));
    }

    #[test]
    fn a_server_says_what_it_does_not_know() {
        assert!(is_unknown_command("ERR unknown command \"config\""));
        assert!(is_unknown_command("ERR unknown command 'CONFIG', with args beginning with: "));
        assert!(is_unknown_command("ERR unknown command `CONFIG`, with args beginning with: "));
        assert!(!is_unknown_command("ERR wrong number of arguments for 'config' command"));
        assert!(!is_unknown_command("ERR no such key `unknown command`"));
        let mut endpoint = Endpoint::parse(crate::Side::Source, "h:1", None).unwrap();
        let text = endpoint.lacks("CONFIG").to_string();
        assert!(text.contains("the source at h:1") && text.contains("it does not know CONFIG"), "{text}");
        assert!(text.contains("--rename CONFIG=NEWNAME"), "{text}");
        endpoint.names = Names::of_pika(renames(&["CONFIG=cfg"]));
        let text = endpoint.lacks("CONFIG").to_string();
        assert!(text.contains("by the name `cfg`"), "{text}");
    }

    #[test]
    fn nothing_that_is_asked_for_is_executed() {
        for name in READS.iter().chain(&["CONFIG", "ACL", "DEL", "SET"]) {
            assert_eq!(refused_form(name).args_iter().len(), 1, "{name}");
        }
        for name in ["EXEC", "MULTI", "TIME", "BGSAVE"] {
            assert_eq!(refused_form(name).args_iter().len(), 2, "{name}");
        }
    }
}
