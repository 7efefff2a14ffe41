// SPDX-License-Identifier: Apache-2.0
//! A proxy that moves slots of its own, by embedding the mover: `cargo run --release --example embedding_proxy`.
//!
//! What an embedder writes is in `table.rs`, a [`RoutingControl`] over the proxy's own table of slots, and in
//! [`move_slots`]. The rest is a small proxy, and a sandbox to show it in: two nodes, and clients that check every answer.
//!
//! With `--quick` there is less to move; `--check` holds the control to the rules of its trait instead.

mod proxy;
mod resp;
mod table;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mover::routing::{RoutingControl, conformance};
use mover::sandbox::load::{self, FillConfig, Load, LoadConfig, Tag};
use mover::sandbox::node::{Node, NodeConfig};
use mover::sandbox::rig::Nodes;
use mover::{Job, Report, Slot, SlotCount, SlotSet};

use crate::proxy::Proxy;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Box::pin(show(30_000, Duration::from_secs(6))).await,
        ["--quick"] => Box::pin(show(3_000, Duration::from_secs(1))).await,
        ["--check"] => check().await,
        _ => {
            eprintln!("usage: embedding_proxy [--quick | --check]");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("FAILURE: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Moves slots from one node to the other while the proxy that `routing` belongs to serves their clients. Ctrl-C ends it
/// at the next safe point.
async fn move_slots(
    slots: SlotSet,
    source: SocketAddr,
    target: SocketAddr,
    routing: Arc<dyn RoutingControl>,
) -> Result<Report, Box<dyn Error>> {
    let job = Job::builder(slots)
        .source(source)
        .target(target)
        .routing(routing)
        .rate("8MiB/s".parse()?)
        .max_lock(Duration::from_millis(200))
        .build()?;
    let (control, mut updates) = (job.control(), job.updates(Duration::from_secs(1)));
    let running = tokio::spawn(job.run());
    loop {
        tokio::select! {
            status = updates.next() => match status {
                Some(status) => println!("{status}"),
                None => break,
            },
            _ = tokio::signal::ctrl_c() => control.cancel(),
        }
    }
    Ok(running.await??)
}

/// Moves two slots of four under load, and fails unless everything was as it should be.
async fn show(keys: usize, time: Duration) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::Builder::new().prefix("slotmover-example-").tempdir()?;
    let source = Node::start(NodeConfig::new(dir.path().join("source"))).await?;
    let target = Node::start(NodeConfig::new(dir.path().join("target"))).await?;
    let proxy = Proxy::start(source.addr(), target.addr()).await?;

    let (moving, staying) = ([Slot::new(7), Slot::new(700)], [Slot::new(8), Slot::new(701)]);
    let mut tags = Tag::of_slots(staying, SlotCount::CODIS);
    tags.extend(Tag::of_slots(moving, SlotCount::CODIS).into_iter().map(Tag::hot));
    let filled = load::fill(source.addr(), FillConfig::new(tags.clone(), keys)).await?;
    println!("4 slots hold {} keys; clients write and read them through the proxy at {}", filled.keys, proxy.addr);
    // Nodes, proxy, clients and mover share this machine: as much as they can, and nobody would ever be in step.
    let clients = LoadConfig {
        pace: Some(4_000),
        nodes: vec![source.addr(), target.addr()],
        ..LoadConfig::new(proxy.addr, tags)
    };
    let clients = Load::start(clients).await?;
    tokio::time::sleep(time / 2).await;

    let slots = SlotSet::from_iter(moving);
    println!("moving slots {slots} from {} to {}", source.addr(), target.addr());
    let report = move_slots(slots.clone(), source.addr(), target.addr(), Arc::clone(&proxy.table) as _).await?;

    tokio::time::sleep(time / 2).await;
    let seen = clients.stop().await;
    println!(
        "moved {} keys, followed {} changes, compared {}; clients were held for {:.1} ms at most",
        report.keys, report.changes, report.verify.keys, report.fence_ms.max
    );
    println!("clients: {seen}");
    for slot in slots.iter() {
        let owner = proxy.table.owner(slot).await?;
        println!("slot {slot} is served by {owner:?}");
    }
    if !seen.is_clean() || report.verify.mismatches + report.verify.extra > 0 {
        return Err("the clients or the comparison saw something wrong, see above".into());
    }
    println!("SUCCESS: no client saw an error or a wrong value");
    source.stop().await?;
    target.stop().await?;
    Ok(())
}

/// Holds the table's control to the rules, with nodes that say who they are.
async fn check() -> Result<(), Box<dyn Error>> {
    let nodes = Nodes::start().await?;
    let proxy = Proxy::start(nodes.source(), nodes.target()).await?;
    let other = Arc::clone(&proxy.table);
    let rig = nodes.rig(proxy.table, [proxy.addr]).with_unknown_slot(Slot::new(SlotCount::CODIS.get()));
    let rig = rig.with_accident(move |slots| {
        let table = Arc::clone(&other);
        async move { table.lower(&slots).await.map_err(|error| error.to_string()) }
    });
    conformance::check(&rig).await?;
    println!("SUCCESS: the control keeps every rule of RoutingControl");
    Ok(())
}
