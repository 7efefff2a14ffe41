// SPDX-License-Identifier: Apache-2.0
//! A node of the sandbox in a process of its own, to try a move on, or to end like a crash:
//! `cargo run --release --example sandbox_node -- DIR [PORT] [OPTION...]`. It says where it listens, and ends with its
//! standard input.
//!
//! Options: `--no-cache`, `--inexact-dumps`, `--strong-replication`, `--rename OLD NEW`.

use std::error::Error;
use std::io::{Read, Write};

use mover::sandbox::node::{Node, NodeConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let node = Node::start(config(std::env::args().skip(1))?).await?;
    println!("{}", node.addr());
    std::io::stdout().flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    node.stop().await?;
    Ok(())
}

fn config(mut arguments: impl Iterator<Item = String>) -> Result<NodeConfig, Box<dyn Error>> {
    let mut config = NodeConfig::new(arguments.next().ok_or("say the directory of its files")?);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--no-cache" => config.cache = false,
            "--inexact-dumps" => config.inexact_dumps = true,
            "--strong-replication" => config.strong_replication = true,
            "--rename" => {
                let names = (arguments.next(), arguments.next());
                let (Some(old), Some(new)) = names else { return Err("--rename takes two names".into()) };
                config.rename.push((old, new));
            }
            port => config.port = port.parse()?,
        }
    }
    Ok(config)
}
