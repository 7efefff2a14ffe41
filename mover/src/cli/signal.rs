// SPDX-License-Identifier: Apache-2.0
use tokio::signal::unix::{SignalKind, signal};

use crate::{Control, Result};

/// Waits for Ctrl-C or SIGTERM.
pub(super) async fn stop_signal() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            // Without a handler the signal ends the process, as it always did.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

/// Runs something, and stops it at the first signal; nothing comes of it when there is a second one.
pub(super) async fn until_stopped<T>(control: &Control, running: impl Future<Output = Result<T>>) -> Option<Result<T>> {
    let mut running = std::pin::pin!(running);
    tokio::select! {
        outcome = &mut running => return Some(outcome),
        () = stop_signal() => {
            eprintln!("stopping at the next safe point; once more stops at once");
            control.stop();
        }
    }
    tokio::select! {
        outcome = &mut running => Some(outcome),
        () = stop_signal() => {
            eprintln!("stopped at once");
            None
        }
    }
}
