// SPDX-License-Identifier: Apache-2.0
//! The agent's side, with shell scripts in the place of the guard.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::super::journal::{Entry, Journal};
use super::super::{GuardOptions, Guarded};
use super::{Layer, slots};
use crate::Error;
use crate::record::Slots;
use crate::routing::{Readiness, RoutingControl, Standing};

struct Scene {
    dir: tempfile::TempDir,
    layer: Arc<Layer>,
    guarded: Guarded,
}

impl Scene {
    /// With a guard that says `yes` where `answers`, the branches of a shell's `case`, do not say otherwise.
    fn new(answers: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "#!/bin/sh\ncd '{}'\necho start >> asked\necho 0 yes\nwhile read n verb rest; do echo $verb >> asked\n\
             case $verb in\n{answers}\nend) echo $n yes; exit;;\n*) echo $n yes;;\nesac\ndone\n{{ echo closed >> asked; }} 2>/dev/null\n",
            dir.path().display()
        );
        write(&dir.path().join("guard"), &text);
        let layer = Arc::new(Layer::default());
        *layer.stands.lock().unwrap() = true;
        let options = GuardOptions {
            program: dir.path().join("guard"),
            state_dir: dir.path().join("state"),
            routing: vec!["--routing".to_owned()],
            max_lock: Duration::from_millis(200),
        };
        let guarded = Guarded::new(Arc::clone(&layer) as _, options).unwrap();
        Self { dir, layer, guarded: guarded.with_further(|| vec!["--more".to_owned()]) }
    }

    fn asked(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("asked")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn journals(&self) -> Vec<std::path::PathBuf> {
        Journal::all(&self.dir.path().join("state")).unwrap()
    }

    fn last(&self) -> Entry {
        Journal::peek(&self.journals()[0]).unwrap().last
    }
}

/// By another process: a file that this one holds open for writing cannot be executed.
fn write(path: &std::path::Path, text: &str) {
    let mut shell = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod +x \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
}

fn broken(standing: Standing) -> String {
    match standing {
        Standing::Broken(why) => why,
        Standing::Holds => panic!("it holds"),
    }
}

#[tokio::test]
async fn each_step_is_told_and_written_down() {
    let scene = Scene::new("");
    let (guarded, five) = (&scene.guarded, slots("5"));
    assert_eq!(scene.journals().len(), 0, "it only tries whether it can write");
    guarded.prepare(&five).await.unwrap();
    let record = Journal::peek(&scene.journals()[0]).unwrap();
    assert_eq!(record.header.routing, ["--routing", "--more"]);
    assert_eq!(guarded.preconditions(&five).await.unwrap(), Readiness::Ready);
    assert_eq!(scene.last(), Entry::Raised { slots: Slots(five.clone()) });
    guarded.raise(&five).await.unwrap();
    assert_eq!(scene.last(), Entry::Raised { slots: Slots(five.clone()) });
    assert_eq!(guarded.holds(&five).await.unwrap(), Standing::Holds);
    assert_eq!(scene.last(), Entry::MaySwitch { slots: Slots(five.clone()) });
    guarded.switch(&five).await.unwrap();
    assert_eq!(scene.last(), Entry::Down);
    guarded.raise(&five).await.unwrap();
    assert_eq!(guarded.holds(&five).await.unwrap(), Standing::Holds);
    guarded.lower(&five).await.unwrap();
    assert_eq!(scene.last(), Entry::Down);
    guarded.finish().await.unwrap();
    guarded.finish().await.unwrap();
    assert_eq!(scene.journals().len(), 0);
    let fences = ["start", "raise", "leave", "switched", "raise", "leave", "withdraw", "lowered", "end"];
    assert_eq!(scene.asked(), fences);
    assert_eq!(scene.layer.told(), ["raise 5", "switch 5", "raise 5", "lower 5", "finish", "finish"]);
}

#[tokio::test]
async fn no_fence_without_a_guard() {
    let scene = Scene::new("raise) echo $n no reason;;");
    let error = scene.guarded.raise(&slots("5")).await.unwrap_err().to_string();
    assert!(error.contains("no fence without its guard: reason"), "{error}");
    let dead = Scene::new("raise) exit;;");
    let error = dead.guarded.raise(&slots("5")).await.unwrap_err().to_string();
    assert!(error.contains("the fence guard is gone"), "{error}");
    let absent = Scene::new("");
    std::fs::remove_file(absent.dir.path().join("guard")).unwrap();
    let error = absent.guarded.prepare(&slots("5")).await.unwrap_err().to_string();
    assert!(error.contains("cannot start"), "{error}");
    let told = [scene.layer.told(), dead.layer.told(), absent.layer.told()].concat();
    assert_eq!(told, ["finish"], "what was prepared is taken back, and nothing was raised");
    assert_eq!(absent.journals().len(), 0);
}

#[tokio::test]
async fn no_switch_without_leave() {
    let scene = Scene::new("leave) echo $n no too late;;");
    scene.guarded.raise(&slots("5")).await.unwrap();
    assert_eq!(broken(scene.guarded.holds(&slots("5")).await.unwrap()), "too late");
    let error = scene.guarded.switch(&slots("5")).await.unwrap_err();
    assert!(matches!(error, Error::NotSwitched { .. }), "{error}");
    scene.guarded.lower(&slots("5")).await.unwrap();
    assert_eq!(scene.layer.told(), ["raise 5", "lower 5"]);
}

#[tokio::test]
async fn leave_that_nobody_waited_for_is_taken_back() {
    let scene = Scene::new("leave) sleep 0.3; echo $n yes;;");
    let five = slots("5");
    scene.guarded.raise(&five).await.unwrap();
    let hasty = tokio::time::timeout(Duration::from_millis(50), scene.guarded.holds(&five)).await;
    assert!(hasty.is_err(), "{hasty:?}");
    scene.guarded.lower(&five).await.unwrap();
    scene.guarded.finish().await.unwrap();
    assert_eq!(scene.asked(), ["start", "raise", "leave", "withdraw", "lowered", "end"]);
}

#[tokio::test]
async fn a_fence_that_broke_needs_no_leave() {
    let scene = Scene::new("");
    scene.guarded.raise(&slots("5")).await.unwrap();
    *scene.layer.stands.lock().unwrap() = false;
    assert_eq!(broken(scene.guarded.holds(&slots("5")).await.unwrap()), "it is down");
    assert_eq!(scene.asked(), ["start", "raise"]);
}

#[tokio::test]
async fn a_guard_that_hangs_is_killed_and_the_next_fence_has_another_one() {
    let scene = Scene::new("leave) if mkdir hung 2>/dev/null; then sleep 60; fi; echo $n yes;;");
    let five = slots("5");
    scene.guarded.raise(&five).await.unwrap();
    let why = broken(scene.guarded.holds(&five).await.unwrap());
    assert!(why.contains("has not answered"), "{why}");
    scene.guarded.lower(&five).await.unwrap();
    scene.guarded.raise(&five).await.unwrap();
    assert_eq!(scene.guarded.holds(&five).await.unwrap(), Standing::Holds);
    scene.guarded.switch(&five).await.unwrap();
    assert_eq!(scene.asked().iter().filter(|line| *line == "start").count(), 2);
}

#[tokio::test]
async fn what_the_guard_switches_is_not_lowered() {
    let scene = Scene::new("withdraw) if mkdir busy 2>/dev/null; then echo $n no switching; else echo $n yes; fi;;");
    let five = slots("5");
    scene.guarded.raise(&five).await.unwrap();
    scene.guarded.holds(&five).await.unwrap();
    let error = scene.guarded.lower(&five).await.unwrap_err().to_string();
    assert!(error.contains("switching"), "{error}");
    assert_eq!(scene.layer.told(), ["raise 5"]);
    // Once it has switched, a lower takes nothing back.
    scene.guarded.lower(&five).await.unwrap();
    assert_eq!(scene.layer.told(), ["raise 5", "lower 5"]);
}

#[tokio::test]
async fn what_a_dead_guard_began_to_switch_is_completed() {
    let begun = "for f in state/*.journal; do echo '{\"fence\":\"switching\",\"slots\":\"5\"}' >> $f; done";
    for (does, done) in [(begun, "switch 5"), ("true", "lower 5")] {
        let scene = Scene::new(&format!("withdraw) {does}; exit;;"));
        let five = slots("5");
        scene.guarded.raise(&five).await.unwrap();
        scene.guarded.holds(&five).await.unwrap();
        scene.guarded.lower(&five).await.unwrap();
        assert_eq!(scene.layer.told(), ["raise 5", done]);
    }
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_left_to_the_guard_and_the_journal() {
    let scene = Scene::new("");
    scene.guarded.prepare(&slots("5")).await.unwrap();
    *scene.layer.refusals.lock().unwrap() = 1;
    assert!(scene.guarded.finish().await.is_err());
    assert_eq!(scene.journals().len(), 1);
    for _ in 0..1000 {
        if scene.asked() == ["start", "closed"] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the guard does not hear that its agent goes: {:?}", scene.asked());
}
