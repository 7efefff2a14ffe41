// SPDX-License-Identifier: Apache-2.0
//! A cutover where nothing fails.

use std::time::Duration;

use mover::routing::{Owner, RoutingControl};

use super::world::{Waiting, World};

#[tokio::test(flavor = "multi_thread")]
async fn slots_are_fenced_held_and_switched() {
    let world = World::start().await;
    let routing = &world.routing;
    routing.prepare(&world.slots).await.unwrap();
    assert!(routing.must_restore());
    assert_eq!(world.owner().await, Owner::Source);
    world.raise().await;
    assert_eq!(world.owner().await, Owner::Source);
    let client = Waiting::get(world.codis.proxy_addrs()[0], &world.key());
    world.holds().await;
    world.switch().await;
    assert_eq!(client.answer(), "+OK");
    assert_eq!(world.owner().await, Owner::Target);
    assert!(world.is_at(0, world.target) && world.is_at(1, world.target));
    // Doing it again does no harm, and gives nothing back.
    world.switch().await;
    world.lower().await;
    assert_eq!(world.owner().await, Owner::Target);
    assert_eq!(world.locks(), 0);
    routing.finish().await.unwrap();
    assert!(!routing.must_restore());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_is_lowered_without_a_trace() {
    let world = World::start().await;
    let routing = &world.routing;
    world.lower().await;
    world.raise().await;
    routing.raise(&world.slots).await.unwrap();
    world.holds().await;
    let client = Waiting::get(world.codis.proxy_addrs()[1], &world.key());
    world.lower().await;
    assert_eq!(client.answer(), "+OK");
    world.assert_untouched();
    world.lower().await;
    world.broken("no fence was raised").await;
    world.raise().await;
    world.switch().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn native_actions_are_stopped_and_let_go_on() {
    let world = World::start().await;
    world.routing.prepare(&world.slots).await.unwrap();
    // An action on a slot of a third group's business would be pending for ever; see it stay so, then go on.
    world.order("slots/action/create", "/7/2");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let state = |world: &World| world.codis.mapping(replication::Slot::new(7)).unwrap();
    assert_eq!(state(&world).action.state, "pending");
    world.routing.finish().await.unwrap();
    crate::harness::until("the native action goes on", || state(&world).action.state != "pending").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn native_actions_stay_stopped_if_an_operator_stopped_them() {
    let world = World::start().await;
    world.order("slots/action/disabled", "/1");
    world.routing.prepare(&world.slots).await.unwrap();
    assert!(!world.routing.must_restore());
    world.routing.finish().await.unwrap();
    world.order("slots/action/create", "/7/2");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.codis.mapping(replication::Slot::new(7)).unwrap().action.state, "pending");
}
