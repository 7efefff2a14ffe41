// SPDX-License-Identifier: Apache-2.0
//! Which commands there are.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use replication::Command;

use super::cache::{self, CacheUse, answers, loads, updates};
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
    /// What it does with the cache.
    pub(super) cache: CacheUse,
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
    const fn new(name: &'static str, arity: i32, writes: bool, keys: Keys, run: Run) -> Self {
        let cache = CacheUse { answer: None, fill: None, update: None, wording: None };
        Self { name, arity, writes, keys, run, cache }
    }

    /// Has the cache asked first.
    const fn asks(mut self, answer: cache::Answer) -> Self {
        self.cache.answer = Some(answer);
        self
    }

    /// Has the cache filled after a miss.
    const fn fills(mut self, fill: cache::Fill) -> Self {
        self.cache.fill = Some(fill);
        self
    }

    /// Has the change repeated in the cache. Without it, what is cached stays as it is.
    const fn repeats(mut self, update: cache::Update) -> Self {
        self.cache.update = Some(update);
        self
    }

    /// Has a wrong type worded in another way after a miss.
    const fn words(mut self, wording: fn(Fault) -> Fault) -> Self {
        self.cache.wording = Some(wording);
        self
    }

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
    Entry::new(name, arity, false, Keys::First, Run::Now(handler))
}

/// A read of several keys, which need not agree, or of none.
const fn view(name: &'static str, arity: i32, handler: Handler) -> Entry {
    Entry::new(name, arity, false, Keys::None, Run::Now(handler))
}

const fn slow(name: &'static str, arity: i32, handler: Handler) -> Entry {
    Entry::new(name, arity, false, Keys::None, Run::Slowly(handler))
}

const fn write(name: &'static str, arity: i32, keys: Keys, handler: Handler) -> Entry {
    Entry::new(name, arity, true, keys, Run::Now(handler))
}

const fn session(name: &'static str, arity: i32, command: SessionCommand) -> Entry {
    Entry::new(name, arity, false, Keys::None, Run::Session(command))
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
    Entry::new("flushall", 1, true, Keys::None, Run::Flush),
    Entry::new("flushdb", -1, true, Keys::None, Run::Flush),
    view("info", -1, info::info),
    view("lastsave", 1, admin::lastsave),
    write("slotsdel", -2, Keys::None, admin::slotsdel),
    view("slotshashkey", -2, admin::slotshashkey),
    view("slotsinfo", -1, admin::slotsinfo),
    view("time", 1, admin::time),
    // Keys of any type.
    write("del", -2, Keys::All, keys::del).repeats(updates::del),
    view("exists", -2, keys::exists).asks(answers::exists),
    write("expire", 3, Keys::First, keys::expire).repeats(updates::expire),
    write("expireat", 3, Keys::First, keys::expireat).repeats(updates::expireat),
    slow("keys", -2, key_scan::keys),
    write("persist", 2, Keys::First, keys::persist).repeats(updates::persist),
    write("pkpatternmatchdel", -2, Keys::None, key_scan::pkpatternmatchdel),
    write("pexpire", 3, Keys::First, keys::pexpire).repeats(updates::expire),
    write("pexpireat", 3, Keys::First, keys::pexpireat).repeats(updates::pexpireat),
    read("pttl", 2, keys::pttl),
    slow("scan", -2, key_scan::scan),
    read("ttl", 2, keys::ttl).asks(answers::ttl),
    read("type", 2, keys::type_of),
    write("unlink", -2, Keys::All, keys::del),
    // Strings.
    write("append", 3, Keys::First, strings::append).repeats(updates::append),
    write("decr", 2, Keys::First, strings::decr).repeats(updates::decr),
    write("decrby", 3, Keys::First, strings::decrby).repeats(updates::decrby),
    write("delvx", 3, Keys::First, strings::delvx),
    read("get", 2, strings::get).asks(answers::get).fills(loads::after_get),
    read("getrange", 4, strings::getrange)
        .asks(answers::getrange)
        .fills(loads::string_for_too_long)
        .words(Fault::verbose),
    write("getset", 3, Keys::First, strings::getset).repeats(updates::getset),
    write("incr", 2, Keys::First, strings::incr).repeats(updates::incr),
    write("incrby", 3, Keys::First, strings::incrby).repeats(updates::incrby),
    write("incrbyfloat", 3, Keys::First, strings::incrbyfloat).repeats(updates::incrbyfloat),
    Entry::new("mget", -2, false, Keys::All, Run::Now(strings::mget)).asks(answers::mget).fills(loads::after_mget),
    write("mset", -3, Keys::Pairs, strings::mset).repeats(updates::mset),
    write("msetnx", -3, Keys::Pairs, strings::msetnx),
    write("pksetexat", 4, Keys::First, strings::pksetexat_command).repeats(updates::pksetexat),
    write("psetex", 4, Keys::First, strings::psetex).repeats(updates::psetex),
    write("set", -3, Keys::First, strings::set).repeats(updates::set),
    write("setex", 4, Keys::First, strings::setex).repeats(updates::setex),
    write("setnx", 3, Keys::First, strings::setnx),
    write("setrange", 4, Keys::First, strings::setrange).repeats(updates::setrange),
    read("strlen", 2, strings::strlen)
        .asks(answers::strlen)
        .fills(loads::after_strlen)
        .words(Fault::verbose_without_comma),
    // Bits.
    read("bitcount", -2, bits::bitcount).asks(answers::bitcount).fills(loads::string_for_too_long),
    write("bitop", -3, Keys::Second, bits::bitop).repeats(updates::bitop),
    read("bitpos", -3, bits::bitpos),
    read("getbit", 3, bits::getbit),
    write("setbit", 4, Keys::First, bits::setbit).repeats(updates::setbit),
    // HyperLogLogs.
    write("pfadd", -2, Keys::First, hyperloglogs::pfadd),
    view("pfcount", -2, hyperloglogs::pfcount),
    write("pfmerge", -2, Keys::First, hyperloglogs::pfmerge),
    // Hashes.
    write("hdel", -3, Keys::First, hashes::hdel).repeats(updates::hdel),
    read("hexists", 3, hashes::hexists).asks(answers::hexists).fills(loads::hash),
    read("hget", 3, hashes::hget).asks(answers::hget).fills(loads::hash),
    read("hgetall", 2, hashes::hgetall).asks(answers::hgetall).fills(loads::hash),
    write("hincrby", 4, Keys::First, hashes::hincrby).repeats(updates::hincrby),
    write("hincrbyfloat", 4, Keys::First, hashes::hincrbyfloat).repeats(updates::hincrbyfloat),
    read("hkeys", 2, hashes::hkeys).asks(answers::hkeys).fills(loads::hash),
    read("hlen", 2, hashes::hlen).asks(answers::hlen).fills(loads::hash),
    read("hmget", -3, hashes::hmget).asks(answers::hmget).fills(loads::hash),
    write("hmset", -4, Keys::First, hashes::hmset).repeats(updates::hset),
    read("hscan", -3, hashes::hscan),
    write("hset", 4, Keys::First, hashes::hset).repeats(updates::hset),
    write("hsetnx", 4, Keys::First, hashes::hsetnx).repeats(updates::hsetnx),
    read("hstrlen", 3, hashes::hstrlen).asks(answers::hstrlen).fills(loads::hash),
    read("hvals", 2, hashes::hvals).asks(answers::hvals).fills(loads::hash),
    // Lists.
    Entry::new("blpop", -3, true, Keys::AllButLast, Run::Pop(End::Left)).repeats(updates::blpop),
    Entry::new("brpop", -3, true, Keys::AllButLast, Run::Pop(End::Right)).repeats(updates::brpop),
    read("lindex", 3, lists::lindex).asks(answers::lindex).fills(loads::list),
    write("linsert", 5, Keys::First, lists::linsert).repeats(updates::linsert),
    read("llen", 2, lists::llen).asks(answers::llen).fills(loads::list),
    write("lpop", -2, Keys::First, lists::lpop).repeats(updates::lpop),
    write("lpush", -3, Keys::First, lists::lpush).repeats(updates::lpush),
    write("lpushx", -3, Keys::First, lists::lpushx).repeats(updates::lpush),
    read("lrange", 4, lists::lrange).asks(answers::lrange).fills(loads::list),
    write("lrem", 4, Keys::First, lists::lrem).repeats(updates::lrem),
    write("lset", 4, Keys::First, lists::lset).repeats(updates::lset),
    write("ltrim", 4, Keys::First, lists::ltrim).repeats(updates::ltrim),
    write("rpop", -2, Keys::First, lists::rpop).repeats(updates::rpop),
    write("rpoplpush", 3, Keys::FirstTwo, lists::rpoplpush),
    write("rpush", -3, Keys::First, lists::rpush).repeats(updates::rpush),
    write("rpushx", -3, Keys::First, lists::rpushx).repeats(updates::rpush),
    // Sets.
    write("sadd", -3, Keys::First, sets::sadd).repeats(updates::sadd),
    read("scard", 2, sets::scard).asks(answers::scard).fills(loads::set),
    write("sdiff", -2, Keys::None, sets::sdiff),
    write("sdiffstore", -3, Keys::First, sets::sdiffstore).repeats(updates::target),
    write("sinter", -2, Keys::None, sets::sinter),
    write("sinterstore", -3, Keys::First, sets::sinterstore).repeats(updates::target),
    read("sismember", 3, sets::sismember).asks(answers::sismember).fills(loads::set),
    read("smembers", 2, sets::smembers).asks(answers::smembers).fills(loads::set),
    write("smove", 4, Keys::FirstTwo, sets::smove).repeats(updates::smove),
    write("spop", -2, Keys::First, sets::spop).repeats(updates::spop),
    read("srandmember", -2, sets::srandmember).asks(answers::srandmember).fills(loads::set),
    write("srem", -3, Keys::First, sets::srem).repeats(updates::srem),
    read("sscan", -3, sets::sscan),
    write("sunion", -2, Keys::None, sets::sunion),
    write("sunionstore", -3, Keys::First, sets::sunionstore).repeats(updates::target),
    // Sorted sets.
    write("zadd", -4, Keys::First, zsets::zadd).repeats(updates::zadd),
    read("zcard", 2, zsets::zcard),
    read("zcount", 4, zset_ranges::zcount).asks(answers::zcount).fills(loads::zset),
    write("zincrby", 4, Keys::First, zsets::zincrby).repeats(updates::zincrby),
    write("zinterstore", -4, Keys::First, zsets::zinterstore).repeats(updates::target),
    read("zlexcount", 4, zset_ranges::zlexcount),
    write("zpopmax", -2, Keys::First, zset_ranges::zpopmax),
    write("zpopmin", -2, Keys::First, zset_ranges::zpopmin),
    read("zrange", -4, zset_ranges::zrange).asks(answers::zrange).fills(loads::zset),
    read("zrangebylex", -4, zset_ranges::zrangebylex),
    read("zrangebyscore", -4, zset_ranges::zrangebyscore),
    read("zrank", 3, zset_ranges::zrank).asks(answers::zrank).fills(loads::zset),
    write("zrem", -3, Keys::First, zsets::zrem).repeats(updates::zrem),
    write("zremrangebylex", 4, Keys::First, zset_ranges::zremrangebylex),
    write("zremrangebyrank", 4, Keys::First, zset_ranges::zremrangebyrank).repeats(updates::zremrangebyrank),
    write("zremrangebyscore", 4, Keys::First, zset_ranges::zremrangebyscore).repeats(updates::zremrangebyscore),
    read("zrevrange", -4, zset_ranges::zrevrange).asks(answers::zrevrange).fills(loads::zset),
    read("zrevrangebylex", -4, zset_ranges::zrevrangebylex),
    read("zrevrangebyscore", -4, zset_ranges::zrevrangebyscore),
    read("zrevrank", 3, zset_ranges::zrevrank).asks(answers::zrevrank).fills(loads::zset),
    read("zscan", -3, zsets::zscan),
    read("zscore", 3, zsets::zscore).asks(answers::zscore),
    write("zunionstore", -4, Keys::First, zsets::zunionstore).repeats(updates::target),
    // Points of the earth.
    write("geoadd", -5, Keys::First, geo::geoadd),
    read("geodist", -4, geo::geodist),
    read("geohash", -2, geo::geohash),
    read("geopos", -2, geo::geopos),
    // The server takes these two for reads even where they store: no lock, no entry in the log.
    read("georadius", -6, geo::georadius).repeats(updates::georadius),
    read("georadiusbymember", -5, geo::georadiusbymember).repeats(updates::georadius),
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
