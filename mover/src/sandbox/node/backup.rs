// SPDX-License-Identifier: Apache-2.0
//! BGSAVE, and taking over a dump that someone else made.
//!
//! ```text
//! <dir>/dump/<dump-prefix><YYYYMMDD>/db0/<i>/    a checkpoint of instance i
//!                                       /info    seconds, host, port, log file, log offset: written last
//!                                db0_FAILED/     what is left of a dump that failed
//! ```
//!
//! The position in `info` is that of the first entry of the log that is *not* in the dump. An inexact dump holds later
//! writes as well: the lock is released before the files are taken. With strong replication `info` has two more lines, the
//! term and the index of the last entry. The day is that of UTC. As on
//! the server, a second dump on the same day deletes the first one before it begins.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use replication::BinlogOffset;
use snapshot::{Info, UnixMillis};

use super::core::{Core, DATA_DIR, DUMP_DIR, TERM};
use super::error::Error;

/// Rings for the task that saves. It must be called within the node's runtime.
pub(super) fn request(core: &Core) {
    if !core.saving.swap(true, Ordering::AcqRel) {
        core.save_requested.notify_one();
    }
}

/// Saves whenever somebody asks for it.
pub(super) async fn save_on_request(core: Arc<Core>) {
    loop {
        core.save_requested.notified().await;
        let saving = core.clone();
        let saved = tokio::task::spawn_blocking(move || save(&saving)).await;
        match saved {
            Ok(Ok(())) => core.last_save.store(core.clock.now().0 / 1000, Ordering::Release),
            // As on the server: the folder tells who looks at it, and the log of the process tells why.
            Ok(Err(error)) => {
                tracing::warn!(%error, "BGSAVE failed");
                mark_failed(&core);
            }
            Err(panic) => tracing::error!(%panic, "BGSAVE panicked"),
        }
        core.saving.store(false, Ordering::Release);
    }
}

fn save(core: &Core) -> Result<(), Error> {
    let started = Instant::now();
    let dir = dump_dir(core);
    remove(&dir)?;
    // Most of the memory goes to disk before the lock, so that clients wait for the rest only.
    core.data.store.flush()?;
    let position = {
        let _exclusive = core.database.blocking_write();
        if !core.has_inexact_dumps {
            core.data.store.checkpoint(&dir)?;
        }
        let log = core.log();
        (log.end(), log.logic_id())
    };
    if core.has_inexact_dumps {
        std::thread::sleep(INEXACT_PAUSE);
        core.data.store.checkpoint(&dir)?;
    }
    write_info(core, &dir, started.elapsed(), position)
}

/// Writes the file that says that the dump is complete. A log that runs ahead of the data adds its term and index.
fn write_info(core: &Core, dir: &Path, duration: Duration, position: (BinlogOffset, u64)) -> Result<(), Error> {
    let (offset, index) = position;
    if core.is_strong() {
        let BinlogOffset { file, position } = offset;
        let text = format!("{}s\n127.0.0.1\n{}\n{file}\n{position}\n{TERM}\n{index}\n", duration.as_secs(), core.port);
        let (path, partial) = (dir.join(Info::FILE), dir.join("info.partial"));
        fs::write(&partial, text).map_err(Error::io("write", &partial))?;
        return fs::rename(&partial, &path).map_err(Error::io("rename", &partial));
    }
    let info = Info { duration, host: "127.0.0.1".to_owned(), port: core.port, offset };
    Ok(info.write(dir)?)
}

/// How long writes go on between the position and the files of an inexact dump.
const INEXACT_PAUSE: Duration = Duration::from_millis(100);

/// Gives an incomplete dump the name that says so.
fn mark_failed(core: &Core) {
    let dir = dump_dir(core);
    let failed = dir.with_file_name("db0_FAILED");
    let marked = fs::create_dir_all(&dir).and_then(|()| fs::rename(&dir, &failed));
    if let Err(error) = marked {
        tracing::warn!(%error, path = %failed.display(), "a failed dump could not be renamed");
    }
}

fn dump_dir(core: &Core) -> PathBuf {
    // Builds whose dumps are no exact cut number those of a day.
    let number = if core.has_inexact_dumps { "-0" } else { "" };
    let day = format!("{}{}{number}", core.settings.dump_prefix(), day_text(core.clock.now()));
    core.dir.join(DUMP_DIR).join(day).join("db0")
}

/// Copies the instances of a dump to where a node in `dir` keeps its data. It never links: a node writes to its files.
pub(super) fn copy_dump(dump: &Path, dir: &Path, instances: usize) -> Result<(), Error> {
    let source = if dump.join(Info::FILE).exists() { dump.to_owned() } else { dump.join("db0") };
    let target = dir.join(DATA_DIR);
    if target.exists() {
        return Err(Error::Occupied { path: target });
    }
    for index in 0..instances {
        let (from, to) = (source.join(index.to_string()), target.join(index.to_string()));
        if !from.is_dir() {
            return Err(Error::NoDump { path: from });
        }
        fs::create_dir_all(&to).map_err(Error::io("create", &to))?;
        for entry in fs::read_dir(&from).map_err(Error::io("list", &from))? {
            let file = entry.map_err(Error::io("list", &from))?.path();
            let name = file.file_name().unwrap_or_default();
            fs::copy(&file, to.join(name)).map_err(Error::io("copy", &file))?;
        }
    }
    Ok(())
}

fn remove(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", dir)(error)),
        _ => Ok(()),
    }
}

/// The day of a time as `YYYYMMDD`, by the civil calendar.
fn day_text(time: UnixMillis) -> String {
    // Counted from 1 March of the year 0 in eras of 400 years, so that leap days come last.
    let days = time.0 / 86_400_000 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_calendar() {
        for (seconds, day) in
            [(0, "19700101"), (951_782_400, "20000229"), (1_795_329_437, "20261122"), (4_107_542_399, "21000228")]
        {
            assert_eq!(day_text(UnixMillis(seconds * 1000)), day);
        }
    }
}
