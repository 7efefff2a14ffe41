// SPDX-License-Identifier: Apache-2.0
//! Proxies that restart, join, die, hang, or have a slow request.

use std::time::{Duration, Instant};

use mover::routing::{Owner, RoutingControl};
use mover::sandbox::codis::{Action, Moment, Place};

use super::world::{SlowNode, Waiting, World};
use crate::harness::{call, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_restarted_during_the_fence_breaks_it() {
    let world = World::start().await;
    world.raise().await;
    world.codis.restart_proxy(1).await.unwrap();
    world.broken(&world.admin(1)).await;
    world.codis.until_online(1).await.unwrap();
    world.broken("has let go of slot 500").await;
    world.lower().await;
    world.assert_untouched();
    world.raise().await;
    world.switch().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_joins_breaks_the_fence() {
    let world = World::start().await;
    world.raise().await;
    let third = world.codis.join_proxy().await.unwrap();
    world.codis.until_online(third).await.unwrap();
    world.broken(&world.admin(third)).await;
    world.lower().await;
    world.assert_untouched();
    world.raise().await;
    assert_eq!(world.locks(), 3 * world.slots.len(), "the third one is held as well");
    world.switch().await;
    assert!(world.is_at(third, world.target));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_killed_during_the_fence_breaks_it_and_needs_no_lowering() {
    let world = World::start().await;
    world.raise().await;
    world.codis.kill_proxy(1).await;
    world.broken("nobody listens").await;
    world.lower().await;
    assert!(world.is_at(0, world.source));
    world.not_ready(&world.admin(1)).await;
    world.codis.start_proxy(1).await.unwrap();
    world.codis.until_online(1).await.unwrap();
    world.raise().await;
    world.switch().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_hangs_before_the_fence_keeps_it_from_being_raised() {
    let world = World::start().await;
    world.ready().await;
    world.codis.hang_proxy(1);
    world.not_ready(&world.admin(1)).await;
    assert_eq!(world.locks(), 0);
    world.codis.wake_proxy(1);
    world.raise().await;
    world.lower().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_lands_late_at_a_proxy_that_hangs_is_taken_off() {
    let world = World::start().await;
    world.ready().await;
    world.codis.hang_proxy(1);
    let fault = world.routing.raise(&world.slots).await.unwrap_err().to_string();
    assert!(fault.contains(&world.admin(1)), "{fault}");
    let begin = Instant::now();
    let fault = world.routing.lower(&world.slots).await.unwrap_err().to_string();
    assert!(fault.contains(&world.admin(1)), "{fault}");
    assert!(begin.elapsed() < Duration::from_secs(3), "the caller is to be told soon");
    assert!(world.is_at(0, world.source), "clients of the other proxy go on at once");
    world.not_ready("has not been answered").await;
    world.codis.wake_proxy(1);
    world.lower().await;
    world.assert_untouched();
    world.raise().await;
    world.switch().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_lock_is_taken_off_even_if_nobody_asks_again() {
    let world = World::start().await;
    world.ready().await;
    world.codis.hang_proxy(1);
    world.routing.raise(&world.slots).await.unwrap_err();
    world.routing.lower(&world.slots).await.unwrap_err();
    let (landed, mut landing) = tokio::sync::watch::channel(false);
    world.codis.on_request(move |event| {
        let is_lock = event.place == Place::Proxy(1) && event.method == "PUT" && event.moment == Moment::After;
        if is_lock {
            landed.send_replace(true);
        }
        async { Action::Continue }
    });
    world.codis.wake_proxy(1);
    landing.wait_for(|landed| *landed).await.unwrap();
    until("it is taken off", || world.locks() == 0).await;
    world.ready().await;
    world.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_hangs_during_the_fence_is_unlocked_when_it_wakes() {
    let world = World::start().await;
    world.raise().await;
    world.codis.hang_proxy(0);
    world.broken("has not answered").await;
    world.routing.lower(&world.slots).await.unwrap_err();
    assert!(world.is_at(1, world.source), "clients of the other proxy go on at once");
    world.codis.wake_proxy(0);
    until("it is unlocked", || world.locks() == 0).await;
    world.lower().await;
    world.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raise_that_is_dropped_leaves_nothing_after_a_lower() {
    let world = World::start().await;
    world.ready().await;
    world.codis.hang_proxy(1);
    let raise = tokio::time::timeout(Duration::from_millis(50), world.routing.raise(&world.slots));
    assert!(raise.await.is_err(), "a proxy that hangs answers no lock");
    assert_eq!(world.locks(), world.slots.len(), "the other one is held");
    world.routing.lower(&world.slots).await.unwrap_err();
    world.codis.wake_proxy(1);
    world.lower().await;
    world.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_answered_but_not_applied_is_noticed() {
    let world = World::start().await;
    world.ready().await;
    let codis = world.codis.clone();
    world.codis.on_request(move |event| {
        let (codis, is_lock) = (codis.clone(), event.place == Place::Proxy(1) && event.path.contains("fillslots"));
        async move {
            // It reads `OK` and has forgotten the slots: it lives anew.
            if is_lock && event.moment == Moment::After {
                codis.off_request();
                codis.restart_proxy(1).await.unwrap();
            }
            Action::Continue
        }
    });
    let fault = world.routing.raise(&world.slots).await.unwrap_err().to_string();
    assert!(fault.contains(&world.admin(1)), "{fault}");
    world.codis.until_online(1).await.unwrap();
    world.lower().await;
    world.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_killed_before_the_switch_gets_the_target_when_it_comes_back() {
    let world = World::start().await;
    world.raise().await;
    world.holds().await;
    world.codis.kill_proxy(1).await;
    world.switch().await;
    assert_eq!(world.owner().await, Owner::Target);
    assert!(world.is_at(0, world.target));
    world.codis.start_proxy(1).await.unwrap();
    world.codis.until_online(1).await.unwrap();
    assert!(world.is_at(1, world.target));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_hangs_at_the_switch_holds_its_clients_and_nobody_elses() {
    let world = World::start().await;
    world.raise().await;
    world.holds().await;
    world.codis.hang_proxy(1);
    let begin = Instant::now();
    world.switch().await;
    assert!(begin.elapsed() < Duration::from_secs(20), "the dashboard stands still for a minute");
    assert!(world.is_at(0, world.target));
    world.not_ready("has not been answered").await;
    world.codis.wake_proxy(1);
    until("it goes to the target", || world.is_at(1, world.target)).await;
    assert_eq!(world.owner().await, Owner::Target);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_request_in_flight_keeps_the_fence_from_being_up() {
    let node = SlowNode::start();
    // The secret would have to be asked for.
    let world = World::from_source(node.addr(), |config| config.product_auth = String::new()).await;
    world.ready().await;
    let client = Waiting::get(world.codis.proxy_addrs()[1], &world.key());
    // The request is to be in flight before the lock is sent.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let fault = world.routing.raise(&world.slots).await.unwrap_err().to_string();
    assert!(fault.contains(&format!("{} has not answered", world.admin(1))), "{fault}");
    world.routing.lower(&world.slots).await.unwrap_err();
    assert!(world.is_at(0, world.source), "clients of the other proxy go on at once");
    node.answer();
    assert_eq!(client.answer(), "+OK");
    world.lower().await;
    world.assert_untouched();
    world.raise().await;
    world.switch().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_was_taken_from_the_dashboard_is_served_by_hand() {
    let world = World::start().await;
    world.raise().await;
    unlist(&world, 1);
    world.broken(&format!("{} has left the dashboard", world.admin(1))).await;
    world.lower().await;
    world.assert_untouched();

    let world = World::start().await;
    world.raise().await;
    unlist(&world, 1);
    world.switch().await;
    assert!(world.is_at(0, world.target) && world.is_at(1, world.target), "its clients would wait for ever");
}

/// Has the dashboard forget a proxy that lives on.
fn unlist(world: &World, proxy: usize) {
    let admin = world.codis.admin_addrs()[proxy];
    let model = call(admin, "GET", "/api/proxy/model", "");
    let (_, token) = model.split_once("\"token\": \"").unwrap();
    let (token, _) = token.split_once('"').unwrap();
    world.codis.on_request(|event| async move {
        match event.path.contains("/shutdown/") {
            true => Action::DropConnection,
            false => Action::Continue,
        }
    });
    world.order("proxy/remove", &format!("/{token}/1"));
    world.codis.off_request();
}
