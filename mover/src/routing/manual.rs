// SPDX-License-Identifier: Apache-2.0
//! Routing by hand: a person is told what to do, does it, and says so.
//!
//! A person is the routing layer here, so rule 6 of [`RoutingControl`] holds as far as the person's word does: nobody
//! else can be asked. It has no cap either; clients stand still as long as the person takes, and the log is followed
//! meanwhile.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use replication::{Slot, SlotSet};

use crate::routing::{Owner, RoutingControl, Standing};
use crate::{BoxFuture, Error, Result};

/// The person who stops and redirects the clients.
pub trait Operator: Send + Sync {
    /// Asks for something to be done, and waits until it is.
    ///
    /// # Errors
    /// [`Error::Routing`](crate::Error::Routing) when it will not be done: nothing is switched then.
    fn ask<'a>(&'a self, instruction: &'a Instruction) -> BoxFuture<'a, Result<()>>;

    /// Says what is to be done, without waiting until it is.
    ///
    /// # Errors
    /// [`Error::Routing`](crate::Error::Routing) when it could not be said: it is said again then.
    fn tell<'a>(&'a self, instruction: &'a Instruction) -> BoxFuture<'a, Result<()>>;
}

/// What a person is to do; as text, with all that is needed to do it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instruction {
    /// The deed.
    pub step: Step,
    /// The slots it is about.
    pub slots: SlotSet,
    /// The address of the node that the slots leave.
    pub source: String,
    /// The address of the node that the slots go to.
    pub target: String,
}

/// What is to be done with the clients of some slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Let nothing more be sent to the source.
    Stop,
    /// Let them go on at the target.
    Send,
    /// Let them go on at the source.
    LetGo,
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, slots, source, target } = self;
        match step {
            Step::Stop => write!(
                f,
                "The target is in step with the source. Stop every client of slots {slots} now: nothing more may be \
                 sent to {source}, and what was sent must have been answered. They stand still until you are asked to \
                 send them to {target}, which is moments after your answer. Nothing is switched yet."
            ),
            Step::Send => write!(
                f,
                "Every write has arrived. Send the clients of slots {slots} to {target} now, all of them: what is still \
                 written to {source} from now on is lost."
            ),
            Step::LetGo => write!(
                f,
                "Nothing was switched. Let the clients of slots {slots} go on at {source}, those that you have stopped."
            ),
        }
    }
}

/// Has a person stop and redirect the clients.
pub struct Manual {
    source: String,
    target: String,
    operator: Box<dyn Operator>,
    state: Mutex<State>,
}

/// What the person has been asked and has said.
#[derive(Default, Debug)]
struct State {
    /// Slots with clients that may have been stopped: it was asked for, whatever the answer.
    asked: SlotSet,
    raised: SlotSet,
    switched: SlotSet,
}

impl Manual {
    /// Routing by hand between two addresses.
    pub fn new(source: impl Into<String>, target: impl Into<String>, operator: Box<dyn Operator>) -> Self {
        Self { source: source.into(), target: target.into(), operator, state: Mutex::default() }
    }

    fn instruction(&self, step: Step, slots: SlotSet) -> Instruction {
        Instruction { step, slots, source: self.source.clone(), target: self.target.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RoutingControl for Manual {
    fn owner(&self, slot: Slot) -> BoxFuture<'_, Result<Owner>> {
        let owner = match self.state().switched.contains(slot) {
            true => Owner::Target,
            false => Owner::Source,
        };
        Box::pin(async move { Ok(owner) })
    }

    fn knows_earlier_switches(&self) -> bool {
        false
    }

    fn raise<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let wanted = without(slots, &self.state().raised);
            if wanted.is_empty() {
                return Ok(());
            }
            // Noted before the question: who answers `no`, or not at all, may have stopped some clients all the same.
            add(&mut self.state().asked, &wanted);
            self.operator.ask(&self.instruction(Step::Stop, wanted.clone())).await?;
            add(&mut self.state().raised, &wanted);
            Ok(())
        })
    }

    fn holds<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<Standing>> {
        Box::pin(async move {
            let missing = without(slots, &self.state().raised);
            Ok(match missing.is_empty() {
                true => Standing::Holds,
                false => Standing::Broken(format!("nobody said that the clients of slots {missing} were stopped")),
            })
        })
    }

    fn switch<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let wanted = without(slots, &self.state().switched);
            if wanted.is_empty() {
                return Ok(());
            }
            // A person who says no has switched nothing.
            let asked = self.operator.ask(&self.instruction(Step::Send, wanted.clone())).await;
            asked.map_err(|error| match error {
                Error::Routing { what } => Error::NotSwitched { what },
                error => error,
            })?;
            let mut state = self.state();
            add(&mut state.switched, &wanted);
            state.asked = without(&state.asked, &wanted);
            state.raised = without(&state.raised, &wanted);
            Ok(())
        })
    }

    fn lower<'a>(&'a self, slots: &'a SlotSet) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let held: SlotSet = self.state().asked.iter().filter(|slot| slots.contains(*slot)).collect();
            if held.is_empty() {
                return Ok(());
            }
            // From here on the fence counts as down, and as long as nobody could be told it is to be lowered.
            let rest = without(&self.state().raised, &held);
            self.state().raised = rest;
            self.operator.tell(&self.instruction(Step::LetGo, held.clone())).await?;
            let rest = without(&self.state().asked, &held);
            self.state().asked = rest;
            Ok(())
        })
    }
}

fn without(slots: &SlotSet, others: &SlotSet) -> SlotSet {
    slots.iter().filter(|slot| !others.contains(*slot)).collect()
}

fn add(slots: &mut SlotSet, others: &SlotSet) {
    others.iter().for_each(|slot| {
        slots.insert(slot);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Answers by the script, `yes` when it is at its end, and remembers what was said.
    #[derive(Default)]
    struct Script {
        answers: Mutex<Vec<bool>>,
        heard: Arc<Mutex<Vec<String>>>,
    }

    impl Operator for Script {
        fn ask<'a>(&'a self, instruction: &'a Instruction) -> BoxFuture<'a, Result<()>> {
            self.tell(instruction)
        }

        fn tell<'a>(&'a self, instruction: &'a Instruction) -> BoxFuture<'a, Result<()>> {
            Box::pin(async move {
                self.heard.lock().unwrap().push(format!("{:?} {}", instruction.step, instruction.slots));
                match self.answers.lock().unwrap().pop() {
                    Some(false) => Err(Error::Routing { what: "no".to_owned() }),
                    Some(true) | None => Ok(()),
                }
            })
        }
    }

    fn manual(answers: &[bool]) -> (Manual, Arc<Mutex<Vec<String>>>) {
        let answers = answers.iter().rev().copied().collect();
        let script = Script { answers: Mutex::new(answers), ..Script::default() };
        let heard = Arc::clone(&script.heard);
        (Manual::new("a:1", "b:2", Box::new(script)), heard)
    }

    fn slots(text: &str) -> SlotSet {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn nobody_is_asked_twice() {
        let (manual, heard) = manual(&[]);
        let all = slots("1-3");
        manual.raise(&all).await.unwrap();
        manual.raise(&all).await.unwrap();
        assert_eq!(manual.holds(&slots("1-2")).await.unwrap(), Standing::Holds);
        assert!(
            matches!(manual.holds(&slots("3-4")).await.unwrap(), Standing::Broken(why) if why.contains("slots 4 "))
        );
        manual.switch(&all).await.unwrap();
        manual.switch(&all).await.unwrap();
        manual.lower(&all).await.unwrap();
        assert_eq!(*heard.lock().unwrap(), ["Stop 1-3", "Send 1-3"]);
        assert_eq!(manual.owner(Slot::new(3)).await.unwrap(), Owner::Target);
        assert_eq!(manual.owner(Slot::new(4)).await.unwrap(), Owner::Source);
    }

    #[tokio::test]
    async fn clients_that_may_have_been_stopped_are_let_go() {
        let (manual, heard) = manual(&[false, false]);
        manual.raise(&slots("1")).await.unwrap_err();
        manual.lower(&slots("1")).await.unwrap_err();
        manual.lower(&slots("1-2")).await.unwrap();
        manual.lower(&slots("1")).await.unwrap();
        assert_eq!(*heard.lock().unwrap(), ["Stop 1", "LetGo 1", "LetGo 1"]);
        assert_ne!(manual.holds(&slots("1")).await.unwrap(), Standing::Holds);
    }

    #[tokio::test]
    async fn a_no_at_the_switch_switches_nothing() {
        let (manual, heard) = manual(&[true, false]);
        manual.raise(&slots("1")).await.unwrap();
        manual.switch(&slots("1")).await.unwrap_err();
        assert_eq!(manual.owner(Slot::new(1)).await.unwrap(), Owner::Source);
        manual.lower(&slots("1")).await.unwrap();
        assert_eq!(*heard.lock().unwrap(), ["Stop 1", "Send 1", "LetGo 1"]);
    }

    #[test]
    fn an_instruction_names_what_is_needed() {
        let (manual, _) = manual(&[]);
        for step in [Step::Stop, Step::Send, Step::LetGo] {
            let text = manual.instruction(step, slots("1,5-9")).to_string();
            assert!(text.contains("slots 1,5-9") && text.contains("a:1"), "{text}");
        }
    }
}
