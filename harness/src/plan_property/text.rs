//! Cases as text: the files and the call at the start, and what each edit changes of them.

use std::fmt::Write;

use super::call;
use super::case::Case;
use super::files::{Entry, Files, files};
use super::knob::State;

/// Stands for where the git repository is.
const URL: &str = "file:///repository";

/// Says what a case is.
pub(crate) fn describe(case: &Case) -> String {
    let mut states = vec![case.start.clone()];
    let mut text = format!("start: {:?}\n", case.start.turned());
    let start = files(&case.start, URL);
    text += &changed(&Files::new(), &start);
    text += &calling(&case.start);
    for (index, edit) in case.edits.iter().enumerate() {
        let after = edit.after(&states);
        let now = &states[states.len() - 1];
        let _ = writeln!(text, "\nedit {}: {edit:?}", index + 1);
        text += &changed(&files(now, URL), &files(&after, URL));
        if calling(now) != calling(&after) {
            text += &calling(&after);
        }
        states.push(after);
    }
    text
}

fn changed(old: &Files, new: &Files) -> String {
    let mut text = String::new();
    for path in old.keys().filter(|path| !new.contains_key(*path)) {
        let _ = writeln!(text, "//- /{path} goes");
    }
    for (path, entry) in new {
        if old.get(path) == Some(entry) {
            continue;
        }
        let _ = match entry {
            Entry::File(content) => writeln!(text, "//- /{path}\n{}", content.trim_end()),
            Entry::Link(target) => writeln!(text, "//- /{path} -> {target}"),
        };
    }
    text
}

fn calling(state: &State) -> String {
    format!(
        "called in /{} with {:?} and {:?}\n",
        call::directory(state),
        call::arguments(state),
        call::variables(state)
    )
}

#[cfg(test)]
mod tests {
    use super::super::case::Edit;
    use super::super::knob::Knob;
    use super::*;

    #[test]
    fn an_edit_is_told_by_what_it_changes() {
        let case = Case {
            seed: 0,
            start: State::default(),
            edits: vec![
                Edit::Turn(Knob::One, 3),
                Edit::Turn(Knob::Chosen, 1),
                Edit::Again,
            ],
        };
        let told = describe(&case);
        let (_, edits) = told.split_once("\nedit 1").expect("it has edits");
        let expected = ": Turn(One, 3)\n//- /checkout/crates/one/Cargo.toml goes\n\
                        //- /checkout/crates/one/src/lib.rs goes\n\
                        //- /checkout/crates/one -> ../elsewhere/one\n\
                        \nedit 2: Turn(Chosen, 1)\n\
                        called in /checkout with [\"--release\"] and \
                        [(\"CARGO_NET_OFFLINE\", \"true\")]\n\
                        \nedit 3: Again\n";
        assert_eq!(edits, expected);
    }
}
