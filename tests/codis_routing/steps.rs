// SPDX-License-Identifier: Apache-2.0
//! The steps of a cutover, each again and again until it is done, as a job does them: a busy machine may need more than
//! one attempt.

use std::time::{Duration, Instant};

use mover::routing::{Codis, Readiness, RoutingControl, Standing};
use replication::SlotSet;

use crate::harness::HANG;

/// Waits until a fence may be raised.
pub(super) async fn ready(routing: &Codis, slots: &SlotSet) {
    let begin = Instant::now();
    loop {
        match routing.preconditions(slots).await.unwrap() {
            Readiness::Ready => return,
            Readiness::NotYet(why) => assert!(begin.elapsed() < HANG, "never ready: {why}"),
        }
        tokio::time::sleep(STEP).await;
    }
}

/// Waits until a fence may be raised, and raises it.
pub(super) async fn raise(routing: &Codis, slots: &SlotSet) {
    let begin = Instant::now();
    loop {
        ready(routing, slots).await;
        match routing.raise(slots).await {
            Ok(()) => return,
            Err(error) => assert!(begin.elapsed() < HANG, "{error}"),
        }
        lower(routing, slots).await;
    }
}

/// Waits until the layer says that the fence holds.
pub(super) async fn holds(routing: &Codis, slots: &SlotSet) {
    let begin = Instant::now();
    loop {
        let standing = routing.holds(slots).await;
        match &standing {
            Ok(Standing::Holds) => return,
            _ => assert!(begin.elapsed() < HANG, "{standing:?}"),
        }
        tokio::time::sleep(STEP).await;
    }
}

/// Waits until it is seen that the fence is broken, by something that says `what`.
pub(super) async fn broken(routing: &Codis, slots: &SlotSet, what: &str) {
    let begin = Instant::now();
    loop {
        let standing = routing.holds(slots).await;
        match &standing {
            Ok(Standing::Broken(why)) if why.contains(what) => return,
            _ => assert!(begin.elapsed() < HANG, "{standing:?} never says {what}"),
        }
        tokio::time::sleep(STEP).await;
    }
}

pub(super) async fn lower(routing: &Codis, slots: &SlotSet) {
    let begin = Instant::now();
    while let Err(error) = routing.lower(slots).await {
        assert!(begin.elapsed() < HANG, "{error}");
        tokio::time::sleep(STEP).await;
    }
}

pub(super) async fn switch(routing: &Codis, slots: &SlotSet) {
    let begin = Instant::now();
    while let Err(error) = routing.switch(slots).await {
        assert!(begin.elapsed() < HANG, "{error}");
        tokio::time::sleep(STEP).await;
    }
}

pub(super) const STEP: Duration = Duration::from_millis(10);
