// SPDX-License-Identifier: Apache-2.0
//! A cutover where nothing fails.

use std::time::Duration;

use mover::routing::{Owner, RoutingControl, Standing};

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
    let client = Waiting::get(world.codis.proxy_addrs()[0], &key_of(&world));
    assert_eq!(routing.holds(&world.slots).await.unwrap(), Standing::Holds);
    routing.switch(&world.slots).await.unwrap();
    assert_eq!(client.answer(), "+OK");
    assert_eq!(world.owner().await, Owner::Target);
    assert!(world.is_at(0, world.target) && world.is_at(1, world.target));
    // Doing it again does no harm, and gives nothing back.
    routing.switch(&world.slots).await.unwrap();
    routing.lower(&world.slots).await.unwrap();
    assert_eq!(world.owner().await, Owner::Target);
    assert_eq!(world.locks(), 0);
    routing.finish().await.unwrap();
    assert!(!routing.must_restore());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_is_lowered_without_a_trace() {
    let world = World::start().await;
    let routing = &world.routing;
    routing.lower(&world.slots).await.unwrap();
    world.raise().await;
    routing.raise(&world.slots).await.unwrap();
    assert_eq!(routing.holds(&world.slots).await.unwrap(), Standing::Holds);
    let client = Waiting::get(world.codis.proxy_addrs()[1], &key_of(&world));
    routing.lower(&world.slots).await.unwrap();
    assert_eq!(client.answer(), "+OK");
    world.assert_untouched();
    routing.lower(&world.slots).await.unwrap();
    assert!(world.broken().await.contains("no fence was raised"));
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

/// A key of the first slot.
fn key_of(world: &World) -> String {
    let slot = world.first();
    let keys = (0..).map(|number| format!("key:{number}"));
    keys.into_iter().find(|key| replication::SlotCount::CODIS.slot_of(key.as_bytes()) == slot).unwrap()
}
