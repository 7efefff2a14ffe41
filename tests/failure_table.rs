// SPDX-License-Identifier: Apache-2.0
//! Whatever dies, hangs or comes in between during the fence: no value is lost or stale, no client waits for ever, and the
//! move ends with every slot at the target or with a message that says why not.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mover::Error;
use mover::job::Report;
use mover::sandbox::codis::{Action, Codis};
use tokio::time::sleep;

use crate::harness::{Step, Trial, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_restarted_during_the_fence() {
    let restart = |codis: Codis| async move {
        codis.restart_proxy(1).await.unwrap();
        codis.until_online(1).await.unwrap();
        Action::Continue
    };
    for step in [Step::Locked(1), Step::LastLook] {
        assert_lowered_and_tried_again(&survives(step, restart).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_joins_during_the_fence() {
    let join = |codis: Codis| async move {
        let index = codis.join_proxy().await.unwrap();
        codis.until_online(index).await.unwrap();
        Action::Continue
    };
    assert_lowered_and_tried_again(&survives(Step::LastLook, join).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_killed_during_the_fence() {
    let kill = |codis: Codis| async move {
        codis.kill_proxy(1).await;
        tokio::spawn(async move {
            sleep(Duration::from_secs(1)).await;
            codis.start_proxy(1).await.unwrap();
        });
        Action::DropConnection
    };
    for step in [Step::LockAsked(1), Step::Locked(1)] {
        assert_lowered_and_tried_again(&survives(step, kill).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_stays_away_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let trial = Trial::start(dir.path()).await;
    let job = trial.job(|options| options.cutover.retries = Some(3)).await;
    let admin = trial.codis.admin_addrs()[1].to_string();
    let done = trial.at(Step::Locked(1), |codis| async move {
        codis.kill_proxy(1).await;
        Action::DropConnection
    });
    match trial.run(job, WAIT_MAX).await {
        Err(Error::Cutover { attempts: 4, last, .. }) => assert!(last.contains(&admin), "{last}"),
        other => panic!("{other:?}"),
    }
    assert!(done.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_hangs_during_the_fence() {
    let hang = |codis: Codis| async move {
        codis.hang_proxy(1);
        tokio::spawn(async move {
            sleep(Duration::from_secs(1)).await;
            codis.wake_proxy(1);
        });
        Action::Continue
    };
    for step in [Step::LockAsked(1), Step::Locked(1), Step::LastLook, Step::SwitchAsked] {
        survives(step, hang).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_is_restarted_before_during_and_after_the_switch() {
    let restart = |codis: Codis| async move {
        codis.kill_dashboard().await;
        codis.start_dashboard().await.unwrap();
        Action::DropConnection
    };
    for step in AROUND_THE_SWITCH {
        survives(step, restart).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_is_killed_before_during_and_after_the_switch() {
    let kill = |codis: Codis| async move {
        codis.kill_dashboard().await;
        tokio::spawn(async move {
            sleep(DASHBOARD_AWAY).await;
            codis.start_dashboard().await.unwrap();
        });
        Action::DropConnection
    };
    for step in AROUND_THE_SWITCH {
        survives(step, kill).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_hangs_before_during_and_after_the_switch() {
    let hang = |codis: Codis| async move {
        codis.hang_dashboard();
        tokio::spawn(async move {
            sleep(DASHBOARD_AWAY).await;
            codis.wake_dashboard();
        });
        Action::Continue
    };
    for step in AROUND_THE_SWITCH {
        survives(step, hang).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_for_a_failing_replica_breaks_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let trial = Trial::start(dir.path()).await;
    let replica = trial.replica.addr();
    let fail = move |codis: Codis| async move {
        codis.server_down(replica);
        // As long as it takes the dashboard to see it and to push the group.
        let begin = std::time::Instant::now();
        while !codis.locks().is_empty() && begin.elapsed() < Duration::from_secs(5) {
            sleep(Duration::from_millis(5)).await;
        }
        tokio::spawn(async move {
            sleep(Duration::from_millis(500)).await;
            codis.server_up(replica);
        });
        Action::Continue
    };
    assert_lowered_and_tried_again(&trial_survives(&trial, Step::Locked(1), fail).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_down_holds_the_cutover_back() {
    let dir = tempfile::tempdir().unwrap();
    let trial = Trial::start(dir.path()).await;
    let replica = trial.replica.addr();
    trial.codis.server_down(replica);
    let job = trial.job(|_| ()).await;
    let (progress, codis) = (job.progress(), trial.codis.clone());
    let watching = tokio::spawn(async move {
        until("the job says that it waits", || progress.status().waiting.is_some()).await;
        let (why, _) = progress.status().waiting.unwrap();
        codis.server_up(replica);
        why
    });
    let report = trial.run(job, WAIT_MAX).await.unwrap();
    assert_eq!(report.fence_ms.retried, 0, "no fence was raised meanwhile");
    let why = watching.await.unwrap();
    assert!(why.contains(&replica.to_string()), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_request_in_flight_lowers_the_fence() {
    let dir = tempfile::tempdir().unwrap();
    let trial = Trial::start(dir.path()).await;
    let job = trial.job(|_| ()).await;
    let valve = trial.valve.handle();
    let done = trial.at(Step::LockAsked(0), move |_| async move {
        valve.send_replace(false);
        tokio::spawn(async move {
            sleep(Duration::from_millis(600)).await;
            valve.send_replace(true);
        });
        // A request must be on its way.
        sleep(Duration::from_millis(30)).await;
        Action::Continue
    });
    let report = trial.run(job, WAIT_MAX).await.unwrap();
    assert!(done.load(Ordering::SeqCst));
    assert_lowered_and_tried_again(&report);
}

/// Runs a move in which this happens once at this step, and which ends well all the same.
async fn survives<T>(step: Step, act: impl FnOnce(Codis) -> T + Send + 'static) -> Report
where
    T: Future<Output = Action> + Send + 'static,
{
    let dir = tempfile::tempdir().unwrap();
    trial_survives(&Trial::start(dir.path()).await, step, act).await
}

async fn trial_survives<T>(trial: &Trial, step: Step, act: impl FnOnce(Codis) -> T + Send + 'static) -> Report
where
    T: Future<Output = Action> + Send + 'static,
{
    let job = trial.job(|_| ()).await;
    let done = trial.at(step, act);
    let report = trial.run(job, WAIT_MAX).await.unwrap_or_else(|error| panic!("{step:?}: {error}"));
    assert!(done.load(Ordering::SeqCst), "{step:?}: nothing went wrong");
    report
}

fn assert_lowered_and_tried_again(report: &Report) {
    assert!(report.fence_ms.retried > 0, "{report:?}");
}

const AROUND_THE_SWITCH: [Step; 4] = [Step::Locked(1), Step::LastLook, Step::SwitchAsked, Step::Switched];

/// The lock's cap and two seconds, and what a busy machine adds.
const WAIT_MAX: Duration = Duration::from_millis(2700);

/// Longer than anybody may wait.
const DASHBOARD_AWAY: Duration = Duration::from_secs(4);
