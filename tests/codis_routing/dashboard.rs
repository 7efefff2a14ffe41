// SPDX-License-Identifier: Apache-2.0
//! A dashboard that dies, hangs or restarts at each step.

use std::time::{Duration, Instant};

use mover::routing::{Owner, RoutingControl};
use mover::sandbox::codis::{Action, Event, Moment, Place};

use super::steps;
use super::world::World;
use crate::harness::{HANG, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_restarted_during_the_fence_breaks_it() {
    let world = World::start().await;
    world.routing.prepare(&world.slots).await.unwrap();
    world.raise().await;
    world.codis.kill_dashboard().await;
    world.codis.start_dashboard().await.unwrap();
    world.broken("the dashboard was started anew").await;
    world.lower().await;
    world.assert_untouched();
    // It has forgotten that its own moves are stopped.
    world.raise().await;
    assert!(world.routing.must_restore());
    world.switch().await;
    world.routing.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_is_lowered_by_hand_while_the_dashboard_is_dead() {
    let world = World::start().await;
    world.raise().await;
    world.codis.kill_dashboard().await;
    world.routing.holds(&world.slots).await.unwrap_err();
    world.lower().await;
    world.assert_untouched();
    world.not_ready("nobody listens").await;
    world.codis.start_dashboard().await.unwrap();
    world.raise().await;
    world.switch().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_is_lowered_by_hand_while_the_dashboard_hangs() {
    let world = World::start().await;
    world.raise().await;
    world.codis.hang_dashboard();
    assert!(world.routing.holds(&world.slots).await.unwrap_err().to_string().contains("has not answered"));
    let begin = Instant::now();
    world.lower().await;
    assert!(begin.elapsed() < Duration::from_secs(20), "clients wait meanwhile");
    world.assert_untouched();
    world.codis.wake_dashboard();
    world.raise().await;
    world.switch().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fence_is_raised_before_a_push_of_a_lower_has_ended() {
    let world = World::start().await;
    world.raise().await;
    let codis = world.codis.clone();
    at_assign(&world, Moment::Before, move || {
        let codis = codis.clone();
        async move {
            codis.hang_dashboard();
            Action::Continue
        }
    });
    world.lower().await;
    world.assert_untouched();
    // It could undo a switch.
    world.not_ready("push of slots 500,510-512").await;
    world.codis.wake_dashboard();
    world.raise().await;
    world.switch().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_killed_before_the_switch_is_told_again_and_clients_do_not_wait() {
    let world = World::start().await;
    world.raise().await;
    world.holds().await;
    world.codis.kill_dashboard().await;
    let fault = forwarded(&world).await;
    assert!(fault.contains("start the dashboard again soon"), "{fault}");
    world.routing.lower(&world.slots).await.unwrap_err();
    assert!(world.is_at(0, world.target) && world.is_at(1, world.target), "there is no way back");
    world.codis.start_dashboard().await.unwrap();
    assert!(matches!(world.owner().await, Owner::Other(_)), "dashboard and proxies disagree");
    world.switch().await;
    assert_eq!(world.owner().await, Owner::Target);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_killed_while_it_switches_is_told_again() {
    for moment in [Moment::Before, Moment::After] {
        let world = World::start().await;
        world.raise().await;
        let codis = world.codis.clone();
        at_assign(&world, moment, move || {
            let codis = codis.clone();
            async move {
                codis.kill_dashboard().await;
                Action::Continue
            }
        });
        match moment {
            Moment::Before => _ = forwarded(&world).await,
            // What it has pushed it has stored before.
            Moment::After => world.switch().await,
        }
        assert!(world.is_at(0, world.target) && world.is_at(1, world.target), "{moment:?}: clients wait");
        world.codis.start_dashboard().await.unwrap();
        world.switch().await;
        assert_eq!(world.owner().await, Owner::Target, "{moment:?}");
        assert_eq!(world.locks(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_whose_answer_is_lost_is_done() {
    for moment in [Moment::Before, Moment::After] {
        let world = World::start().await;
        world.raise().await;
        at_assign(&world, moment, || async { Action::DropConnection });
        world.switch().await;
        assert_eq!(world.owner().await, Owner::Target, "{moment:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_that_hangs_at_the_switch_does_not_keep_clients_waiting() {
    let world = World::start().await;
    world.raise().await;
    let codis = world.codis.clone();
    at_assign(&world, Moment::Before, move || {
        let codis = codis.clone();
        async move {
            codis.hang_dashboard();
            Action::Continue
        }
    });
    let begin = Instant::now();
    forwarded(&world).await;
    assert!(begin.elapsed() < Duration::from_secs(20));
    world.routing.lower(&world.slots).await.unwrap_err();
    world.codis.wake_dashboard();
    world.switch().await;
    assert_eq!(world.owner().await, Owner::Target);
    assert!(world.is_at(0, world.target) && world.is_at(1, world.target));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_that_hangs_after_the_switch_has_done_it() {
    let world = World::start().await;
    world.raise().await;
    let codis = world.codis.clone();
    at_assign(&world, Moment::After, move || {
        let codis = codis.clone();
        async move {
            codis.hang_dashboard();
            Action::Continue
        }
    });
    // It has told the proxies, so it has stored it.
    world.switch().await;
    assert!(world.is_at(0, world.target) && world.is_at(1, world.target));
    world.not_ready("has not been answered").await;
    world.codis.wake_dashboard();
    assert_eq!(world.owner().await, Owner::Target);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_while_a_switch_is_under_way_goes_forward() {
    let world = World::start().await;
    world.raise().await;
    world.codis.hang_dashboard();
    let switch = tokio::time::timeout(Duration::from_millis(100), world.routing.switch(&world.slots));
    assert!(switch.await.is_err(), "a dashboard that hangs answers no switch");
    assert!(world.routing.raise(&world.slots).await.unwrap_err().to_string().contains("no way back"));
    world.codis.wake_dashboard();
    world.lower().await;
    assert_eq!(world.owner().await, Owner::Target);
    assert!(world.is_at(0, world.target) && world.is_at(1, world.target));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_process_lowers_what_it_finds() {
    let world = World::start().await;
    world.raise().await;
    steps::lower(&world.another().await, &world.slots).await;
    world.assert_untouched();

    world.raise().await;
    let fresh = world.another().await;
    world.codis.kill_dashboard().await;
    steps::lower(&fresh, &world.slots).await;
    world.assert_untouched();
    world.codis.start_dashboard().await.unwrap();

    world.lower().await;
    world.raise().await;
    world.switch().await;
    steps::lower(&world.another().await, &world.slots).await;
    assert_eq!(world.owner().await, Owner::Target, "it gives nothing back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_process_switches_again_what_was_switched_in_part() {
    let world = World::start().await;
    world.raise().await;
    world.codis.kill_dashboard().await;
    world.routing.switch(&world.slots).await.unwrap_err();
    world.codis.start_dashboard().await.unwrap();
    let fresh = world.another().await;
    assert!(matches!(fresh.owner(world.first()).await.unwrap(), Owner::Other(_)));
    steps::switch(&fresh, &world.slots).await;
    assert_eq!(fresh.owner(world.first()).await.unwrap(), Owner::Target);
    until("nothing is locked", || world.locks() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_process_takes_nothing_back_that_was_switched() {
    for dead in [false, true] {
        let world = World::start().await;
        world.raise().await;
        let fresh = world.another().await;
        // The proxy cannot be told of the switch, and still holds its lock.
        world.codis.on_request(|event| async move {
            match event.place == Place::Proxy(1) && event.path.contains("fillslots") {
                true => Action::DropConnection,
                false => Action::Continue,
            }
        });
        world.routing.switch(&world.slots).await.unwrap_err();
        world.codis.off_request();
        assert!(world.is_at(0, world.target));
        assert_eq!(world.locks(), world.slots.len(), "the second one still holds them");
        if dead {
            world.codis.kill_dashboard().await;
        }
        steps::lower(&fresh, &world.slots).await;
        assert!(world.is_at(1, world.target), "dashboard dead: {dead}");
    }
}

/// Switches without a dashboard until clients go on at the target, and says what it was told.
async fn forwarded(world: &World) -> String {
    let begin = Instant::now();
    loop {
        let fault = world.routing.switch(&world.slots).await.unwrap_err().to_string();
        if world.is_at(0, world.target) && world.is_at(1, world.target) {
            return fault;
        }
        assert!(begin.elapsed() < HANG, "clients wait: {fault}");
    }
}

/// Does something at the first `assign` that the dashboard is sent.
fn at_assign<F, T>(world: &World, moment: Moment, act: F)
where
    F: Fn() -> T + Send + Sync + 'static,
    T: Future<Output = Action> + Send + 'static,
{
    let codis = world.codis.clone();
    world.codis.on_request(move |event: Event| {
        let is_assign = event.place == Place::Dashboard && event.path.contains("/slots/assign/");
        let action = (is_assign && event.moment == moment).then(|| {
            codis.off_request();
            act()
        });
        async move {
            match action {
                Some(action) => action.await,
                None => Action::Continue,
            }
        }
    });
}
