// SPDX-License-Identifier: Apache-2.0
//! How many keys there are: `INFO keyspace 1` has them counted, `INFO keyspace 0` shows what was counted last.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use snapshot::format::{Column, Meta};
use tokio::sync::Notify;

use super::core::Core;
use super::data::type_name;
use super::fault::{Fault, Result};

/// The last count.
#[derive(Default)]
pub(super) struct Keyspace {
    requested: Notify,
    is_counting: AtomicBool,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    took: Duration,
    by_type: BTreeMap<&'static str, Counts>,
}

/// Counts of one type.
#[derive(Clone, Copy, Default)]
struct Counts {
    living: u64,
    /// Those of the living that will expire.
    mortal: u64,
    dead: u64,
}

/// Has the keys counted, unless they are being counted already.
pub(super) fn request(core: &Core) {
    if !core.keyspace.is_counting.swap(true, Ordering::AcqRel) {
        core.keyspace.requested.notify_one();
    }
}

/// Counts whenever somebody asks for it.
pub(super) async fn count_on_request(core: Arc<Core>) {
    loop {
        core.keyspace.requested.notified().await;
        let counting = core.clone();
        match tokio::task::spawn_blocking(move || count(&counting)).await {
            Ok(Ok(counted)) => *core.keyspace.counted.lock().unwrap_or_else(PoisonError::into_inner) = counted,
            Ok(Err(fault)) => tracing::warn!(?fault, "the keys could not be counted"),
            Err(panic) => tracing::error!(%panic, "counting the keys panicked"),
        }
        core.keyspace.is_counting.store(false, Ordering::Release);
    }
}

/// The section of INFO.
pub(super) fn shown(core: &Core) -> String {
    let counted = core.keyspace.counted.lock().unwrap_or_else(PoisonError::into_inner);
    let duration = match core.keyspace.is_counting.load(Ordering::Acquire) {
        true => "In Processing".to_owned(),
        false => format!("{}s", counted.took.as_secs()),
    };
    let mut text = String::from("# Keyspace\r\n# Use \"info keyspace 1\" to do async statistics\r\n");
    write!(text, "# Duration: {duration}\r\n").expect("a string takes everything");
    for (name, title) in TITLES {
        let Counts { living, mortal, dead } = counted.by_type.get(name).copied().unwrap_or_default();
        write!(text, "db0 {title}_keys={living}, expires={mortal}, invalid_keys={dead}\r\n")
            .expect("a string takes everything");
    }
    text
}

const TITLES: [(&str, &str); 6] = [
    ("string", "Strings"),
    ("hash", "Hashes"),
    ("list", "Lists"),
    ("zset", "Zsets"),
    ("set", "Sets"),
    ("streams", "Streams"),
];

fn count(core: &Core) -> Result<Counted> {
    let started = Instant::now();
    let now = core.clock.now();
    let mut by_type: BTreeMap<&'static str, Counts> = BTreeMap::new();
    for instance in 0..core.data.store.instances() {
        let mut fault = Ok(());
        core.data.store.scan_from(instance, Column::Default, &[], |_, value| match Meta::decode(value) {
            Ok(meta) => {
                let counts = by_type.entry(type_name(&meta)).or_default();
                let lives = !meta.is_empty() && !meta.is_expired(now);
                counts.living += u64::from(lives);
                counts.mortal += u64::from(lives && meta.expire_at().is_some());
                counts.dead += u64::from(!lives);
                ControlFlow::Continue(())
            }
            Err(error) => {
                fault = Err(Fault::from(error));
                ControlFlow::Break(())
            }
        })?;
        fault?;
    }
    Ok(Counted { took: started.elapsed(), by_type })
}
