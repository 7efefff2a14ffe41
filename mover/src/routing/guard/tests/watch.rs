// SPDX-License-Identifier: Apache-2.0
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

use super::super::Guard;
use super::super::journal::Journal;
use super::super::message::{Answer, Numbered, Request};
use super::{Layer, slots};
use crate::Result;

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
