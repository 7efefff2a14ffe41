// SPDX-License-Identifier: Apache-2.0
//! One client: who it is, what it has queued, and how its commands are answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use replication::Command;
use tokio::time::{Instant, timeout_at};

use super::call::is_word;
use super::command_table::{Entry, Run, SessionCommand};
use super::core::Core;
use super::fault::{Fault, Result};
use super::lists::{End, pop_first};
use super::number;
use super::reply::Reply;
use super::transaction::Transaction;

/// The state of one client.
pub(super) struct Session {
    pub(super) core: Arc<Core>,
    pub(super) transaction: Transaction,
    user: Option<User>,
    name: Bytes,
    is_over: bool,
}

/// Who a client is logged in as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum User {
    /// The one with the password.
    Default,
    /// Who sent another password: the server takes it for that of the user `limit`, who has none.
    Limit,
}

/// What a connection does about a command.
pub(super) enum Step {
    /// It sends this.
    Answer(Reply),
    /// It waits for an element, and sends what comes.
    Wait(Wait),
}

/// A BLPOP or BRPOP that found nothing.
pub(super) struct Wait {
    entry: &'static Entry,
    command: Command,
    end: End,
    deadline: Option<Instant>,
}

impl Session {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, transaction: Transaction::default(), user: None, name: Bytes::new(), is_over: false }
    }

    /// Whether the client has said QUIT.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Executes a command, or queues it.
    pub(super) async fn step(&mut self, command: &Command) -> Step {
        self.core.count();
        let answer = match self.accept(command) {
            Ok(entry) if self.transaction.is_open() && !is_about_transactions(entry) => {
                self.transaction.queue(entry, command.clone());
                Reply::Status("QUEUED")
            }
            Ok(entry) => return self.run(entry, command).await,
            Err(fault) => {
                self.transaction.fail();
                fault.reply()
            }
        };
        Step::Answer(answer)
    }

    /// Finds the command and checks what can be checked before it is executed.
    fn accept(&self, command: &Command) -> Result<&'static Entry> {
        let entry = self.core.names.find(command.name()).ok_or_else(|| {
            let name = command.name().to_ascii_lowercase();
            Fault::err([b"unknown command \"", &name[..], b"\""].concat())
        })?;
        let needs_login = self.user.is_none() && self.core.settings.needs_password();
        let is_open = matches!(entry.name, "auth" | "hello" | "quit");
        if needs_login && !is_open {
            return Err(Fault::err("NOAUTH Authentication required."));
        }
        entry.check(command)?;
        Ok(entry)
    }

    async fn run(&mut self, entry: &'static Entry, command: &Command) -> Step {
        Step::Answer(match entry.run {
            Run::Now(handler) => {
                let reply = {
                    let _shared = self.core.database.read().await;
                    self.core.execute(entry, handler, command)
                };
                self.ring_if_pushed(entry);
                reply
            }
            Run::Slowly(handler) => {
                let (core, command) = (self.core.clone(), command.clone());
                let execute = move || {
                    let _shared = core.database.blocking_read();
                    core.execute(entry, handler, &command)
                };
                let done = tokio::task::spawn_blocking(execute).await;
                done.unwrap_or_else(|error| Reply::err(format!("the command failed: {error}")))
            }
            Run::Flush => self.flush(entry, command).await,
            Run::Pop(end) => return self.pop(entry, end, command).await,
            Run::Session(SessionCommand::Exec) => self.exec().await,
            Run::Session(about) => self.about(about, command.args()).unwrap_or_else(Fault::reply),
        })
    }

    /// Wakes those who wait for an element.
    pub(super) fn ring_if_pushed(&self, entry: &Entry) {
        if matches!(entry.name, "lpush" | "rpush" | "rpoplpush") {
            self.core.pushed.notify_waiters();
        }
    }

    /// FLUSHDB, logged as it came, or FLUSHALL, logged as `flushdb`.
    async fn flush(&self, entry: &Entry, command: &Command) -> Reply {
        let core = self.core.clone();
        let (command, is_all) = (command.clone(), entry.name == "flushall");
        if command.args().len() > 1 {
            return Fault::INVALID_ARGUMENT.reply();
        }
        let flush = move || {
            let _exclusive = core.database.blocking_write();
            let logged = if is_all { Command::new(["flushdb"]) } else { command };
            core.flush_unless_saving(is_all, Some(&logged))
        };
        match tokio::task::spawn_blocking(flush).await {
            Ok(done) => done.map_or_else(Fault::reply, |()| Reply::OK),
            Err(error) => Reply::err(format!("the command failed: {error}")),
        }
    }

    async fn pop(&self, entry: &'static Entry, end: End, command: &Command) -> Step {
        let deadline = match wait_time(command) {
            Ok(time) => time.map(|time| Instant::now() + time),
            Err(fault) => return Step::Answer(fault.reply()),
        };
        let wait = Wait { entry, command: command.clone(), end, deadline };
        match wait.attempt(&self.core).await {
            Some(reply) => Step::Answer(reply),
            None => Step::Wait(wait),
        }
    }

    /// Executes a command about the connection, except EXEC.
    pub(super) fn about(&mut self, about: SessionCommand, args: &[Bytes]) -> Result<Reply> {
        match about {
            SessionCommand::Acl if is_word(&args[1], "whoami") => {
                Ok(Reply::text(if self.user == Some(User::Limit) { "limit" } else { "default" }))
            }
            SessionCommand::Acl => Err(Fault::SYNTAX),
            SessionCommand::Auth => self.auth(&args[1..]).map(|()| Reply::OK),
            SessionCommand::Client => self.client(args),
            SessionCommand::Discard => self.discard(),
            SessionCommand::Exec => Err(Fault::err("EXEC without MULTI")),
            SessionCommand::Hello => self.hello(args),
            SessionCommand::Multi => self.transaction.open().map(|()| Reply::OK),
            SessionCommand::Ping => Ok(Reply::Status("PONG")),
            SessionCommand::Quit => {
                self.is_over = true;
                Ok(Reply::OK)
            }
            SessionCommand::Select => match args[1].as_ref() {
                b"0" => Ok(Reply::OK),
                index if number::integer(index).is_some() => {
                    Err(Fault::err("invalid DB index for 'select DB index is out of range'"))
                }
                _ => Err(Fault::err("invalid DB index for 'select'")),
            },
            SessionCommand::Unwatch => {
                self.transaction.unwatch(&self.core);
                Ok(Reply::OK)
            }
            SessionCommand::Watch => self.transaction.watch(&self.core, &args[1..]).map(|()| Reply::OK),
        }
    }

    /// AUTH with a password, or with a user and a password.
    fn auth(&mut self, args: &[Bytes]) -> Result<()> {
        let password = self.core.settings.password();
        let (user, given) = match args {
            [given] => (None, given),
            [user, given, ..] => (Some(user), given),
            [] => return Err(Fault::SYNTAX),
        };
        let is_right = given.as_ref() == password.as_bytes();
        self.user = match user {
            _ if password.is_empty() => {
                return Err(Fault::err("Client sent AUTH, but no password is set"));
            }
            None if is_right => Some(User::Default),
            Some(user) if is_right && user.as_ref() == b"default" => Some(User::Default),
            None => Some(User::Limit),
            Some(user) if user.as_ref() == b"limit" => Some(User::Limit),
            Some(_) => {
                let line = "WRONGPASS invalid username-password pair or user is disabled.";
                return Err(Fault::Refused(line.into()));
            }
        };
        Ok(())
    }

    fn hello(&mut self, args: &[Bytes]) -> Result<Reply> {
        if let Some(version) = args.get(1) {
            match number::integer(version) {
                Some(2 | 3) => {}
                Some(_) => return Err(Fault::Refused("NOPROTO unsupported protocol version".into())),
                None => return Err(Fault::err("Protocol version is not an integer or out of range")),
            }
        }
        let mut rest = args.get(2..).unwrap_or_default();
        while let [option, more @ ..] = rest {
            rest = match more {
                [user, password, more @ ..] if is_word(option, "auth") => {
                    self.auth(&[user.clone(), password.clone()])?;
                    more
                }
                [name, more @ ..] if is_word(option, "setname") => {
                    self.name = Bytes::copy_from_slice(name);
                    more
                }
                _ => {
                    return Err(Fault::err(format!(
                        "Syntax error in HELLO option {}",
                        String::from_utf8_lossy(option)
                    )));
                }
            };
        }
        let text = |text: &str| Reply::text(text);
        let pairs = [text("server"), text("redis"), text("proto"), Reply::Integer(2), text("mode"), text("classic")];
        Ok(Reply::Array(pairs.into_iter().chain([text("role"), text("master")]).collect()))
    }

    fn client(&mut self, args: &[Bytes]) -> Result<Reply> {
        match args {
            [_, verb] if is_word(verb, "getname") => Ok(Reply::Bulk(self.name.clone())),
            [_, verb, name] if is_word(verb, "setname") => {
                self.name = Bytes::copy_from_slice(name);
                Ok(Reply::OK)
            }
            // The server of 4.0.1 does not know it; clients that send it take the error, but some complain.
            [_, verb, _, _] if is_word(verb, "setinfo") => Ok(Reply::OK),
            [_, verb] if is_word(verb, "list") => {
                let lines = self.core.clients.list().into_iter().map(|address| format!("addr={address} fd=0 idle=0\n"));
                Ok(Reply::text(lines.collect::<String>()))
            }
            _ => Err(Fault::err("Syntax error, try CLIENT (LIST [order by [addr|idle]| KILL ip:port)")),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.transaction.unwatch(&self.core);
    }
}

impl Wait {
    /// Waits for an element until the time is over.
    pub(super) async fn finish(self, core: &Core) -> Reply {
        loop {
            let pushed = core.pushed.notified();
            tokio::pin!(pushed);
            // From here on no push is missed.
            pushed.as_mut().enable();
            if let Some(reply) = self.attempt(core).await {
                return reply;
            }
            match self.deadline {
                None => pushed.await,
                Some(deadline) => {
                    if timeout_at(deadline, pushed).await.is_err() {
                        return Reply::NullArray;
                    }
                }
            }
        }
    }

    /// Takes an element, if there is one.
    async fn attempt(&self, core: &Core) -> Option<Reply> {
        let _shared = core.database.read().await;
        pop_now(core, self.entry, self.end, &self.command, true)
    }
}

/// Takes an element off the first of the lists that has one; `locks` says whether their locks are still to be taken.
pub(super) fn pop_now(core: &Core, entry: &Entry, end: End, command: &Command, locks: bool) -> Option<Reply> {
    let args = command.args();
    let keys = &args[1..args.len() - 1];
    let _locks = locks.then(|| core.lock(&keys.iter().collect::<Vec<_>>()));
    let reply = core.change(entry, command, |call| pop_first(call, keys, end))?;
    if !reply.is_error() {
        core.watches.touch(&keys.iter().collect::<Vec<_>>());
    }
    Some(reply)
}

/// How long a BLPOP or BRPOP waits; none is for ever.
fn wait_time(command: &Command) -> Result<Option<Duration>> {
    let text = command.args().last().map(|last| &last[..]).unwrap_or_default();
    let seconds = number::integer(text).ok_or(Fault::NOT_INTEGER)?;
    match u64::try_from(seconds) {
        Ok(0) => Ok(None),
        Ok(seconds @ ..=WAIT_SECONDS_MAX) => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(Fault::err("timeout can't be a negative value and can't exceed the number of seconds in 10 years")),
    }
}

const WAIT_SECONDS_MAX: u64 = 10 * 365 * 24 * 3600;

fn is_about_transactions(entry: &Entry) -> bool {
    matches!(entry.name, "exec" | "discard" | "multi" | "watch")
}
