// SPDX-License-Identifier: Apache-2.0
//! A move behind a Codis in which something goes wrong, with clients that would notice.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mover::job::Report;
use mover::routing::{Codis as Control, CodisOptions};
use mover::sandbox::codis::{Action, Codis, CodisConfig, Event, Intervals, Moment, Place};
use mover::sandbox::load::{Load, LoadConfig, Tag};
use mover::sandbox::node::{Node, NodeConfig};
use mover::{Error, Job, JobOptions, Side};
use replication::{Slot, SlotCount, SlotSet};
use tracing_subscriber::EnvFilter;

use super::{Counting, HANG, Valve, endpoint};

/// Two nodes behind a dashboard and two proxies.
pub(crate) struct Trial {
    pub(crate) source: Node,
    pub(crate) target: Node,
    /// The way of the proxies to the source.
    pub(crate) valve: Valve,
    /// What the dashboard takes for a replica of the source.
    pub(crate) replica: Valve,
    pub(crate) codis: Codis,
}

/// A step of a cutover at which something goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// A proxy has been asked to lock a slot.
    LockAsked(usize),
    /// A proxy has locked it and has not answered.
    Locked(usize),
    /// Slots are locked, and the dashboard is asked for the last time before the switch.
    LastLook,
    /// The dashboard has been asked to switch.
    SwitchAsked,
    /// It has switched and has not answered.
    Switched,
}

impl Trial {
    /// All slots at the source, and a replica of it in the eyes of the dashboard.
    pub(crate) async fn start(dir: &Path) -> Self {
        log();
        let source = Node::start(NodeConfig::new(dir.join("source"))).await.unwrap();
        let target = Node::start(NodeConfig::new(dir.join("target"))).await.unwrap();
        let (valve, replica) = (Valve::before(source.addr()).await, Valve::before(source.addr()).await);
        let groups = vec![(1, vec![valve.addr(), replica.addr()]), (2, vec![target.addr()])];
        let config = CodisConfig {
            intervals: Intervals::brisk(),
            push_time_max: Duration::from_secs(3),
            dead_checks: 100,
            ..CodisConfig::new(groups)
        };
        let codis = Codis::start(config).await.unwrap();
        Self { source, target, valve, replica, codis }
    }

    pub(crate) fn slots() -> SlotSet {
        SLOTS.into_iter().map(Slot::new).collect()
    }

    pub(crate) fn control_options(&self) -> CodisOptions {
        let (source, target) = (self.source.addr().to_string(), self.target.addr().to_string());
        let mut options = CodisOptions::new(self.codis.dashboard_url(), source, target);
        // The dashboard knows it by the address of the valve.
        options.source_group = Some(1);
        options
    }

    /// A job that moves the slots.
    pub(crate) async fn job(&self, change: impl FnOnce(&mut JobOptions)) -> Job {
        let control = Control::connect(self.control_options()).await.unwrap();
        let mut options = JobOptions::new(Self::slots());
        change(&mut options);
        let source = endpoint(Side::Source, self.source.addr());
        Job::new(source, endpoint(Side::Target, self.target.addr()), options, Arc::new(control))
    }

    /// Does something once, the first time that a request comes to this step. What it gives back tells whether it was.
    pub(crate) fn at<T>(&self, step: Step, act: impl FnOnce(Codis) -> T + Send + 'static) -> Arc<AtomicBool>
    where
        T: Future<Output = Action> + Send + 'static,
    {
        let (done, act, codis) = (Arc::new(AtomicBool::new(false)), Mutex::new(Some(act)), self.codis.clone());
        let was_done = Arc::clone(&done);
        self.codis.on_request(move |event| {
            let is_it = step.is(&event, &codis);
            let act = if is_it { act.lock().unwrap().take() } else { None };
            let (codis, done) = (codis.clone(), Arc::clone(&done));
            async move {
                let Some(act) = act else { return Action::Continue };
                done.store(true, Ordering::SeqCst);
                act(codis).await
            }
        });
        was_done
    }

    /// Clients of all slots through the first proxy, with a model of every key.
    pub(crate) async fn load(&self) -> Load {
        let tags = Tag::of_slots(SLOTS.map(Slot::new), SlotCount::CODIS);
        let first = self.codis.proxy_addrs()[0];
        let nodes = vec![self.source.addr(), self.target.addr()];
        let config = LoadConfig { big_elements: 50, pace: Some(1500), nodes, ..LoadConfig::new(first, tags) };
        Load::start(config).await.unwrap()
    }

    /// A client of the first slot through this proxy.
    pub(crate) fn counting(&self, proxy: usize) -> Counting {
        let tag = Tag::of_slot(Slot::new(SLOTS[0]), SlotCount::CODIS).name;
        Counting::start(self.codis.proxy_addrs()[proxy], &format!("{{{tag}}}:counted-by-{proxy}"))
    }

    /// Runs a job under clients and shows that none of them saw anything but a wait, of `wait_max` at most.
    pub(crate) async fn run(&self, job: Job, wait_max: Duration) -> Result<Report, Error> {
        let load = self.load().await;
        let counting = [self.counting(0), self.counting(1)];
        tokio::time::sleep(Duration::from_millis(200)).await;
        let progress = job.progress();
        let outcome = match tokio::time::timeout(HANG, job.run()).await {
            Ok(outcome) => outcome,
            Err(_) => panic!("the job hangs: {:?}, locks {:?}", progress.status(), self.codis.locks()),
        };
        self.codis.off_request();
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.assert_no_fence();
        let owner = match outcome {
            Ok(_) => self.target.addr(),
            Err(_) => self.source.addr(),
        };
        for counting in counting {
            counting.assert_nothing_lost(owner, wait_max);
        }
        let seen = load.stop().await;
        assert!(seen.is_clean(), "{outcome:?}: {seen}");
        assert!(seen.latency.max <= wait_max, "{outcome:?}: {seen}");
        outcome
    }

    /// No slot is locked anywhere, and dashboard and proxies agree on the owner of each slot.
    pub(crate) fn assert_no_fence(&self) {
        assert_eq!(self.codis.locks(), [], "slots are locked");
        for slot in Self::slots().iter() {
            let group = self.codis.mapping(slot).unwrap().group_id;
            let owner = if group == 1 { self.valve.addr() } else { self.target.addr() };
            for proxy in (0..self.codis.proxy_addrs().len()).filter(|proxy| self.codis.is_online(*proxy)) {
                let record = self.codis.slot_record(proxy, slot).unwrap();
                assert_eq!(record.backend_addr, owner.to_string(), "proxy {proxy}, slot {slot}");
            }
        }
    }
}

impl Step {
    fn is(self, event: &Event, codis: &Codis) -> bool {
        let body = String::from_utf8_lossy(&event.body);
        let is_lock = event.path.contains("/fillslots/") && body.contains("\"locked\":true");
        let is_switch = event.path.contains("/slots/assign/") && body.contains("\"group_id\":2");
        match self {
            Self::LockAsked(index) => is_lock && event.place == Place::Proxy(index) && event.moment == Moment::Before,
            Self::Locked(index) => is_lock && event.place == Place::Proxy(index) && event.moment == Moment::After,
            Self::LastLook => {
                let is_look = event.place == Place::Dashboard && event.path.starts_with("/topom");
                is_look && event.moment == Moment::Before && codis.locks().len() > 1
            }
            Self::SwitchAsked => is_switch && event.moment == Moment::Before,
            Self::Switched => is_switch && event.moment == Moment::After,
        }
    }
}

/// Shows what goes on where SLOTMOVER_LOG asks for it.
fn log() {
    let Ok(filter) = EnvFilter::try_from_env("SLOTMOVER_LOG") else { return };
    // Another test may have done so.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

/// Few, so that much happens in each.
const SLOTS: [u16; 3] = [3, 500, 1001];
