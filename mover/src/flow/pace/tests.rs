// SPDX-License-Identifier: Apache-2.0
//! The pace beside a server that is simulated: its answers take as long as its load makes them.

use tokio::time::sleep;

use super::*;

/// A server that serves so much weight per second, and how much of it clients take.
struct Server {
    capacity: f64,
    clients: f64,
    down: bool,
}

impl Server {
    fn new() -> Self {
        Self { capacity: 20e6, clients: 0.5, down: false }
    }

    /// As of a queue with one server: the busier it is the longer the queue.
    fn answers_in(&self, gone: f64) -> Duration {
        let busy = (self.clients + gone / self.capacity).min(0.99);
        Duration::from_micros(100).mul_f64(1.0 / (1.0 - busy))
    }
}

/// A line that always has more to send, the pace, and the server.
struct Scene {
    pace: Pace,
    server: Server,
    gone: f64,
    permit: Permit,
    /// The most that the line can do.
    line: f64,
}

impl Scene {
    async fn new(kind: Kindness) -> Self {
        let line = 200e6;
        let mut scene = Self { pace: Pace::new(kind), server: Server::new(), gone: 0.0, permit: Permit::Free, line };
        scene.ask(100).await;
        scene.pace.begin();
        scene
    }

    async fn ask(&mut self, times: u32) {
        for _ in 0..times {
            sleep(PROBE).await;
            let took = self.server.answers_in(self.gone);
            let seen = match self.server.down {
                true => Observation::Silence(Side::Target, Duration::from_millis(500)),
                false => Observation::Answer(Side::Target, took),
            };
            self.pace.observe(seen);
            self.pace.observe(Observation::Answer(Side::Source, Duration::from_micros(200)));
        }
    }

    /// Goes on for so many tenths of a second; how much goes per second at their end.
    async fn run(&mut self, tenths: u32) -> f64 {
        for _ in 0..tenths * 2 {
            self.ask(5).await;
            self.permit = self.pace.permit(Load { bytes: self.gone, commands: 0.0 });
            self.gone = match &self.permit {
                Permit::Free => self.line,
                Permit::Slow { speed, .. } => speed.min(self.line),
                Permit::Stop(_) => 0.0,
            };
        }
        self.gone
    }

    fn cause(&self) -> Option<Cause> {
        match &self.permit {
            Permit::Free => None,
            Permit::Slow { why, .. } | Permit::Stop(why) => Some(why.cause),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn gentle_takes_what_does_not_hurt_and_no_more() {
    let mut scene = Scene::new(Kindness::Gentle).await;
    let first = scene.run(1).await;
    assert!(first <= 1.2e6, "it starts low: {first}");
    scene.run(100).await;
    let (usual, mut worst, mut sum) = (scene.server.answers_in(0.0), Duration::ZERO, 0.0);
    for _ in 0..100 {
        sum += scene.run(1).await;
        worst = worst.max(scene.server.answers_in(scene.gone));
    }
    assert!(sum / 100.0 > 1e6, "it uses what is free: {sum}");
    assert!(worst < usual.mul_f64(1.6), "{worst:?} instead of {usual:?}");
}

#[tokio::test(start_paused = true)]
async fn gentle_gives_way_within_a_second_and_comes_back() {
    let mut scene = Scene::new(Kindness::Gentle).await;
    let before = scene.run(100).await;
    scene.server.clients = 0.8;
    let under_load = scene.run(10).await;
    assert!(under_load < before / 3.0, "{before} to {under_load}");
    assert_eq!(scene.cause(), Some(Cause::TargetLatency));
    let floor = scene.run(30).await;
    assert!((FLOOR_GENTLE..FLOOR_GENTLE * 2.0).contains(&floor), "it always goes on a little: {floor}");
    scene.server.clients = 0.5;
    let mut speeds = vec![floor];
    for _ in 0..100 {
        speeds.push(scene.run(1).await);
    }
    assert!(speeds.windows(2).all(|pair| pair[1] <= pair[0] * 1.2), "no jump up: {speeds:?}");
    assert!(*speeds.last().unwrap() > before / 4.0, "{before}, {speeds:?}");
}

#[tokio::test(start_paused = true)]
async fn normal_does_not_slow_a_copy_into_an_idle_target() {
    let mut scene = Scene::new(Kindness::Normal).await;
    scene.server.clients = 0.0;
    // The copy itself makes it answer in ten milliseconds.
    assert_eq!(scene.run(100).await, scene.line);
    assert!(scene.server.answers_in(scene.gone) > Duration::from_millis(5));
    assert_eq!(scene.cause(), None);
}

#[tokio::test(start_paused = true)]
async fn normal_backs_off_from_a_slow_target_and_is_let_go_again() {
    let mut scene = Scene::new(Kindness::Normal).await;
    scene.run(10).await;
    scene.server.down = true;
    let slowed = scene.run(10).await;
    assert!((FLOOR_NORMAL..scene.line / 3.0).contains(&slowed), "{slowed}");
    assert_eq!(scene.cause(), Some(Cause::TargetLatency));
    scene.run(50).await;
    assert_eq!(scene.gone, FLOOR_NORMAL, "never to nothing");
    scene.server.down = false;
    scene.line = 30e6;
    assert_eq!(scene.run(150).await, scene.line);
    assert_eq!(scene.cause(), None);
}

#[tokio::test(start_paused = true)]
async fn full_is_slowed_by_nothing() {
    let mut scene = Scene::new(Kindness::Full).await;
    scene.server.down = true;
    assert_eq!(scene.run(20).await, scene.line);
}

#[tokio::test(start_paused = true)]
async fn what_would_break_stops_every_kind() {
    for kind in [Kindness::Gentle, Kindness::Normal, Kindness::Full] {
        let mut scene = Scene::new(kind).await;
        let memory = |used| Observation::Memory(Memory { used, max: 1000 });
        scene.pace.observe(memory(960));
        assert_eq!((scene.run(1).await, scene.cause()), (0.0, Some(Cause::TargetMemory)));
        scene.pace.observe(memory(940));
        assert_eq!(scene.run(1).await, 0.0, "not yet: it would be full again at once");
        scene.pace.observe(memory(900));
        assert!(scene.run(1).await > 0.0);
        let lost = Some("a replica is gone".to_owned());
        scene.pace.observe(Observation::Replicas(Replicas { lost, lag: 0 }));
        assert_eq!((scene.run(1).await, scene.cause()), (0.0, Some(Cause::ReplicaLost)));
        scene.pace.observe(Observation::Replicas(Replicas::default()));
        assert!(scene.run(1).await > 0.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lags_slows_and_then_stops() {
    let mut scene = Scene::new(Kindness::Normal).await;
    let before = scene.run(10).await;
    let lag = |lag| Observation::Replicas(Replicas { lost: None, lag });
    scene.pace.observe(lag(100 << 20));
    let slowed = scene.run(10).await;
    assert!(slowed < before / 3.0 && slowed >= FLOOR_NORMAL, "{slowed}");
    assert_eq!(scene.cause(), Some(Cause::ReplicaLag));
    scene.pace.observe(lag(200 << 20));
    assert_eq!(scene.run(1).await, 0.0);
    scene.pace.observe(lag(0));
    assert!(scene.run(1).await > 0.0);
}

#[tokio::test(start_paused = true)]
async fn what_only_follows_is_never_slowed_below_what_clients_write() {
    let mut scene = Scene::new(Kindness::Gentle).await;
    scene.pace.follow();
    scene.server.clients = 0.9;
    assert_eq!(scene.run(30).await, FLOOR_FOLLOWING);
}

#[tokio::test(start_paused = true)]
async fn another_kind_holds_at_once() {
    let mut scene = Scene::new(Kindness::Full).await;
    assert_eq!(scene.run(1).await, scene.line);
    scene.pace.set_kind(Kindness::Gentle);
    assert!(scene.run(1).await <= 1.2e6);
    scene.pace.set_kind(Kindness::Full);
    assert_eq!(scene.run(1).await, scene.line);
}

const PROBE: Duration = Duration::from_millis(10);
