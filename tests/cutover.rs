// SPDX-License-Identifier: Apache-2.0
//! The cutover against a routing layer that fails at every point: back before the switch, forward from it on, and never a
//! fence that stays up.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mover::job::{Phase, Report};
use mover::sandbox::load::Tag;
use mover::{Error, Job, JobOptions, Side};
use redis::Value as Reply;
use replication::{Slot, SlotCount, SlotSet};

use crate::harness::Call::{Finish, Holds, Lower, Owner, Preconditions, Prepare, Raise, Switch};
use crate::harness::Fault::{AnswerLost, Hung, No, NotSwitched, Overtaken, Refused};
use crate::harness::{Call, Fault, HANG, RedisServer, Source, Switchboard, endpoint, until};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_wrong() {
    let seen = Seen::of(&[], |_| ()).await;
    assert_eq!(seen.calls, [Prepare, Preconditions, Raise, Holds, Switch, Finish]);
    let fence = seen.switched().fence_ms;
    assert_eq!((fence.count, fence.retried), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_switch_only_back() {
    let attempt = |end: &[Call]| [&[Preconditions], end].concat();
    let failures: [Failure<'_>; 7] = [
        (&[(Raise, Refused)], &[Raise, Lower]),
        (&[(Raise, AnswerLost)], &[Raise, Lower]),
        (&[(Raise, Hung)], &[Raise, Lower]),
        (&[(Holds, No)], &[Raise, Holds, Lower]),
        (&[(Holds, Refused)], &[Raise, Holds, Lower]),
        (&[(Holds, Refused), (Owner, Refused)], &[Raise, Holds, Lower]),
        (&[(Holds, Hung), (Lower, Refused), (Lower, AnswerLost)], &[Raise, Holds, Lower, Lower, Lower]),
    ];
    for (faults, first) in failures {
        let seen = Seen::of(faults, |_| ()).await;
        let expected = [&[Prepare][..], &attempt(first), &attempt(&[Raise, Holds, Switch]), &[Finish]].concat();
        assert_eq!(seen.calls, expected, "{faults:?}");
        assert_eq!(seen.switched().fence_ms.retried, 1, "{faults:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_switch_on_only_forward() {
    let faults = [(Switch, Refused), (Switch, Refused), (Switch, AnswerLost)];
    let seen = Seen::of(&faults, |_| ()).await;
    assert_eq!(seen.calls, [Prepare, Preconditions, Raise, Holds, Switch, Switch, Switch, Finish]);
    seen.switched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_was_certainly_not_sent_is_taken_back() {
    let seen = Seen::of(&[(Switch, NotSwitched)], |_| ()).await;
    assert_eq!(seen.calls, [Prepare, Preconditions, Raise, Holds, Switch, Lower, Finish]);
    assert!(matches!(seen.outcome, Err(Error::NotSwitched { .. })), "{:?}", seen.outcome);
    // Once one has been sent it tells nothing.
    let seen = Seen::of(&[(Switch, Refused), (Switch, NotSwitched)], |_| ()).await;
    assert_eq!(seen.calls, [Prepare, Preconditions, Raise, Holds, Switch, Switch, Switch, Finish]);
    seen.switched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_by_somebody_else_is_seen() {
    let seen = Seen::of(&[(Holds, Overtaken)], |_| ()).await;
    assert_eq!(seen.calls, [Prepare, Preconditions, Raise, Holds, Lower, Finish]);
    assert_eq!(seen.switched().fence_ms.count, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn counted_retries_come_to_an_end() {
    let seen = Seen::of(&[(Raise, Refused); 9], |options| options.cutover.retries = Some(2)).await;
    let Err(Error::Cutover { attempts: 3, last, .. }) = &seen.outcome else { panic!("{:?}", seen.outcome) };
    assert!(last.contains("Raise: Refused"), "{last}");
    assert_eq!(seen.calls.iter().filter(|call| **call == Raise).count(), 3);
    assert_eq!(seen.calls.last(), Some(&Finish));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_fenced_before_the_routing_layer_is_ready() {
    let seen = Seen::of(&[(Preconditions, No), (Preconditions, No)], |_| ()).await;
    assert_eq!(seen.calls, [Prepare, Preconditions, Preconditions, Preconditions, Raise, Holds, Switch, Finish]);
    assert_eq!(seen.switched().fence_ms.retried, 0);
    let seen = Seen::of(&[(Preconditions, Refused)], |_| ()).await;
    assert_eq!(seen.calls, [Prepare, Preconditions, Finish]);
    assert!(matches!(seen.outcome, Err(Error::Routing { .. })));
    let seen = Seen::of(&[(Prepare, Refused)], |_| ()).await;
    assert_eq!(seen.calls, [Prepare]);
    assert!(matches!(seen.outcome, Err(Error::Routing { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_back_is_an_error() {
    let seen = Seen::of(&[(Finish, Refused)], |_| ()).await;
    assert!(matches!(seen.outcome, Err(Error::Routing { .. })), "{:?}", seen.outcome);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_file_postpones_the_cutover() {
    let (dir, flag) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let cluster = Cluster::start(dir.path(), &[]).await;
    let job = cluster.job(|options| options.cutover.postpone_file = Some(flag.path().to_owned()));
    let progress = job.progress();
    let running = tokio::spawn(job.run());
    until("the job says that it waits", || progress.status().waiting.is_some()).await;
    let (why, _) = progress.status().waiting.unwrap();
    assert!(why.contains("postponed") && why.contains(&flag.path().display().to_string()), "{why}");
    cluster.source.client().run("SET string:0 late");
    let mut target = cluster.target.client();
    until("the write is followed", || target.run("GET string:0") == Reply::BulkString(b"late".to_vec())).await;
    assert_eq!(cluster.routing.raises(), 0);
    flag.close().unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(cluster.routing.switched(), cluster.slots());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_dropped_leaves_no_fence() {
    for (fault, is_switched) in [((Holds, Hung), false), ((Switch, Hung), true)] {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::start(dir.path(), &[fault]).await;
        let running = tokio::spawn(cluster.job(|options| options.cutover.max_lock = None).run());
        until("the call hangs", || cluster.routing.calls().contains(&fault.0)).await;
        running.abort();
        until("the job is gone and the fence down", || running.is_finished() && cluster.routing.raised().is_empty())
            .await;
        match is_switched {
            false => until("it was lowered", || cluster.routing.calls().contains(&Lower)).await,
            true => assert_eq!(cluster.routing.switched(), cluster.slots()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stays_behind_keeps_no_fence_up() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), &[]).await;
    let port = cluster.target.addr().port().to_string();
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &port, "--enable-debug-command", "local"]);
    let (mut client, mut sleeper) = (cluster.target.client(), replica.client());
    until("the replica follows", || format!("{:?}", client.run("INFO replication")).contains("state=online")).await;
    let sleeping = std::thread::spawn(move || sleeper.run("DEBUG SLEEP 20"));
    // As where a person holds the clients.
    let job = cluster.job(|options| (options.cutover.max_lock, options.cutover.retries) = (None, Some(0)));
    match job.run().await {
        Err(Error::Cutover { last, .. }) => assert!(last.contains("the target's replica 127.0.0.1:"), "{last}"),
        other => panic!("{other:?}"),
    }
    assert!(!sleeping.is_finished(), "the replica was there again");
    assert_eq!(cluster.routing.calls(), [Prepare, Preconditions, Raise, Lower, Finish]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_comes_too_late_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), &[]).await;
    let job = cluster.job(|_| ());
    let running = tokio::spawn(job.run());
    until("the slots are switched", || !cluster.routing.switched().is_empty()).await;
    cluster.source.client().run("SET string:0 late");
    match running.await.unwrap() {
        Err(Error::Late { count: 1, examples, .. }) => assert!(examples.contains("string:0"), "{examples}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(cluster.routing.calls().last(), Some(&Finish));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_behind_the_fence_lowers_it() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), &[(Raise, AnswerLost)]).await;
    let routing = Arc::clone(&cluster.routing);
    // A client that knows no fence: its writes end with the second attempt.
    let mut client = cluster.source.client();
    let writer = std::thread::spawn(move || {
        let mut number = 0_u32;
        while routing.calls().iter().filter(|call| **call == Lower).count() < 2 {
            number += 1;
            client.run(&format!("SET string:0 {number}"));
        }
        number
    });
    let report = cluster.job(|_| ()).run().await.unwrap();
    let last = writer.join().unwrap();
    assert!(report.fence_ms.retried >= 2, "{report:?}");
    let arrived = cluster.target.client().run("GET string:0");
    assert_eq!(arrived, Reply::BulkString(last.to_string().into_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_waits_for_its_own_slots_only() {
    let others = 200;
    assert_eq!(there_at_the_switches(others).await, [(true, 0), (true, 0), (true, others)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fence_leaves_for_later_is_bounded() {
    let others = 40_000;
    let seen = there_at_the_switches(others).await;
    assert!(seen.iter().all(|(own, of_last)| *own && *of_last > others / 2), "{seen:?}");
}

/// Switches three slots one by one. When a fence is nearly up a key of its slot is written, and so many of the slot that
/// comes last. Whether the target has the one, and how many of the others, when each switch is sent.
async fn there_at_the_switches(others: usize) -> Vec<(bool, usize)> {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), &[]).await;
    let tag = |slot: Slot| format!("{{{}}}", Tag::of_slot(slot, SlotCount::CODIS).name);
    let slots = [3, 500, 1001].map(Slot::new);
    let last = tag(slots[2]);
    let of_last = move |held| (0..others).map(|number| format!("{last}:{held}:{number}")).collect::<Vec<_>>();
    let (writer, reader) = (Mutex::new(cluster.source.client()), Mutex::new(cluster.target.client()));
    let written = of_last.clone();
    cluster.routing.on(Raise, move |held| {
        let (mut writer, held) = (writer.lock().unwrap(), held.last().unwrap());
        writer.run(&format!("SET {}:own yes", tag(held)));
        for keys in written(held).chunks(500) {
            let pairs = keys.iter().flat_map(|key| [key.as_str(), "yes"]);
            writer.call(["MSET"].into_iter().chain(pairs)).unwrap();
        }
    });
    let count = move |keys: Vec<String>| match reader
        .lock()
        .unwrap()
        .call(["EXISTS".to_owned()].into_iter().chain(keys))
        .unwrap()
    {
        Reply::Int(count) => usize::try_from(count).unwrap(),
        other => panic!("{other:?}"),
    };
    let seen = Arc::new(Mutex::new(Vec::new()));
    let at_switch = Arc::clone(&seen);
    cluster.routing.on(Switch, move |held| {
        let held = held.last().unwrap();
        let own = count(vec![format!("{}:own", tag(held))]) == 1;
        at_switch.lock().unwrap().push((own, count(of_last(held))));
        if held == slots[2] {
            let all = slots.into_iter().flat_map(&of_last).collect();
            assert_eq!(count(all), slots.len() * others, "its own slot at last");
        }
    });
    let slots = slots.into_iter().collect();
    let job = cluster.job(|options| (options.slots, options.cutover.max_lock) = (slots, Some(HANG)));
    job.run().await.unwrap();
    std::mem::take(&mut *seen.lock().unwrap())
}

/// What goes wrong, and the calls of that attempt.
type Failure<'a> = (&'a [(Call, Fault)], &'a [Call]);

/// A node, a target and a routing layer that fails.
struct Cluster {
    source: Source,
    target: RedisServer,
    routing: Arc<Switchboard>,
}

/// What came of a job.
struct Seen {
    outcome: Result<Report, Error>,
    calls: Vec<Call>,
    all_switched: bool,
}

impl Cluster {
    async fn start(dir: &Path, faults: &[(Call, Fault)]) -> Self {
        let routing = Arc::new(Switchboard::with_faults(faults));
        Self { source: Source::start(dir).await, target: RedisServer::start(), routing }
    }

    /// A slot with keys, and the rest: two would be two fences.
    fn slots(&self) -> SlotSet {
        let slot = SlotCount::CODIS.slot_of(b"string:0");
        [slot].into_iter().collect()
    }

    fn job(&self, change: impl FnOnce(&mut JobOptions)) -> Job {
        let mut options = JobOptions::new(self.slots());
        options.cutover.max_lock = Some(Duration::from_millis(500));
        change(&mut options);
        let source = endpoint(Side::Source, self.source.addr());
        let target = endpoint(Side::Target, self.target.addr());
        Job::new(source, target, options, Arc::clone(&self.routing) as _)
    }
}

impl Seen {
    /// Runs a job whose routing layer fails so. Whatever comes of it, no fence is left.
    async fn of(faults: &[(Call, Fault)], change: impl FnOnce(&mut JobOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::start(dir.path(), faults).await;
        let job = cluster.job(change);
        let progress = job.progress();
        let outcome = job.run().await;
        assert_eq!(outcome.is_ok(), progress.status().phase == Phase::Done);
        assert!(cluster.routing.raised().is_empty(), "{faults:?}: a fence is up");
        let all_switched = cluster.routing.switched() == cluster.slots();
        Self { outcome, calls: cluster.routing.calls(), all_switched }
    }

    fn switched(&self) -> &Report {
        assert!(self.all_switched);
        self.outcome.as_ref().unwrap()
    }
}
