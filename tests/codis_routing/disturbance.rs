// SPDX-License-Identifier: Apache-2.0
//! What others do with the same slots meanwhile: the dashboard's checks and moves, operators, another agent.

use mover::routing::{Owner, RoutingControl};
use replication::Slot;

use super::steps;
use super::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_breaks_the_fence_is_seen() {
    let world = World::start().await;
    world.raise().await;
    world.order("group/resync", "/1");
    world.broken(&format!("has let go of slot 500, which it sends to {}", world.source)).await;
    world.lower().await;
    world.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_misses_a_check_keeps_the_fence_down_or_breaks_it() {
    for node in [0, 1] {
        let world = World::start().await;
        let server = [world.source, world.target][node];
        world.raise().await;
        world.holds().await;
        world.codis.server_down(server);
        world.broken(["has let go", &server.to_string()][node]).await;
        world.lower().await;
        world.not_ready(&server.to_string()).await;
        world.codis.server_up(server);
        world.ready().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_the_dashboard_is_to_move_are_left_to_it() {
    let world = World::start().await;
    world.order("slots/action/disabled", "/1");
    world.order("slots/action/create", "/511/2");
    let fault = world.routing.prepare(&world.slots).await.unwrap_err().to_string();
    assert!(fault.contains("slot 511 to group 2: pending"), "{fault}");
    assert!(world.routing.preconditions(&world.slots).await.is_err());
    world.order("slots/action/remove", "/511");
    world.routing.prepare(&world.slots).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_of_other_slots_by_the_dashboard_is_waited_for() {
    let world = World::start().await;
    world.order("slots/action/disabled", "/1");
    world.order("slots/action/create", "/7/2");
    let fault = world.routing.prepare(&world.slots).await.unwrap_err().to_string();
    assert!(fault.contains("slot 7 to group 2: pending"), "{fault}");
    world.not_ready("slot 7 to group 2: pending").await;
    world.order("slots/action/remove", "/7");
    world.raise().await;
    world.order("slots/action/create", "/7/2");
    world.broken("slot 7 to group 2: pending").await;
    world.lower().await;
    assert_eq!(world.codis.mapping(Slot::new(7)).unwrap().action.state, "pending", "it is not ours to take back");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_on_a_fenced_slot_survives_the_lower() {
    let world = World::start().await;
    world.routing.prepare(&world.slots).await.unwrap();
    world.raise().await;
    world.order("slots/action/create", "/511/2");
    world.broken("slot 511 to group 2: pending").await;
    world.lower().await;
    world.assert_untouched();
    assert_eq!(world.codis.mapping(Slot::new(511)).unwrap().action.state, "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_see_each_other() {
    let world = World::start().await;
    let other = world.another().await;
    world.raise().await;
    let fault = other.raise(&world.slots).await.unwrap_err().to_string();
    assert!(fault.contains("slot 500 locked by a fence"), "{fault}");
    // It has done nothing.
    world.holds().await;
    // It lowers what it finds, as after a crash, and raises its own.
    steps::lower(&other, &world.slots).await;
    steps::raise(&other, &world.slots).await;
    world.broken("not with ours").await;
    world.lower().await;
    // The lock of another is not ours to take off.
    steps::holds(&other, &world.slots).await;
    steps::switch(&other, &world.slots).await;
    assert_eq!(world.owner().await, Owner::Target);
}
