//! How often an action runs before its execution is settled, and why once more.
//!
//! An execution is *prepared*, then it *ran*, and then one of these is true of it: it learned a variable, took in
//! a place, was changed under it, changed its own input, lost inputs, or none, and it is *settled*. This says
//! which of them is followed by another run; it starts nothing itself.

use vx_core::readset::{INTERRUPTED, TakenIn};

/// How often an execution is repeated because files changed under it, before vx goes on without
/// publishing.
const MAX_ATTEMPTS: usize = 5;

/// How often an action runs again for variables that it names, each time more of them: some are only
/// named where others are set. After that vx goes on without publishing.
const MAX_LEARNING: usize = 50;

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The store lacks inputs.
    LostInputs {
        /// Whether they are packed packages alone, which are packed again.
        packages_alone: bool,
    },
    /// The directory that it was to find inputs in was taken away before it began.
    LostDirectory,
    /// It says that it read what it was not given, which only a watched run tells all of.
    ReadMore,
    /// It names variables that are set and that it was not given.
    NamedMore,
    /// Its outputs name places that are not there outside, or it looked for one: all that it took in so far.
    TookIn(TakenIn),
    /// An input was not afterwards what it was while it ran: why.
    ChangedUnderIt(String),
    /// It changed this path itself, which it had read.
    ChangedItself(String),
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another run.
    Again,
    /// None for this: it counts as it is.
    GoOn,
}

/// The runs of one execution.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    attempt: usize,
    learning: usize,
    changed_itself: bool,
    /// Whether it is watched whatever it is.
    pub(super) watched: bool,
    /// The places that it has where they really are.
    pub(super) taken: TakenIn,
    /// Why it ran again although nothing was learned.
    pub(super) again: Vec<String>,
}

impl Attempts {
    /// Those of an execution that has these places where they really are.
    pub(super) fn new(taken: TakenIn) -> Self {
        Self {
            taken,
            ..Self::default()
        }
    }

    /// A run begins.
    pub(super) fn begin(&mut self) {
        self.attempt += 1;
    }

    /// Whether there may be another run for what is not of its own doing.
    pub(super) fn may_repeat(&self) -> bool {
        self.attempt < MAX_ATTEMPTS
    }

    /// What follows what the run came to.
    pub(super) fn after(&mut self, outcome: Outcome) -> Next {
        let again = match outcome {
            Outcome::LostInputs { packages_alone } => packages_alone && self.may_repeat(),
            Outcome::LostDirectory => self.may_repeat(),
            Outcome::ReadMore => !std::mem::replace(&mut self.watched, true),
            Outcome::NamedMore => self.learn(),
            Outcome::TookIn(all) => self.take_in(all),
            Outcome::ChangedUnderIt(why) => self.repeat_for(why),
            Outcome::ChangedItself(path) => {
                // What it made of its own inputs may be what it makes of them again. Once is enough to know.
                let why = format!("it changed {path}, which it had read");
                !std::mem::replace(&mut self.changed_itself, true) && self.repeat_for(why)
            }
        };
        if again { Next::Again } else { Next::GoOn }
    }

    /// A run that only taught something is none of those that are repeated.
    fn learn(&mut self) -> bool {
        let learns = self.learning < MAX_LEARNING;
        if learns {
            self.learning += 1;
            self.attempt -= 1;
        }
        learns
    }

    /// With other places it is another action, and its key says so.
    fn take_in(&mut self, all: TakenIn) -> bool {
        let more = all != self.taken;
        if more {
            self.taken = all;
            self.attempt = 0;
        }
        more
    }

    fn repeat_for(&mut self, why: String) -> bool {
        // What is interrupted twice is interrupted all the time.
        let is_hopeless = why.starts_with(INTERRUPTED) && self.again.contains(&why);
        let again = self.may_repeat() && !is_hopeless;
        if again {
            self.again.push(why);
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn began() -> Attempts {
        let mut attempts = Attempts::default();
        attempts.begin();
        attempts
    }

    /// How often it runs if it comes to this each time; at most 100 times.
    fn runs(outcome: &Outcome) -> usize {
        let mut attempts = Attempts::default();
        for run in 1..=100 {
            attempts.begin();
            if attempts.after(outcome.clone()) == Next::GoOn {
                return run;
            }
        }
        100
    }

    #[test]
    fn each_way_ends() {
        let lost = |packages_alone| Outcome::LostInputs { packages_alone };
        let changed = |why: &str| Outcome::ChangedUnderIt(why.to_owned());
        for (outcome, times) in [
            (lost(true), MAX_ATTEMPTS),
            (lost(false), 1),
            (Outcome::LostDirectory, MAX_ATTEMPTS),
            (Outcome::ReadMore, 2),
            (Outcome::NamedMore, MAX_LEARNING + 1),
            (changed("a changed"), MAX_ATTEMPTS),
            (changed(INTERRUPTED), 2),
            (Outcome::ChangedItself("a".to_owned()), 2),
        ] {
            assert_eq!(runs(&outcome), times, "{outcome:?}");
        }
    }

    #[test]
    fn what_is_learned_costs_no_attempt() {
        let mut attempts = began();
        for _ in 0..MAX_ATTEMPTS * 2 {
            assert_eq!(attempts.after(Outcome::NamedMore), Next::Again);
            attempts.begin();
        }
        assert!(attempts.may_repeat());
        assert_eq!(attempts.again, [""; 0]);
    }

    #[test]
    fn a_place_is_taken_in_once_and_starts_over() {
        let place = TakenIn {
            checkout: true,
            ..TakenIn::default()
        };
        let mut attempts = began();
        for _ in 1..MAX_ATTEMPTS {
            attempts.after(Outcome::ChangedUnderIt("a changed".to_owned()));
            attempts.begin();
        }
        assert!(!attempts.may_repeat());
        assert_eq!(attempts.after(Outcome::TookIn(place)), Next::Again);
        attempts.begin();
        assert!(attempts.may_repeat());
        assert_eq!(attempts.taken, place);
        assert_eq!(attempts.after(Outcome::TookIn(place)), Next::GoOn);
    }

    #[test]
    fn why_it_ran_again_is_kept() {
        let mut attempts = began();
        attempts.after(Outcome::ChangedUnderIt("a changed".to_owned()));
        attempts.begin();
        attempts.after(Outcome::ChangedItself("b".to_owned()));
        assert_eq!(
            attempts.again,
            ["a changed", "it changed b, which it had read"]
        );
    }
}
