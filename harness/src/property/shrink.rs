//! Making what fails small. A case takes seconds, so what takes away most is tried first, and
//! the number of tries is bounded.

use super::edit::Edit;
use super::sequence::Case;

/// Ways to make something smaller; the results that take away most come first.
pub(crate) type Pass<T> = fn(&T) -> Vec<T>;

/// The smallest that still fails, as far as it is found within so many tries. What `fails`
/// gives for it comes along.
pub(crate) fn shrink<T, F>(
    start: T,
    failure: F,
    passes: &[Pass<T>],
    tries: usize,
    mut fails: impl FnMut(&T) -> Option<F>,
) -> (T, F) {
    let mut found = (start, failure);
    let mut left = tries;
    loop {
        let mut smaller = false;
        for pass in passes {
            let mut index = 0;
            while let Some(candidate) = pass(&found.0).into_iter().nth(index) {
                if left == 0 {
                    return found;
                }
                left -= 1;
                if let Some(failure) = fails(&candidate) {
                    found = (candidate, failure);
                    smaller = true;
                } else {
                    index += 1;
                }
            }
        }
        if !smaller {
            return found;
        }
    }
}

/// How cases that ran in one home one after the other get smaller. The last is the one that
/// fails: first its own edits and packages go when it also fails alone.
pub(crate) const CASES: [Pass<Vec<Case>>; 4] = [
    |cases| fewer_cases(cases),
    |cases| each(cases, fewer_steps),
    |cases| each(cases, smaller_workspaces),
    |cases| each(cases, simpler_steps),
];

fn fewer_cases(cases: &[Case]) -> Vec<Vec<Case>> {
    let Some((last, earlier)) = cases.split_last() else {
        return Vec::new();
    };
    let without = |earlier: Vec<Case>| earlier.into_iter().chain([last.clone()]).collect();
    without_chunks(earlier).into_iter().map(without).collect()
}

fn fewer_steps(case: &Case) -> Vec<Case> {
    let with = |steps| Case {
        steps,
        ..case.clone()
    };
    without_chunks(&case.steps).into_iter().map(with).collect()
}

fn smaller_workspaces(case: &Case) -> Vec<Case> {
    let with = |workspace| Case {
        workspace,
        ..case.clone()
    };
    case.workspace.simpler().into_iter().map(with).collect()
}

fn simpler_steps(case: &Case) -> Vec<Case> {
    let mut found = Vec::new();
    for (index, step) in case.steps.iter().enumerate() {
        let mut simpler = case.clone();
        match step.edit {
            Edit::Quietly(change) => simpler.steps[index].edit = Edit::Change(change),
            _ if step.compared => simpler.steps[index].compared = false,
            _ => continue,
        }
        found.push(simpler);
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

/// A list without all of it, without each half, each quarter, down to each one.
pub(crate) fn without_chunks<T: Clone>(list: &[T]) -> Vec<Vec<T>> {
    let mut found = Vec::new();
    let mut length = list.len();
    while length > 0 {
        for start in (0..list.len()).step_by(length) {
            let end = (start + length).min(list.len());
            found.push([&list[..start], &list[end..]].concat());
        }
        length /= 2;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_get_smaller() {
        let expected: [&[u32]; 7] = [
            &[],
            &[3, 4],
            &[1, 2],
            &[2, 3, 4],
            &[1, 3, 4],
            &[1, 2, 4],
            &[1, 2, 3],
        ];
        assert_eq!(without_chunks(&[1, 2, 3, 4]), expected);
        assert!(without_chunks::<u32>(&[]).is_empty());
    }

    const PASS: Pass<Vec<u32>> = |list| without_chunks(list);

    fn has_both(list: &[u32]) -> Option<usize> {
        (list.contains(&3) && list.contains(&7)).then_some(list.len())
    }

    #[test]
    fn only_what_matters_is_left() {
        let start: Vec<u32> = (0..20).collect();
        let (list, failure) = shrink(start, 20, &[PASS], 200, |list| has_both(list));
        assert_eq!((list, failure), (vec![3, 7], 2));
    }

    #[test]
    fn tries_are_bounded() {
        let mut tries = 0;
        let start: Vec<u32> = (0..20).collect();
        let (list, ()) = shrink(start.clone(), (), &[PASS], 9, |_| {
            tries += 1;
            None
        });
        assert_eq!((list, tries), (start, 9));
    }
}
