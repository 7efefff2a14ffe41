// SPDX-License-Identifier: Apache-2.0
//! Every state that a model can reach, breadth first, so that each is found by one of the shortest ways to it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, Hasher};

use super::state::State;
use super::step::{Step, Who};

/// What may happen next in a state: who does what, and the state after it.
pub(super) type Steps = Vec<(Step, State)>;

pub(super) struct Explorer {
    states: Vec<State>,
    /// The state from which each was found first; the first state is its own.
    parents: Vec<u32>,
    edges: Vec<Edge>,
}

struct Edge {
    from: u32,
    to: u32,
    who: Who,
}

/// A state that must not be, and the way there.
pub(super) struct Found {
    pub(super) what: &'static str,
    pub(super) trace: String,
}

impl Explorer {
    /// Visits all states, or those up to the first that `wrong` names.
    pub(super) fn run(
        first: State,
        next: impl Fn(&State) -> Steps,
        wrong: impl Fn(&State) -> Option<&'static str>,
    ) -> (Self, Option<Found>) {
        let mut explorer = Self { states: vec![first], parents: vec![0], edges: Vec::new() };
        let mut known: HashMap<State, u32, BuildHasherDefault<Mixer>> = HashMap::from_iter([(first, 0)]);
        let mut from = 0;
        while let Some(state) = explorer.states.get(from as usize).copied() {
            if let Some(what) = wrong(&state) {
                let trace = explorer.trace(from, &next);
                return (explorer, Some(Found { what, trace }));
            }
            for (step, state) in next(&state) {
                let to = *known.entry(state).or_insert_with(|| {
                    explorer.states.push(state);
                    explorer.parents.push(from);
                    u32::try_from(explorer.states.len() - 1).expect("fewer states than four thousand millions")
                });
                explorer.edges.push(Edge { from, to, who: step.who });
            }
            from += 1;
        }
        (explorer, None)
    }

    pub(super) fn states(&self) -> &[State] {
        &self.states
    }

    /// The first of the `concerned` states from which steps of those who `may` act lead to no state that is `good`.
    pub(super) fn stuck(
        &self,
        concerned: impl Fn(&State) -> bool,
        may: impl Fn(Who) -> bool,
        good: impl Fn(&State) -> bool,
    ) -> Option<u32> {
        let mut saved: Vec<bool> = self.states.iter().map(good).collect();
        let mut again = true;
        while std::mem::take(&mut again) {
            // Most edges lead onward, so that backwards few rounds are enough.
            for edge in self.edges.iter().rev().filter(|edge| may(edge.who)) {
                if saved[edge.to as usize] && !saved[edge.from as usize] {
                    saved[edge.from as usize] = true;
                    again = true;
                }
            }
        }
        let lost = (0..saved.len()).find(|&state| !saved[state] && concerned(&self.states[state]));
        lost.map(|state| u32::try_from(state).expect("states are counted by u32"))
    }

    /// The way from the first state, one step a line.
    pub(super) fn trace(&self, end: u32, next: impl Fn(&State) -> Steps) -> String {
        let mut way = vec![end];
        while way.last() != Some(&0) {
            way.push(self.parents[way[way.len() - 1] as usize]);
        }
        let mut trace = String::new();
        for (number, pair) in way.iter().rev().collect::<Vec<_>>().windows(2).enumerate() {
            let [from, to] = [pair[0], pair[1]].map(|&state| self.states[state as usize]);
            let step = next(&from).into_iter().find(|(_, state)| *state == to).expect("a step led there").0;
            writeln!(trace, "{:>3}. {:<61} {to}", number + 1, step.to_string()).expect("a string takes everything");
        }
        trace
    }
}

/// Hashes the many small fields of a state fast; nobody chooses states to collide.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value.cast_unsigned() as u64);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
