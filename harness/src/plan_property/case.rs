//! Cases: a workspace and what happens to it; from seeds, and made smaller.

use fastrand::Rng;

use super::knob::{GROUPS, Knob, State};
use crate::property::shrink::{Pass, without_chunks};

/// How many edits a case has.
const EDITS: std::ops::RangeInclusive<usize> = 8..=11;

/// One edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// A knob is turned.
    Turn(Knob, u8),
    /// Everything, the lock file too, is as it was so many steps ago.
    Back(usize),
    /// The lock file goes.
    Unlock,
    /// Nothing.
    Again,
}

/// A workspace and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) start: State,
    pub(crate) edits: Vec<Edit>,
}

/// Whether cargo refuses this of most workspaces. Too much of it would leave no plan to compare.
fn is_harsh(knob: Knob, value: u8) -> bool {
    matches!(
        (knob, value),
        (
            Knob::ConfigCheckout | Knob::ConfigParent | Knob::ConfigHome,
            4 | 6
        ) | (Knob::Patch, 3)
            | (Knob::Vendored, 3)
            | (Knob::One, 1 | 2)
            | (Knob::Two, 2)
            | (Knob::Nested, 3)
            | (Knob::Locked, 1 | 3)
            | (Knob::Chosen, 2)
            | (Knob::Selection, 3)
            | (Knob::Script, 2)
            | (Knob::Targets, 3)
            | (Knob::Exclude, 2)
    )
}

/// Turns a knob, mostly one of a group.
fn turn(rng: &mut Rng, state: &State, group: &[Knob], mild: bool) -> (Knob, u8) {
    loop {
        let (knob, count) = Knob::ALL[rng.usize(..Knob::ALL.len())];
        if !group.contains(&knob) && rng.u8(..8) != 0 {
            continue;
        }
        let value = rng.u8(..count);
        let wanted = !is_harsh(knob, value) || (!mild && rng.u8(..4) == 0);
        if wanted && value != state.get(knob) {
            return (knob, value);
        }
    }
}

impl Case {
    /// The case of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut start = State::default();
        let group = GROUPS[rng.usize(..GROUPS.len())];
        for _ in 0..rng.u8(4..18) {
            let (knob, value) = turn(&mut rng, &start, group, true);
            start = start.with(knob, value);
        }
        let mut states = vec![start.clone()];
        let mut edits = Vec::new();
        let mut harsh = false;
        for _ in 0..rng.usize(EDITS) {
            let edit = match rng.u8(..16) {
                0 => Edit::Again,
                1 => Edit::Unlock,
                2..=4 => Edit::Back(rng.usize(1..=3)),
                5..=10 if harsh => Edit::Back(1),
                _ => {
                    let (knob, value) = turn(&mut rng, &states[states.len() - 1], group, false);
                    Edit::Turn(knob, value)
                }
            };
            harsh = matches!(edit, Edit::Turn(knob, value) if is_harsh(knob, value));
            states.push(edit.after(&states).clone());
            edits.push(edit);
        }
        Self { seed, start, edits }
    }
}

impl Edit {
    /// The state after it, given all there were, the newest last.
    pub(crate) fn after(self, states: &[State]) -> State {
        let now = &states[states.len() - 1];
        match self {
            Self::Turn(knob, value) => now.with(knob, value),
            Self::Back(steps) => states[Self::target(steps, states.len())].clone(),
            Self::Unlock | Self::Again => now.clone(),
        }
    }

    /// Which of so many states it is that was so many steps ago; the first when there were fewer.
    pub(crate) fn target(steps: usize, count: usize) -> usize {
        (count - 1).saturating_sub(steps)
    }
}

/// How cases that ran in one home one after the other get smaller.
pub(crate) const SMALLER: [Pass<Vec<Case>>; 4] = [
    |cases| {
        let (last, earlier) = cases.split_last().expect("one failed");
        let with = |mut earlier: Vec<Case>| {
            earlier.push(last.clone());
            earlier
        };
        without_chunks(earlier).into_iter().map(with).collect()
    },
    |cases| each(cases, fewer_edits),
    |cases| each(cases, fewer_turned),
    |cases| each(cases, simpler_edits),
];

fn fewer_edits(case: &Case) -> Vec<Case> {
    let edits = without_chunks(&case.edits).into_iter();
    let with = |edits| Case {
        edits,
        ..case.clone()
    };
    edits.map(with).collect()
}

fn fewer_turned(case: &Case) -> Vec<Case> {
    let turned = without_chunks(&case.start.turned()).into_iter();
    let with = |turned| Case {
        start: State::of(turned),
        ..case.clone()
    };
    turned.map(with).collect()
}

/// The case with a step that goes back turning only the knobs that differ, or one of them.
fn simpler_edits(case: &Case) -> Vec<Case> {
    let mut found = Vec::new();
    let mut states = vec![case.start.clone()];
    for (index, edit) in case.edits.iter().enumerate() {
        let after = edit.after(&states);
        let now = &states[states.len() - 1];
        if let Edit::Back(_) = edit {
            let differing = Knob::ALL.iter().map(|(knob, _)| *knob);
            for knob in differing.filter(|knob| now.get(*knob) != after.get(*knob)) {
                let mut simpler = case.clone();
                simpler.edits[index] = Edit::Turn(knob, after.get(knob));
                found.push(simpler);
            }
        }
        states.push(after);
    }
    found
}

/// The cases with one of them made smaller, the last one first.
fn each(cases: &[Case], smaller: fn(&Case) -> Vec<Case>) -> Vec<Vec<Case>> {
    let mut found = Vec::new();
    for (index, case) in cases.iter().enumerate().rev() {
        for one in smaller(case) {
            let mut cases = cases.to_vec();
            cases[index] = one;
            found.push(cases);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn seeds_turn_every_knob_to_every_value() {
        let mut seen = BTreeSet::new();
        for case in (0..2000).map(Case::of) {
            assert!(case.edits.len() >= 8, "{case:?}");
            for edit in case.edits {
                if let Edit::Turn(knob, value) = edit {
                    seen.insert((knob, value));
                }
            }
        }
        let all: usize = Knob::ALL.iter().map(|(_, count)| usize::from(*count)).sum();
        assert_eq!(seen.len(), all);
    }

    #[test]
    fn only_the_edit_that_fails_is_left() {
        let fails = |cases: &Vec<Case>| {
            let edits = &cases.last()?.edits;
            edits.contains(&Edit::Again).then_some(())
        };
        let cases: Vec<Case> = (0..40).map(Case::of).collect();
        let last = cases
            .iter()
            .rposition(|case| fails(&vec![case.clone()]).is_some());
        let cases = cases[..=last.expect("one of many does nothing")].to_vec();
        let (cases, ()) = crate::property::shrink::shrink(cases, (), &SMALLER, 200, fails);
        assert_eq!(cases.len(), 1);
        assert_eq!(cases[0].edits, [Edit::Again]);
        assert_eq!(cases[0].start, State::default());
    }
}
