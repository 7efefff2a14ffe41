// SPDX-License-Identifier: Apache-2.0
use bytes::Bytes;
use replication::{ListEnd, ListStep};

/// Steps of one list that have not been done at the target yet, as few as they can be without knowing the list.
#[derive(Clone, Default, Debug)]
pub(super) struct Steps {
    steps: Vec<ListStep>,
    size: usize,
}

impl Steps {
    /// Appends a step. It copies what it keeps.
    pub(super) fn push(&mut self, step: ListStep) {
        let mut step = step.detached();
        self.drop_earlier_trim(&step);
        while let Some(last) = self.steps.pop() {
            self.size -= cost(&last);
            match merged(last, step) {
                Merged::One(both) => step = both,
                Merged::Two(last, unmerged) => {
                    self.put(last);
                    step = unmerged;
                    break;
                }
            }
        }
        self.put(step);
    }

    /// Bytes of memory, about.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn into_inner(self) -> Vec<ListStep> {
        self.steps
    }

    fn put(&mut self, step: ListStep) {
        self.size += cost(&step);
        self.steps.push(step);
    }

    /// A list that is capped after each push: the last cap is as good as all of them, and what it would take of the pushed
    /// elements need not be pushed.
    fn drop_earlier_trim(&mut self, step: &ListStep) {
        let Some((end, kept)) = cap(step) else { return };
        let is_one = |earlier: &ListStep| cap(earlier).is_some_and(|(side, count)| side == end && count >= kept);
        if let [.., earlier, ListStep::Push { end: pushed, .. }] = &self.steps[..]
            && *pushed == end
            && is_one(earlier)
            && let (Some(push), Some(earlier)) = (self.steps.pop(), self.steps.pop())
        {
            self.size -= cost(&earlier) + cost(&push);
            self.push(push);
        }
        if let Some(ListStep::Push { end: pushed, elements, .. }) = self.steps.last_mut()
            && *pushed == end
        {
            let surplus = elements.len().saturating_sub(kept);
            self.size -= elements.drain(..surplus).map(|element| element_cost(&element)).sum::<usize>();
        }
    }
}

enum Merged {
    One(ListStep),
    Two(ListStep, ListStep),
}

/// Two steps as one, where that is the same for every list.
fn merged(first: ListStep, second: ListStep) -> Merged {
    match (first, second) {
        (
            ListStep::Push { end, mut elements, onto_existing },
            ListStep::Push { end: other, elements: more, onto_existing: also },
        ) if end == other && (also || !onto_existing) && size(&elements) + size(&more) <= MERGED_MAX => {
            elements.extend(more);
            Merged::One(ListStep::Push { end, elements, onto_existing })
        }
        (ListStep::Pop { end, count, may_be_served }, ListStep::Pop { end: other, count: more, .. })
            if end == other =>
        {
            Merged::One(ListStep::Pop { end, count: count.saturating_add(more), may_be_served })
        }
        (first, second) => Merged::Two(first, second),
    }
}

/// The end at which a trim keeps elements, and how many.
fn cap(step: &ListStep) -> Option<(ListEnd, usize)> {
    match *step {
        ListStep::Trim { first: 0, last } => Some((ListEnd::Head, usize::try_from(last).ok()?.checked_add(1)?)),
        ListStep::Trim { first: first @ ..0, last: -1 } => {
            Some((ListEnd::Tail, usize::try_from(first.unsigned_abs()).ok()?))
        }
        _ => None,
    }
}

fn cost(step: &ListStep) -> usize {
    let elements = match step {
        ListStep::Push { elements, .. } => elements.len(),
        _ => 1,
    };
    size_of::<ListStep>() + elements * size_of::<Bytes>() + step.size()
}

fn element_cost(element: &Bytes) -> usize {
    size_of::<Bytes>() + element.len()
}

fn size(elements: &[Bytes]) -> usize {
    elements.iter().map(element_cost).sum()
}

/// A longer push would make a command, and a batch, of more than the usual size.
const MERGED_MAX: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn step() -> impl Strategy<Value = ListStep> {
        let element = || "[a-c]".prop_map(Bytes::from);
        let end = || prop_oneof![Just(ListEnd::Head), Just(ListEnd::Tail)];
        prop_oneof![
            4 => (end(), prop::collection::vec(element(), 1..4), any::<bool>())
                .prop_map(|(end, elements, onto_existing)| ListStep::Push { end, elements, onto_existing }),
            2 => (end(), 0..3u64, any::<bool>())
                .prop_map(|(end, count, may_be_served)| ListStep::Pop { end, count, may_be_served }),
            1 => (-3..3i64, element()).prop_map(|(index, element)| ListStep::Set { index, element }),
            1 => (any::<bool>(), element(), element())
                .prop_map(|(after, pivot, element)| ListStep::Insert { after, pivot, element }),
            1 => (-2..3i64, element()).prop_map(|(count, element)| ListStep::Remove { count, element }),
            2 => (-4..2i64, -4..4i64).prop_map(|(first, last)| ListStep::Trim { first, last }),
            2 => (0..4i64).prop_map(|last| ListStep::Trim { first: 0, last }),
            2 => (-4..0i64).prop_map(|first| ListStep::Trim { first, last: -1 }),
        ]
    }

    proptest! {
        /// Merged or not, the steps do the same to every list, and their size is that of what is kept.
        #[test]
        fn merging_changes_nothing(
            before in prop::collection::vec("[a-c]".prop_map(Bytes::from), 0..5),
            steps in prop::collection::vec(step(), 0..24),
        ) {
            let (mut one_by_one, mut at_once) = (before.clone(), before);
            let mut merged = Steps::default();
            for step in steps {
                step.apply(&mut one_by_one);
                merged.push(step);
                prop_assert_eq!(merged.size(), merged.steps.iter().map(cost).sum::<usize>());
            }
            merged.into_inner().iter().for_each(|step| step.apply(&mut at_once));
            prop_assert_eq!(one_by_one, at_once);
        }
    }

    #[test]
    fn a_capped_list_needs_two_steps_however_often_it_is_pushed_to() {
        for (end, first, last) in [(ListEnd::Head, 0, 9), (ListEnd::Tail, -10, -1)] {
            let mut steps = Steps::default();
            for number in 0..1000 {
                steps.push(ListStep::Push { end, elements: vec![number.to_string().into()], onto_existing: false });
                steps.push(ListStep::Trim { first, last });
            }
            let [ListStep::Push { elements, .. }, ListStep::Trim { .. }] = &steps.into_inner()[..] else {
                panic!("not two steps");
            };
            assert_eq!((elements.len(), &elements[9][..]), (10, &b"999"[..]));
        }
    }
}
