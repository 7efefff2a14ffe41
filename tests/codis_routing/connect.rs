// SPDX-License-Identifier: Apache-2.0
//! What is refused before anything moves.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use mover::endpoint::Password;
use mover::routing::{Codis, CodisOptions, RoutingControl};

use super::world::World;
use crate::harness::free_addr;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_product_auth_is_refused() {
    let world = World::start().await;
    let mut options =
        CodisOptions::new(world.codis.dashboard_url(), world.source.to_string(), world.target.to_string());
    options.product_auth = Password::new("guessed");
    let fault = Codis::connect(options).await.unwrap_err().to_string();
    assert!(fault.contains("invalid xauth") && fault.contains("--product-auth-file"), "{fault}");
    assert!(fault.contains(&world.codis.admin_addrs()[0].to_string()), "{fault}");
    assert!(!fault.contains("guessed"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_slot_count_is_refused() {
    let world = World::start().await;
    let mut options =
        CodisOptions::new(world.codis.dashboard_url(), world.source.to_string(), world.target.to_string());
    options.slot_count = replication::SlotCount::new(512).unwrap();
    let fault = Codis::connect(options).await.unwrap_err().to_string();
    assert!(fault.contains("1024") && fault.contains("512"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_no_group_has_is_refused_with_the_groups() {
    let world = World::start().await;
    let nowhere = free_addr().to_string();
    let mut options = CodisOptions::new(world.codis.dashboard_url(), world.source.to_string(), nowhere);
    options.product_auth = Password::new("s3cret");
    let fault = Codis::connect(options.clone()).await.unwrap_err().to_string();
    assert!(fault.contains("--target-group") && fault.contains(&format!("group 2 ({})", world.target)), "{fault}");
    options.target_group = Some(2);
    Codis::connect(options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_dashboard_is_refused() {
    let connect = async |address: String| {
        let fault = Codis::connect(CodisOptions::new(address.clone(), "s:1", "t:1")).await.unwrap_err().to_string();
        assert!(fault.contains(&address), "{fault}");
        fault
    };
    let fault = connect(free_addr().to_string()).await;
    assert!(fault.contains("nobody listens"), "{fault}");
    for (status, body, says) in [
        ("200 OK", "not json", "cannot be read"),
        ("200 OK", r#"{"version":"1"}"#, "cannot be read"),
        ("404 Not Found", "404 page not found", "answered 404: 404 page"),
        ("800 ", r#"{"Cause":"use of closed topom","Stack":null}"#, "answered 800: use of closed topom"),
    ] {
        let fault = connect(says_always(status, body)).await;
        assert!(fault.contains(says), "{status} {body}: {fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_of_another_group_are_not_prepared() {
    let world = World::start().await;
    let back = {
        let mut options =
            CodisOptions::new(world.codis.dashboard_url(), world.target.to_string(), world.source.to_string());
        options.product_auth = Password::new("s3cret");
        Codis::connect(options).await.unwrap()
    };
    let fault = back.prepare(&world.slots).await.unwrap_err().to_string();
    assert!(fault.contains("slot 500 is in group 1"), "{fault}");
    assert!(!back.must_restore(), "nothing was stopped");
    assert!(back.preconditions(&world.slots).await.is_err());
    assert!(back.raise(&world.slots).await.is_err());
    assert_eq!(world.locks(), 0);
}

/// A server that gives the same answer to everybody; its address.
fn says_always(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                if line.unwrap().is_empty() {
                    break;
                }
            }
            let length = body.len();
            // A client that has gone is not our business.
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        }
    });
    address
}
