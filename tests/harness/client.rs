// SPDX-License-Identifier: Apache-2.0
//! A blocking client of any server that speaks RESP.

use std::net::SocketAddr;

use redis::{Connection, Value};

use super::HANG;

pub(crate) struct Client {
    connection: Connection,
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        Self::log_in(addr, None)
    }

    pub(crate) fn log_in(addr: SocketAddr, password: Option<&str>) -> Self {
        let login = password.map(|password| format!(":{password}@")).unwrap_or_default();
        let client = redis::Client::open(format!("redis://{login}{addr}/")).unwrap();
        let connection = client.get_connection_with_timeout(HANG).unwrap();
        connection.set_read_timeout(Some(HANG)).unwrap();
        Self { connection }
    }

    /// Waits without an end: with one, a signal to this process, as of a child that ended, would end the wait.
    pub(crate) fn patient(self) -> Self {
        self.connection.set_read_timeout(None).unwrap();
        self
    }

    /// Sends a command; what it answers, or the text of the error.
    pub(crate) fn call<A: AsRef<[u8]>>(&mut self, args: impl IntoIterator<Item = A>) -> Result<Value, String> {
        let mut command = redis::Cmd::new();
        args.into_iter().for_each(|arg| {
            command.arg(arg.as_ref());
        });
        match command.query(&mut self.connection) {
            Ok(Value::ServerError(error)) => Err(format!("{error:?}")),
            Ok(value) => Ok(value),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Runs a command that is given as words and must not fail.
    pub(crate) fn run(&mut self, words: &str) -> Value {
        self.call(words.split(' ')).unwrap_or_else(|error| panic!("{words}: {error}"))
    }

    /// Sets so many strings that come behind most names.
    pub(crate) fn fill(&mut self, count: usize) {
        let numbers: Vec<usize> = (0..count).collect();
        for numbers in numbers.chunks(1000) {
            let mut pipe = redis::pipe();
            numbers.iter().for_each(|number| {
                pipe.set(format!("~{number}"), format!("value of {number}")).ignore();
            });
            pipe.exec(&mut self.connection).unwrap();
        }
    }

    /// Sends many commands at once, none of which may fail.
    pub(crate) fn pipe(&mut self, pipe: &redis::Pipeline) {
        pipe.exec(&mut self.connection).unwrap();
    }

    /// The same, for an answer that is a number.
    pub(crate) fn number(&mut self, words: &str) -> i64 {
        match self.run(words) {
            Value::Int(number) => number,
            other => panic!("{words}: {other:?}"),
        }
    }

    /// A setting of the server.
    pub(crate) fn setting(&mut self, name: &str) -> String {
        match self.run(&format!("CONFIG GET {name}")) {
            Value::Array(pair) => match &pair[..] {
                [_, Value::BulkString(value)] => String::from_utf8(value.clone()).unwrap(),
                other => panic!("{name}: {other:?}"),
            },
            other => panic!("{name}: {other:?}"),
        }
    }
}
