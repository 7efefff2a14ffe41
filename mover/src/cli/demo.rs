// SPDX-License-Identifier: Apache-2.0
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::cli::{display, summary};
use crate::sandbox::demo::{Demo, DemoOptions, DemoReport};

#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    /// Keys to fill the source with, of all types; half of them are in the slots that move.
    #[arg(long, value_name = "N", default_value_t = 300_000)]
    keys: usize,

    /// Slots to move.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=512))]
    slots: u16,

    /// Clients that write and read all the time.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    writers: u16,

    /// Puts a Codis in front of the nodes, a dashboard and two proxies, instead of one proxy of our own.
    #[arg(long)]
    codis: bool,

    /// Commands per second of all clients together; as many as they can when not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pace: Option<u32>,

    /// Seconds that the clients go on besides the move, half before it and half after.
    #[arg(long, value_name = "N", default_value_t = 4)]
    seconds: u64,

    /// Where the clients' random choices come from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Where the nodes keep their files; a temporary directory when not given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Ends with one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: DemoArgs) -> Result<ExitCode> {
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let builder = tempfile::Builder::new().prefix("slotmover-demo-").tempdir_in(&parent);
    let dir = builder.with_context(|| format!("cannot create a directory in {}", parent.display()))?;
    let options = DemoOptions {
        keys: args.keys,
        slots: args.slots,
        writers: usize::from(args.writers),
        pace: args.pace,
        time: Duration::from_secs(args.seconds),
        seed: args.seed,
        dir: dir.path().to_owned(),
        codis: args.codis,
        skip_drain: false,
    };
    let front = if args.codis { "a Codis with two proxies" } else { "a proxy" };
    eprintln!("starting two nodes and {front}, and filling the source with {} keys", args.keys);
    let demo = Demo::start(options).await?;
    let filled = demo.filled();
    let types: Vec<String> = filled.types.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    eprintln!("filled in {:.1} s: {}", filled.elapsed.as_secs_f64(), types.join(", "));
    eprintln!("{} clients write and read; moving {} slots under them", args.writers, args.slots);
    let job = demo.job();
    let display = display::Display::start(job.progress(), "");
    let outcome = demo.run(job).await;
    display.end().await;
    let report = outcome?;
    match args.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => print(&report),
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &DemoReport) {
    summary::print(&report.job);
    let client = &report.client;
    println!(
        "clients            {}: {} requests, {} errors, {} wrong values",
        report.writers, client.requests, client.errors, client.wrong_values
    );
    println!("their waits        {:.1} ms at most, 99 % below {:.1} ms", client.max_latency_ms, client.p99_latency_ms);
    println!("read back at last  {} keys of the clients, every one compared", client.keys_checked);
    for example in &client.examples {
        println!("seen by a client   {example}");
    }
    match report.is_clean() {
        true => println!("SUCCESS: no client saw an error or a wrong value, and both sides were equal"),
        false => println!("FAILURE: see above; run it again with --seed {}", report.seed),
    }
}
