// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;
use std::time::Duration;

use super::super::journal::{Entry, Journal};
use super::super::settle;
use super::{Layer, slots};
use crate::record::Slots;
use crate::routing::RoutingControl;
use crate::{BoxFuture, Error, Result};

/// What a settlement did with a journal that ends with these entries.
async fn settled(entries: &[Entry], layer: Arc<Layer>) -> (Result<usize>, usize) {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::create(dir.path(), &[]).unwrap();
    entries.iter().for_each(|entry| journal.add(entry).unwrap());
    let build = move |_| -> BoxFuture<'static, Result<Arc<dyn RoutingControl>>> {
        let layer: Arc<dyn RoutingControl> = Arc::clone(&layer) as _;
        Box::pin(async { Ok(layer) })
    };
    let living = settle(dir.path(), &build, &|_| {}).await.unwrap();
    assert_eq!((living.len(), living[0].pid), (1, std::process::id()), "its agent lives");
    drop(journal);
    // A child that another test forks at this moment holds the lock as well, until it executes its program.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let outcome = settle(dir.path(), &build, &|_| {}).await.map(|living| living.len());
    (outcome, Journal::all(dir.path()).unwrap().len())
}

#[tokio::test]
async fn a_journal_without_a_process_is_settled() {
    let (raised, may_switch, switching) = (
        Entry::Raised { slots: Slots(slots("5")) },
        Entry::MaySwitch { slots: Slots(slots("5")) },
        Entry::Switching { slots: Slots(slots("5")) },
    );
    // Where the fence was, whether the target owns the slots, whether the fence stands, what is done.
    let cases = [
        (vec![], false, false, vec!["finish"]),
        (vec![raised.clone()], false, true, vec!["lower 5", "finish"]),
        (vec![raised.clone(), Entry::Down], false, false, vec!["finish"]),
        (vec![raised, may_switch.clone()], false, true, vec!["switch 5", "finish"]),
        (vec![may_switch.clone()], true, false, vec!["switch 5", "finish"]),
        (vec![may_switch], false, false, vec!["lower 5", "finish"]),
        (vec![switching], true, false, vec!["switch 5", "finish"]),
    ];
    for (entries, at_target, stands, done) in cases {
        let layer = Arc::new(Layer::default());
        *layer.stands.lock().unwrap() = stands;
        if at_target {
            *layer.switched.lock().unwrap() = slots("5");
        }
        // A fence that stands for ever would never be lowered; this one falls.
        let falls = Arc::clone(&layer);
        let task = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            *falls.stands.lock().unwrap() = false;
        });
        let (outcome, left) = settled(&entries, Arc::clone(&layer)).await;
        assert_eq!((outcome.unwrap(), left), (0, 0), "{entries:?}");
        let mut told = layer.told();
        told.dedup();
        assert_eq!(told, done, "{entries:?}");
        task.abort();
    }
}

#[tokio::test]
async fn what_cannot_be_settled_is_an_error_that_names_the_journal() {
    let layer = Arc::new(Layer::default());
    *layer.refusals.lock().unwrap() = 1000;
    let (outcome, left) = settled(&[Entry::Raised { slots: Slots(slots("5")) }], layer).await;
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("the layer does not answer") && error.contains("slotmover fence-lower"), "{error}");
    assert_eq!(left, 1);
}

#[tokio::test]
async fn what_was_to_become_a_journal_goes_with_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let draft = |pid: u32| dir.path().join(format!("fence-{pid}-1795753273000-0.draft"));
    let (of_the_dead, ours) = (draft(child.id()), draft(std::process::id()));
    [&of_the_dead, &ours].into_iter().for_each(|path| std::fs::write(path, "{").unwrap());
    let build = |_| -> BoxFuture<'static, Result<Arc<dyn RoutingControl>>> {
        Box::pin(async { Err(Error::Routing { what: "nothing is to be settled".to_owned() }) })
    };
    assert_eq!(settle(dir.path(), &build, &|_| {}).await.unwrap(), []);
    assert_eq!((of_the_dead.exists(), ours.exists()), (false, true));
}
