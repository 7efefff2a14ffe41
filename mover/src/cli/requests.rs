// SPDX-License-Identifier: Apache-2.0
//! What another process asks of a job that is at work: a word in a file beside its journal.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::Control;
use crate::{Error, Result};

/// What may be asked.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Request {
    Pause,
    Resume,
    Cancel,
    Rollback,
    Finish,
}

impl Request {
    fn word(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn apply(self, control: &Control) {
        match self {
            Self::Pause => control.pause(),
            Self::Resume => control.resume(),
            Self::Cancel => control.cancel(),
            // Whoever wants that does not want it later.
            Self::Rollback => {
                control.roll_back();
                control.resume();
            }
            Self::Finish => {
                control.close_window();
                control.resume();
            }
        }
    }
}

/// Does what is asked of the job with this journal, until what it gives is dropped.
pub(super) fn take(journal: &Path, control: &Control) -> JoinSet<()> {
    let (path, control) = (file(journal), control.clone());
    // One of somebody who asked a process that is gone, and was killed before he stopped waiting. Whoever waits still is
    // heard: he saw that somebody works on the job, which is us.
    let age = fs::metadata(&path).and_then(|metadata| metadata.modified()).map(|at| at.elapsed().unwrap_or_default());
    if age.is_ok_and(|age| age > PATIENCE) {
        // What cannot be removed cannot be read either, and is told below.
        let _ = fs::remove_file(&path);
    }
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            match fs::read_to_string(&path) {
                Ok(word) => {
                    match Request::from_str(word.trim(), false) {
                        Ok(request) => {
                            info!(?request, "was asked for");
                            request.apply(&control);
                        }
                        Err(fault) => warn!("{}: {fault}", path.display()),
                    }
                    // Whoever asked sees by it that it was taken.
                    if let Err(fault) = fs::remove_file(&path) {
                        warn!("cannot remove {}: {fault}", path.display());
                    }
                }
                Err(fault) if fault.kind() == ErrorKind::NotFound => {}
                Err(fault) => warn!("cannot read {}: {fault}", path.display()),
            }
            sleep(STEP).await;
        }
    });
    tasks
}

/// Asks for it, and waits until it was heard. Whether it was.
pub(super) async fn send(journal: &Path, request: Request) -> Result<bool> {
    let (path, draft) = (file(journal), journal.with_extension("request.draft"));
    let written = fs::write(&draft, request.word()).and_then(|()| fs::rename(&draft, &path));
    written.map_err(|fault| Error::file("write", &path, fault))?;
    let begin = Instant::now();
    while path.exists() {
        if begin.elapsed() > PATIENCE {
            // Nobody reads it: it must not wait for the job's next process.
            let _ = fs::remove_file(&path);
            return Ok(false);
        }
        sleep(STEP).await;
    }
    Ok(true)
}

fn file(journal: &Path) -> PathBuf {
    journal.with_extension("request")
}

/// Between two looks at the file.
const STEP: Duration = Duration::from_millis(50);

/// A process that is at work looks far more often.
const PATIENCE: Duration = Duration::from_secs(10);
