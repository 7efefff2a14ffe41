// SPDX-License-Identifier: Apache-2.0
//! The command line: arguments in, exit code out.

mod accident;
mod cutover;
mod demo;
mod display;
mod endpoint;
mod guard;
mod inspect;
mod jobs;
mod limits;
mod r#move;
mod operator;
mod receive;
mod remote;
mod renames;
mod requests;
mod resume;
mod routing;
mod sides;
mod signal;
mod summary;
mod verify;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::Error;

/// Moves slots of a live Pika node to a Redis-protocol target while clients go on.
#[derive(Parser, Debug)]
#[command(name = "slotmover", version, about, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Tells what is going on, on standard error; twice for every round.
    #[arg(long, short, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Moves slots: copies them, follows the writes, compares both sides, and switches.
    ///
    /// It runs on the machine of the source, as a user that may read its files. Passwords come from the environment
    /// variables SLOTMOVER_SOURCE_PASSWORD and SLOTMOVER_TARGET_PASSWORD or from files.
    Move(Box<r#move::MoveArgs>),
    /// Compares both sides of some slots, key by key, and changes nothing: after a move, while one is postponed, or when the
    /// target was filled by other means.
    ///
    /// It runs on the machine of the source, as a move does, and both sides may be in use. Passwords come from the
    /// environment variables SLOTMOVER_SOURCE_PASSWORD and SLOTMOVER_TARGET_PASSWORD or from files.
    Verify(Box<verify::VerifyArgs>),
    /// Lists the jobs: those at work, those that were stopped, and those that have ended.
    Jobs(jobs::JobsArgs),
    /// Goes on with a job that was stopped or killed, or lets one go on that is paused.
    Resume(resume::JobArgs),
    /// Holds a job that is at work, at its next safe point. Its slots fall behind meanwhile.
    Pause(resume::JobArgs),
    /// Takes a job back: what was copied to the target is deleted there, the source is as before. Slots that were switched
    /// stay switched.
    Cancel(resume::CancelArgs),
    /// Moves the slots of a job back to the source, with all that was written at the target since: as long as its reverse
    /// window is open.
    Rollback(resume::JobArgs),
    /// Ends the reverse window of a job now: it cannot be rolled back any more, tidies up and is done.
    Finish(resume::JobArgs),
    /// Moves slots of a small cluster inside this process, under load, and checks every answer its clients get.
    Demo(demo::DemoArgs),
    /// Shows what a checkpoint or a binlog holds.
    #[command(subcommand)]
    Inspect(inspect::InspectCommand),
    /// Takes batches of moves on the target's machine, and applies them there.
    ///
    /// A move sends through it with `--receiver`: compressed, checked, and under TLS. What both must know, the token, comes
    /// from the environment variable SLOTMOVER_TOKEN or from a file, the target's password from SLOTMOVER_TARGET_PASSWORD
    /// or from a file.
    Receive(Box<receive::ReceiveArgs>),
    /// Takes down what is left of fences whose move and guard both died: for the night when clients hang.
    ///
    /// It reads the fence journals, lowers what is raised, completes a switch that may have been sent, and says what it
    /// did. Fences that somebody looks after are named and left alone. Each `slotmover move` does the same at its start.
    FenceLower(guard::FenceLowerArgs),
    /// Watches over the fences of a move, which starts it: lowers them when the move dies or stands still.
    FenceGuard(guard::FenceGuardArgs),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log(cli.verbose);
    let outcome = match cli.command {
        Command::Inspect(command) => inspect::run(command),
        Command::Move(args) => asynchronous(r#move::run(*args)),
        Command::Verify(args) => asynchronous(verify::run(*args)),
        Command::Jobs(args) => jobs::list(&args),
        Command::Resume(args) => asynchronous(resume::resume(args)),
        Command::Pause(args) => asynchronous(resume::pause(args)),
        Command::Cancel(args) => asynchronous(resume::cancel(args)),
        Command::Rollback(args) => asynchronous(resume::rollback(args)),
        Command::Finish(args) => asynchronous(resume::finish(args)),
        Command::Receive(args) => asynchronous(receive::run(*args)),
        Command::Demo(args) => asynchronous(demo::run(args)),
        Command::FenceLower(args) => asynchronous(guard::lower(args)),
        Command::FenceGuard(args) => asynchronous(guard::run(args)),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            if let Some(error) = error.downcast_ref::<clap::Error>() {
                eprint!("{error}");
                return ExitCode::from(WRONG_ARGUMENTS);
            }
            eprintln!("slotmover: {}", message(&error));
            if let Some(error) = error.downcast_ref::<Error>() {
                eprintln!("what helps: {}", error.remedy());
            }
            match error.downcast_ref() {
                Some(Error::Cancelled | Error::Stopped) => ExitCode::from(CANCELLED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// The error of arguments that are wrong together.
fn usage(kind: ErrorKind, what: &str) -> anyhow::Error {
    Cli::command().error(kind, what).into()
}

/// The error and its causes, each once: most errors name their cause themselves.
fn message(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message
}

fn asynchronous<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

fn log(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "mover=info",
        _ => "mover=debug",
    };
    let filter = EnvFilter::try_from_env("SLOTMOVER_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let ansi = std::io::stderr().is_terminal();
    // A guard must not panic because nobody reads its log any more.
    let log = tracing_subscriber::fmt().log_internal_errors(false);
    log.with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
}

const WRONG_ARGUMENTS: u8 = 2;
const CANCELLED: u8 = 3;

const EXIT_CODES: &str = "\
Exit codes: 0 done and verified; 1 failed, the message says on which side and what helps, or `verify` found a difference; \
2 wrong arguments; 3 stopped, cancelled or rolled back.";
