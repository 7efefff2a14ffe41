// SPDX-License-Identifier: Apache-2.0
//! Anything dies at any moment of a move under load: the move goes on, and no value is lost or stale.
//!
//! `SLOTMOVER_SEEDS=17` has the random deaths of one seed alone, `SLOTMOVER_SEEDS=0-1999` those of many.

mod stage;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::stage::{Cast, Party, Stage};
use crate::harness::{Agent, Weather};

#[tokio::test(flavor = "multi_thread")]
async fn the_mover_is_killed_around_every_entry_of_its_journal() {
    for moment in ["before", "after"] {
        let ended = Arc::new(AtomicBool::new(false));
        side_by_side(1..=ENTRIES_MAX, |number| {
            let ended = Arc::clone(&ended);
            async move {
                // Once a move has ended without coming to this entry, later ones need not be tried.
                if !ended.load(Ordering::SeqCst) && !is_killed_at(&format!("kill {moment} {number}")).await {
                    ended.store(true, Ordering::SeqCst);
                }
            }
        })
        .await;
        assert!(ended.load(Ordering::SeqCst), "a move has more than {ENTRIES_MAX} entries");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_or_the_receiver_is_killed_at_every_entry_of_the_journal() {
    for party in [Party::Source, Party::Target, Party::Receiver] {
        let ended = Arc::new(AtomicBool::new(false));
        side_by_side(1..=ENTRIES_MAX, |number| {
            let ended = Arc::clone(&ended);
            async move {
                if !ended.load(Ordering::SeqCst) && !other_is_killed_at(party, number).await {
                    ended.store(true, Ordering::SeqCst);
                }
            }
        })
        .await;
        assert!(ended.load(Ordering::SeqCst), "a move has more than {ENTRIES_MAX} entries");
    }
}

/// What cannot be written down is not done: nothing that is wrong is switched, and the move goes on when there is room again.
#[tokio::test(flavor = "multi_thread")]
async fn the_disk_of_the_journal_is_full_at_every_other_entry() {
    let ended = Arc::new(AtomicBool::new(false));
    side_by_side((1..=ENTRIES_MAX).step_by(2), |number| {
        let ended = Arc::clone(&ended);
        async move {
            if !ended.load(Ordering::SeqCst) && !disk_is_full_at(number).await {
                ended.store(true, Ordering::SeqCst);
            }
        }
    })
    .await;
    assert!(ended.load(Ordering::SeqCst), "a move has more than {ENTRIES_MAX} entries");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_under_load_loses_nothing() {
    let mut stage = Stage::with_way_back(1, Cast::default()).await;
    let mut agent = stage.agent(None);
    stage.until_arrived(&mut agent, "no accident").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.roll_back("no accident").await;
    assert_eq!(agent.end().await, Some(3), "{}", agent.errors());
    println!("clients were held for {:?} on the way back", stage.fences_back());
    stage.assert_rolled_back("no accident").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mover_is_killed_around_every_entry_of_its_way_back() {
    let first = entries_until_arrived(Cast::default()).await;
    for moment in ["before", "after"] {
        let ended = Arc::new(AtomicBool::new(false));
        side_by_side(first..=first + ENTRIES_MAX, |number| {
            let ended = Arc::clone(&ended);
            async move {
                if !ended.load(Ordering::SeqCst) && !is_killed_on_its_way_back(&format!("kill {moment} {number}")).await
                {
                    ended.store(true, Ordering::SeqCst);
                }
            }
        })
        .await;
        assert!(ended.load(Ordering::SeqCst), "a way back has more than {ENTRIES_MAX} entries");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_or_the_receiver_is_killed_at_every_entry_of_the_way_back() {
    for (party, cast) in
        [(Party::Source, Cast::default()), (Party::Target, Cast::default()), (Party::Receiver, Cast::far())]
    {
        let first = entries_until_arrived(cast).await;
        let ended = Arc::new(AtomicBool::new(false));
        side_by_side(first..=first + ENTRIES_MAX, |number| {
            let ended = Arc::clone(&ended);
            async move {
                if !ended.load(Ordering::SeqCst) && !other_is_killed_on_the_way_back(party, cast, number).await {
                    ended.store(true, Ordering::SeqCst);
                }
            }
        })
        .await;
        assert!(ended.load(Ordering::SeqCst), "a way back has more than {ENTRIES_MAX} entries");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anything_is_killed_at_random_times() {
    side_by_side(seeds(), |seed| async move {
        let running = tokio::spawn(random_deaths(seed));
        if let Err(failure) = running.await {
            eprintln!("seed {seed} failed; alone: make soak SEEDS={seed}");
            std::panic::resume_unwind(failure.into_panic());
        }
        // A soak takes most of an hour.
        if seed % 100 == 99 {
            eprintln!("seed {seed} of {} is through", seeds().end());
        }
    })
    .await;
}

/// The network between the mover and a node does all that networks do, at random times.
#[tokio::test(flavor = "multi_thread")]
async fn the_network_fails_at_random_times() {
    let kinds = [Weather::Cut, Weather::Stall, Weather::Slow, Weather::Garbage, Weather::HalfOpen];
    side_by_side(0..WEATHERS, move |seed| async move {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut stage = Stage::start(seed, Cast::default()).await;
        let agent = stage.agent(None);
        let kind = kinds[seed as usize % kinds.len()];
        for _ in 0..rng.random_range(1..=3) {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..2000))).await;
            let way = &stage.ways[rng.random_range(0..2)];
            way.have(kind, Duration::from_millis(rng.random_range(1..700))).await;
        }
        let what = format!("seed {seed}, {kind:?}");
        stage.see_through(agent, &what).await;
        stage.assert_moved(&what).await;
    })
    .await;
}

/// Whether the mover came to that entry and died there. It is started again until it is done.
async fn is_killed_at(accident: &str) -> bool {
    let mut stage = Stage::start(1, Cast::default()).await;
    let mut agent = stage.agent(Some(accident));
    let was_killed = match agent.end().await {
        None => true,
        Some(0) => false,
        Some(code) => panic!("{accident}: it ended with {code}: {}", agent.errors()),
    };
    // It may have died behind the last entry.
    if was_killed && !stage.is_done() {
        let agent = stage.agent(None);
        stage.see_through(agent, accident).await;
    }
    stage.assert_moved(accident).await;
    was_killed
}

/// Whether the mover came to that entry of a move that is rolled back as soon as it can be.
async fn is_killed_on_its_way_back(accident: &str) -> bool {
    let mut stage = Stage::with_way_back(1, Cast::default()).await;
    let mut agent = stage.agent(Some(accident));
    let died_before = stage.until_arrived(&mut agent, accident).await;
    stage.roll_back(accident).await;
    let was_killed = died_before || agent.end().await.is_none();
    stage.assert_rolled_back(accident).await;
    was_killed
}

/// About how many entries a move has before it can be rolled back: that varies a little.
async fn entries_until_arrived(cast: Cast) -> u64 {
    let mut stage = Stage::with_way_back(1, cast).await;
    let mut agent = stage.agent(None);
    stage.until_arrived(&mut agent, "the first").await;
    stage.entries().saturating_sub(3)
}

/// Whether the mover came to that entry of a move that is rolled back. It stands still while the other dies and comes back.
async fn other_is_killed_on_the_way_back(party: Party, cast: Cast, number: u64) -> bool {
    let what = format!("{party:?} at {number} of a way back");
    let mut stage = Stage::with_way_back(1, cast).await;
    let mut agent = stage.agent(Some(&format!("stop after {number}")));
    let is_early = stage.until_arrived_or_stopped(&agent, &what).await;
    let _rollback = if is_early { None } else { Some(stage.begin_rollback()) };
    let was_stopped = is_early || agent.end_or_stop().await.is_none();
    if was_stopped {
        stage.restart(party, Duration::ZERO).await;
        agent.signal("CONT");
    }
    if is_early {
        stage.until_arrived(&mut agent, &what).await;
    }
    stage.roll_back(&what).await;
    stage.assert_rolled_back(&what).await;
    was_stopped
}

/// Whether the mover came to that entry. It stands still while the other dies and comes back.
async fn other_is_killed_at(party: Party, number: u64) -> bool {
    let what = format!("{party:?} at {number}");
    let cast = Cast { has_receiver: party == Party::Receiver, ..Cast::default() };
    let mut stage = Stage::start(1, cast).await;
    let (agent, was_stopped) = stopped_at(&mut stage, number, &what).await;
    if was_stopped {
        stage.restart(party, Duration::ZERO).await;
        agent.signal("CONT");
        stage.see_through(agent, &what).await;
    }
    stage.assert_moved(&what).await;
    was_stopped
}

/// Whether the mover came to that entry. Behind it, and behind a few bytes of the next one, there is no room.
async fn disk_is_full_at(number: u64) -> bool {
    let what = format!("full behind {number}");
    let mut stage = Stage::start(1, Cast::default()).await;
    let (mut agent, was_stopped) = stopped_at(&mut stage, number, &what).await;
    if was_stopped {
        agent.limit_files(stage.journal_length() + 7);
        agent.signal("CONT");
        match agent.end().await {
            // It had nothing more to write.
            Some(0) => assert!(stage.is_done(), "{what}"),
            code => {
                let errors = agent.errors();
                let is_named = errors.contains("cannot write the journal ") && errors.contains("File too large");
                assert!(code == Some(1) && is_named && !errors.contains("panicked"), "{what}: {code:?}: {errors}");
                let agent = stage.agent(None);
                stage.see_through(agent, &what).await;
            }
        }
    }
    stage.assert_moved(&what).await;
    was_stopped
}

/// A mover that stands still at that entry, or has done all and never came to it.
async fn stopped_at(stage: &mut Stage, number: u64, what: &str) -> (Agent, bool) {
    let mut agent = stage.agent(Some(&format!("stop after {number}")));
    match agent.end_or_stop().await {
        None => (agent, true),
        Some(Some(0)) => (agent, false),
        Some(code) => panic!("{what}: it ended with {code:?}: {}", agent.errors()),
    }
}

async fn random_deaths(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    // One in three comes back, which it cannot from a Redis.
    let is_rolled_back = seed % 3 == 2;
    let cast = if is_rolled_back { Cast::with_way_back(seed) } else { Cast::of(seed) };
    let mut stage = match is_rolled_back {
        true => Stage::with_way_back(seed, cast).await,
        false => Stage::start(seed, cast).await,
    };
    let mut agent = stage.agent(None);
    for _ in 0..rng.random_range(1..=3) {
        let millis = |range| Duration::from_millis(range);
        tokio::time::sleep(millis(rng.random_range(0..2500))).await;
        let after = millis(rng.random_range(0..300));
        if agent.has_ended() {
            break;
        }
        let others = stage.others();
        match rng.random_range(0..3 + others.len()) {
            0 | 1 => {
                stage.kill(&mut agent, Party::Agent).await;
                tokio::time::sleep(after).await;
                agent = stage.agent(None);
            }
            2 => {
                stage.kill(&mut agent, Party::AgentAndGuard).await;
                agent = stage.agent(None);
            }
            other => stage.restart(others[other - 3], after).await,
        }
    }
    let what = format!("seed {seed}, {cast:?}");
    if is_rolled_back {
        stage.until_arrived(&mut agent, &what).await;
        let mut rollback = stage.begin_rollback();
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..3000))).await;
        let others = stage.others();
        match rng.random_range(0..2 + others.len()) {
            0 => stage.kill(&mut agent, Party::Agent).await,
            1 => stage.kill(&mut rollback, Party::AgentAndGuard).await,
            other => stage.restart(others[other - 2], Duration::ZERO).await,
        }
        stage.roll_back(&what).await;
        stage.assert_rolled_back(&what).await;
    } else {
        stage.see_through(agent, &what).await;
        stage.assert_moved(&what).await;
    }
}

/// Runs something for each number, a few at a time.
async fn side_by_side<T>(numbers: impl IntoIterator<Item = u64>, run: impl Fn(u64) -> T)
where
    T: Future<Output = ()> + Send + 'static,
{
    let (turns, mut running) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for number in numbers {
        let turn = Arc::clone(&turns).acquire_owned().await.unwrap();
        let run = run(number);
        running.spawn(async move {
            run.await;
            drop(turn);
        });
        while let Some(ended) = running.try_join_next() {
            ended.unwrap_or_else(|failure| std::panic::resume_unwind(failure.into_panic()));
        }
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap_or_else(|failure| std::panic::resume_unwind(failure.into_panic()));
    }
}

fn seeds() -> std::ops::RangeInclusive<u64> {
    let Ok(text) = std::env::var("SLOTMOVER_SEEDS") else { return 0..=SEEDS - 1 };
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("SLOTMOVER_SEEDS is `{text}`"));
    match text.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None => number(&text)..=number(&text),
    }
}

/// Seeds of each run of the tests.
const SEEDS: u64 = 200;

/// Moves with bad weather, a kind after the other.
const WEATHERS: u64 = 20;

/// Moves at once: most of the time each waits.
const AT_ONCE: usize = 6;

/// More entries than a move of a few seconds has.
const ENTRIES_MAX: u64 = 100;
