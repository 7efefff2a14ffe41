// SPDX-License-Identifier: Apache-2.0
//! Which commands there are.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use replication::Command;

use super::call::{Answer, Call};
use super::fault::Fault;
use super::lists::End;
use super::{
    admin, bits, geo, hashes, hyperloglogs, info, key_scan, keys, lists, sets, settings, streams, strings, zset_ranges,
    zsets,
};

/// What executes a command.
pub(super) type Handler = fn(&Call<'_>) -> Answer;

/// One command.
pub(super) struct Entry {
    /// Its name in lower case.
    pub(super) name: &'static str,
    /// How many arguments it takes, its name included; where negative, at least so many.
    arity: i32,
    /// Whether it is locked, logged and seen by WATCH.
    pub(super) writes: bool,
    /// Which of its arguments are locked.
    pub(super) keys: Keys,
    /// How it is executed.
    pub(super) run: Run,
}

/// How a command is executed.
#[derive(Clone, Copy)]
pub(super) enum Run {
    /// At once: it takes microseconds.
    Now(Handler),
    /// Where it may take long without keeping other clients waiting.
    Slowly(Handler),
    /// With the lock of the database held exclusively: FLUSHDB and FLUSHALL.
    Flush,
    /// By the session: it may have to wait for an element.
    Pop(End),
    /// By the session, whose state it changes.
    Session(SessionCommand),
}

/// A command about the connection it comes over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SessionCommand {
    Acl,
    Auth,
    Client,
    Discard,
    Exec,
    Hello,
    Multi,
    Ping,
    Quit,
    Select,
    Unwatch,
    Watch,
}

/// Which arguments are keys to lock.
#[derive(Clone, Copy)]
pub(super) enum Keys {
    /// None. Writes without a key wait for each other, as on the server; reads wait for nobody.
    None,
    /// The first.
    First,
    /// The first two.
    FirstTwo,
    /// The second, behind an operation.
    Second,
    /// All.
    All,
    /// Every other one.
    Pairs,
    /// All but the last, which is a time.
    AllButLast,
}

impl Entry {
    /// The command of this name, in any case.
    pub(super) fn find(name: &[u8]) -> Option<&'static Self> {
        static BY_NAME: LazyLock<HashMap<&'static [u8], &'static Entry>> =
            LazyLock::new(|| TABLE.iter().map(|entry| (entry.name.as_bytes(), entry)).collect());
        let mut lower = [0; NAME_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        BY_NAME.get(&*lower).copied()
    }

    /// Refuses a wrong number of arguments. For some commands the server then names another.
    pub(super) fn check(&self, command: &Command) -> Result<(), Fault> {
        let count = command.args().len();
        let least = self.arity.unsigned_abs() as usize;
        if (self.arity < 0 && count >= least) || (self.arity >= 0 && count == least) {
            return Ok(());
        }
        Err(Fault::wrong_number(match self.name {
            "srem" => "smembers",
            "ltrim" => "lset",
            "brpop" => "blpop",
            "xdel" => "xadd",
            "georadiusbymember" => "georadius",
            name => name,
        }))
    }
}

impl Keys {
    /// The keys among these arguments.
    pub(super) fn of(self, args: &[Bytes]) -> Vec<&Bytes> {
        static NO_KEY: Bytes = Bytes::new();
        match self {
            Self::None => vec![&NO_KEY],
            Self::First => args[1..].iter().take(1).collect(),
            Self::FirstTwo => args[1..].iter().take(2).collect(),
            Self::Second => args[1..].iter().skip(1).take(1).collect(),
            Self::All => args[1..].iter().collect(),
            Self::Pairs => args[1..].iter().step_by(2).collect(),
            Self::AllButLast => args[1..args.len() - 1].iter().collect(),
        }
    }
}

/// Longer than any name.
const NAME_MAX: usize = 24;

/// A read of one key. Where the server reads from a snapshot, here the key is locked.
const fn read(name: &'static str, arity: i32, handler: Handler) -> Entry {
    Entry { name, arity, writes: false, keys: Keys::First, run: Run::Now(handler) }
}

/// A read of several keys, which need not agree, or of none.
const fn view(name: &'static str, arity: i32, handler: Handler) -> Entry {
    Entry { name, arity, writes: false, keys: Keys::None, run: Run::Now(handler) }
}

const fn slow(name: &'static str, arity: i32, handler: Handler) -> Entry {
    Entry { name, arity, writes: false, keys: Keys::None, run: Run::Slowly(handler) }
}

const fn write(name: &'static str, arity: i32, keys: Keys, handler: Handler) -> Entry {
    Entry { name, arity, writes: true, keys, run: Run::Now(handler) }
}

const fn session(name: &'static str, arity: i32, command: SessionCommand) -> Entry {
    Entry { name, arity, writes: false, keys: Keys::None, run: Run::Session(command) }
}

static TABLE: &[Entry] = &[
    // The connection.
    session("acl", -2, SessionCommand::Acl),
    session("auth", -2, SessionCommand::Auth),
    session("client", -2, SessionCommand::Client),
    session("discard", 1, SessionCommand::Discard),
    session("exec", 1, SessionCommand::Exec),
    session("hello", -1, SessionCommand::Hello),
    session("multi", 1, SessionCommand::Multi),
    session("ping", 1, SessionCommand::Ping),
    session("quit", 1, SessionCommand::Quit),
    session("select", 2, SessionCommand::Select),
    session("unwatch", 1, SessionCommand::Unwatch),
    session("watch", -2, SessionCommand::Watch),
    // The server.
    view("bgsave", -1, admin::bgsave),
    view("config", -2, settings::config),
    view("dbsize", 1, admin::dbsize),
    view("echo", 2, admin::echo),
    Entry { name: "flushall", arity: 1, writes: true, keys: Keys::None, run: Run::Flush },
    Entry { name: "flushdb", arity: -1, writes: true, keys: Keys::None, run: Run::Flush },
    view("info", -1, info::info),
    view("lastsave", 1, admin::lastsave),
    write("slotsdel", -2, Keys::None, admin::slotsdel),
    view("slotshashkey", -2, admin::slotshashkey),
    view("slotsinfo", -1, admin::slotsinfo),
    view("time", 1, admin::time),
    // Keys of any type.
    write("del", -2, Keys::All, keys::del),
    view("exists", -2, keys::exists),
    write("expire", 3, Keys::First, keys::expire),
    write("expireat", 3, Keys::First, keys::expireat),
    slow("keys", -2, key_scan::keys),
    write("persist", 2, Keys::First, keys::persist),
    write("pexpire", 3, Keys::First, keys::pexpire),
    write("pexpireat", 3, Keys::First, keys::pexpireat),
    read("pttl", 2, keys::pttl),
    slow("scan", -2, key_scan::scan),
    read("ttl", 2, keys::ttl),
    read("type", 2, keys::type_of),
    write("unlink", -2, Keys::All, keys::del),
    // Strings.
    write("append", 3, Keys::First, strings::append),
    write("decr", 2, Keys::First, strings::decr),
    write("decrby", 3, Keys::First, strings::decrby),
    write("delvx", 3, Keys::First, strings::delvx),
    read("get", 2, strings::get),
    read("getrange", 4, strings::getrange),
    write("getset", 3, Keys::First, strings::getset),
    write("incr", 2, Keys::First, strings::incr),
    write("incrby", 3, Keys::First, strings::incrby),
    write("incrbyfloat", 3, Keys::First, strings::incrbyfloat),
    view("mget", -2, strings::mget),
    write("mset", -3, Keys::Pairs, strings::mset),
    write("msetnx", -3, Keys::Pairs, strings::msetnx),
    write("pksetexat", 4, Keys::First, strings::pksetexat_command),
    write("psetex", 4, Keys::First, strings::psetex),
    write("set", -3, Keys::First, strings::set),
    write("setex", 4, Keys::First, strings::setex),
    write("setnx", 3, Keys::First, strings::setnx),
    write("setrange", 4, Keys::First, strings::setrange),
    read("strlen", 2, strings::strlen),
    // Bits.
    read("bitcount", -2, bits::bitcount),
    write("bitop", -3, Keys::Second, bits::bitop),
    read("bitpos", -3, bits::bitpos),
    read("getbit", 3, bits::getbit),
    write("setbit", 4, Keys::First, bits::setbit),
    // HyperLogLogs.
    write("pfadd", -2, Keys::First, hyperloglogs::pfadd),
    view("pfcount", -2, hyperloglogs::pfcount),
    write("pfmerge", -2, Keys::First, hyperloglogs::pfmerge),
    // Hashes.
    write("hdel", -3, Keys::First, hashes::hdel),
    read("hexists", 3, hashes::hexists),
    read("hget", 3, hashes::hget),
    read("hgetall", 2, hashes::hgetall),
    write("hincrby", 4, Keys::First, hashes::hincrby),
    write("hincrbyfloat", 4, Keys::First, hashes::hincrbyfloat),
    read("hkeys", 2, hashes::hkeys),
    read("hlen", 2, hashes::hlen),
    read("hmget", -3, hashes::hmget),
    write("hmset", -4, Keys::First, hashes::hmset),
    read("hscan", -3, hashes::hscan),
    write("hset", 4, Keys::First, hashes::hset),
    write("hsetnx", 4, Keys::First, hashes::hsetnx),
    read("hstrlen", 3, hashes::hstrlen),
    read("hvals", 2, hashes::hvals),
    // Lists.
    Entry { name: "blpop", arity: -3, writes: true, keys: Keys::AllButLast, run: Run::Pop(End::Left) },
    Entry { name: "brpop", arity: -3, writes: true, keys: Keys::AllButLast, run: Run::Pop(End::Right) },
    read("lindex", 3, lists::lindex),
    write("linsert", 5, Keys::First, lists::linsert),
    read("llen", 2, lists::llen),
    write("lpop", -2, Keys::First, lists::lpop),
    write("lpush", -3, Keys::First, lists::lpush),
    write("lpushx", -3, Keys::First, lists::lpushx),
    read("lrange", 4, lists::lrange),
    write("lrem", 4, Keys::First, lists::lrem),
    write("lset", 4, Keys::First, lists::lset),
    write("ltrim", 4, Keys::First, lists::ltrim),
    write("rpop", -2, Keys::First, lists::rpop),
    write("rpoplpush", 3, Keys::FirstTwo, lists::rpoplpush),
    write("rpush", -3, Keys::First, lists::rpush),
    write("rpushx", -3, Keys::First, lists::rpushx),
    // Sets.
    write("sadd", -3, Keys::First, sets::sadd),
    read("scard", 2, sets::scard),
    write("sdiff", -2, Keys::None, sets::sdiff),
    write("sdiffstore", -3, Keys::First, sets::sdiffstore),
    write("sinter", -2, Keys::None, sets::sinter),
    write("sinterstore", -3, Keys::First, sets::sinterstore),
    read("sismember", 3, sets::sismember),
    read("smembers", 2, sets::smembers),
    write("smove", 4, Keys::FirstTwo, sets::smove),
    write("spop", -2, Keys::First, sets::spop),
    read("srandmember", -2, sets::srandmember),
    write("srem", -3, Keys::First, sets::srem),
    read("sscan", -3, sets::sscan),
    write("sunion", -2, Keys::None, sets::sunion),
    write("sunionstore", -3, Keys::First, sets::sunionstore),
    // Sorted sets.
    write("zadd", -4, Keys::First, zsets::zadd),
    read("zcard", 2, zsets::zcard),
    read("zcount", 4, zset_ranges::zcount),
    write("zincrby", 4, Keys::First, zsets::zincrby),
    write("zinterstore", -4, Keys::First, zsets::zinterstore),
    read("zlexcount", 4, zset_ranges::zlexcount),
    write("zpopmax", -2, Keys::First, zset_ranges::zpopmax),
    write("zpopmin", -2, Keys::First, zset_ranges::zpopmin),
    read("zrange", -4, zset_ranges::zrange),
    read("zrangebylex", -4, zset_ranges::zrangebylex),
    read("zrangebyscore", -4, zset_ranges::zrangebyscore),
    read("zrank", 3, zset_ranges::zrank),
    write("zrem", -3, Keys::First, zsets::zrem),
    write("zremrangebylex", 4, Keys::First, zset_ranges::zremrangebylex),
    write("zremrangebyrank", 4, Keys::First, zset_ranges::zremrangebyrank),
    write("zremrangebyscore", 4, Keys::First, zset_ranges::zremrangebyscore),
    read("zrevrange", -4, zset_ranges::zrevrange),
    read("zrevrangebylex", -4, zset_ranges::zrevrangebylex),
    read("zrevrangebyscore", -4, zset_ranges::zrevrangebyscore),
    read("zrevrank", 3, zset_ranges::zrevrank),
    read("zscan", -3, zsets::zscan),
    read("zscore", 3, zsets::zscore),
    write("zunionstore", -4, Keys::First, zsets::zunionstore),
    // Points of the earth.
    write("geoadd", -5, Keys::First, geo::geoadd),
    read("geodist", -4, geo::geodist),
    read("geohash", -2, geo::geohash),
    read("geopos", -2, geo::geopos),
    // The server takes these two for reads even where they store: no lock, no entry in the log.
    read("georadius", -6, geo::georadius),
    read("georadiusbymember", -5, geo::georadiusbymember),
    // Streams.
    write("xadd", -4, Keys::First, streams::xadd),
    write("xdel", -3, Keys::First, streams::xdel),
    view("xinfo", -2, streams::xinfo),
    read("xlen", 2, streams::xlen),
    read("xrange", -4, streams::xrange),
    view("xread", -3, streams::xread),
    read("xrevrange", -4, streams::xrevrange),
    write("xtrim", -2, Keys::First, streams::xtrim),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_are_unique() {
        assert_eq!(Entry::find(b"GeoRadiusByMember").map(|entry| entry.name), Some("georadiusbymember"));
        assert!(Entry::find(b"nosuchcommand").is_none());
        assert!(Entry::find(&[b'x'; 100]).is_none());
        for entry in TABLE {
            assert!(std::ptr::eq(Entry::find(entry.name.as_bytes()).unwrap(), entry), "{}", entry.name);
        }
    }

    #[test]
    fn the_arity_makes_indexing_safe() {
        let command = Command::new(["lrem", "key"]);
        let fault = Entry::find(b"lrem").unwrap().check(&command).unwrap_err();
        assert!(matches!(fault, Fault::Refused(line) if line == "ERR wrong number of arguments for 'lrem' command"));
    }
}
