// SPDX-License-Identifier: Apache-2.0
//! Where a command goes. What is not known to touch one key alone is refused: a fence is only as honest as this table.

use std::collections::HashSet;
use std::sync::LazyLock;

use bytes::Bytes;
use replication::Command;

/// What becomes of a command.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// The proxy answers.
    Local(Bytes),
    /// The proxy answers and ends the session.
    Quit,
    /// It belongs to no slot.
    Keyless,
    /// It asks whether someone is there: the proxy, or the node that is named.
    Ping(Option<Bytes>),
    /// It goes where the slot of its key is.
    Key,
    /// It is cut into one command for each key.
    Split(Split),
}

/// A command of several keys: how it is cut and how the replies become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Split {
    /// One key a part; the replies are numbers to be added.
    Sum,
    /// One key a part; the replies are arrays of one element to be joined.
    Join,
    /// A key and its value a part; the first reply that is not `OK` counts.
    Status,
}

impl Split {
    /// Arguments in one part, behind the name.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Sum | Self::Join => 1,
            Self::Status => 2,
        }
    }
}

/// Where this command goes, or the error reply it gets.
pub(super) fn route(command: &Command) -> Result<Route, Bytes> {
    let name = command.name().to_ascii_uppercase();
    let args = command.args().len().saturating_sub(1);
    let route = match &name[..] {
        b"ECHO" | b"QUIT" | b"SELECT" | b"AUTH" | b"CLIENT" | b"COMMAND" => return local(&name, command),
        b"PING" => Route::Ping(command.key().cloned()),
        b"INFO" | b"TIME" => Route::Keyless,
        b"DEL" | b"UNLINK" | b"EXISTS" => Route::Split(Split::Sum),
        b"MGET" => Route::Split(Split::Join),
        b"MSET" => Route::Split(Split::Status),
        // With several keys it reads a union.
        b"PFCOUNT" if args == 1 => Route::Key,
        name if touches_one_key(name) => Route::Key,
        _ => return Err(error(&format!("command '{}' is not allowed", printable(&name)))),
    };
    let complete = match route {
        Route::Key => args > 0,
        Route::Split(split) => args > 0 && args.is_multiple_of(split.width()),
        _ => true,
    };
    match complete {
        true => Ok(route),
        false => Err(error(&format!("wrong number of arguments for '{}' command", printable(&name)))),
    }
}

/// The reply of a bulk string.
pub(super) fn bulk(text: &[u8]) -> Bytes {
    [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat().into()
}

/// An error reply.
pub(super) fn error(why: &str) -> Bytes {
    Bytes::from(format!("-ERR {why}\r\n"))
}

fn local(name: &[u8], command: &Command) -> Result<Route, Bytes> {
    let argument = command.key().map(|argument| &argument[..]);
    let reply = match (name, argument) {
        (b"QUIT", _) => return Ok(Route::Quit),
        (b"ECHO", Some(text)) => bulk(text),
        (b"SELECT", Some(b"0")) => Bytes::from("+OK\r\n"),
        (b"SELECT", _) => return Err(error("the proxy has only database 0")),
        (b"AUTH", _) => return Err(error("client sent AUTH, but no password is set")),
        // Drivers introduce themselves this way; nothing here depends on it.
        (b"CLIENT", Some(what)) if what.eq_ignore_ascii_case(b"SETINFO") || what.eq_ignore_ascii_case(b"SETNAME") => {
            Bytes::from("+OK\r\n")
        }
        (b"COMMAND", _) => Bytes::from("*0\r\n"),
        _ => return Err(error(&format!("command '{}' is not allowed in this form", printable(name)))),
    };
    Ok(Route::Local(reply))
}

/// The name as far as it can stand in an error reply.
fn printable(name: &[u8]) -> String {
    name[..name.len().min(64)].escape_ascii().to_string()
}

fn touches_one_key(name: &[u8]) -> bool {
    static NAMES: LazyLock<HashSet<&[u8]>> =
        LazyLock::new(|| ONE_KEY.iter().flat_map(|names| names.split_whitespace()).map(str::as_bytes).collect());
    NAMES.contains(name)
}

/// The commands of Redis and Pika whose only key is their first argument.
const ONE_KEY: [&str; 8] = [
    "DUMP EXPIRE EXPIREAT EXPIRETIME PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PTTL RESTORE TTL TYPE",
    "APPEND BITCOUNT BITFIELD BITPOS DECR DECRBY DELVX GET GETBIT GETDEL GETEX GETRANGE GETSET INCR INCRBY INCRBYFLOAT
     PKSETEXAT PSETEX SET SETBIT SETEX SETNX SETRANGE SETVX STRLEN SUBSTR",
    "HDEL HEXISTS HGET HGETALL HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HRANDFIELD HSCAN HSET HSETNX HSTRLEN HVALS",
    "LINDEX LINSERT LLEN LPOP LPOS LPUSH LPUSHX LRANGE LREM LSET LTRIM RPOP RPUSH RPUSHX",
    "SADD SCARD SISMEMBER SMEMBERS SMISMEMBER SPOP SRANDMEMBER SREM SSCAN",
    "ZADD ZCARD ZCOUNT ZINCRBY ZLEXCOUNT ZMSCORE ZPOPMAX ZPOPMIN ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK ZREM
     ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE",
    "XADD XDEL XLEN XRANGE XREVRANGE XTRIM",
    "GEOADD GEODIST GEOHASH GEOPOS PFADD",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &str) -> Result<Route, Bytes> {
        route(&Command::new(words.split(' ').map(str::to_owned)))
    }

    #[test]
    fn routes_by_what_a_command_touches() {
        assert_eq!(of("get k"), Ok(Route::Key));
        assert_eq!(of("Unlink a b"), Ok(Route::Split(Split::Sum)));
        assert_eq!(of("mset a 1 b 2"), Ok(Route::Split(Split::Status)));
        assert_eq!(of("info keyspace"), Ok(Route::Keyless));
        assert_eq!(of("select 0"), Ok(Route::Local(Bytes::from("+OK\r\n"))));
        assert_eq!(of("ping x"), Ok(Route::Ping(Some(Bytes::from("x")))));
        assert_eq!(of("echo x"), Ok(Route::Local(Bytes::from("$1\r\nx\r\n"))));
    }

    #[test]
    fn refuses_what_a_fence_could_not_hold() {
        let forbidden = "FLUSHDB FLUSHALL KEYS SCAN MULTI EXEC RPOPLPUSH SMOVE BLPOP SUNIONSTORE CONFIG BITOP PFMERGE \
                         MSETNX SDIFFSTORE GEORADIUS EVAL XREAD RENAME PKPATTERNMATCHDEL SLOTSMGRTSLOT NONSENSE";
        for name in forbidden.split_whitespace() {
            assert!(of(&format!("{name} a b")).is_err(), "{name}");
        }
        for words in ["get", "mset a", "mset a 1 b", "del", "pfcount a b", "select 1", "client list"] {
            assert!(of(words).is_err(), "{words}");
        }
    }

    #[test]
    fn an_error_reply_stays_one_line() {
        let reply = route(&Command::new(["x\r\n+OK"])).expect_err("no such command");
        assert_eq!(reply, "-ERR command 'X\\r\\n+OK' is not allowed\r\n");
    }
}
