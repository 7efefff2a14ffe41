// SPDX-License-Identifier: Apache-2.0
//! The numbers of keys that a move tells are those of a model that saw all that was done: before, created, deleted, expired,
//! after, and how many were deleted at the source.

use mover::job::{Cleanup, KeyBalance, Phase, Report};
use mover::{JobOptions, VerifyMode};
use redis::Value as Reply;

use crate::harness::{Client, Receiving, SlowMove, contents, signal, until};
use crate::truth::{Following, Scene, played};

played! {
    what_comes_and_goes_is_counted, real_what_comes_and_goes_is_counted: to_a_pika;
    what_comes_to_a_redis_is_counted, real_what_comes_to_a_redis_is_counted: to_a_redis;
    what_a_receiver_takes_is_counted, real_what_a_receiver_takes_is_counted: through_a_receiver;
    what_a_flush_takes_is_counted, real_what_a_flush_takes_is_counted: flushed;
    what_changes_during_the_copy_is_counted_once, real_what_changes_during_the_copy_is_counted_once: during_the_copy;
}

async fn to_a_pika(scene: Scene) {
    comes_and_goes(scene, false).await;
}

async fn to_a_redis(scene: Scene) {
    comes_and_goes(scene.with_a_redis(), false).await;
}

async fn through_a_receiver(scene: Scene) {
    comes_and_goes(scene, true).await;
}

async fn comes_and_goes(scene: Scene, through_a_receiver: bool) {
    let mut story = Story::begin(&scene).await;
    let receiving = match through_a_receiver {
        true => Some(Receiving::start(scene.target.addr(), |_| ()).await),
        false => None,
    };
    let receiver = receiving.as_ref().map(Receiving::options);
    let following = scene
        .follow(VerifyMode::Full, |options| (options.receiver, options.cleanup) = (receiver, Cleanup::Delete))
        .await;
    story.delete_and_create().await;
    story.empty_collections().await;
    story.turn_into_others().await;
    story.let_expire().await;
    let report = story.end(following).await;
    assert!(report.changes > 0, "{report:?}");
}

async fn flushed(scene: Scene) {
    let mut story = Story::begin(&scene).await;
    let following = scene.follow(VerifyMode::Off, |options| options.cleanup = Cleanup::Delete).await;
    story.source.run("SET brief v");
    story.settle().await;
    let (before, created) = (story.model.before, story.model.created);
    story.source.run("FLUSHDB");
    story.settle().await;
    story.source.run("SET behind v");
    story.source.run("RPUSH behind:list a b");
    // The marker went as well, and came again; none is left to expire.
    story.model.expired = 0;
    (story.model.deleted, story.model.created) = (before + created + 1, created + 1 + 3);
    story.end(following).await;
}

async fn during_the_copy(scene: Scene) {
    let mut story = Story::begin(&scene).await;
    let value = "v".repeat(1000);
    (0..400).for_each(|number| drop(story.source.run(&format!("SET {number:03} {value}"))));
    story.model.before += 400;
    let slow = |options: &mut JobOptions| {
        (options.cleanup, options.rate) = (Cleanup::Delete, Some("100KB".parse().unwrap()));
    };
    let (following, progress) = scene.begin(VerifyMode::Full, slow);
    until("the copy", || progress.status().phase == Phase::Copy && progress.status().keys > 0).await;
    // Wherever the copy is: some of these are behind it and some are not.
    for number in (0..400).step_by(40) {
        story.source.run(&format!("DEL {number:03}"));
        story.source.run(&format!("SET {:03} new", number + 1));
        story.source.run(&format!("DEL {:03}", number + 2));
        story.source.run(&format!("HSET {:03} f v", number + 2));
        story.source.run(&format!("SET {number:03}:new v"));
    }
    (story.model.deleted, story.model.created) = (10, 10);
    assert_eq!(progress.status().phase, Phase::Copy, "it is over too early for this test");
    until("the cutover", || progress.status().phase == Phase::Cutover || following.is_over()).await;
    story.end(following).await;
}

/// What is done at the source, and what comes of it.
struct Story {
    source: Client,
    target: Client,
    model: Model,
    markers: u32,
}

#[derive(Debug)]
struct Model {
    before: u64,
    created: u64,
    deleted: u64,
    expired: u64,
}

impl Story {
    /// Fills the source.
    async fn begin(scene: &Scene) -> Self {
        let (mut source, target) = (scene.source.client(), scene.target.client());
        for name in ["stays", "goes", "empties", "turns"] {
            fill(&mut source, name, 3);
        }
        fill(&mut source, "big", 100);
        for number in 0..4 {
            source.run(&format!("SET later:{number} v"));
        }
        source.run("SET long:dead v EX 1");
        source.run("HSET long:deleted f v");
        source.run("DEL long:deleted");
        source.run("XADD long:emptied 1-1 f v");
        source.run("XDEL long:emptied 1-1");
        source.run("XADD long:deleted:stream 1-1 f v");
        source.run("DEL long:deleted:stream");
        // The server's own index of a slot.
        source.run("SADD _internal:slotkey:4migrate:5 kone ktwo");
        until("a key is dead", || source.run("GET long:dead") == Reply::Nil).await;
        let before = contents(&mut source).len() as u64;
        assert_eq!(before, 5 * TYPES + 4);
        // They end while the move goes on.
        let expired = 3;
        (0..expired).for_each(|number| drop(source.run(&format!("SET soon:{number} v EX 12"))));
        let model = Model { before: before + expired, created: 0, deleted: 0, expired };
        Self { source, target, model, markers: 0 }
    }

    async fn delete_and_create(&mut self) {
        for kind in KINDS {
            self.source.run(&format!("DEL goes:{kind}"));
        }
        fill(&mut self.source, "new", 3);
        self.source.run("SET brief v");
        self.settle().await;
        self.source.run("DEL brief");
        self.settle().await;
        self.model.deleted += TYPES + 1;
        self.model.created += TYPES + 1;
    }

    /// Takes the elements out, not the keys.
    async fn empty_collections(&mut self) {
        for (name, count) in [("empties", 3), ("big", 100)] {
            (0..count).for_each(|number| drop(self.source.run(&format!("HDEL {name}:hash {number}"))));
            (0..count).for_each(|number| drop(self.source.run(&format!("SREM {name}:set {number}"))));
            (0..count).for_each(|number| drop(self.source.run(&format!("XDEL {name}:stream {}-1", number + 1))));
            self.source.run(&format!("ZREMRANGEBYRANK {name}:zset 0 -1"));
            (0..count).for_each(|_| drop(self.source.run(&format!("RPOP {name}:list"))));
        }
        self.settle().await;
        self.model.deleted += 2 * (TYPES - 1);
        for name in ["empties", "big"] {
            self.source.run(&format!("HSET {name}:hash f v"));
            self.source.run(&format!("SADD {name}:set m"));
            self.source.run(&format!("XADD {name}:stream 1000-1 f v"));
            self.source.run(&format!("ZADD {name}:zset 1 m"));
            self.source.run(&format!("LPUSH {name}:list e"));
        }
        self.settle().await;
        self.model.created += 2 * (TYPES - 1);
    }

    /// Keys that are there before and behind it.
    async fn turn_into_others(&mut self) {
        self.source.run("DEL turns:string");
        self.source.run("HSET turns:string f v");
        self.source.run("SET turns:hash v");
        self.source.run("SET turns:stream v");
        self.source.run("DEL turns:list");
        self.source.run("SET turns:list v");
        // A Pika keeps a row of a deleted stream.
        self.source.run("SET goes:stream v");
        self.source.run("SET goes:hash v");
        self.source.run("APPEND stays:string more");
        self.source.run("SET turns:string v");
        self.settle().await;
        self.model.created += 2;
    }

    async fn let_expire(&mut self) {
        (0..4).for_each(|number| drop(self.source.run(&format!("EXPIRE later:{number} 6"))));
        self.settle().await;
        self.model.expired += 4;
    }

    /// Returns when the target has all that was done: the round that brings the second marker begins when all is there that
    /// came before the first.
    async fn settle(&mut self) {
        self.model.created += u64::from(self.markers == 0);
        for _ in 0..2 {
            self.markers += 1;
            let marker = self.markers.to_string();
            self.source.run(&format!("SET marker {marker}"));
            until("a marker arrives", || self.target.run("GET marker") == Reply::BulkString(marker.clone().into()))
                .await;
        }
    }

    /// Lets the move end, and compares what it tells.
    async fn end(mut self, following: Following) -> Report {
        let mortal = |client: &mut Client| {
            let names =
                (0..3).map(|number| format!("soon:{number}")).chain((0..4).map(|number| format!("later:{number}")));
            let is_there = |name: String| client.run(&format!("GET {name}")) != Reply::Nil;
            let count = names.map(is_there).filter(|is_there| *is_there).count() as u64;
            3 + 4 - count
        };
        let expired = self.model.expired;
        until("they expire", || mortal(&mut self.source) >= expired && mortal(&mut self.target) >= expired).await;
        self.settle().await;
        let held = contents(&mut self.source);
        let report = following.finish().await.unwrap();
        let Model { before, created, deleted, expired } = self.model;
        let after = before + created - deleted - expired;
        let counts = KeyBalance {
            before: Some(before),
            created: Some(created),
            deleted: Some(deleted),
            expired: Some(expired),
            after: Some(after),
        };
        assert_eq!((report.counts, report.cleaned), (counts, Some(after)));
        assert_eq!((held.len() as u64, report.findings.len()), (after, 0), "{:?}", report.findings);
        assert_eq!(contents(&mut self.target).len() as u64, after);
        assert_eq!(contents(&mut self.source).len(), 0);
        report
    }
}

/// A key of each type, with so many elements.
fn fill(client: &mut Client, name: &str, count: u64) {
    client.run(&format!("SET {name}:string v"));
    for number in 0..count {
        client.run(&format!("HSET {name}:hash {number} v"));
        client.run(&format!("RPUSH {name}:list {number}"));
        client.run(&format!("SADD {name}:set {number}"));
        client.run(&format!("ZADD {name}:zset {number} {number}"));
        client.run(&format!("XADD {name}:stream {}-1 f v", number + 1));
    }
}

const KINDS: [&str; 6] = ["string", "hash", "list", "set", "zset", "stream"];
const TYPES: u64 = KINDS.len() as u64;

/// What an agent that is killed had sent and not heard the answers to is known to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_interrupted_tells_no_wrong_number() {
    let scene = SlowMove::start().await;
    let mut agent = scene.agent().await;
    signal(agent.pid(), "KILL");
    agent.end().await;
    scene.hurry();
    let outcome = scene.resume();
    outcome.assert_done();
    assert!(outcome.stdout.contains("\nnumber of keys     not known: the job was interrupted"), "{}", outcome.stdout);
}
