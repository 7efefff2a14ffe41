// SPDX-License-Identifier: Apache-2.0
use std::sync::{Arc, Mutex};
use std::time::Duration;

use replication::{Slot, SlotSet};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

use super::journal::{Entry, Journal, Slots};
use super::message::{Answer, Numbered, Request};
use super::{Guard, settle};
use crate::routing::{Owner, RoutingControl, Standing};
use crate::{BoxFuture, Error, Result};

/// A routing layer that writes down what it is told and may refuse it a few times.
#[derive(Default)]
struct Layer {
    told: Mutex<Vec<String>>,
    refusals: Mutex<u32>,
    switched: Mutex<SlotSet>,
    stands: Mutex<bool>,
}

impl Layer {
    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    fn tell(&self, what: &str) -> Result<()> {
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return Err(Error::Routing { what: "the layer does not answer".to_owned() });
        }
        self.told.lock().unwrap().push(what.to_owned());
        Ok(())
    }
}

impl RoutingControl for Layer {
    fn finish(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { self.tell("finish") })
    }

    fn owner(&self, slot: Slot) -> BoxFuture<'_, Result<Owner>> {
        Box::pin(async move {
            Ok(match self.switched.lock().unwrap().contains(slot) {
                true => Owner::Target,
                false => Owner::Source,
            })
        })
    }

    fn raise<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.tell(&format!("raise {slots}")) })
    }

    fn holds<'a>(&'a self, _: &'a SlotSet) -> BoxFuture<'a, Result<Standing>> {
        Box::pin(async {
            Ok(match *self.stands.lock().unwrap() {
                true => Standing::Holds,
                false => Standing::Broken("it is down".to_owned()),
            })
        })
    }

    fn switch<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.tell(&format!("switch {slots}"))?;
            *self.switched.lock().unwrap() = slots.clone();
            Ok(())
        })
    }

    fn lower<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.tell(&format!("lower {slots}")) })
    }
}

/// A guard in this process, and the agent's ends of its pipes.
struct Scene {
    dir: tempfile::TempDir,
    journal: Option<Journal>,
    layer: Arc<Layer>,
    said: Arc<Mutex<Vec<String>>>,
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    write: Option<WriteHalf<DuplexStream>>,
    guard: JoinHandle<Result<()>>,
}

impl Scene {
    async fn begin() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::create(dir.path(), &["--routing".to_owned()]).unwrap();
        let guard = Guard::open(journal.path()).unwrap();
        assert_eq!(guard.routing(), ["--routing"]);
        let (layer, said) = (Arc::new(Layer::default()), Arc::new(Mutex::new(Vec::new())));
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (read, write) = tokio::io::split(ours);
        let (input, output) = tokio::io::split(theirs);
        let sink = Arc::clone(&said);
        let say = Arc::new(move |line: &str| sink.lock().unwrap().push(line.to_owned()));
        let watching = guard.watch(Arc::clone(&layer) as _, (input, output), std::future::pending::<()>(), say);
        let guard = tokio::spawn(watching);
        let mut lines = BufReader::new(read).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("0 yes"), "it says that it is ready");
        Self { dir, journal: Some(journal), layer, said, lines, write: Some(write), guard }
    }

    async fn ask(&mut self, number: u64, request: Request) -> Answer {
        let line = Numbered(number, request).to_string();
        self.write.as_mut().unwrap().write_all(line.as_bytes()).await.unwrap();
        let Numbered(answered, answer) = self.lines.next_line().await.unwrap().unwrap().parse().unwrap();
        assert_eq!(answered, number);
        answer
    }

    /// Ends as an agent does that is killed: its pipe closes and its journal stays.
    async fn die(mut self) -> (Arc<Layer>, Vec<String>, usize) {
        self.write.take().unwrap().shutdown().await.unwrap();
        drop(self.journal.take());
        self.guard.await.unwrap().unwrap();
        let said = self.said.lock().unwrap().clone();
        (self.layer, said, Journal::all(self.dir.path()).unwrap().len())
    }
}

fn slots(text: &str) -> SlotSet {
    text.parse().unwrap()
}

fn raise() -> Request {
    Request::Raise { slots: slots("5"), within: Duration::from_secs(600) }
}

#[tokio::test]
async fn an_agent_that_dies_before_leave_is_lowered_until_it_succeeds() {
    let mut scene = Scene::begin().await;
    assert_eq!(scene.ask(1, raise()).await, Answer::Yes);
    *scene.layer.refusals.lock().unwrap() = 3;
    let (layer, said, journals) = scene.die().await;
    assert_eq!(layer.told(), ["lower 5", "lower 5", "lower 5", "finish"]);
    assert_eq!(journals, 0);
    let [first, fault, last] = &said[..] else { panic!("{said:?}") };
    assert!(first.contains("is gone: lowering the fence of slots 5"), "{first}");
    assert!(fault.contains("the layer does not answer; trying again"), "{fault}");
    assert!(last.contains("their clients go on at the source"), "{last}");
}

#[tokio::test]
async fn an_agent_that_dies_after_leave_is_switched() {
    let mut scene = Scene::begin().await;
    scene.ask(1, raise()).await;
    assert_eq!(scene.ask(2, Request::Leave { slots: slots("5") }).await, Answer::Yes);
    *scene.layer.refusals.lock().unwrap() = 3;
    let (layer, said, journals) = scene.die().await;
    assert_eq!((layer.told(), journals), (vec!["switch 5".to_owned(), "finish".to_owned()], 0));
    assert!(said.last().unwrap().contains("their clients go on at the target"), "{said:?}");
}

#[tokio::test]
async fn an_agent_that_stands_still_finds_its_fence_down() {
    let mut scene = Scene::begin().await;
    let short = Request::Raise { slots: slots("5"), within: Duration::from_millis(700) };
    scene.ask(1, short).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let lowered = scene.layer.told();
    assert!(lowered.len() >= 2 && lowered.iter().all(|told| told == "lower 5"), "{lowered:?}");
    let Answer::No(why) = scene.ask(2, Request::Leave { slots: slots("5") }).await else { panic!("it got leave") };
    assert!(why.contains("stood still"), "{why}");
    assert_eq!(scene.ask(3, Request::Lowered).await, Answer::Yes);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(scene.ask(4, raise()).await, Answer::Yes);
    assert_eq!(scene.ask(5, Request::Lowered).await, Answer::Yes);
    assert_eq!(scene.ask(6, Request::End).await, Answer::Yes);
    scene.guard.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_cannot_be_taken_back_stays_in_the_journal() {
    let scene = Scene::begin().await;
    *scene.layer.refusals.lock().unwrap() = 100;
    let dir = scene.dir;
    drop((scene.write, scene.lines, scene.journal));
    assert!(scene.guard.await.unwrap().is_err());
    assert_eq!(Journal::all(dir.path()).unwrap().len(), 1);
}

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
