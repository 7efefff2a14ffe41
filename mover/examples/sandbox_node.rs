// SPDX-License-Identifier: Apache-2.0
//! A node of the sandbox in a process of its own, to try a move on, or to end like a crash:
//! `cargo run --release --example sandbox_node -- DIR [PORT]`. It says where it listens, and ends with its standard input.

use std::error::Error;
use std::io::{Read, Write};

use mover::sandbox::node::{Node, NodeConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("say the directory of its files")?;
    let port = arguments.next().map_or(Ok(0), |port| port.parse())?;
    let node = Node::start(NodeConfig { port, ..NodeConfig::new(dir) }).await?;
    println!("{}", node.addr());
    std::io::stdout().flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    node.stop().await?;
    Ok(())
}
