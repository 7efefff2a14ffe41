// SPDX-License-Identifier: Apache-2.0
//! A server by its address, and a connection to ask it things.
//!
//! Asking goes through the redis crate. Only the bulk path to the target has a connection of its own
//! ([`crate::sink`]).

mod identity;
mod names;

pub use identity::Identity;
pub(crate) use identity::check_no_raft;
pub use names::Names;
pub(crate) use names::READS;
use names::is_unknown_command;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ConnectionAddr, IntoConnectionInfo, Pipeline, RedisConnectionInfo, Value};
use snapshot::UnixMillis;

use crate::{Error, Result, Side};

/// Where a server is, and how it lets us in.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The side of the move it is on: it stands in every error.
    pub side: Side,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Its password, if it has one.
    pub password: Option<Password>,
    /// The database, as SELECT takes it.
    pub database: u32,
    /// The names that it knows commands by.
    pub names: Names,
}

impl Endpoint {
    /// The endpoint `HOST:PORT`; an IPv6 address stands in brackets.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the text.
    pub fn parse(side: Side, text: &str, password: Option<Password>) -> Result<Self, String> {
        let fault = || format!("`{text}` is no address of the {side}: write it as HOST:PORT");
        let (host, port) = text.rsplit_once(':').ok_or_else(fault)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse().map_err(|_| fault())?;
        if host.is_empty() {
            return Err(fault());
        }
        Ok(Self { side, host: host.to_owned(), port, password, database: 0, names: Names::default() })
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Connects, logs in and asks for a sign of life.
    ///
    /// # Errors
    /// [`Error::Connect`] when the server is not there, does not answer in [`CONNECT_TIMEOUT`] or refuses the password.
    pub async fn connect(&self) -> Result<Client> {
        let failed = |fault: redis::RedisError| self.refused(fault.to_string());
        let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
        // The driver knows the usual names only.
        let is_usual = ["AUTH", "SELECT"].iter().all(|name| self.names.of(name) == *name);
        if is_usual {
            login = login.set_db(i64::from(self.database));
            if let Some(password) = &self.password {
                login = login.set_password(password.reveal());
            }
        }
        let address = ConnectionAddr::Tcp(self.host.clone(), self.port);
        let info = address.into_connection_info().map_err(failed)?.set_redis_settings(login);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let client = redis::Client::open(info).map_err(failed)?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)?;
        let mut client = Client { connection, endpoint: self.clone(), is_torn: Arc::default() };
        if !is_usual {
            client.log_in().await?;
        }
        match client.ping().await {
            Ok(()) => Ok(client),
            Err(Error::Reply { reply, .. }) => Err(self.refused(reply)),
            Err(error) => Err(error),
        }
    }

    /// The error that there is no connection, or that the server will not let us in.
    pub(crate) fn refused(&self, fault: String) -> Error {
        let (side, address) = (self.side, self.address());
        let refusals = ["NOAUTH", "WRONGPASS", "invalid password", "authentication failed"];
        match refusals.iter().any(|refusal| fault.contains(refusal)) {
            true => Error::Login { side, address, fault: format!("{fault}; check the password") },
            false => Error::Connect { side, address, fault },
        }
    }

    /// The error that the connection to this server broke.
    pub(crate) fn lost(&self, fault: impl fmt::Display) -> Error {
        Error::Lost { side: self.side, address: self.address(), fault: fault.to_string() }
    }

    /// The error that this server answered `command` with `reply`.
    pub(crate) fn answered(&self, command: &str, reply: impl Into<String>) -> Error {
        Error::Reply { side: self.side, address: self.address(), command: command.to_owned(), reply: reply.into() }
    }

    /// The error that this server is not as a move needs it.
    pub(crate) fn unfit(&self, what: impl Into<String>, help: impl Into<String>) -> Error {
        Error::Unfit { side: self.side, address: self.address(), what: what.into(), help: help.into() }
    }
}

/// A password that does not show in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// A connection for questions; clones share it.
#[derive(Clone)]
pub struct Client {
    connection: MultiplexedConnection,
    endpoint: Endpoint,
    /// Whether answers have come that no command of ours asked for: from there on none can be told from the next.
    is_torn: Arc<AtomicBool>,
}

impl Client {
    /// The server at the other end.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends one command and takes its answer.
    ///
    /// # Errors
    /// [`Error::Reply`] when the answer is an error, [`Error::Lost`] when there is none.
    pub async fn ask(&mut self, command: &Cmd) -> Result<Value> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(command.clone());
        let mut replies = self.send(&mut pipeline).await?;
        match replies.pop() {
            Some(Value::ServerError(error)) => Err(self.refusal(&name_of(command), error_text(&error))),
            Some(value) => Ok(value),
            None => Err(self.endpoint.lost("no answer")),
        }
    }

    /// Another connection to the same server: whoever reads keys has one alone, so that no answer can be taken for one of
    /// somebody else's.
    ///
    /// # Errors
    /// As [`Endpoint::connect`].
    pub async fn another(&self) -> Result<Self> {
        self.endpoint.connect().await
    }

    /// Sends the commands of a pipeline and takes all answers; errors among them are values.
    ///
    /// A Pika quotes names in its errors as they are, and one with an end of line would pass for two answers. So each
    /// pipeline ends with a question of which the answer cannot be guessed: where that is not the last one, all are void
    /// and the connection is not used again.
    ///
    /// # Errors
    /// [`Error::Lost`] when the connection breaks, does not answer in [`RESPONSE_TIMEOUT`], or answers more or less than
    /// was asked.
    pub async fn ask_all(&mut self, pipeline: &mut Pipeline) -> Result<Vec<Value>> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let seal = format!("{:032x}", rand::random::<u128>());
        pipeline.cmd("ECHO").arg(&seal);
        let mut replies = self.send(pipeline).await?;
        if matches!(replies.pop(), Some(Value::BulkString(last)) if last == seal.as_bytes()) {
            return Ok(replies);
        }
        self.is_torn.store(true, Ordering::Release);
        Err(self.endpoint.lost("it answered something else than was asked"))
    }

    /// Sends commands of which no error quotes a name, and takes all answers.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub(crate) async fn send(&mut self, pipeline: &mut Pipeline) -> Result<Vec<Value>> {
        if self.is_torn.load(Ordering::Acquire) {
            return Err(self.endpoint.lost("its answers are not those of our commands any more"));
        }
        let mut renamed = self.endpoint.names.renamed(pipeline);
        let pipeline = renamed.as_mut().unwrap_or(pipeline);
        pipeline.ignore_errors();
        let replies: Result<Vec<Value>, _> = pipeline.query_async(&mut self.connection).await;
        let replies = replies.map_err(|fault| self.endpoint.lost(fault))?;
        match replies.len() == pipeline.len() {
            true => Ok(replies),
            false => Err(self.endpoint.lost(format!("{} answers to {} commands", replies.len(), pipeline.len()))),
        }
    }

    /// Logs in under other names than the usual ones.
    async fn log_in(&mut self) -> Result<()> {
        let Endpoint { password, database, .. } = self.endpoint.clone();
        let refused = |error| match error {
            Error::Reply { reply, .. } => reply,
            other => other.to_string(),
        };
        if let Some(password) = password {
            let login = self.ask(redis::cmd("AUTH").arg(password.reveal())).await;
            login.map_err(|error| self.endpoint.refused(refused(error)))?;
        }
        if database != 0 {
            let selected = self.ask(redis::cmd("SELECT").arg(database)).await;
            selected.map_err(|error| self.endpoint.refused(refused(error)))?;
        }
        Ok(())
    }

    /// The error that the server refused a command with this text.
    fn refusal(&self, command: &str, reply: String) -> Error {
        if is_unknown_command(&reply) { self.endpoint.lacks(command) } else { self.endpoint.answered(command, reply) }
    }

    /// The same connection to a server that knows its commands by these names.
    pub(crate) fn named(mut self, names: Names) -> Self {
        self.endpoint.names = names;
        self
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn ping(&mut self) -> Result<()> {
        self.ask(&redis::cmd("PING")).await.map(drop)
    }

    /// That it is a master; else says why it must be.
    ///
    /// # Errors
    /// [`Error::Unfit`].
    pub async fn check_master(&mut self, why: &str) -> Result<()> {
        match self.info("replication").await?.get("role") {
            Some("master") => Ok(()),
            role => {
                let what = format!("its role is {}, not master", role.unwrap_or("unknown"));
                Err(self.endpoint.unfit(what, format!("name the master of its group: {why}")))
            }
        }
    }

    /// That it is the process of this run still, and a master.
    ///
    /// # Errors
    /// [`Error::Lost`] after a restart, [`Error::Unfit`] for a replica.
    pub async fn check_same(&mut self, run: &str) -> Result<()> {
        if self.info("server").await?.get("run_id").unwrap_or_default() != run {
            return Err(self.endpoint.lost("it was started anew"));
        }
        self.check_master("it was one when the move began").await
    }

    /// Deletes keys with this command, and tells of each whether it was there.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn delete(&mut self, command: &str, keys: &[Vec<u8>]) -> Result<Vec<bool>> {
        let mut removal = Pipeline::with_capacity(keys.len());
        for key in keys {
            removal.cmd(command).arg(&key[..]);
        }
        let mut were_there = Vec::with_capacity(keys.len());
        for reply in self.ask_all(&mut removal).await? {
            match reply {
                Value::Int(count) => were_there.push(count > 0),
                Value::ServerError(error) => return Err(self.refusal(command, error_text(&error))),
                other => return Err(self.endpoint.answered(command, format!("{other:?}"))),
            }
        }
        Ok(were_there)
    }

    /// One page of the server's keys, and the cursor of the next page; `None` after the last one.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn scan(&mut self, cursor: &str) -> Result<(Vec<Vec<u8>>, Option<String>)> {
        let page = self.ask(redis::cmd("SCAN").arg(cursor).arg("COUNT").arg(scan_count())).await?;
        let (next, keys): (String, Vec<Vec<u8>>) =
            redis::from_redis_value_ref(&page).map_err(|_| self.endpoint.answered("SCAN", format!("{page:?}")))?;
        Ok((keys, (next != "0").then_some(next)))
    }

    /// Checks that a Pika takes us for its user `default`. With a password it does not know, a Pika without a `userpass`
    /// lets everybody in as the user `limit`, who may not do all that a move needs.
    ///
    /// # Errors
    /// [`Error::Login`] for any other user.
    pub async fn check_user(&mut self) -> Result<()> {
        let user = match self.ask(redis::cmd("ACL").arg("WHOAMI")).await? {
            Value::BulkString(user) => String::from_utf8_lossy(&user).into_owned(),
            Value::SimpleString(user) => user,
            other => return Err(self.endpoint.answered("ACL WHOAMI", format!("{other:?}"))),
        };
        if user == "default" {
            return Ok(());
        }
        let fault = format!("it takes us for its user `{user}`, not for `default`; check the password");
        Err(Error::Login { side: self.endpoint.side, address: self.endpoint.address(), fault })
    }

    /// The value of a setting.
    ///
    /// # Errors
    /// [`Error::Reply`] when the server has no such setting.
    pub async fn setting(&mut self, name: &str) -> Result<String> {
        let reply = self.ask(redis::cmd("CONFIG").arg("GET").arg(name)).await?;
        if let Value::Array(pair) = &reply
            && let [_, Value::BulkString(value)] = &pair[..]
        {
            return Ok(String::from_utf8_lossy(value).into_owned());
        }
        Err(self.endpoint.answered(&format!("CONFIG GET {name}"), format!("{reply:?}")))
    }

    /// Changes a setting.
    ///
    /// # Errors
    /// [`Error::Reply`] when the server refuses.
    pub async fn change_setting(&mut self, name: &str, value: &str) -> Result<()> {
        self.ask(redis::cmd("CONFIG").arg("SET").arg(name).arg(value)).await.map(drop)
    }

    /// The sections of `INFO` as one text.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn info(&mut self, section: &str) -> Result<Info> {
        match self.ask(redis::cmd("INFO").arg(section)).await? {
            Value::BulkString(text) => Ok(Info(String::from_utf8_lossy(&text).into_owned())),
            Value::SimpleString(text) => Ok(Info(text)),
            other => Err(self.endpoint.answered("INFO", format!("{other:?}"))),
        }
    }
}

/// What `INFO` answered.
#[derive(Clone, Debug)]
pub struct Info(String);

impl Info {
    /// What a server would have answered with `text`.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The value behind `name:`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }
}

/// The text of an error as the server sent it.
pub(crate) fn error_text(error: &redis::ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

fn name_of(command: &Cmd) -> String {
    match command.args_iter().next() {
        Some(redis::Arg::Simple(name)) => String::from_utf8_lossy(name).into_owned(),
        _ => String::new(),
    }
}

/// How long a server may take to accept a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server may take to answer. A page of a big key behind a compaction may take seconds; a minute without
/// a byte is a broken peer.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Keys in one page: short enough that SCAN does not hold the server's other clients.
///
/// The number is another one each time. Pika's cursors are sums of the counts, shared by all clients that scan, so ours
/// should not be those of others; and where a key of one byte begins a page it loses its place, which then should not
/// happen at the same key again.
pub(crate) fn scan_count() -> u64 {
    900 + UnixMillis::now().0 % 200
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        let parse = |text| Endpoint::parse(Side::Source, text, None);
        assert_eq!(parse("db-1:9221").unwrap().address(), "db-1:9221");
        assert_eq!(parse("[::1]:9221").unwrap().address(), "[::1]:9221");
        for text in ["", "db-1", ":9221", "db-1:", "db-1:x", "db-1:70000"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_does_not_show() {
        assert_eq!(format!("{:?}", Password::new("s3cret")), "Password(..)");
    }
}
