// SPDX-License-Identifier: Apache-2.0
use std::collections::HashSet;

use super::*;

/// A watch with a clock, and what its agent may rely on.
#[derive(Clone)]
struct Story {
    watch: Watch,
    now: Instant,
}

impl Story {
    fn begin() -> Self {
        Self { watch: Watch::new(), now: Instant::now() }
    }

    fn ask(&mut self, request: Request) -> bool {
        match self.watch.on(Input::Request(request), self.now) {
            Some(answer) => answer == Answer::Yes,
            None => panic!("no answer"),
        }
    }

    fn raised() -> Self {
        let mut story = Self::begin();
        assert!(story.ask(raise()));
        story
    }

    fn may_switch() -> Self {
        let mut story = Self::raised();
        assert!(story.ask(Request::Leave { slots: slots() }));
        story
    }

    fn meet(&mut self, input: Input) {
        assert_eq!(self.watch.on(input, self.now), None);
    }

    /// Lets the time pass that the watch waits for.
    fn wait(&mut self) {
        self.now = self.watch.wake().expect("it waits for nothing");
        self.meet(Input::Time);
    }

    fn lowers(&self) -> bool {
        matches!(self.watch.work(), Some(Work::Lower { .. }))
    }

    fn switches(&self) -> bool {
        matches!(self.watch.work(), Some(Work::Switch(_)))
    }
}

fn slots() -> SlotSet {
    "1,5-9".parse().unwrap()
}

fn raise() -> Request {
    Request::Raise { slots: slots(), within: Duration::from_millis(700) }
}

#[test]
fn an_agent_that_goes_on_needs_no_work() {
    let mut story = Story::begin();
    for end in [Request::Switched, Request::Lowered] {
        assert!(story.ask(raise()));
        assert!(story.ask(Request::Leave { slots: slots() }));
        assert!(story.ask(end));
        assert_eq!((story.watch.work(), story.watch.wake()), (None, None));
    }
    assert!(story.ask(Request::End));
    assert!(story.watch.is_ended());
}

#[test]
fn before_leave_a_silent_agent_is_lowered() {
    for end in [Input::Closed, Input::Time, Input::Terminated] {
        let mut story = Story::raised();
        if end == Input::Time {
            story.wait();
        } else {
            story.meet(end.clone());
        }
        assert!(story.lowers(), "{end:?}");
        assert!(!story.ask(Request::Leave { slots: slots() }), "{end:?}");
        assert!(story.lowers(), "{end:?}");
    }
}

#[test]
fn after_leave_a_silent_agent_is_switched() {
    for closes in [true, false] {
        let mut story = Story::may_switch();
        match closes {
            true => story.meet(Input::Closed),
            false => story.wait(),
        }
        assert!(story.switches());
        assert!(!story.ask(Request::Withdraw), "what is being switched must not be lowered");
    }
    let mut terminated = Story::may_switch();
    terminated.meet(Input::Terminated);
    assert_eq!(terminated.watch.work(), None, "its agent lives and switches");
    assert!(terminated.ask(Request::Switched));
    assert!(terminated.watch.is_ended());
}

#[test]
fn a_leave_that_is_taken_back_is_none() {
    let mut story = Story::may_switch();
    assert!(story.ask(Request::Withdraw));
    story.meet(Input::Closed);
    assert!(story.lowers());
}

#[test]
fn a_late_question_finds_the_deadline_passed() {
    let mut story = Story::raised();
    story.now += Duration::from_secs(60);
    assert!(!story.ask(Request::Leave { slots: slots() }), "nobody had told it the time");
    assert!(story.lowers());
}

#[test]
fn leave_at_the_last_moment_leaves_a_moment() {
    let mut story = Story::raised();
    story.now += Duration::from_millis(699);
    assert!(story.ask(Request::Leave { slots: slots() }));
    story.now += Duration::from_millis(400);
    story.meet(Input::Time);
    assert!(!story.switches());
}

#[test]
fn a_fence_stays_down_until_its_agent_is_awake() {
    let mut story = Story::raised();
    story.wait();
    for _ in 0..5 {
        assert!(story.lowers());
        assert!(!story.ask(raise()));
        story.meet(Input::Done);
        assert_eq!(story.watch.work(), None);
        assert!(!story.ask(raise()), "it has not heard that the fence is down");
        story.wait();
    }
    assert!(story.ask(Request::Lowered));
    assert!(!story.ask(raise()), "a lower that is on its way would lower the next fence");
    story.meet(Input::Done);
    assert!(story.ask(raise()));
}

#[test]
fn other_slots_get_no_leave() {
    let mut story = Story::raised();
    assert!(!story.ask(Request::Leave { slots: "1".parse().unwrap() }));
    assert!(!story.ask(Request::Raise { slots: "1".parse().unwrap(), within: HOUR }), "one fence at a time");
    assert!(!Story::begin().ask(Request::Leave { slots: slots() }));
}

#[test]
fn a_fence_that_is_raised_again_keeps_its_deadline_and_loses_its_leave() {
    let mut story = Story::may_switch();
    let deadline = story.watch.wake();
    assert!(story.ask(Request::Raise { slots: slots(), within: HOUR }));
    assert_eq!(story.watch.wake(), deadline);
    story.meet(Input::Closed);
    assert!(story.lowers());
}

#[test]
fn an_orphan_is_lowered_again_for_late_locks_and_then_tidied_up() {
    let mut story = Story::raised();
    story.meet(Input::Closed);
    for again in [false, true, true] {
        assert_eq!(story.watch.work(), Some(Work::Lower { slots: slots(), again }));
        story.meet(Input::Done);
        if story.watch.wake().is_some() {
            story.wait();
        }
    }
    assert_eq!(story.watch.work(), Some(Work::Finish));
    story.meet(Input::Done);
    assert!(story.watch.is_ended());
}

/// Whatever happens in whatever order, up to a depth: before leave it only lowers, after leave it only switches, a
/// fence always has a deadline, and an orphan always comes to its end.
#[test]
fn every_short_story_is_safe() {
    let (mut seen, mut stories) = (HashSet::new(), vec![(Story::begin(), false, false)]);
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for (story, up, leave) in stories {
            for choice in 0..CHOICES {
                let (mut story, mut up, mut leave) = (story.clone(), up, leave);
                if !step(choice, &mut story, &mut up, &mut leave) {
                    continue;
                }
                assert!(!(leave && story.lowers()), "{:?} after leave", story.watch);
                assert!(!(up && !leave && story.switches()), "{:?} without leave", story.watch);
                let is_up = matches!(story.watch.fence, Fence::Raised { .. } | Fence::MaySwitch { .. });
                assert_eq!(is_up, is_up && story.watch.wake().is_some());
                ends(story.clone());
                if seen.insert((format!("{:?}", story.watch), up, leave)) {
                    next.push((story, up, leave));
                }
            }
        }
        stories = next;
    }
    assert!(seen.len() > 50, "{} states are no exploration", seen.len());
}

/// Whether this may happen now. `up`: the agent's fence is up as far as it knows; `leave`: it relies on leave.
fn step(choice: usize, story: &mut Story, up: &mut bool, leave: &mut bool) -> bool {
    if story.watch.is_ended() {
        return false;
    }
    match choice {
        0 => {
            let raised = story.ask(raise());
            (*up, *leave) = (*up || raised, *leave && !raised);
        }
        1 => *leave |= story.ask(Request::Leave { slots: slots() }),
        2 => *leave &= !story.ask(Request::Withdraw),
        3 if *leave => {
            story.ask(Request::Switched);
            (*up, *leave) = (false, false);
        }
        4 if !*leave => {
            story.ask(Request::Lowered);
            *up = false;
        }
        5 if !*up => assert!(story.ask(Request::End)),
        6 => story.meet(Input::Closed),
        7 => story.meet(Input::Terminated),
        8 if story.watch.work().is_some() => story.meet(Input::Done),
        9 if story.watch.wake().is_some() => story.wait(),
        _ => return false,
    }
    true
}

fn ends(mut story: Story) {
    story.meet(Input::Closed);
    for _ in 0..20 {
        match (story.watch.is_ended(), story.watch.work()) {
            (true, _) => return,
            (false, Some(_)) => story.meet(Input::Done),
            (false, None) => story.wait(),
        }
    }
    panic!("it never ends: {:?}", story.watch);
}

const HOUR: Duration = Duration::from_secs(3600);
const DEPTH: usize = 8;
const CHOICES: usize = 10;
